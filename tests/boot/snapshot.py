#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pause, save and restore a running Debian kernel, from outside.

    snapshot.py RING3 ENGINE CASE

Each case is a function below whose first line says what it shows. Exit code 0 passed, 1 failed, 77
skipped because the guest was never fetched. The figures that it prints are no part of the tests.
"""
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

import harness
from harness import Failed, expect

RING3 = sys.argv[1]
ENGINE, _, DBT = sys.argv[2].partition(':')
PROMPT = r'guest:[^\n]*# '


def engine(name=ENGINE):
    return ['--engine', name, *(['--dbt', DBT] if DBT and name == ENGINE else [])]


class Control:
    """A connection to a control socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self.file = self.socket.makefile('rw', encoding='utf-8')

    def line(self, text):
        self.file.write(text + '\n')
        self.file.flush()
        return json.loads(self.file.readline())

    def run(self, command, *args):
        answer = self.line(json.dumps({'command': command, 'args': args, 'id': command}))
        expect(answer['id'] == command, f'the answer is to another request: {answer}')
        return answer

    def good(self, command, *args):
        answer = self.run(command, *args)
        expect(answer['ok'] is True, f'{command} failed: {answer}')
        return answer


def save(path, file):
    """With `ring3 snapshot`; what it said."""
    return subprocess.run([RING3, 'snapshot', path, file], check=True, stdout=subprocess.PIPE,
                          universal_newlines=True).stdout


def boot(folder, **others):
    guest = harness.Guest(RING3, options=[*engine(), '--control', folder + '/c'], tty=True, **others)
    return guest


def shell():
    """A shell goes on from a snapshot, under each engine, with its variables, files and clock."""
    with tempfile.TemporaryDirectory(prefix='ring3-snap.') as folder:
        file = folder + '/x.snap'
        with boot(folder) as guest:
            guest.wait_for(PROMPT)
            guest.type('x=17; seq 1 50000 > /numbers; sha256sum < /numbers; echo ready$x\n')
            digest = guest.wait_for(r'\n(\w{64}) ').group(1)
            guest.wait_for('ready17')
            began = time.monotonic()
            print(f'saved: {save(folder + "/c", file)[:-1]}; {time.monotonic() - began:.2f} s in all')
            expect(os.stat(file).st_mode & 0o777 == 0o600, 'others may read the snapshot')
            guest.type('cut -d. -f1 /proc/uptime; echo on$x\n')
            up = int(guest.wait_for(r'\n(\d+)\n').group(1))
            guest.wait_for('on17')
            guest.type('poweroff -f\n')
            guest.wait_exit(0)
        for name in ('interp', 'dbt', ENGINE):
            began = time.monotonic()
            with harness.Guest(RING3, options=engine(name), restore=file, tty=True) as guest:
                guest.type('echo again$x\n')
                guest.wait_for('again17')
                print(f'restored under {name}: {time.monotonic() - began:.2f} s to an answer')
                guest.type('sha256sum < /numbers\n')
                expect(guest.wait_for(r'\n(\w{64}) ').group(1) == digest, 'a file has changed')
                guest.type('cut -d. -f1 /proc/uptime\n')
                now = int(guest.wait_for(r'\n(\d+)\n').group(1))
                expect(up - 2 <= now <= up + 60, f'up for {now} s, {up} s when saved')
                guest.type('sleep 1; echo slept$x; poweroff -f\n')
                guest.wait_for('slept17')
                guest.wait_exit(0)


def reset():
    """A restored machine whose guest resets it boots anew, from the kernel of its first boot; if that
    is gone, the run ends and says so."""
    with tempfile.TemporaryDirectory(prefix='ring3-snap.') as folder:
        file, initrd = folder + '/x.snap', harness.initramfs(folder + '/initramfs.gz')
        start = ['--initrd', initrd, '--append', harness.APPEND, harness.guest_files() + '/vmlinuz']
        with boot(folder, start=start) as guest:
            guest.wait_for(PROMPT)
            save(folder + '/c', file)
            guest.type('poweroff -f\n')
            guest.wait_exit(0)
        for there in (True, False):
            if not there:
                os.remove(initrd)
            with harness.Guest(RING3, options=[*engine(), '--reboot'], restore=file,
                               tty=True) as guest:
                guest.type('reboot -f\n')
                if there:
                    guest.wait_for('ring3: init running')
                    guest.wait_for(PROMPT)
                    guest.type('poweroff -f\n')
                guest.wait_exit(0 if there else 125)
                expect(there or '[initrd-missing]' in guest.complaints(), guest.complaints())


