#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boot Debian's unmodified generic MIPS kernel (mips32r2el) on board mipsvirt and use its devices.

    mips.py RING3 ENGINE CASE

Each case is a function below whose first line says what it shows. Exit code 0 passed, 1 failed, 77
skipped because the guest was never fetched (tools/guest.sh --arch mipsel).
"""
import hashlib
import http.server
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time

import cases
import harness
from harness import APPEND, Failed, expect

RING3, ENGINE = sys.argv[1], sys.argv[2]
PROMPT = cases.PROMPT
LOUD = APPEND.replace(' quiet', '')
DISK = 'virtio_mmio virtio_blk ext4'


def Guest(options=(), **others):
    """A guest of this architecture; which board it needs, ring3 finds out."""
    return harness.Guest(RING3, options=['--engine', ENGINE, *options], arch='mipsel', **others)


def first_lines():
    """Without earlycon nothing would be seen of a kernel that stops before its console is there; the
    first lines come, then it finds no root file system, panics and resets the machine."""
    kernel = harness.guest_files('mipsel') + '/vmlinuz'
    start = ['--append', 'earlycon console=ttyS0 root=/dev/none panic=-1', kernel]
    with Guest(start=start) as guest:
        guest.wait_for(r'Linux version 6\.1\.\S+-mips32r2el')
        guest.wait_for(r'MIPS: machine is ring3 mipsvirt')
        guest.wait_for(r'earlycon: ns16550a0 at MMIO 0x1f000000')
        guest.wait_for(r'Kernel command line: earlycon console=ttyS0 root=/dev/none')
        guest.wait_for(r'1f000000\.serial: ttyS0 at MMIO 0x1f000000')
        guest.wait_for(r'Kernel panic - not syncing')
        guest.wait_exit(122)


def session(memory, kib, high=0):
    """A scripted session sees the machine, computes, and powers off."""
    script = ('uname -rm\n'
              'seq 1 100 | awk \'{ s += $1 } END { print "sum=" s, "eighth=" 1 / 8 }\'\n'
              'dd if=/dev/zero bs=1k count=64 2>/dev/null | sha256sum\n'
              'grep HighTotal /proc/meminfo\n')
    with Guest(memory=memory, script=script) as guest:
        guest.wait_for(r'ring3: init running')
        total = int(guest.wait_for(r'MemTotal:\s+(\d+) kB').group(1))
        expect(kib * 0.75 < total <= kib, f'{total} KiB of memory in a guest of {kib}')
        guest.wait_for(r'\n6\.1\.\S+-mips32r2el mips\n')
        guest.wait_for(r'sum=5050 eighth=0\.125\n')
        # The digest of 65,536 zero bytes.
        guest.wait_for('de2f256064a0af797747c2b97505dc0b9f3df0de4f489eac731c23ae9ca9cc31')
        found = int(guest.wait_for(r'HighTotal:\s+(\d+) kB').group(1))
        expect(found == high, f'{found} KiB of high memory, not {high}')
        guest.wait_for(r'script ended with status 0')
        guest.wait_exit(0)
        expect('[guest-halted]' in guest.complaints(), 'nothing says why the run ended')


def session_64m():
    """64 MiB."""
    session('64M', 64 << 10)


def session_256m():
    """256 MiB, all in KSEG0."""
    session('256M', 256 << 10)


def session_1g():
    """1 GiB, of which all but 256 MiB is high memory."""
    session('1G', 1 << 20, 768 << 10)


def interactive():
    """Typing at a terminal: echo, job control, Ctrl-C; `exit` powers off."""
    cases.interactive(Guest)


def reboot():
    """With --reboot a guest that resets the machine comes up again; without, that is code 122."""
    cases.reboot(Guest)


def date():
    """The guest has the host's time, and timers take as long as on the host."""
    cases.date(Guest)


