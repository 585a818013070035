#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""IDE disks, CD-ROMs and floppies under Debian's own drivers, and under SeaBIOS'.

    drives.py RING3 ENGINE CASE [BOOT_SECTOR DISK_SECTOR]

Each case is a function below. Exit code 0 passed, 1 failed, 77 skipped.
"""
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

import harness
from harness import Failed, expect

RING3 = sys.argv[1]
MODULES = 'ata_piix sd_mod sr_mod ext4 isofs'
# Linux names disks in the order in which it finds them, which may be any.
NAMES = """for i in 0 1; do
    until name=$(ls /sys/bus/scsi/devices/0:0:$i:0/block 2>/dev/null); do sleep 0.1; done
    eval disk$i=/dev/$name
done
"""
FLOPPY_BYTES = 1440 * 1024


def Guest(options=(), **others):
    return harness.Guest(RING3, options=['--engine', sys.argv[2], *options], **others)


def tool(name, package):
    path = shutil.which(name, path=os.environ.get('PATH', '') + ':/sbin:/usr/sbin')
    if not path:
        harness.skip(f'{name} (package {package}) is not installed')
    return path


def folder():
    return tempfile.TemporaryDirectory(prefix='ring3-drives.', dir='/var/tmp')


def digest(data):
    return hashlib.sha256(data).hexdigest()


def write(path, data):
    with open(path, 'wb') as f:
        f.write(data)
    return path


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def noise(n, seed=1):
    return b''.join(hashlib.sha256(b'%d.%d' % (seed, i)).digest() for i in range(n // 32))


def iso(where, files, *options):
    """A CD with these files, by name."""
    xorriso = tool('xorriso', 'xorriso')
    os.mkdir(where + '/cd')
    for name, data in files.items():
        write(f'{where}/cd/{name}', data)
    subprocess.run([xorriso, '-as', 'mkisofs', '-quiet', '-V', 'RING3-CD', '-o', where + '/cd.iso',
                    *options, where + '/cd'], check=True, stderr=subprocess.DEVNULL)
    return where + '/cd.iso'


def image_is_whole(image, where, name, right):
    e2fsck, debugfs = tool('e2fsck', 'e2fsprogs'), tool('debugfs', 'e2fsprogs')
    checked = subprocess.run([e2fsck, '-fn', image], stdout=subprocess.PIPE, check=False,
                             stderr=subprocess.STDOUT, universal_newlines=True)
    expect(checked.returncode == 0, 'e2fsck: ' + checked.stdout)
    subprocess.run([debugfs, '-R', f'dump /{name} {where}/dumped', image], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    expect(digest(read(where + '/dumped')) == right, f'{name} differs from outside')


def ata():
    """Disks by bus master: what the guest writes is there from outside, what was there it reads; the
    write cache can be turned off; a read-only disk refuses; a CD is read."""
    script = (NAMES + 'dmesg | sed "s/^[^a]*//" | grep "^ata[12].0[01]:" | sort\n'
              'mkdir /disk /cd\nmount -t ext4 $disk0 /disk && cat /disk/hello\n'
              'echo "write through" >/sys/class/scsi_disk/0:0:0:0/cache_type\n'
              'cat /sys/class/scsi_disk/0:0:0:0/cache_type\n'
              'dd if=/dev/urandom of=/disk/noise bs=64k count=100 2>/dev/null\n'
              'sync\nsha256sum /disk/noise\nrm /disk/hello\nfstrim -v /disk\numount /disk\n'
              'dd if=$disk1 bs=1M 2>/dev/null | sha256sum\n'
              'dd if=/dev/zero of=$disk1 count=1 conv=fsync 2>&1 | grep -i -m1 -E "error|denied"\n'
              'mount -t iso9660 /dev/sr0 /cd && sha256sum /cd/data\n')
    with folder() as where:
        os.mkdir(where + '/tree')
        write(where + '/tree/hello', b'hello from outside\n')
        image = harness.ext4_image(where + '/disk.img', where + '/tree')
        fixed, data = noise(5 << 20), noise(3 << 20, 2)
        write(where + '/ro.img', fixed)
        cd = iso(where, {'data': data})
        with Guest(['--disk', image + ',if=ide', '--disk', where + '/ro.img,if=ide,ro', '--cdrom',
                    cd, '--stats=json'], script=script, modules=MODULES) as guest:
            guest.wait_for(r'ata1.00: ATA-8: RING3 DISK')
            guest.wait_for(r'ata1.01: ATA-8: RING3 DISK')
            guest.wait_for(r'ata2.00: ATAPI: RING3 CD-ROM')
            guest.wait_for(r'hello from outside')
            guest.wait_for(r'write through')
            written = guest.wait_for(r'([0-9a-f]{64})  /disk/noise').group(1)
            guest.wait_for(r'trimmed')
            guest.wait_for(digest(fixed))
            guest.wait_for(r'(?i)error|denied')
            guest.wait_for(digest(data) + '  /cd/data')
            guest.wait_for(r'script ended')
            guest.wait_exit(0)
            found = json.loads([x for x in guest.complaints().splitlines() if x[0] == '{'][-1])
            expect(found['ide_requests'] > 100, 'requests were not counted')
            expect(found['ide_accesses_per_request'] < 80,
                   f"{found['ide_accesses_per_request']} accesses per request")
        image_is_whole(image, where, 'noise', written)
        expect(read(where + '/ro.img') == fixed, 'a read-only disk was written')


def pio():
    """The same without bus master, as libata's parameter dma=0 wants it: data by the data port."""
    script = ('umount /disk 2>/dev/null\nfor m in sr_mod sd_mod ata_piix libata; do rmmod $m; done\n'
              'for m in libata ata_piix sd_mod sr_mod; do\n'
              'insmod $(grep -E "/$m\\.ko" /lib/modules/order) '
              '$([ $m = libata ] && echo dma=0)\ndone\n'
              'until [ -b /dev/sda ] && [ -b /dev/sr0 ]; do sleep 0.1; done\n'
              'cat /sys/class/ata_device/*/xfer_mode\n'
              'mkdir /disk\nmount -t ext4 /dev/sda /disk\n'
              'dd if=/dev/urandom of=/disk/noise bs=64k count=20 2>/dev/null\n'
              'sync\nsha256sum /disk/noise\numount /disk\n'
              'echo 3 >/proc/sys/vm/drop_caches; mount -t ext4 /dev/sda /disk\n'
              'sha256sum /disk/noise\numount /disk\ndd if=/dev/sr0 bs=64k 2>/dev/null | sha256sum\n')
    with folder() as where:
        os.mkdir(where + '/tree')
        image = harness.ext4_image(where + '/disk.img', where + '/tree')
        cd = write(where + '/cd.iso', noise(1 << 20))
        with Guest(['--disk', image + ',if=ide', '--cdrom', cd], script=script,
                   modules=MODULES) as guest:
            guest.wait_for(r'XFER_PIO_4')
            written = guest.wait_for(r'([0-9a-f]{64})  /disk/noise').group(1)
            guest.wait_for(written)
            guest.wait_for(digest(noise(1 << 20)))
            guest.wait_exit(0)
        image_is_whole(image, where, 'noise', written)