def work():
    """What was computing when the snapshot was taken comes to the right result, many times over."""
    job = ('echo be""gun; i=0; while [ $i -lt 150 ]; do i=$((i+1)); seq 1 3000 | sha256sum; done | '
           'cut -c1-8 | sort | uniq -c\n')
    with tempfile.TemporaryDirectory(prefix='ring3-snap.') as folder:
        with boot(folder) as guest:
            guest.wait_for(PROMPT)
            guest.type(job)
            guest.wait_for(r'begun\n')  # what nobody has read of the line is in no snapshot
            for n in range(5):
                save(folder + '/c', f'{folder}/{n}')
            good = guest.wait_for(r' 150 (\w{8})\n').group(1)
            guest.type('poweroff -f\n')
            guest.wait_exit(0)
        for n in range(5):
            with harness.Guest(RING3, options=engine(), restore=f'{folder}/{n}', tty=True) as guest:
                expect(guest.wait_for(r' 150 (\w{8})\n').group(1) == good, 'another result')
                guest.type('poweroff -f\n')
                guest.wait_exit(0)


def commands():
    """The control socket: pause, resume, statistics, errors, the power button, quit."""
    with tempfile.TemporaryDirectory(prefix='ring3-snap.') as folder:
        with boot(folder) as guest:
            guest.wait_for(PROMPT)
            c = Control(folder + '/c')
            expect(c.good('status')['result'] == {'status': 'running'}, 'it is not running')
            guest.type('while :; do echo tick; usleep 20000; done\n')
            guest.wait_for('tick\n')
            c.good('pause')
            expect(c.good('status')['result'] == {'status': 'paused'}, 'it is not paused')
            while guest.read(0.3) and guest.output[guest.seen:].count('tick') > 0:
                guest.seen = len(guest.output)
            before = c.good('stats')['result']
            time.sleep(0.3)
            after = c.good('stats')['result']
            expect(before['instructions'] == after['instructions'], 'it runs while paused')
            c.good('resume')
            guest.wait_for('tick\n')
            expect(c.run('no-such')['error']['id'] == 'unknown-command', 'unknown command')
            expect(c.run('snapshot')['error']['id'] == 'bad-arguments', 'argument missing')
            expect(c.run('snapshot', '/nonexistent/x')['error']['id'] == 'snapshot-write', 'path')
            expect(c.line('what?')['error']['id'] == 'bad-request', 'no JSON')
            expect(c.line('[1]')['error']['id'] == 'bad-request', 'no object')
            expect(c.line('{"command": 5}')['error']['id'] == 'bad-request', 'no name')
            expect(c.line('{"command": "help", "args": [1]}')['ok'] is False, 'no text')
            expect('snapshot' in c.good('help')['text'], 'help')
            other = Control(folder + '/c')
            other.socket.send(b'x' * 70000)
            expect(json.loads(other.file.readline())['ok'] is False, 'too long a line')
            try:
                expect(other.file.readline() == '', 'it was not dropped')
            except ConnectionResetError:
                pass
            expect(os.stat(folder + '/c').st_mode & 0o777 == 0o600, 'others may use the socket')
            guest.type('\x03')
            guest.wait_for(PROMPT)
            c.good('quit', '7')
            guest.wait_exit(7)
            expect('user-quit' in guest.complaints(), 'no reason given')
        expect(not os.path.exists(folder + '/c'), 'the socket is left over')


def options():
    """--expect, --timeout and --fail-on work with restore; what describes a machine is refused."""
    with tempfile.TemporaryDirectory(prefix='ring3-snap.') as folder:
        file = folder + '/x.snap'
        with boot(folder) as guest:
            guest.wait_for(PROMPT)
            guest.type('n=0; while :; do n=$((n+1)); echo "line $n."; usleep 10000; done\n')
            guest.wait_for(r'line 3\.')
            save(folder + '/c', file)
            guest.signal()
            guest.wait_exit(125)
        more = [*engine(), '--expect', r'line [0-9]*1\.', '--expect', r'line [0-9]*2\.']
        with harness.Guest(RING3, options=more, restore=file) as guest:
            guest.wait_exit(0)
        with harness.Guest(RING3, options=[*engine(), '--timeout', '1s'], restore=file) as guest:
            guest.wait_exit(124)
        with harness.Guest(RING3, options=[*engine(), '--fail-on', r'line [0-9]*5\.'],
                           restore=file) as guest:
            guest.wait_exit(121)
        for bad, code in ((['restore', '-m', '64M', file], 125), (['restore'], 125),
                          (['restore', '/etc/passwd'], 125), (['restore', folder + '/no'], 127),
                          (['snapshot', folder + '/no', file], 127), (['snapshot'], 125)):
            r = subprocess.run([RING3, *bad], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, check=False)
            expect(r.returncode == code, f'{bad}: exit code {r.returncode}')


