#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boot Debian's unmodified kernel for the MIPS Malta board (4kc-malta) on board malta.

    malta.py RING3 ENGINE CASE

Each case is a function below whose first line says what it shows. Exit code 0 passed, 1 failed, 77
skipped because the guest was never fetched (tools/guest.sh --arch malta).
"""
import hashlib
import http.server
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

import cases
import harness
from harness import APPEND, Failed, expect

RING3, ENGINE = sys.argv[1], sys.argv[2]
BOARD = ['--board', 'malta', '--engine', ENGINE]
PROMPT = cases.PROMPT
BYTES = 1_500_000


def Guest(options=(), **others):
    """A guest of this board."""
    return harness.Guest(RING3, options=[*BOARD, *options], arch='malta', **others)


def first_lines():
    """The kernel unpacks itself, finds machine, chips and its command line, then no root file
    system; it panics and resets the machine by the board's register."""
    kernel = harness.guest_files('malta') + '/vmlinuz'
    start = ['--append', 'console=ttyS0 root=/dev/none panic=-1', kernel]
    with Guest(start=start) as guest:
        guest.wait_for(r'Linux version 6\.1\.\S+-4kc-malta')
        guest.wait_for(r'MIPS: machine is mti,malta')
        guest.wait_for(r'Kernel command line: console=ttyS0 root=/dev/none')
        mhz = float(guest.wait_for(r'CPU frequency ([0-9.]+) MHz').group(1))
        expect(190 < mhz < 210, f'a processor of 200 MHz looks like one of {mhz}')
        guest.wait_for(r'pci 0000:00:00\.0: \[11ab:4620\]')
        guest.wait_for(r'pci 0000:00:0a\.3: \[8086:7113\]')
        for port in ('ttyS0 at I/O 0x3f8', 'ttyS1 at I/O 0x2f8', 'ttyS2 at MMIO 0x1f000900'):
            guest.wait_for(re.escape(port) + r'.*16550A')
        guest.wait_for(r'rtc_cmos 70\.rtc: setting system clock')
        guest.wait_for(r'Kernel panic - not syncing')
        guest.wait_exit(122)


def session(memory, kib, more=''):
    """A scripted session sees the machine, computes, and powers off through the PIIX4."""
    script = ('uname -rm\n'
              'seq 1 100 | awk \'{ s += $1 } END { print "sum=" s, "eighth=" 1 / 8 }\'\n'
              'dd if=/dev/zero bs=1k count=64 2>/dev/null | sha256sum\ncat /proc/iomem\n')
    with Guest(memory=memory, script=script) as guest:
        guest.wait_for(r'ring3: init running')
        total = int(guest.wait_for(r'MemTotal:\s+(\d+) kB').group(1))
        expect(kib * 0.7 < total <= kib, f'{total} KiB of memory in a guest of {memory}')
        guest.wait_for(r'\n6\.1\.\S+-4kc-malta mips\n')
        guest.wait_for(r'sum=5050 eighth=0\.125\n')
        # The digest of 65,536 zero bytes.
        guest.wait_for('de2f256064a0af797747c2b97505dc0b9f3df0de4f489eac731c23ae9ca9cc31')
        guest.wait_for(r'\n10000000-17ffffff : GT-64120 PCI MEM')
        guest.wait_for(more)
        guest.wait_for(r'script ended with status 0')
        guest.wait_exit(0)


def session_64m():
    """64 MiB."""
    session('64M', 64 << 10)


def session_256m():
    """256 MiB, all in KSEG0."""
    session('256M', 256 << 10)


def session_1g():
    """1 GiB: the kernel knows what is at 0x90000000, but this one uses low memory only."""
    session('1G', 256 << 10, r'\n90000000-bfffffff : System RAM')


def interactive():
    """Typing at a terminal: echo, job control, Ctrl-C; `exit` powers off."""
    cases.interactive(Guest)


def reboot():
    """With --reboot a guest that resets the machine comes up again; without, that is code 122."""
    cases.reboot(Guest)


def date():
    """The guest has the host's time, and timers take as long as on the host."""
    cases.date(Guest)