def floppy():
    """Linux's driver reads and writes two kinds of disks."""
    script = ('dmesg | grep -i "floppy drive"\nsha256sum /dev/fd0 /dev/fd1\n'
              'dd if=/dev/fd0 bs=512 skip=100 count=90 2>/dev/null >/tmp.bin\n'
              'dd if=/tmp.bin of=/dev/fd1 bs=512 seek=777 conv=fsync 2>/dev/null; echo "wrote $?"\n')
    with folder() as where:
        first, second = noise(FLOPPY_BYTES), noise(FLOPPY_BYTES // 2, 2)
        write(where + '/a.img', first)
        write(where + '/b.img', second)
        with Guest(['--floppy', where + '/a.img', '--floppy', where + '/b.img'], script=script,
                   modules='floppy') as guest:
            guest.wait_for(r'fd0 is 1.44M, fd1 is 720k')
            guest.wait_for(digest(first) + '  /dev/fd0')
            guest.wait_for(digest(second) + '  /dev/fd1')
            guest.wait_for(r'wrote 0')
            guest.wait_exit(0)
        right = bytearray(second)
        right[777 * 512:(777 + 90) * 512] = first[100 * 512:190 * 512]
        expect(read(where + '/b.img') == bytes(right), 'the second floppy does not hold what was written')
        expect(read(where + '/a.img') == first, 'the first floppy has changed')


def firmware():
    """SeaBIOS starts from a floppy, a CD (El Torito without emulation) and an IDE disk."""
    sector = read(sys.argv[4])
    with folder() as where:
        disk = bytearray(sector + bytes(FLOPPY_BYTES - len(sector)))
        at = ((40 * 2 + 1) * 18 + 17) * 512
        disk[at:at + 20] = b'hello from a floppy\0'
        starts = (['--floppy', write(where + '/floppy.img', disk)],
                  ['--cdrom', iso(where, {'boot.bin': sector}, '-b', 'boot.bin', '-no-emul-boot')],
                  ['--disk', sys.argv[5] + ',if=ide,ro'])
        texts = (r'hello from a floppy', r'RING3-CD', r'sector hundred')
        for start, text in zip(starts, texts):
            with Guest(start=start) as guest:
                guest.wait_for(text)
                guest.wait_exit(7)


def snapshot():
    """Disk, CD and floppy at work are saved and go on in another process."""
    script = ('echo begin\nwhile :; do dd if=/dev/sda bs=256k iflag=direct 2>/dev/null | sha256sum\n'
              'dd if=/dev/sr0 bs=64k iflag=direct 2>/dev/null | sha256sum\n'
              'dd if=/dev/fd0 bs=9k iflag=direct count=20 2>/dev/null | sha256sum\ndone\n')
    with folder() as where:
        disk, cd, fd = noise(4 << 20), noise(1 << 20, 2), noise(FLOPPY_BYTES, 3)
        write(where + '/ro.img', disk)
        write(where + '/cd.iso', cd)
        write(where + '/fd.img', fd)
        right = f'{digest(disk)}  -\n{digest(cd)}  -\n{digest(fd[:20 * 9 * 1024])}  -\n'
        options = ['--disk', where + '/ro.img,if=ide,ro', '--cdrom', where + '/cd.iso', '--floppy',
                   where + '/fd.img', '--control', where + '/c']
        with Guest(options, modules=MODULES + ' floppy', script=script) as guest:
            guest.wait_for('begin')
            guest.wait_for(right)
            for n in range(3):
                subprocess.run([RING3, 'snapshot', where + '/c', f'{where}/{n}.snap'], check=True,
                               stdout=subprocess.DEVNULL)
            guest.wait_for(right)
        for n in range(3):
            resume(f'{where}/{n}.snap', right)


def control(path, command, *args):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(json.dumps({'command': command, 'args': args}).encode() + b'\n')
        return json.loads(s.makefile().readline())


def medium():
    """Discs come and go by the control socket: the guest sees what is in the drive."""
    script = ('cd() { sha256sum /dev/sr0 2>/dev/null || echo "no disc"; }\n'
              'cd; echo "turn 1"; until [ "$(cd)" = "no disc" ]; do sleep 0.2; done\n'
              'echo "turn 2"; until [ "$(cd)" != "no disc" ]; do sleep 0.2; done\n'
              'cd; sha256sum /dev/fd0; echo "turn 3"; read -r x </dev/ttyS0\n'
              # In the first five minutes Linux polls no change line when a floppy is opened: a read
              # fails first.
              'until sha256sum /dev/fd0 2>/dev/null; do sleep 0.2; done\n')
    with folder() as where:
        first, second = noise(1 << 20), noise(2 << 20, 2)
        floppies = [noise(FLOPPY_BYTES, n) for n in (3, 4)]
        names = [write(f'{where}/{n}', data)
                 for n, data in enumerate([first, second, *floppies, noise(1 << 20, 5)])]
        socket_path = where + '/c'
        with Guest(['--cdrom', names[0], '--floppy', names[2], '--control', socket_path],
                   script=script, modules=MODULES + ' floppy', tty=True) as guest:
            guest.wait_for(digest(first))
            guest.wait_for('turn 1')
            expect(control(socket_path, 'eject', '0')['ok'], 'the CD cannot be taken out')
            guest.wait_for('turn 2')
            for bad in (['0', where + '/missing'], ['1', names[4]], ['7', names[1]]):
                expect(not control(socket_path, 'change', *bad)['ok'], f'{bad} is no error')
            expect(control(socket_path, 'change', '0', names[1])['ok'], 'no other CD')
            guest.wait_for(digest(second))
            guest.wait_for(digest(floppies[0]))
            guest.wait_for('turn 3')
            expect(control(socket_path, 'change', '1', names[3])['ok'], 'no other floppy')
            guest.type('\r')
            guest.wait_for(digest(floppies[1]))
            guest.wait_exit(0)


def resume(snap, right):
    with subprocess.Popen([RING3, 'restore', '--timeout', '60s', snap], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, universal_newlines=True) as restored:
        text = ''
        for line in restored.stdout:
            text += line.replace('\r', '')
            if text.count(right) == 2:
                break
        restored.kill()
    expect(text.count(right) == 2, 'not the right results after ' + snap + ':\n' + text)


CASES = {f.__name__: f for f in (ata, pio, floppy, firmware, snapshot, medium)}


def main():
    try:
        CASES[sys.argv[3]]()
    except Failed as why:
        print(f'FAIL: {sys.argv[3]}, {sys.argv[2]}: {why}')
        return 1
    print(f'pass: {sys.argv[3]}, {sys.argv[2]}')
    return 0


sys.exit(main())