DISK_MODULES = 'virtio_pci virtio_blk ata_piix sd_mod ext4 e1000 8139cp virtio_net af_packet'
NETS = ('e1000', 'rtl8139', 'virtio')


def devices():
    """Disks that are being written and network cards go on: virtio and IDE, three cards."""
    with tempfile.TemporaryDirectory(prefix='ring3-snap.', dir='/var/tmp') as folder:
        os.mkdir(folder + '/tree')
        images = [harness.ext4_image(f'{folder}/{n}.img', folder + '/tree') for n in 'ab']
        before = [open(image, 'rb').read() for image in images]
        options = [*engine(), '--control', folder + '/c', '--disk', images[0] + ',if=virtio,snapshot',
                   '--disk', images[1] + ',if=ide,snapshot']
        for model in NETS:
            options += ['--net', 'user,model=' + model]
        file = folder + '/x.snap'
        with harness.Guest(RING3, options=options, tty=True, modules=DISK_MODULES) as guest:
            guest.wait_for(PROMPT)
            guest.type('mkdir /a /b; mount /dev/vda /a; mount /dev/sda /b; mount | grep -c ext4\n')
            guest.wait_for(r'\n2\n')
            guest.type('for n in 0 1 2; do ifconfig eth$n 10.0.2.15; ping -c1 -W9 10.0.2.2; '
                       'ifconfig eth$n 0.0.0.0 down; done | grep -c "1 packets rec"\n')
            guest.wait_for(r'\n3\n')
            guest.type('dd if=/dev/urandom of=/a/r bs=64k count=100; cp /a/r /b/r; sync; '
                       'cat /a/r /b/r | sha256sum\n')
            digest = guest.wait_for(r'\n(\w{64}) ').group(1)
            guest.type('for d in a b; do while :; do cp /$d/r /$d/w && sync && mv /$d/w /$d/v && '
                       'echo go-$d; done & done\n')
            for _ in range(3):
                guest.wait_for('go-a')
                guest.wait_for('go-b')
            print('saved: ' + save(folder + '/c', file)[:-1])
            guest.wait_for('go-a')
            guest.wait_for('go-b')
            guest.signal()
            guest.wait_exit(125)
        for name in ('dbt', 'interp'):
            with harness.Guest(RING3, options=engine(name), restore=file, tty=True) as guest:
                for _ in range(2):
                    guest.wait_for('go-a')
                    guest.wait_for('go-b')
                guest.type('kill %1 %2; wait; sync; echo 3 >/proc/sys/vm/drop_caches; '
                           'cat /a/r /b/r | sha256sum; cat /a/v /b/v | sha256sum\n')
                expect(guest.wait_for(r'(\w{64})  -').group(1) == digest, 'old data differ')
                expect(guest.wait_for(r'(\w{64})  -').group(1) == digest, 'new data differ')
                guest.type('for n in 0 1 2; do ifconfig eth$n 10.0.2.15; ping -c1 -W9 10.0.2.2; '
                           'ifconfig eth$n 0.0.0.0 down; done | grep -c "1 packets rec"\n')
                guest.wait_for(r'\n3\n')
                guest.type('umount /a /b; dmesg | grep -c -i -E "i/o error|ext4-fs error|timeout"\n')
                guest.wait_for(r'\n0\n')
                guest.type('poweroff -f\n')
                guest.wait_exit(0)
        for image, old in zip(images, before):
            with open(image, 'rb') as f:
                expect(f.read() == old, 'an image has changed')


def main():
    case = globals()[sys.argv[3]]
    try:
        case()
    except Failed as why:
        print(f'FAIL: {why}')
        return 1
    print('pass')
    return 0


sys.exit(main())
