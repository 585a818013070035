#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the object files of ring3 hold and call.

    symbols.py data LIBRARY     no mutable file-scope data
    symbols.py fatal LIBRARY    no way to end the process in code that a guest drives

Reads the symbol table with objdump. Data is told mutable by its section: .data, .bss and their
thread-local forms are; .data.rel.ro is constant once the program is loaded. The second check looks
at undefined symbols of dev, isa, pv, engine and mem; BUG() alone may end the process, through
bug_at, and the modules that can reach it are listed. Not for sanitizer builds, whose instrumented
objects have data of their own.
"""
import re
import subprocess
import sys

# Object and symbol that may be mutable, with the reason.
MUTABLE_ALLOWED = {}

GUEST_DRIVEN = ('dev', 'isa', 'pv', 'engine', 'mem')
FATAL = {'abort', 'exit', '_exit', '_Exit', 'quick_exit', '__assert_fail', '__assert',
         '__assert_perror_fail', 'err', 'errx', 'verr', 'verrx', 'raise', 'kill'}
MUTABLE_SECTION = re.compile(r'^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)(?!\.rel\.ro)')
MEMBER = re.compile(r'^(\S+):\s+file format elf')
# value, seven flag characters, section, size, then visibility and name
SYMBOL = re.compile(r'^[0-9a-f]+ (.{7}) (\S+)\t[0-9a-f]+\s+(.*)$')


def symbols(library):
    """(object, flags, section, name) of every symbol of the archive."""
    out = subprocess.run(['objdump', '-t', library], check=True, stdout=subprocess.PIPE,
                         universal_newlines=True).stdout
    member = None
    for line in out.splitlines():
        match = MEMBER.match(line)
        if match:
            member = match.group(1).split('/')[-1]
            continue
        match = SYMBOL.match(line)
        if match and member and match.group(3):
            yield member, match.group(1), match.group(2), match.group(3).split()[-1]


def mutable(all_symbols):
    for member, flags, section, name in all_symbols:
        is_section = 'd' in flags and name == section
        if MUTABLE_SECTION.match(section) and not is_section:
            if (member, name) not in MUTABLE_ALLOWED:
                yield f'{member}: {name} is mutable data (section {section})'


def fatal(all_symbols):
    for member, _, section, name in all_symbols:
        if section == '*UND*' and name in FATAL and member.startswith(GUEST_DRIVEN):
            yield f'{member}: calls {name}'


def main():
    check, library = sys.argv[1], sys.argv[2]
    found = list(symbols(library))
    members = {member for member, *_ in found}
    bad = list({'data': mutable, 'fatal': fatal}[check](found))
    if not members:
        bad.append(f'{library} has no object files')
    for line in bad:
        print(line)
    if check == 'fatal':
        bugs = sorted(m for m, _, s, n in found if s == '*UND*' and n == 'bug_at')
        print('can reach BUG():', ' '.join(bugs) or 'none')
    print(f"{'FAIL' if bad else 'pass'}: symbols {check}, {len(members)} objects, "
          f'{len(bad)} complaints')
    return 1 if bad else 0


sys.exit(main())