def disk(interface, names, modules):
    """What the guest writes to a file system is there from outside, byte for byte, and the file
    system is whole; a read-only disk stays as it is. `names` are shell words for the devices."""
    script = (f'first={names[0]}\nsecond={names[1]}\n'
              'mkdir /disk\nmount -t ext4 /dev/$first /disk && cat /disk/hello\n'
              'seq 1 100000 >/disk/numbers\ndd if=/dev/urandom of=/disk/noise bs=64k count=50\n'
              'sync\nsha256sum /disk/noise\nrm /disk/hello\numount /disk\n'
              'sha256sum /dev/$second\n')
    with tempfile.TemporaryDirectory(prefix='ring3-malta.', dir='/var/tmp') as folder:
        os.mkdir(folder + '/tree')
        with open(folder + '/tree/hello', 'w', encoding='utf-8') as f:
            f.write('hello from outside\n')
        image = harness.ext4_image(folder + '/disk.img', folder + '/tree')
        content = bytes(range(256)) * 2000
        with open(folder + '/ro.img', 'wb') as f:
            f.write(content)
        with Guest(['--disk', f'{image}{interface}', '--disk', f'{folder}/ro.img,ro{interface}'],
                   script=script, modules=modules + ' ext4') as guest:
            guest.wait_for(r'hello from outside')
            noise = guest.wait_for(r'([0-9a-f]{64})  /disk/noise').group(1)
            guest.wait_for(hashlib.sha256(content).hexdigest())
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


def disk_virtio():
    """Disks are virtio-pci unless they say otherwise; two are functions of one slot."""
    disk('', ('vda', 'vdb'), 'virtio_pci virtio_blk')


def disk_ide():
    """The PIIX4's IDE, by DMA. Linux names the drives of a channel as it comes to them."""
    block = '$(ls /sys/bus/scsi/devices/0:0:{}:0/block)'
    disk(',if=ide', (block.format(0), block.format(1)), 'ata_piix sd_mod')


def cdrom():
    """A CD in an IDE drive."""
    content = bytes(range(256)) * 800
    with tempfile.TemporaryDirectory(prefix='ring3-malta.', dir='/var/tmp') as folder:
        with open(folder + '/cd.iso', 'wb') as f:
            f.write(content)
        with Guest(['--cdrom', folder + '/cd.iso'], script='sha256sum /dev/sr0\n',
                   modules='ata_piix sr_mod') as guest:
            guest.wait_for(hashlib.sha256(content).hexdigest() + '  /dev/sr0')
            guest.wait_for(r'script ended with status 0')
            guest.wait_exit(0)


class Server:
    """On 127.0.0.1: gives BYTES random bytes by HTTP, and digests what a TCP connection brings."""

    def __init__(self):
        self.content = random.Random(1).randbytes(BYTES)
        self.digest = hashlib.sha256(self.content).hexdigest()
        self.received = []
        content = self.content

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

        self.http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.sink = socket.create_server(('127.0.0.1', 0))
        for target in (self.http.serve_forever, self.take):
            threading.Thread(target=target, daemon=True).start()

    def take(self):
        """One connection."""
        connection, _ = self.sink.accept()
        data = b''.join(iter(lambda: connection.recv(1 << 16), b''))
        self.received.append((len(data), hashlib.sha256(data).hexdigest()))
        connection.close()


def network(words, modules, interrupt=''):
    """DHCP, ping, and a file in both directions, compared by digest; no errors counted."""
    server = Server()
    web, sink = server.http.server_address[1], server.sink.getsockname()[1]
    script = ('cat >/tmp/dhcp <<\'END\'\n#!/bin/sh\n[ "$1" = bound ] || exit 0\n'
              'ifconfig $interface $ip netmask $subnet\nroute add default gw $router\n'
              'echo "bound $ip"\nEND\nchmod +x /tmp/dhcp\nifconfig eth0 up\n'
              'udhcpc -i eth0 -n -q -t 10 -s /tmp/dhcp | grep bound\n'
              'ifconfig eth0 | grep HWaddr\nping -c 3 10.0.2.2 | grep received\n'
              f'wget -q -O /tmp/big http://10.0.2.2:{web}/big\nsha256sum /tmp/big\n'
              f'nc 10.0.2.2 {sink} </tmp/big\necho sent\n'
              'cat /sys/class/net/eth0/statistics/rx_errors '
              '/sys/class/net/eth0/statistics/tx_errors\ngrep eth0 /proc/interrupts\n')
    with Guest(['--net', f'user,mac=52:54:00:aa:bb:cc{words}'], script=script,
               modules=modules + ' af_packet') as guest:
        guest.wait_for(r'bound 10\.0\.2\.15\n')
        guest.wait_for(r'HWaddr 52:54:00:AA:BB:CC')
        guest.wait_for(r'3 packets received')
        guest.wait_for(server.digest + '  /tmp/big', 120)
        guest.wait_for(r'sent\n0\n0\n', 120)
        guest.wait_for(interrupt)
        guest.wait_for(r'script ended with status 0')
        guest.wait_exit(0)
    expect(server.received == [(BYTES, server.digest)], f'received {server.received}')


def network_pcnet():
    """The card that the board has: PCnet."""
    network('', 'pcnet32', r'10:\s+\d+\s+XT-PIC\s+10\s+eth0')


