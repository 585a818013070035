#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the BIOS starts, from drives whose boot sectors end ring3 with a code of their own.

    firmware.py RING3 ENGINE

Floppy, IDE and virtio disks and a CD (El Torito without emulation) are made here; each case is a row:
options, and which of them must start. Then boot sectors that restart the machine in every way that
a PC has, that ask the BIOS to switch it off, and that use its services for memory and disks. Needs
the Debian package seabios and nothing else.
"""
import os
import struct
import subprocess
import sys
import tempfile

RING3, ENGINE = os.path.abspath(sys.argv[1]), sys.argv[2]
FLOPPY, IDE, VIRTIO, CD, SECOND = 1, 2, 3, 4, 5
NOTHING = 124  # --timeout


def leave(code):
    """mov $code, %al; out %al, $0xf4; hlt"""
    return bytes([0xb0, code, 0xe6, 0xf4, 0xf4])


def boot_sector(text):
    return text.ljust(510, b'\0') + b'\x55\xaa'


def sector(code):
    return boot_sector(leave(code))


def restarter(reset):
    """Restart by `reset` once: byte 0x7f of CMOS memory tells the second start from the first."""
    first = bytes.fromhex('b07f e670 b05a e671') + reset + leave(99)
    return boot_sector(bytes.fromhex('b07f e670 e471 3c5a') + bytes([0x74, len(first)]) + first +
                       leave(7))


RESETS = {
    'port 0xcf9': 'baf90c b006 ee f4',
    'port 0x92': 'e492 0c01 e692 f4',
    'keyboard controller': 'b0fe e664 f4',
    'jump to the reset vector': 'eaf0ff00f0',
}
# APM: connect, version 1.2, all devices off.
POWER_OFF = 'b80153 31db cd15 b80e53 31db b90201 cd15 b80753 bb0100 b90300 cd15 f4'
# INT 15h E801h says of 16 MiB that more than 14 are between 1 and 16 MiB; INT 13h reads the second
# sector behind the first, where code 8 is. Anything wrong leaves with 98.
SERVICES = ('31c0 8ed8 8ec0 b801e8 cd15 721a 3d003b 7215 b80102 b90200 ba8000 bb007e cd13 7205 '
            'ea007e0000') + leave(98).hex()


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


def start(folder, what, options, want):
    """One run; returns 1 if it did not end as it should, else 0."""
    command = [RING3, 'run', '--engine', ENGINE, '-m', '16M', '--net', 'none',
               '--timeout', '2s' if want == NOTHING else '60s', *options]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode == want and (want != NOTHING or b'No bootable' in done.stdout):
        return 0
    print(f'FAIL: {what}: {done.returncode}, not {want}\n'
          f'{done.stdout.decode(errors="replace")}{done.stderr.decode()}')
    return 1


def read_until(process, text):
    """The console up to `text`, or all of it."""
    data = b''
    while text not in data:
        more = os.read(process.stdout.fileno(), 4096)
        if not more:
            break
        data += more
    return data


def menu(folder):
    """ESC shows the drives in the order of --boot; a digit picks one. Returns 1 if not, else 0."""
    command = [RING3, 'run', '--engine', ENGINE, '-m', '16M', '--net', 'none', '--timeout', '60s',
               '--boot', 'menu,cdrom', *I, *V, *C]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, bufsize=0) as process:
        read_until(process, b'boot menu')
        process.stdin.write(b'\x1b')
        shown = read_until(process, b'3. ')
        process.stdin.write(b'3')
        shown += process.stdout.read()
    good = (process.returncode == VIRTIO and
            [b'DVD/CD' in shown, b'ata0-0' in shown, b'Virtio disk' in shown] == [True] * 3 and
            shown.index(b'DVD/CD') < shown.index(b'ata0-0') < shown.index(b'Virtio disk'))
    if not good:
        print(f'FAIL: menu: {process.returncode}, not {VIRTIO}\n{shown.decode(errors="replace")}')
    return 0 if good else 1


def main():
    failed = 0
    with tempfile.TemporaryDirectory(prefix='ring3-firmware.') as folder:
        images(folder)
        for options, want in CASES:
            failed += start(folder, ' '.join(options), options, want)
        more = [(way, restarter(bytes.fromhex(code)), ['--reboot'], 7)
                for way, code in RESETS.items()]
        more += [('without --reboot', restarter(bytes.fromhex(RESETS['port 0x92'])), [], 122),
                 ('power off by APM', boot_sector(bytes.fromhex(POWER_OFF)), [], 0),
                 ('services', boot_sector(bytes.fromhex(SERVICES)) + leave(8), [], 8)]
        for what, text, options, want in more:
            with open(os.path.join(folder, 'disk.img'), 'wb') as f:
                f.write(text.ljust(1 << 20, b'\0'))
            failed += start(folder, what, options + ['disk.img'], want)
        failed += menu(folder)
    print(f'{len(CASES) + len(more) + 1 - failed} passed, {failed} failed')
    return 1 if failed else 0


sys.exit(main())
