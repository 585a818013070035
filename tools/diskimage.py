#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A disk that a PC's BIOS starts: GRUB, and one partition with a file system made elsewhere.

    tools/diskimage.py BOOT CORE FILESYSTEM OUTPUT

BOOT is GRUB's boot.img (the master boot record, which loads one sector: number 1, as built), CORE its
core.img by grub-mkimage -O i386-pc, whose first sector loads the rest from sector 2 on, as built. So
both work where they are put, in the gap before the first partition, and nothing needs patching. The
partition begins at 1 MiB. Holes of FILESYSTEM stay holes.
"""
import os
import struct
import sys

SECTOR = 512
FIRST = 2048  # of the partition
TABLE = 446   # offset in the master boot record
CODE = 440    # bytes of it that belong to the boot loader


def partition(bootable, kind, first, sectors):
    # Cylinder, head and sector are not used by anything that reads the 32-bit numbers.
    chs = b'\xfe\xff\xff'
    return struct.pack('<B3sB3sII', 0x80 if bootable else 0, chs, kind, chs, first, sectors)


def copy_sparse(source, target, at):
    size, offset = os.fstat(source).st_size, 0
    while offset < size:
        try:
            data = os.lseek(source, offset, os.SEEK_DATA)
        except OSError:
            break  # only a hole is left
        offset = os.lseek(source, data, os.SEEK_HOLE)
        while data < offset:
            block = os.pread(source, min(1 << 20, offset - data), data)
            os.pwrite(target, block, at + data)
            data += len(block)
    os.ftruncate(target, at + size)


def main():
    boot, core, filesystem, output = sys.argv[1:]
    with open(boot, 'rb') as f:
        record = bytearray(f.read(SECTOR))
    with open(core, 'rb') as f:
        loader = f.read()
    if len(loader) > (FIRST - 1) * SECTOR:
        print(f'diskimage: {core} does not fit before the partition', file=sys.stderr)
        return 125
    with open(filesystem, 'rb') as source, open(output, 'wb') as target:
        sectors = os.fstat(source.fileno()).st_size // SECTOR
        record[CODE:] = bytes(SECTOR - CODE)
        record[CODE:CODE + 4] = b'ring'  # disk signature
        record[TABLE:TABLE + 16] = partition(True, 0x83, FIRST, sectors)
        record[510:] = b'\x55\xaa'
        target.write(record + loader)
        target.flush()
        copy_sparse(source.fileno(), target.fileno(), FIRST * SECTOR)
    return 0


sys.exit(main())