def network_e1000():
    """A card in a slot, with registers in PCI memory."""
    network(',model=e1000', 'e1000')


def devices():
    """Entropy, balloon and a shared directory are found and used."""
    script = ('cat /sys/class/misc/hw_random/rng_current\n'
              'dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c\n'
              'ls /sys/bus/virtio/drivers/virtio_balloon | grep -c ^virtio\n'
              'mkdir /s\nmount -t 9p -o trans=virtio,version=9p2000.L share /s\n'
              'cat /s/outside\necho from inside >/s/inside\n')
    with tempfile.TemporaryDirectory(prefix='ring3-malta.') as folder:
        with open(folder + '/outside', 'w', encoding='utf-8') as f:
            f.write('from outside\n')
        with Guest(['--share', folder], script=script,
                   modules='virtio_pci virtio_rng virtio_balloon 9pnet_virtio 9p') as guest:
            guest.wait_for(r'virtio_rng\.0\n64\n1\nfrom outside\n')
            guest.wait_for(r'script ended with status 0')
            guest.wait_exit(0)
        with open(folder + '/inside', encoding='utf-8') as f:
            expect(f.read() == 'from inside\n', 'the guest wrote something else')


def snapshot():
    """A shell goes on from a snapshot, with its variables, its IDE disk, PCnet card and the right
    time; when it resets the machine, that boots anew."""
    with tempfile.TemporaryDirectory(prefix='ring3-malta.') as folder:
        os.mkdir(folder + '/tree')
        image = harness.ext4_image(folder + '/disk.img', folder + '/tree')
        initrd = harness.initramfs(folder + '/initramfs.gz', arch='malta',
                                   modules='ata_piix sd_mod ext4 pcnet32 af_packet')
        file = folder + '/x.snap'
        with Guest(['--control', folder + '/c', '--disk', image + ',if=ide,snapshot', '--net',
                    'user'], tty=True,
                   start=['--initrd', initrd, '--append', APPEND,
                          harness.guest_files('malta') + '/vmlinuz']) as guest:
            guest.wait_for(PROMPT)
            guest.type('x=17; mkdir /disk; mount /dev/sda /disk; echo $x >/disk/x; '
                       'ifconfig eth0 10.0.2.15; ping -c 1 10.0.2.2; echo ready$x\r')
            guest.wait_for('1 packets received')
            guest.wait_for('ready17')
            subprocess.run([RING3, 'snapshot', folder + '/c', file], check=True,
                           stdout=subprocess.DEVNULL)
            guest.signal()
            guest.wait_exit(125)
        with harness.Guest(RING3, options=['--engine', ENGINE, '--reboot'], restore=file,
                           tty=True) as guest:
            guest.type('echo $((x + 1)) $(cat /disk/x)\r')
            guest.wait_for(r'\n18 17\n')
            guest.type('echo y >/disk/y; sync; ping -c 2 10.0.2.2; date +now=%s\r')
            guest.wait_for('2 packets received')
            now = int(guest.wait_for(r'\nnow=(\d+)\n').group(1))
            expect(abs(now - time.time()) < 5, f'{now}, but it is {time.time():.0f}')
            guest.type('umount /disk; reboot -f\r')
            guest.wait_for(r'ring3: init running')
            guest.wait_for(PROMPT)
            guest.type('exit\r')
            guest.wait_exit(0)


def refusals():
    """What the board cannot be: one line that says what is wrong, before anything starts."""
    kernel = harness.guest_files('malta') + '/vmlinuz'
    for arguments, pattern in (
            (['-m', '16M', kernel], r'\[ram-size\] board malta takes 32M to'),
            (['-m', '3G', kernel], r'\[ram-size\] board malta takes 32M to'),
            (['--append', 'x' * 5000, kernel], r'\[cmdline-too-long\].*4095'),
            (['--firmware', kernel], r'\[no-firmware\] board malta'),
            (['--floppy', '', kernel], r'\[drive-interface\] board malta'),
            (['--screenshot', '/nonexistent/x.png', kernel], r'\[no-display\] board malta')):
        done = subprocess.run([RING3, 'run', '--board', 'malta', *arguments], timeout=60,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, universal_newlines=True)
        said = done.stdout.splitlines()
        expect(done.returncode == 125, f'{arguments}: code {done.returncode}: {said}')
        expect(len(said) == 1 and re.search(pattern, said[0]), f'{arguments}: {said}')


CASES = {f.__name__: f for f in (first_lines, session_64m, session_256m, session_1g, interactive,
                                 reboot, date, disk_virtio, disk_ide, cdrom, network_pcnet,
                                 network_e1000, devices, snapshot, refusals)}


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
