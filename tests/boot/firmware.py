#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the BIOS starts, from drives whose boot sectors end ring3 with a code of their own.

    firmware.py RING3 ENGINE

Floppy, IDE and virtio disks and a CD (El Torito without emulation) are made here; each case is a row: options,
and which of them must start. Needs the Debian package seabios and nothing else.
"""
import os
import struct
import subprocess
import sys
import tempfile

RING3, ENGINE = os.path.abspath(sys.argv[1]), sys.argv[2]
FLOPPY, IDE, VIRTIO, CD, SECOND = 1, 2, 3, 4, 5
NOTHING = 124  # --timeout


def sector(code):
    """mov $code, %al; out %al, $0xf4; hlt"""
    return struct.pack('<BBBBB', 0xb0, code, 0xe6, 0xf4, 0xf4).ljust(510, b'\0') + b'\x55\xaa'


def disc(code):
    """The fewest sectors of a CD that a BIOS starts from: El Torito 1.0, no emulation."""
    def volume(kind, rest=b''):
        return (bytes([kind]) + b'CD001\1' + rest).ljust(2048, b'\0')
    catalog = struct.pack('<BBH24sHBB', 1, 0, 0, b'ring3', 0, 0x55, 0xaa)
    words = struct.unpack('<16H', catalog)
    catalog = catalog[:28] + struct.pack('<H', -sum(words) & 0xffff) + catalog[30:]
    catalog += struct.pack('<BBHBBHI', 0x88, 0, 0, 0, 0, 4, 20)
    boot = volume(0, b'EL TORITO SPECIFICATION'.ljust(32, b'\0') + bytes(32) + struct.pack('<I', 19))
    sectors = [bytes(2048)] * 16 + [volume(1), boot, volume(255), catalog.ljust(2048, b'\0'),
                                    sector(code).ljust(2048, b'\0')]
    return b''.join(sectors).ljust(64 * 2048, b'\0')


def images(folder):
    contents = {'floppy.img': sector(FLOPPY).ljust(1440 << 10, b'\0'),
                'ide.img': sector(IDE).ljust(1 << 20, b'\0'),
                'second.img': sector(SECOND).ljust(1 << 20, b'\0'),
                'virtio.img': sector(VIRTIO).ljust(1 << 20, b'\0'),
                'blank.img': bytes(1 << 20), 'cd.iso': disc(CD)}
    for name, data in contents.items():
        with open(os.path.join(folder, name), 'wb') as f:
            f.write(data)


F = ['--floppy', 'floppy.img']
I = ['--disk', 'ide.img']
S = ['--disk', 'second.img']
V = ['--disk', 'virtio.img,if=virtio']
C = ['--cdrom', 'cd.iso']
BLANK = ['--disk', 'blank.img']
CASES = [
    # alone, by option and by name
    (F, FLOPPY), (I, IDE), (V, VIRTIO), (C, CD),
    (['floppy.img'], FLOPPY), (['ide.img'], IDE), (['cd.iso'], CD),
    # disks first, then CDs, then floppies; disks in the order they were given
    (F + C + I, IDE), (F + C, CD), (I + V, IDE), (V + I, VIRTIO), (S + I + V, SECOND),
    (V + S + I + C + F, VIRTIO),
    # what is named without an option comes before its like
    (['ide.img'] + V, IDE), (['ide.img'] + S + C, IDE), (['cd.iso'] + I, CD), (['floppy.img'] + I, FLOPPY),
    # --boot
    (F + C + I + ['--boot', 'cdrom'], CD), (F + C + I + V + ['--boot', 'floppy,disk'], FLOPPY),
    (F + C + I + ['--boot', 'dca'], CD), (F + I + ['--boot', 'cdrom,floppy'], FLOPPY),
    # what cannot start is passed over
    (BLANK + C, CD), (['--cdrom', ''] + I + ['--boot', 'cdrom'], IDE),
    (['--floppy', ''] + BLANK + C + ['--boot', 'floppy,disk,cdrom'], CD), (BLANK, NOTHING),
]


def main():
    failed = 0
    with tempfile.TemporaryDirectory(prefix='ring3-firmware.') as folder:
        images(folder)
        for options, want in CASES:
            command = [RING3, 'run', '--engine', ENGINE, '-m', '16M', '--net', 'none',
                       '--timeout', '2s' if want == NOTHING else '60s', *options]
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
            if done.returncode != want or (want == NOTHING and b'No bootable' not in done.stdout):
                failed += 1
                print(f'FAIL: {" ".join(options)}: {done.returncode}, not {want}\n'
                      f'{done.stdout.decode(errors="replace")}{done.stderr.decode()}')
    print(f'{len(CASES) - failed} passed, {failed} failed')
    return 1 if failed else 0


sys.exit(main())
