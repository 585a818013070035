#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The debugger's stub from outside, by the protocol itself and, where it is installed, by gdb.

    gdb.py RING3 GUEST ENGINE CASE

GUEST is guest.S; addresses come from its symbol table. A case passes by returning.
"""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

RING3, GUEST, ENGINE, CASE = sys.argv[1:5]
LIMIT = 30
NAMES = ('eax ecx edx ebx esp ebp esi edi eip eflags cs ss ds es fs gs '
         'st0 st1 st2 st3 st4 st5 st6 st7 fctrl fstat ftag fiseg fioff foseg fooff fop '
         'xmm0 xmm1 xmm2 xmm3 xmm4 xmm5 xmm6 xmm7 mxcsr cr0 cr2 cr3 cr4 efer ip_offset sp_offset '
         'cs_base').split()
NUMBER = {name: n for n, name in enumerate(NAMES)}


def check(condition, *what):
    if not condition:
        raise AssertionError(' '.join(str(w) for w in what))


def equal(got, want, what):
    check(got == want, f'{what}: got {got!r}, want {want!r}')


def symbols():
    out = subprocess.run(['nm', GUEST], stdout=subprocess.PIPE, check=True, text=True).stdout
    return {line.split()[2]: int(line.split()[0], 16) for line in out.splitlines()}


class Stub:
    """A connection to a ring3 of its own."""

    def __init__(self, *args, guest=True, stopped=True):
        self.folder = tempfile.mkdtemp(prefix='ring3-gdb-')
        self.path = os.path.join(self.folder, 'gdb')
        command = [RING3, 'run', '--engine', ENGINE, '--timeout', '60s', '--gdb', 'unix:' + self.path,
                   *(['--stopped'] if stopped else []), *args, *([GUEST] if guest else [])]
        self.errors = open(os.path.join(self.folder, 'errors'), 'w+', encoding='utf-8')
        self.ring3 = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=self.errors)
        self.socket = None
        self.acks = True
        self.buffer = b''

    def connect(self):
        end = time.monotonic() + LIMIT
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(LIMIT)
            try:
                self.socket.connect(self.path)
                return self
            except OSError:
                check(self.ring3.poll() is None and time.monotonic() < end, 'ring3 does not listen')
                time.sleep(0.02)

    def send(self, text):
        data = text.encode('latin-1')
        self.socket.sendall(b'$' + data + b'#%02x' % (sum(data) % 256))

    def byte(self):
        if not self.buffer:
            self.buffer = self.socket.recv(65536)
            check(self.buffer, 'the stub hung up')
        first, self.buffer = self.buffer[:1], self.buffer[1:]
        return first

    def receive(self):
        while (byte := self.byte()) != b'$':
            check(byte in b'+', 'not an acknowledgement:', byte)
        data = b''
        while (byte := self.byte()) != b'#':
            data += byte
        equal(int(self.byte() + self.byte(), 16), sum(data) % 256, 'checksum')
        if self.acks:
            self.socket.sendall(b'+')
        return data.decode('latin-1')

    def ask(self, text):
        self.send(text)
        return self.receive()

    def ok(self, text):
        equal(self.ask(text), 'OK', text)

    def register(self, name):
        return int.from_bytes(bytes.fromhex(self.ask(f'p{NUMBER[name]:x}')), 'little')

    def set_register(self, name, value):
        self.ok(f'P{NUMBER[name]:x}=' + value.to_bytes(4, 'little').hex())

    def word(self, address):
        return int.from_bytes(bytes.fromhex(self.ask(f'm{address:x},4')), 'little')

    def set_word(self, address, value):
        self.ok(f'M{address:x},4:' + value.to_bytes(4, 'little').hex())

    def go(self, how='c'):
        """Continue or step; what stopped it."""
        return self.ask(how)

    def leaves_with(self, code):
        equal(self.ring3.wait(LIMIT), code, 'exit code')

    def close(self):
        if self.ring3.poll() is None:
            self.ring3.terminate()
            self.ring3.wait(LIMIT)
        if self.socket:
            self.socket.close()
        shutil.rmtree(self.folder)


def registers_and_memory(at):
    s = Stub().connect()
    check('PacketSize' in s.ask('qSupported:swbreak+'), 'qSupported')
    xml, part = '', 'm'
    while part[0] == 'm':
        part = s.ask(f'qXfer:features:read:target.xml:{len(xml):x},200')
        xml += part[1:]
    equal([x.split('"')[1] for x in xml.split('<reg ')[1:]][:len(NAMES)], NAMES, 'target.xml')
    equal(s.register('eip'), at['_start'], 'eip')
    s.ok(f"Z0,{at['store']:x},1")
    check(s.go().startswith('T05'), 'breakpoint')
    equal(s.register('eip'), at['store'], 'eip at the breakpoint')
    equal(s.register('eax'), 1, 'eax')
    equal(bytes.fromhex(s.ask('p10')), bytes.fromhex('0000000000000080ff3f'), 'st0 is 1.0')
    equal(s.register('ftag'), 0x3fff, 'ftag: one register in use')
    s.set_register('eax', 0x1234)
    s.ok(f"z0,{at['store']:x},1")
    check(s.go('s').startswith('T05'), 'step')
    equal(s.register('eip'), at['after_store'], 'eip after a step')
    equal(s.word(at['counter']), 0x1234, 'counter')
    everything = s.ask('g')
    equal(len(everything), 2 * (16 * 4 + 80 + 8 * 4 + 8 * 16 + 4 + 15 * 4), 'size of g')
    s.ok('G' + everything)
    equal(s.ask('g'), everything, 'g after G')
    equal(s.ask('P2a=00000001')[:1], 'E', 'cr2 is read-only')
    equal(s.ask('m70000000,4')[:1], 'E', 'no memory there')
    equal(len(s.ask(f"m{256 * 1024 * 1024 - 2:x},4")), 4, 'what there is of memory')
    s.ok(f"X{at['leave']:x},4:\x07\x00\x00\x00")
    s.send('c')
    s.leaves_with(7)
    s.close()


def watchpoints(at):
    s = Stub().connect()
    s.ok(f"Z2,{at['counter']:x},4")
    for n in range(1, 4):
        equal(s.go(), f"T05thread:1;watch:{at['counter']:x};", 'write watch')
        equal(s.register('eip'), at['after_store'], 'behind the store')
        equal(s.word(at['counter']), n, 'counter')
    s.ok(f"z2,{at['counter']:x},4")
    s.ok(f"Z3,{at['leave'] + 1:x},1")      # a byte of it that is not read
    s.ok(f"Z3,{at['divide']:x},4")
    equal(s.go(), f"T05thread:1;rwatch:{at['divide']:x};", 'read watch')
    s.ok(f"z3,{at['divide']:x},4")
    s.ok(f"Z4,{at['counter']:x},4")
    check(f"awatch:{at['counter']:x}" in s.go(), 'access watch')
    equal(s.ask('z4,1,1')[:1], 'O', 'a point that nobody set is no trouble')
    s.ok(f"z4,{at['counter']:x},4")
    s.set_word(at['leave'], 9)
    s.send('vCont;c')
    s.leaves_with(9)
    s.close()


def steps(at):
    s = Stub().connect()
    path = [s.register('eip')]
    while path[-1] != at['loop']:
        check(s.go('s').startswith('T05'), 'step')
        path.append(s.register('eip'))
        check(len(path) < 20, 'the loop is not reached:', path)
    equal(len(path), 11, 'instructions up to the loop')
    s.ok(f"Z1,{at['after_store']:x},1")
    s.set_word(at['divide'], 1)
    s.go()
    s.ok(f"z1,{at['after_store']:x},1")
    while s.register('eip') != at['handler']:
        s.go('vCont;s:1')
        check(s.register('eip') >= at['loop'], 'a step over a fault ends at the handler')
    equal(s.word(s.register('esp') + 4), s.register('cs'), 'the frame of the fault')
    for _ in range(3):
        s.go('s')
    check(at['after_store'] < s.register('eip') < at['handler'], 'behind the division')
    s.set_word(at['leave'], 3)
    s.send('c')
    s.leaves_with(3)
    s.close()


def interrupts_and_detach(at):
    s = Stub(stopped=False).connect()
    equal(s.ask('?')[:3], 'T02', 'connecting stops the guest')
    s.acks = True
    s.ok('QStartNoAckMode')
    s.acks = False
    first = s.word(at['counter'])
    s.send('c')
    time.sleep(0.2)
    s.socket.sendall(b'\x03')
    equal(s.receive()[:3], 'T02', 'Ctrl-C')
    second = s.word(at['counter'])
    check(second != first, 'the guest ran', first, second)
    time.sleep(0.1)
    equal(s.word(at['counter']), second, 'the guest stands still')
    s.ok(f"Z0,{at['store']:x},1")
    s.ok('D')
    s.socket.close()
    again = s.connect()        # the breakpoint went with the first debugger
    again.acks = True
    equal(again.ask('?')[:3], 'T02', 'the second debugger')
    again.send('c')
    time.sleep(0.1)
    again.socket.sendall(b'\x03')
    equal(again.receive()[:3], 'T02', 'not a breakpoint')
    answer, text = again.ask('qRcmd,' + b'status'.hex()), ''
    while answer.startswith('O') and answer != 'OK':
        text += bytes.fromhex(answer[1:]).decode()
        answer = again.receive()
    check('paused' in text, 'monitor status:', text)
    again.send('k')
    s.leaves_with(0)
    s.close()


def bad_input(at):
    s = Stub().connect()
    s.socket.sendall(b'$m0,4#00')          # wrong checksum
    equal(s.byte(), b'-', 'a damaged packet')
    for packet in ('m', 'm1', 'm1,', 'M0', 'M0,4', 'M0,4:12', 'X0,ffff:a', 'Z', 'Z0', 'Z9,0,0',
                   'Z2,0,ffffffff', 'Z0,ffffffffff,1', 'p', 'pffff', 'P0', 'P0=1', 'Pffff=00000000',
                   'G00', 'qXfer:features:read:no.xml:0,10', 'qXfer:features:read:target.xml:ffff,1',
                   'qRcmd,zz', 'qRcmd,' + '61' * 1000, 'cdeadbeef', 'vCont', 'vCont;q', '', '!', 'QX'):
        answer = s.ask(packet)
        check(answer == '' or answer[0] in 'EO', packet, '->', answer)
        while answer.startswith('O') and answer != 'OK':
            answer = s.receive()
    for n in range(64):
        s.ok(f'Z2,{4 * n:x},4')
    equal(s.ask('Z2,10000,4')[:1], 'E', 'one watchpoint too many')
    s.socket.sendall(b'$' + b'a' * 20000 + b'#00')
    equal(s.byte(), b'-', 'a packet that is too long')
    s.socket.sendall(bytes(range(256)) * 40)
    s.socket.close()
    s = s.connect()                        # and it still serves the next one
    s.set_word(at['leave'], 5)
    s.send('c')
    s.leaves_with(5)
    s.close()


def real_mode(at):
    s = Stub('--firmware', guest=False).connect()
    equal(s.register('eip'), 0xfffffff0, 'reset vector')
    equal(s.register('ip_offset'), 0xfff0, 'its offset')
    equal(bytes.fromhex(s.ask('mfffffff0,1')), b'\xea', 'the far jump that is there')
    target = bytes.fromhex(s.ask('mfffffff1,4'))
    linear = int.from_bytes(target[:2], 'little') + 16 * int.from_bytes(target[2:], 'little')
    s.ok(f'Z0,{linear:x},1')
    check(s.go().startswith('T05'), 'breakpoint in real mode')
    equal(s.register('eip'), linear, 'linear eip')
    equal(s.register('cs_base'), 0xf0000, 'cs')
    s.close()


def by_gdb(at):
    if not shutil.which('gdb'):
        print('skip: gdb is not installed')
        sys.exit(77)
    s = Stub()
    script = os.path.join(s.folder, 'script')
    with open(script, 'w', encoding='utf-8') as f:
        f.write(f'''set pagination off
file {GUEST}
target remote {s.path}
break store
continue
p/x $eax
delete
watch *(int *)&counter
continue
p *(int *)&counter
delete
stepi
p $st0
x/i $pc
set var *(int *)&leave = 11
continue
''')
    end = time.monotonic() + LIMIT
    while not os.path.exists(s.path):
        check(time.monotonic() < end, 'ring3 does not listen')
        time.sleep(0.02)
    out = subprocess.run(['gdb', '-q', '-nx', '-batch', '-x', script], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False).stdout
    for want in ('$1 = 0x1', 'Hardware watchpoint', '$2 = 1', '$3 = 1', '=>'):
        check(want in out, f'gdb did not say "{want}":\n{out}')
    s.leaves_with(11)
    s.close()


globals()[CASE](symbols())
print(f'pass: {CASE}, engine {ENGINE}')
