#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The debugger's stub with a MIPS guest, by the protocol and, where it is installed, by gdb-multiarch.

    mips.py RING3 ENGINE CASE

The guest is a dozen instructions in an ELF file that this script writes.
"""
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

RING3, ENGINE, CASE = sys.argv[1:4]
LIMIT = 60
START = 0x80100000
# Numbers of gdb's registers.
T0, STATUS, PC, F2, FCSR = 8, 32, 37, 40, 70
COUNTER = START + 0x100
LOOP, STORE, BRANCH, LEAVE = START + 0x0c, START + 0x10, START + 0x18, START + 0x28
PROGRAM = [0x24080000,  # start:  li    t0, 0
           0x3c098010,  #         lui   t1, 0x8010
           0x35290100,  #         ori   t1, t1, 0x100
           0x25080001,  # loop:   addiu t0, t0, 1
           0xad280000,  # store:  sw    t0, 0(t1)
           0x8d2a0004,  #         lw    t2, 4(t1)
           0x1140fffc,  # branch: beqz  t2, loop
           0x00000000,  #         nop
           0x3c0bbf00, 0x356b1000,   # li t3, the system controller
           0x354c3333,  # leave:  ori   t4, t2, 0x3333
           0xad6c0000,  #         sw    t4, 0(t3)
           0x1000ffff, 0]


def check(condition, *what):
    if not condition:
        raise AssertionError(' '.join(str(w) for w in what))


def equal(got, want, what):
    check(got == want, f'{what}: got {got!r}, want {want!r}')


def kernel(path):
    code = b''.join(struct.pack('<I', word) for word in PROGRAM).ljust(0x108, b'\0')
    header = struct.pack('<4sBBBx8xHHIIIIIHHHHHH', b'\x7fELF', 1, 1, 1, 2, 8, 1, START, 52, 0,
                         0x70001000, 52, 32, 1, 0, 0, 0)
    segment = struct.pack('<8I', 1, 84, START, START, len(code), len(code), 7, 4)
    with open(path, 'wb') as f:
        f.write(header + segment + code)
    return path


class Machine:
    """A ring3 that waits for a debugger before its first instruction."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='ring3-gdb-')
        self.path = os.path.join(self.folder, 'gdb')
        self.process = subprocess.Popen(
            [RING3, 'run', '--engine', ENGINE, '--timeout', '120s', '--gdb', 'unix:' + self.path,
             '--stopped', kernel(os.path.join(self.folder, 'kernel'))],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        end = time.monotonic() + LIMIT
        while not os.path.exists(self.path):
            check(self.process.poll() is None and time.monotonic() < end, 'ring3 does not listen')
            time.sleep(0.02)

    def connect(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect(self.path)
        self.stream = self.socket.makefile('rb')

    def send(self, text):
        data = text.encode('latin-1')
        self.socket.sendall(b'$' + data + b'#%02x' % (sum(data) % 256))

    def ask(self, text):
        self.send(text)
        while (byte := self.stream.read(1)) != b'$':
            check(byte == b'+', 'not an acknowledgement:', byte)
        data = b''
        while (byte := self.stream.read(1)) != b'#':
            check(byte, 'the stub hung up')
            data += byte
        self.stream.read(2)
        self.socket.sendall(b'+')
        return data.decode('latin-1')

    def register(self, n):
        return int.from_bytes(bytes.fromhex(self.ask(f'p{n:x}')), 'little')

    def word(self, at):
        return int.from_bytes(bytes.fromhex(self.ask(f'm{at:x},4')), 'little')

    def ends_with(self, code):
        equal(self.process.wait(LIMIT), code, 'exit code')

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(LIMIT)
        shutil.rmtree(self.folder)


def protocol(m):
    m.connect()
    xml, part = '', 'm'
    while part[0] == 'm':
        part = m.ask(f'qXfer:features:read:target.xml:{len(xml):x},400')
        xml += part[1:]
    for feature in ('cpu', 'cp0', 'fpu'):
        check(f'org.gnu.gdb.mips.{feature}' in xml, 'target.xml lacks', feature)
    equal(m.register(PC), START, 'pc')
    equal(m.register(STATUS) & 6, 0, 'EXL and ERL')
    equal(m.ask(f'Z0,{STORE:x},4'), 'OK', 'breakpoint')
    for turn in (1, 2):
        check(m.ask('c').startswith('T05'), 'stopped')
        equal(m.register(PC), STORE, 'pc at the breakpoint')
        equal(m.register(T0), turn, 't0')
        equal(m.word(COUNTER), turn - 1, 'counter')
    equal(m.ask(f'z0,{STORE:x},4'), 'OK', 'no breakpoint')
    # A branch and its slot are one step.
    for where in (STORE + 4, BRANCH, LOOP, STORE):
        check(m.ask('s').startswith('T05'), 'stepped')
        equal(m.register(PC), where, 'pc after a step')
    equal(m.ask(f'Z2,{COUNTER:x},4'), 'OK', 'watchpoint')
    check(f'watch:{COUNTER:x}' in m.ask('c'), 'watch')
    equal(m.word(COUNTER), 3, 'counter')
    equal(m.ask(f'z2,{COUNTER:x},4'), 'OK', 'no watchpoint')
    equal(m.ask(f'P{F2:x}=0102030405060708'), 'OK', 'write of f2')
    equal(m.ask(f'p{F2:x}'), '0102030405060708', 'f2')
    everything = m.ask('g')
    equal(len(everything), 2 * (38 * 4 + 32 * 8 + 2 * 4), 'size of g')
    equal(m.ask('G' + everything), 'OK', 'G')
    equal(m.ask('g'), everything, 'g after G')
    equal(m.ask('P20=ffffffff')[:1], 'E', 'Status is read-only')
    equal(m.ask('m400000,4')[:1], 'E', 'no TLB entry there')
    equal(m.ask(f'M{COUNTER + 4:x},4:00000700'), 'OK', 'write of memory')
    m.send('D')
    m.ends_with(7)


def by_gdb(m):
    gdb = shutil.which('gdb-multiarch')
    if not gdb:
        m.close()
        print('skip: gdb-multiarch is not installed')
        sys.exit(77)
    script = os.path.join(m.folder, 'script')
    with open(script, 'w', encoding='utf-8') as f:
        f.write(f'''set pagination off
target remote {m.path}
break *{STORE:#x}
continue
p/x $t0
x/i $pc
delete
watch *(int *){COUNTER:#x}
continue
p *(int *){COUNTER:#x}
delete
p $status & 6
set var *(int *){COUNTER + 4:#x} = 9 << 16
continue
''')
    out = subprocess.run([gdb, '-q', '-nx', '-batch', '-x', script], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False).stdout
    for want in ('$1 = 0x1', 'sw\tt0,0(t1)', 'Hardware watchpoint', '$2 = 1', '$3 = 0'):
        check(want in out, f'gdb did not say "{want}":\n{out}')
    m.ends_with(9)


machine = Machine()
try:
    globals()[CASE](machine)
finally:
    machine.close()
print(f'pass: {CASE}, engine {ENGINE}')