def disk(words=()):
    """What the guest writes to a file system is there from outside, byte for byte, and the file
    system is whole; a read-only disk stays as it is."""
    script = ('mkdir /disk\nmount -t ext4 /dev/vda /disk && cat /disk/hello\n'
              'seq 1 100000 >/disk/numbers\ndd if=/dev/urandom of=/disk/noise bs=64k count=50\n'
              'sync\nsha256sum /disk/noise\nrm /disk/hello\numount /disk\n'
              'sha256sum /dev/vdb\n'
              'dd if=/dev/zero of=/dev/vdb count=1 2>&1 | grep -i -m1 -E "denied|not permitted"\n')
    with tempfile.TemporaryDirectory(prefix='ring3-mips.', dir='/var/tmp') as folder:
        os.mkdir(folder + '/tree')
        with open(folder + '/tree/hello', 'w', encoding='utf-8') as f:
            f.write('hello from outside\n')
        image = harness.ext4_image(folder + '/disk.img', folder + '/tree')
        content = bytes(range(256)) * 2000
        with open(folder + '/ro.img', 'wb') as f:
            f.write(content)
        with Guest([*words, '--disk', image, '--disk', folder + '/ro.img,ro'], script=script,
                   modules=DISK) as guest:
            guest.wait_for(r'hello from outside')
            noise = guest.wait_for(r'([0-9a-f]{64})  /disk/noise').group(1)
            guest.wait_for(hashlib.sha256(content).hexdigest())
            guest.wait_for(r'denied|not permitted')
            guest.wait_for(r'script ended with status 0')
            guest.wait_exit(0)
        checked = subprocess.run([cases.tool('e2fsck'), '-fn', image], stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, check=False, universal_newlines=True)
        expect(checked.returncode == 0, 'e2fsck: ' + checked.stdout)

        def inside(name):
            return subprocess.run([cases.tool('debugfs'), '-R', f'cat /{name}', image], check=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        expect(hashlib.sha256(inside('noise')).hexdigest() == noise, 'noise differs outside')
        expect(inside('numbers') == b''.join(b'%d\n' % i for i in range(1, 100001)),
               'numbers differ outside')


def disk_legacy():
    """The same by the registers of virtio-mmio version 1."""
    disk(['--virtio', 'legacy'])


def network():
    """DHCP, ping, and a file by HTTP from the host, compared by digest."""
    content = random.Random(1).randbytes(1_500_000)

    class Handler(http.server.BaseHTTPRequestHandler):
        """Any path gives the content."""

        def do_GET(self):
            """The only verb."""
            self.send_response(200)
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Silent."""

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = ('cat >/tmp/dhcp <<\'END\'\n#!/bin/sh\n[ "$1" = bound ] || exit 0\n'
              'ifconfig $interface $ip netmask $subnet\nroute add default gw $router\n'
              'echo "bound $ip"\nEND\nchmod +x /tmp/dhcp\nifconfig eth0 up\n'
              'udhcpc -i eth0 -n -q -t 10 -s /tmp/dhcp | grep bound\n'
              'ifconfig eth0 | grep HWaddr\nping -c 3 10.0.2.2 | grep received\n'
              f'wget -q -O /tmp/big http://10.0.2.2:{server.server_address[1]}/big\n'
              'sha256sum /tmp/big\n')
    with Guest(['--net', 'user,mac=52:54:00:aa:bb:cc'], script=script,
               modules='virtio_mmio virtio_net') as guest:
        guest.wait_for(r'bound 10\.0\.2\.15\n')
        guest.wait_for(r'HWaddr 52:54:00:AA:BB:CC')
        guest.wait_for(r'3 packets received')
        guest.wait_for(hashlib.sha256(content).hexdigest() + '  /tmp/big')
        guest.wait_for(r'script ended with status 0')
        guest.wait_exit(0)


def devices():
    """Entropy, balloon and a shared directory are found and used."""
    script = ('cat /sys/class/misc/hw_random/rng_current\n'
              'dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c\n'
              'ls /sys/bus/virtio/drivers/virtio_balloon | grep -c ^virtio\n'
              'mkdir /s\nmount -t 9p -o trans=virtio,version=9p2000.L share /s\n'
              'cat /s/outside\necho from inside >/s/inside\n')
    with tempfile.TemporaryDirectory(prefix='ring3-mips.') as folder:
        with open(folder + '/outside', 'w', encoding='utf-8') as f:
            f.write('from outside\n')
        with Guest(['--share', folder], script=script,
                   modules='virtio_mmio virtio_rng virtio_balloon 9pnet_virtio 9p') as guest:
            guest.wait_for(r'virtio_rng\.0\n64\n1\nfrom outside\n')
            guest.wait_for(r'script ended with status 0')
            guest.wait_exit(0)
        with open(folder + '/inside', encoding='utf-8') as f:
            expect(f.read() == 'from inside\n', 'the guest wrote something else')


def everything():
    """With as many devices as ring3 takes, disks, cards and shares are numbered as they were given, and
    each has its own."""
    script = ('cat /proc/partitions\nfor d in a b c d e f g h; do head -c 8 /dev/vd$d; done; echo\n'
              'for i in 0 1 2 3; do cat /sys/class/net/eth$i/address; mkdir /m$i\n'
              'mount -t 9p -o trans=virtio,version=9p2000.L t$i /m$i; cat /m$i/name; done\n'
              'grep -E "^ *[23456]:" /proc/interrupts\n')
    with tempfile.TemporaryDirectory(prefix='ring3-mips.') as folder:
        options = ['--virtio', 'console']
        for i in range(8):
            with open(f'{folder}/disk{i}', 'wb') as f:
                f.write(b'disk:%02d ' % i)
                f.truncate((i + 1) << 20)
            options += ['--disk', f'{folder}/disk{i}']
        for i in range(4):
            os.mkdir(f'{folder}/share{i}')
            with open(f'{folder}/share{i}/name', 'w', encoding='ascii') as f:
                f.write(f'share {i}\n')
            options += ['--net', 'user', '--share', f'{folder}/share{i},tag=t{i}']
        with Guest(options, script=script,
                   modules='virtio_mmio virtio_blk virtio_net virtio_console virtio_rng '
                           'virtio_balloon 9pnet_virtio 9p') as guest:
            for i in range(8):
                guest.wait_for(rf' {(i + 1) << 10} vd{"abcdefgh"[i]}\n')
            guest.wait_for(''.join(f'disk:{i:02d} ' for i in range(8)) + '\n')
            for i in range(4):
                guest.wait_for(rf'52:54:00:12:34:5{6 + i}\nshare {i}\n')
            for line in (r'2: .* ttyS0', r'3: .*\.rtc', r'4: .*(virtio\d+(, )?){8}\n',
                         r'5: .*(virtio\d+(, )?){4}\n', r'6: .*(virtio\d+(, )?){7}\n'):
                guest.wait_for(line)
            guest.wait_exit(0)


def console():
    """hvc0 takes the terminal: output, and typed input."""
    script = 'exec <>/dev/hvc0 >&0 2>&0\necho "speak:"\nread -r line\necho "heard <$line>"\n'
    with Guest(['--virtio', 'console'], modules='virtio_mmio virtio_console', script=script,
               tty=True) as guest:
        guest.wait_for(r'speak:')
        guest.type('hello guest\r')
        guest.wait_for(r'heard <hello guest>')
        guest.wait_exit(0)


def snapshot():
    """A shell goes on from a snapshot, with its variables, its disk and the right time; when it
    resets the machine, that boots anew."""
    with tempfile.TemporaryDirectory(prefix='ring3-mips.') as folder:
        os.mkdir(folder + '/tree')
        image = harness.ext4_image(folder + '/disk.img', folder + '/tree')
        initrd = harness.initramfs(folder + '/initramfs.gz', modules=DISK, arch='mipsel')
        file = folder + '/x.snap'
        with Guest(['--control', folder + '/c', '--disk', image + ',snapshot'], tty=True,
                   start=['--initrd', initrd, '--append', APPEND,
                          harness.guest_files('mipsel') + '/vmlinuz']) as guest:
            guest.wait_for(PROMPT)
            guest.type('x=17; mkdir /disk; mount /dev/vda /disk; echo $x >/disk/x; echo ready$x\r')
            guest.wait_for('ready17')
            subprocess.run([RING3, 'snapshot', folder + '/c', file], check=True,
                           stdout=subprocess.DEVNULL)
            guest.type('echo on$x\r')
            guest.wait_for('on17')
            guest.signal()
            guest.wait_exit(125)
        with harness.Guest(RING3, options=['--engine', ENGINE, '--reboot'], restore=file,
                           tty=True) as guest:
            guest.type('echo $((x + 1)) $(cat /disk/x)\r')
            guest.wait_for(r'\n18 17\n')
            guest.type('date +now=%s\r')
            now = int(guest.wait_for(r'\nnow=(\d+)').group(1))
            expect(abs(now - time.time()) < 5, f'{now}, but it is {time.time():.0f}')
            guest.type('umount /disk; reboot -f\r')
            guest.wait_for(r'ring3: init running')
            guest.wait_for(PROMPT)
            guest.type('exit\r')
            guest.wait_exit(0)


def load():
    """A load of a thousand short processes gives the checksums that the same busybox, made for i386,
    gives on the host."""
    right = harness.known_good(7)
    with Guest(script='cd /tmp\nsh /bin/load.sh /bin 7\n', program=harness.LOAD) as guest:
        guest.wait_for(r'script ended with status 0', 900)
        guest.wait_exit(0)
        lines = re.findall(r'load 7 .*', guest.output)
    wrong = [line for line, known in zip(lines, right) if line != known]
    expect(not wrong, f'not what the host computes: {wrong}')
    expect(len(lines) == len(right), f'{len(lines)} results of {len(right)}')


def idle():
    """A guest at its prompt, whose kernel asks for 250 ticks a second, does not spin."""
    with Guest(tty=True) as guest:
        guest.wait_for(PROMPT)
        time.sleep(5)
        before, began = guest.cpu_seconds(), time.monotonic()
        time.sleep(10)
        share = (guest.cpu_seconds() - before) / (time.monotonic() - began)
        print(f'idle guest: {share:.2%} of a processor')
        expect(share < 0.08, f'an idle guest uses {share:.1%} of a processor')
        guest.type('exit\r')
        guest.wait_exit(0)


def bare_kernel(path, *program):
    """An ELF file of these instructions, linked to KSEG0."""
    code = b''.join(struct.pack('<I', word) for word in program)
    header = struct.pack('<4sBBBx8xHHIIIIIHHHHHH', b'\x7fELF', 1, 1, 1, 2, 8, 1, 0x80100000, 52, 0,
                         0x70001000, 52, 32, 1, 0, 0, 0)
    segment = struct.pack('<8I', 1, 84, 0x80100000, 0x80100000, len(code), len(code), 7, 4)
    with open(path, 'wb') as f:
        f.write(header + segment + code)
    return path


def bare():
    """What a kernel finds at its start, and each way in which it can end the machine, without Linux:
    a0 is -2, a1 a device tree, com1 and the system controller are where they should be."""
    lui_t0_com1, lui_t1_syscon, ori_t1_syscon = 0x3c08bf00, 0x3c09bf00, 0x35291000

    def syscon(value):
        return [lui_t1_syscon, ori_t1_syscon, 0x3c0a0000 | value >> 16, 0x354a0000 | value & 0xffff,
                0xad2a0000, 0x1000ffff, 0]  # sw t2,0(t1); b .; nop

    look = [0x8cab0000,              # lw t3,0(a1)
            0x3c0cedfe, 0x358c0dd0,  # t4 = the magic number, as bytes lie in memory
            0x156c0008, 0x240dfffe,  # bne t3,t4,+8; li t5,-2
            0x148d0006, 0x2402004f,  # bne a0,t5,+6; li v0,'O'
            lui_t0_com1, 0xa1020000, # sb v0,0(t0)
            0x2402004b, 0xa1020000,  # 'K'
            0]
    wait = [0x40806000, 0xc0, 0x42000020, 0x1000fffe, 0]  # mtc0 $0,status; ehb; wait; b -2
    with tempfile.TemporaryDirectory(prefix='ring3-mips.') as folder:
        for name, program, code in (('exit', [*look, *syscon(42 << 16 | 0x3333)], 42),
                                    ('off', [*look, *syscon(0x5555)], 0),
                                    ('reset', [*look, *syscon(0x7777)], 122),
                                    ('halt', [*look, *wait], 0)):
            with Guest(start=[bare_kernel(os.path.join(folder, name), *program)]) as guest:
                guest.wait_exit(code, 30)
                expect(guest.output == 'OK', f'{name}: the kernel said {guest.output!r}')


def refusals():
    """Kernels that the machine cannot run, and machines that the board cannot be: one line that says
    what is wrong, before anything starts."""
    mips, i386 = harness.guest_files('mipsel') + '/vmlinuz', harness.guest_files() + '/vmlinuz'
    with open(mips, 'rb') as f:
        whole = f.read()
    with tempfile.TemporaryDirectory(prefix='ring3-mips.') as folder:
        def kernel(name, *pokes, size=None):
            data = bytearray(whole[:size])
            for at, form, value in pokes:
                struct.pack_into(form, data, at, value)
            with open(os.path.join(folder, name), 'wb') as f:
                f.write(data)
            return os.path.join(folder, name)

        with open(folder + '/huge', 'wb') as f:
            f.truncate(1 << 30)
        second = 52 + 32  # the program header that is loaded
        big_endian = kernel('be', (5, 'B', 2), (18, '>H', 8))
        mapped = kernel('mapped', (second + 8, '<I', 0x40100000), (24, '<I', 0x40100000))
        board = ['--board', 'mipsvirt']
        for arguments, pattern in (
                (['--board', 'pc', mips], r'little-endian MIPS; board pc.*--board mipsvirt'),
                ([*board, i386], r'for i386; board mipsvirt.*little-endian MIPS.*--board pc'),
                ([big_endian], r'big-endian MIPS, which no board runs'),
                ([mapped], r'0x40100000, a mapped address'),
                ([kernel('entry', (24, '<I', 0x80000000))], r'entry point 0x80000000 lies in no'),
                ([kernel('cut', size=1 << 20)], r'\[kernel-truncated\]'),
                ([kernel('giant', (second + 20, '<I', 0xffffffff))], r'\[kernel-too-big\]'),
                ([kernel('64', (4, 'B', 2))], r'\[kernel-64bit\]'),
                (['-m', '24M', mips], r'\[kernel-too-big\].*larger -m'),
                (['-m', '8M', mips], r'\[ram-size\] board mipsvirt takes 16M to'),
                (['--initrd', folder + '/huge', mips], r'\[initrd-too-big\]'),
                (['--append', 'x' * 5000, mips], r'\[cmdline-too-long\].*4095'),
                (['--firmware', mips], r'\[no-firmware\] board mipsvirt'),
                ([*board, '--disk', folder + '/huge'], r'\[no-firmware\] board mipsvirt'),
                (['--cdrom', '', mips], r'\[drive-interface\] board mipsvirt'),
                (['--net', 'user,model=e1000', mips], r'\[net-model\] board mipsvirt.*e1000'),
                (['--screenshot', folder + '/x.png', mips], r'\[no-display\] board mipsvirt')):
            done = subprocess.run([RING3, 'run', *arguments], stdin=subprocess.DEVNULL, timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                                  universal_newlines=True)
            said = done.stdout.splitlines()
            expect(done.returncode == 125, f'{arguments}: code {done.returncode}: {said}')
            told = [line for line in said if not line.startswith('ring3: info ')]
            expect(len(told) == 1 and re.search(pattern, told[0]), f'{arguments}: {said}')


CASES = {f.__name__: f for f in (first_lines, session_64m, session_256m, session_1g, interactive,
                                 reboot, date, disk, disk_legacy, network, devices, everything, console,
                                 snapshot, load, idle, bare, refusals)}


def main():
    """Run the case."""
    began = time.monotonic()
    try:
        CASES[sys.argv[3]]()
    except Failed as why:
        print(f'FAIL: {sys.argv[3]}, engine {ENGINE}: {why}')
        return 1
    print(f'pass: {sys.argv[3]}, engine {ENGINE}, {time.monotonic() - began:.1f} s')
    return 0


sys.exit(main())
