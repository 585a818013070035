#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A client that mistreats the debugger's stub.

    fuzz.py RING3 GUEST [SEED [SECONDS]]

Packets of all kinds with damaged fields, checksums, escapes and lengths, cut anywhere, while the
guest runs and stops; connections come and go. ring3 must live, and serve a proper client at the end.
Prints what was done. Without SECONDS a fixed number of packets.
"""
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

RING3, GUEST = sys.argv[1:3]
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 1
SECONDS = float(sys.argv[4]) if len(sys.argv) > 4 else None
PACKETS = 4000
LIMIT = 60
FORMS = ['?', 'g', 'G%h', 'p%n', 'P%n=%h', 'm%n,%n', 'M%n,%n:%h', 'X%n,%n:%b', 'Z%d,%n,%n', 'z%d,%n,%n',
         'c', 's', 'C05', 'S05', 'vCont?', 'vCont;c', 'vCont;s:1', 'vCont;%b', 'H%b', 'T%n', 'qSupported:%b',
         'qXfer:features:read:target.xml:%n,%n', 'qRcmd,%h', 'QStartNoAckMode', 'qC', 'qAttached', 'q%b',
         '%b', 'D', 'm100000,%n', 'Z2,1000%d0,4', 'z2,1000%d0,4', 'Z0,10001%d,1', 'z0,10001%d,1']
MONITOR = ['status', 'info irq', 'info tlb', 'x 0x100000 64', 'help', 'info device com1', 'stats']


def number(r):
    return r.choice([lambda: f'{r.randrange(64):x}', lambda: f'{r.getrandbits(32):x}', lambda: f'{r.getrandbits(80):x}',
                     lambda: '', lambda: '100000', lambda: 'ffffffff'])()


def fill(r, form):
    out = ''
    while '%' in form:
        head, _, form = form.partition('%')
        kind, form = form[0], form[1:]
        out += head
        if kind == 'n':
            out += number(r)
        elif kind == 'd':
            out += str(r.randrange(10))
        elif kind == 'h':
            out += (r.choice(MONITOR).encode().hex() if r.random() < .5 else
                    ''.join(r.choice('0123456789abcdefx') for _ in range(r.randrange(200))))
        else:
            out += ''.join(chr(r.randrange(256)) for _ in range(r.randrange(40)))
    return out + form


def packet(r):
    data = fill(r, r.choice(FORMS)).encode('latin-1')
    total = sum(data) % 256
    if r.random() < .05:
        total = r.randrange(256)
    whole = b'$' + data + b'#%02x' % total
    if r.random() < .1:
        whole = whole[:r.randrange(len(whole) + 1)]
    if r.random() < .02:
        whole = bytes(r.randrange(256) for _ in range(r.randrange(6000)))
    if r.random() < .2:
        whole += r.choice([b'\x03', b'+', b'-', b'$', b'#'])
    return whole


class Machine:
    def __init__(self, folder):
        self.path = os.path.join(folder, 'gdb')
        self.process = subprocess.Popen([RING3, 'run', '-m', '16M', '--gdb', 'unix:' + self.path, GUEST],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)

    def connect(self):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(LIMIT)
            try:
                s.connect(self.path)
                return s
            except OSError:
                if self.process.poll() is not None:
                    return None
                time.sleep(0.01)
        raise SystemExit('ring3 does not listen')

    def ended(self):
        """True if it ended in a way that a debugger may bring about; fails otherwise."""
        try:
            code = self.process.wait(0.01)
        except subprocess.TimeoutExpired:
            return False
        text = self.process.stderr.read().decode(errors='replace')
        if code < 0 or code == 125 or 'Sanitizer' in text or 'runtime error' in text:
            raise SystemExit(f'FAIL: seed {SEED}: ring3 ended with {code}:\n{text}')
        return True


def drain(s):
    s.setblocking(False)
    try:
        while s.recv(65536):
            pass
    except OSError:
        pass
    s.settimeout(LIMIT)


def proper(machine):
    """A client that behaves gets an answer."""
    s = machine.connect()
    if s is None:
        return machine.ended()
    s.sendall(b'$?#3f')
    data = b''
    try:
        while b'#' not in data:
            part = s.recv(4096)
            if not part:
                return machine.ended() or proper(machine)
            data += part
    except (socket.timeout, ConnectionError) as why:
        if machine.ended():
            return True
        raise SystemExit(f'FAIL: seed {SEED}: no answer: {why}') from why
    s.close()
    return b'$T' in data


def main():
    r = random.Random(SEED)
    sent = connections = machines = 0
    end = time.monotonic() + SECONDS if SECONDS else None
    with tempfile.TemporaryDirectory(prefix='ring3-gdb.') as folder:
        machine = s = None
        while (time.monotonic() < end) if end else (sent < PACKETS):
            if machine is None or machine.ended():
                machine, s = Machine(folder), None
                machines += 1
            if s is None:
                s = machine.connect()
                connections += 1
                continue
            try:
                s.sendall(packet(r))
                sent += 1
                if sent % 20 == 0:
                    drain(s)
                if r.random() < .01:
                    s.close()
                    s = None
                    if r.random() < .2 and not proper(machine):
                        raise SystemExit(f'FAIL: seed {SEED}: a proper client is not served')
            except OSError:
                s = None
        if s:
            s.close()
        if not proper(machine):
            raise SystemExit(f'FAIL: seed {SEED}: a proper client is not served at the end')
        machine.process.terminate()
        machine.process.wait(LIMIT)
    print(f'pass: {sent} packets, {connections} connections, {machines} machines')


main()
