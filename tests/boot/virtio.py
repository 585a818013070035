#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""virtio devices under Debian's own drivers, and under SeaBIOS'.

    virtio.py RING3 KIND CASE [BOOT_SECTOR]

KIND is what --virtio takes: modern, legacy, or both for transitional devices. Each case is a
function below. Exit code 0 passed, 1 failed, 77 skipped.
"""
import hashlib
import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

import harness
from harness import Failed, expect

RING3 = sys.argv[1]
KIND = [] if sys.argv[2] == 'both' else ['--virtio', sys.argv[2]]
MODULES = 'virtio_pci virtio_blk virtio_net virtio_rng virtio_balloon virtio_console ext4'


def Guest(options=(), **others):
    return harness.Guest(RING3, options=[*KIND, *options], modules=MODULES, **others)


def tool(name):
    path = shutil.which(name, path=os.environ.get('PATH', '') + ':/sbin:/usr/sbin')
    if not path:
        harness.skip(f'{name} (package e2fsprogs) is not installed')
    return path


def figures(guest):
    """What --stats=json said at the end."""
    return json.loads([line for line in guest.complaints().splitlines() if line[0] == '{'][-1])


def disk():
    """A file system written to by the guest is whole from outside, byte for byte; read-only disks
    stay as they are; requests of all kinds work."""
    script = ('mkdir /disk\nmount -t ext4 /dev/vda /disk && cat /disk/hello\n'
              'seq 1 400000 >/disk/numbers\ndd if=/dev/urandom of=/disk/noise bs=64k count=150\n'
              'sync\nsha256sum /disk/noise\nrm /disk/hello\nfstrim -v /disk\numount /disk\n'
              'dd if=/dev/vdb bs=1M iflag=direct 2>/dev/null | sha256sum\n'
              'dd if=/dev/zero of=/dev/vdb count=1 2>&1 | grep -i -m1 -E "denied|not permitted"\n'
              'cat /sys/block/vda/serial /sys/block/vda/cache_type; echo\n'
              'echo "write through" >/sys/block/vda/cache_type; cat /sys/block/vda/cache_type\n')
    with tempfile.TemporaryDirectory(prefix='ring3-virtio.', dir='/var/tmp') as folder:
        os.mkdir(folder + '/tree')
        with open(folder + '/tree/hello', 'w', encoding='utf-8') as f:
            f.write('hello from outside\n')
        image = harness.ext4_image(folder + '/disk.img', folder + '/tree')
        with open(folder + '/ro.img', 'wb') as f:
            f.write(bytes(range(256)) * 20000)
        ro_sum = hashlib.sha256(bytes(range(256)) * 20000).hexdigest()
        with Guest(['--disk', image, '--disk', folder + '/ro.img,ro', '--stats=json'],
                   script=script) as guest:
            guest.wait_for(r'hello from outside')
            noise = guest.wait_for(r'([0-9a-f]{64})  /disk/noise').group(1)
            guest.wait_for(ro_sum)
            guest.wait_for(r'denied|not permitted')
            guest.wait_for(r'drive0write back')
            guest.wait_for(r'write through')
            guest.wait_for(r'script ended with status 0')
            guest.wait_exit(0)
            expect(figures(guest)['drive0_requests'] > 50, 'the disk did not count requests')
        debugfs, e2fsck = tool('debugfs'), tool('e2fsck')
        checked = subprocess.run([e2fsck, '-fn', image], stdout=subprocess.PIPE, check=False,
                                 stderr=subprocess.STDOUT, universal_newlines=True)
        expect(checked.returncode == 0, 'e2fsck: ' + checked.stdout)

        def inside(name):
            return subprocess.run([debugfs, '-R', f'cat /{name}', image], check=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        expect(hashlib.sha256(inside('noise')).hexdigest() == noise, 'noise differs outside')
        expect(inside('numbers') == b''.join(b'%d\n' % i for i in range(1, 400001)),
               'numbers differ outside')


def network():
    """Files come and go over the user mode network with right contents, in large segments. cat sends
    them, for nc passes on a kilobyte at a time."""
    data = os.urandom(1 << 20) * 24
    received = []

    class Serve(socketserver.BaseRequestHandler):
        """One byte comes first: g is answered with the data, p is followed by them, and the server
        says when it has them all: a guest that stops before would lose what it has not sent."""

        def handle(self):
            if self.request.recv(1) == b'g':
                self.request.sendall(data)
                return
            digest = hashlib.sha256()
            left = len(data)
            while left and (chunk := self.request.recv(min(left, 1 << 16))):
                digest.update(chunk)
                left -= len(chunk)
            received.append(digest.hexdigest())
            self.request.sendall(b'whole\n')

    server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Serve)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    peer = f'10.0.2.2 {server.server_address[1]}'
    script = ('ip link set eth0 up\nip addr add 10.0.2.15/24 dev eth0\n'
              'ip route add default via 10.0.2.2\nping -c 2 10.0.2.2\n'
              f'echo -n g | nc {peer} >/tmp/got; sha256sum /tmp/got\n'
              'echo "#!/bin/sh\necho -n p; cat /tmp/got; read -r answer; [ \\$answer = whole ]" >/post\n'
              'chmod +x /post\n'
              f'nc {peer} -e /post && echo posted\n'
              'cat /sys/class/net/eth0/address\n')
    with Guest(['--net', 'user,mac=52:54:00:aa:bb:cc', '--stats=json'], script=script) as guest:
        guest.wait_for(r'2 packets received')
        guest.wait_for(hashlib.sha256(data).hexdigest())
        guest.wait_for(r'posted')
        guest.wait_for(r'52:54:00:aa:bb:cc')
        guest.wait_exit(0)
        found = figures(guest)
    server.shutdown()
    server.server_close()
    expect(received == [hashlib.sha256(data).hexdigest()], 'the server got other bytes')
    expect(found['net0_sent'] < len(data) / 1460 / 4,
           f"{found['net0_sent']} frames sent: segments were not offloaded")
    expect(found['net0_dropped'] == 0, f"{found['net0_dropped']} frames dropped")


def console():
    """hvc0 takes the terminal: output, and typed input."""
    script = 'exec <>/dev/hvc0 >&0 2>&0\necho "speak:"\nread -r line\necho "heard <$line>"\n'
    options = ['--virtio', ','.join(['console', *KIND[1:]])]
    with harness.Guest(RING3, options=options, modules=MODULES, script=script, tty=True) as guest:
        guest.wait_for(r'speak:')
        guest.type('a word\r')
        guest.wait_for(r'heard <a word>')
        guest.wait_exit(0)


def memory():
    """Entropy comes from the host; memory that was used and freed goes back to it."""
    script = ('cat /sys/class/misc/hw_random/rng_current\n'
              'a=$(head -c 32 /dev/hwrng | sha256sum); b=$(head -c 32 /dev/hwrng | sha256sum)\n'
              '[ "$a" != "$b" ] && echo entropy works\n'
              'mount -t tmpfs tmpfs /tmp\ndd if=/dev/zero of=/tmp/large bs=1M count=120\n'
              'rm /tmp/large\nsleep 6\n')
    with Guest(['--stats=json'], memory='256M', script=script) as guest:
        guest.wait_for(r'virtio_rng')
        guest.wait_for(r'entropy works')
        guest.wait_exit(0)
        found = figures(guest)
        expect(found['balloon_returned_mib'] > 100, 'free memory was not reported')
        expect(found['ram_touched_mib'] < 120, 'reported memory stayed with the guest: '
               f"{found['ram_touched_mib']} MiB")


def balloon():
    """Asked for memory, the guest gives it, tells about its memory, and gets it back."""
    with tempfile.TemporaryDirectory(prefix='ring3-virtio.') as folder:
        with Guest(['--control', folder + '/c', '--stats=json'], memory='256M',
                   script='echo begin\nsleep 120\n') as guest:
            guest.wait_for(r'begin')
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(60)
                control.connect(folder + '/c')
                lines = control.makefile('rw', encoding='utf-8')

                def ask(*words):
                    lines.write(json.dumps({'command': 'balloon', 'args': words}) + '\n')
                    lines.flush()
                    answer = json.loads(lines.readline())
                    expect(answer['ok'], str(answer))
                    return {**answer['result'], 'text': answer['text']}

                for mib in (100, 30, 0):
                    ask(str(mib))
                    end = time.monotonic() + 60
                    while mib << 20 != (answer := ask())['given_bytes']:
                        expect(time.monotonic() < end, f'not {mib} MiB given: {answer}')
                        time.sleep(0.2)
                expect('free-memory' in str(answer), f'no statistics: {answer}')
            guest.signal()
            guest.wait_exit(125)
            found = figures(guest)
            expect(found['balloon_returned_mib'] >= 100, str(found['balloon_returned_mib']))


def firmware():
    """SeaBIOS starts from a virtio disk, and reads it for its boot sector."""
    with harness.Guest(RING3, options=KIND, start=['--disk', sys.argv[4] + ',if=virtio']) as guest:
        guest.wait_for(r'sector one by virtio')
        guest.wait_for(r'sector hundred by virtio')
        guest.wait_exit(7)


def snapshot():
    """Devices at work are saved and go on in another process."""
    block = bytes(range(256)) * 4096
    script = ('ip link set eth0 up\nip addr add 10.0.2.15/24 dev eth0\n'
              'ip route add default via 10.0.2.2\necho begin >/dev/hvc0\n'
              'while :; do dd if=/dev/vda bs=256k iflag=direct 2>/dev/null | sha256sum\n'
              'ping -c 1 -W 2 10.0.2.2 | grep -c "1 packets received"\n'
              'head -c 16 /dev/hwrng | wc -c\ndone\n')
    with tempfile.TemporaryDirectory(prefix='ring3-virtio.', dir='/var/tmp') as folder:
        with open(folder + '/ro.img', 'wb') as f:
            for _ in range(32):
                f.write(block)
        right = hashlib.sha256(block * 32).hexdigest() + r'  -\n1\n16\n'
        options = ['--disk', folder + '/ro.img,ro', '--net', 'user', '--control', folder + '/c',
                   '--virtio', ','.join(['console', *KIND[1:]])]
        with harness.Guest(RING3, options=options, modules=MODULES, script=script) as guest:
            guest.wait_for('begin')
            guest.wait_for(right)
            guest.wait_for(right)
            subprocess.run([RING3, 'snapshot', folder + '/c', folder + '/x.snap'], check=True,
                           stdout=subprocess.DEVNULL)
            guest.wait_for(right)
            guest.wait_for(right)
        with subprocess.Popen([RING3, 'restore', '--timeout', '60s', folder + '/x.snap'],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              universal_newlines=True) as restored:
            text = ''
            for line in restored.stdout:
                text += line.replace('\r', '')
                if text.count(right.replace('\\n', '\n')) == 3:
                    break
            restored.kill()
        expect(text.count(right.replace('\\n', '\n')) == 3, 'not the right results:\n' + text)


CASES = {f.__name__: f for f in (disk, network, console, memory, balloon, firmware, snapshot)}


def main():
    try:
        CASES[sys.argv[3]]()
    except Failed as why:
        print(f'FAIL: {sys.argv[3]}, virtio {sys.argv[2]}: {why}')
        return 1
    print(f'pass: {sys.argv[3]}, virtio {sys.argv[2]}')
    return 0


sys.exit(main())
