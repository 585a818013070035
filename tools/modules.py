#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Kernel modules with all that they depend on, as paths in the order in which to load them.

    tools/modules.py DIRECTORY NAME...

DIRECTORY is what a kernel package has as /lib/modules/VERSION, with a SHA256SUMS (tools/guest.sh),
against which the modules chosen are checked. NAME is a module's, with - or _, or an alias without
wildcards, such as crypto-crc32c. What is built into the kernel is there already. Dependencies are
read from the section .modinfo of each module (`depends=`, and `pre:` of `softdep=`, which depmod
knows as modules.softdep): a run of `key=value` strings, each ended by a zero byte. Left out: depmod's
index files, compressed modules, parameters.
"""
import hashlib
import os
import re
import struct
import sys


class Trouble(Exception):
    pass


def canonical(name):
    return name.replace('-', '_')


def modinfo(data):
    """Section .modinfo of a 32-bit or 64-bit little-endian ELF object, as a list of (key, value)."""
    if data[:4] != b'\x7fELF' or data[5] != 1:
        raise Trouble('not an ELF object (compressed?)')
    wide = data[4] == 2
    shoff = struct.unpack_from('<Q' if wide else '<I', data, 40 if wide else 32)[0]
    entry, count, names = struct.unpack_from('<HHH', data, 58 if wide else 46)
    # name, type, flags, address, offset, size
    sections = [struct.unpack_from('<IIQQQQ' if wide else '<IIIIII', data, shoff + i * entry)
                for i in range(count)]
    for name, _, _, _, offset, size in sections:
        at = sections[names][4] + name
        if data[at:data.index(b'\0', at)] == b'.modinfo':
            text = data[offset:offset + size].decode('utf-8', 'replace')
            return [tuple(s.split('=', 1)) for s in text.split('\0') if '=' in s]
    return []


class Modules:
    def __init__(self, folder):
        self.folder = folder
        self.sums, self.paths, self.infos, self.aliases = {}, {}, {}, None
        try:
            with open(os.path.join(folder, 'SHA256SUMS'), encoding='ascii') as f:
                for line in f:
                    digest, path = line.split(maxsplit=1)
                    self.sums[path.strip()] = digest
            with open(os.path.join(folder, 'modules.builtin'), encoding='ascii') as f:
                self.builtin = {canonical(os.path.basename(line.strip())[:-3]) for line in f}
        except OSError as why:
            raise Trouble(f'{why}; tools/guest.sh fetches the modules') from why
        for path in self.sums:
            if path.endswith('.ko'):
                self.paths[canonical(os.path.basename(path)[:-3])] = path

    def info(self, name):
        if name not in self.infos:
            path = self.paths[name]
            with open(os.path.join(self.folder, path), 'rb') as f:
                data = f.read()
            if hashlib.sha256(data).hexdigest() != self.sums[path]:
                raise Trouble(f'{self.folder}/{path} is damaged; tools/guest.sh --refresh')
            self.infos[name] = modinfo(data)
        return self.infos[name]

    def find(self, name):
        """The module meant: a module's own name, or an alias. Of several providers of an alias the
        generic one, which runs on any processor. None: built in."""
        name = canonical(name)
        if name in self.builtin:
            return None
        if name in self.paths:
            return name
        if self.aliases is None:
            self.aliases = {}
            for module in sorted(self.paths, key=lambda m: (not m.endswith('generic'), m)):
                for key, value in self.info(module):
                    if key == 'alias':
                        self.aliases.setdefault(canonical(value), module)
            with open(os.path.join(self.folder, 'modules.builtin.modinfo'), 'rb') as f:
                for text in f.read().decode('utf-8', 'replace').split('\0'):
                    match = re.match(r'[^.]+\.alias=(.*)', text)
                    if match:
                        self.aliases[canonical(match.group(1))] = None
        if name not in self.aliases:
            raise Trouble(f'no module {name} in {self.folder}')
        return self.aliases[name]

    def order(self, names):
        """Each module once, after what it needs."""
        done, busy = [], set()

        def visit(name):
            module = self.find(name)
            if module is None or module in busy:
                return
            busy.add(module)
            for key, value in self.info(module):
                if key == 'depends':
                    needed = [n for n in value.split(',') if n]
                elif key == 'softdep':
                    needed = re.sub(r'post:.*', '', value).replace('pre:', '').split()
                else:
                    continue
                for n in needed:
                    visit(n)
            done.append(module)

        for name in names:
            visit(name)
        return [os.path.join(self.folder, self.paths[m]) for m in done]


def main():
    if len(sys.argv) < 3:
        print('usage: tools/modules.py DIRECTORY NAME...', file=sys.stderr)
        return 125
    try:
        print('\n'.join(Modules(sys.argv[1]).order(sys.argv[2:])))
    except Trouble as why:
        print(f'modules: {why}', file=sys.stderr)
        return 127
    return 0


if __name__ == '__main__':
    sys.exit(main())
