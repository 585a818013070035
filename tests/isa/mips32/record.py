#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Record what QEMU's user mode makes of random MIPS32 instructions, for mips32_oracle.c.

    record.py KIND COUNT [SEED] > FILE
    record.py --show KIND NUMBER [SEED]

KIND is integer, memory, float, float64 (64-bit FPU registers), or memory-be (big-endian). Needs
qemu-mipsel and qemu-mips (package qemu-user) and mipsel-linux-gnu-gcc. A block is a few random instructions
that start from registers filled by start_values(), which mips32_oracle.c has in C. Registers k0 and k1 are
the harness's; nothing in a block depends on addresses. A line of the file:

    SEED WORD... = DIGEST     all in hexadecimal; DIGEST is FNV-1a over the state after the block

Left out, because QEMU does not do what the manual says or the manual leaves it open: ABS and NEG of
NaNs, doubles in odd registers while there are pairs, flags while denormals are flushed.
"""
import random
import struct
import subprocess
import sys
import tempfile

WORDS = 8
GPRS = [r for r in range(1, 32) if r not in (26, 27)]
SCRATCH = 64  # bytes of memory that blocks use
# Layout of the state in memory: general registers, hi, lo, FPRs as 32 doublewords, FCSR, scratch.
HI, LO, FPR, FCSR, SCR, SIZE = 128, 132, 136, 392, 400, 400 + SCRATCH

SPECIAL = [0, 1, 2, 0xffffffff, 0x7fffffff, 0x80000000, 0x7f800000, 0xff800000, 0x7fbfffff,
           0x7fc00000, 0x00000001, 0x007fffff, 0x00800000, 0x3f800000, 0xbf800000, 0x4f000000,
           0x7f7fffff, 0x3f000000, 0x5f000000, 0x4b000000, 0x7ff00000, 0xfff00000, 0x7ff80000,
           0x7ff7ffff, 0x3ff00000, 0x41e00000, 0x43e00000, 0x00100000, 0x000fffff, 0x47efffff,
           0x36a00000, 0xc1e00000]


class Xorshift:
    """The generator of start values, the same in C."""

    def __init__(self, seed):
        self.x = seed or 1

    def next(self):
        self.x ^= self.x << 13 & 0xffffffff
        self.x ^= self.x >> 17
        self.x ^= self.x << 5 & 0xffffffff
        return self.x

    def value(self):
        """Half of them special numbers, some of those changed a little."""
        pick = self.next()
        if pick & 1:
            return self.next()
        x = SPECIAL[pick >> 1 & 31]
        return x if pick & 64 else (x + (pick >> 8 & 7) - 3) & 0xffffffff


def start_values(seed):
    g = Xorshift(seed)
    state = bytearray(SIZE)
    for at in range(0, FCSR, 4):
        struct.pack_into('<I', state, at, g.value())
    struct.pack_into('<I', state, 0, 0)
    struct.pack_into('<I', state, FCSR, g.next() & 0xfe800003)  # rounding, condition codes
    for at in range(SCR, SIZE, 4):
        struct.pack_into('<I', state, at, g.value())
    return state


def r_type(funct, s, t, d, sa=0):
    return s << 21 | t << 16 | d << 11 | sa << 6 | funct


def i_type(op, s, t, imm):
    return op << 26 | s << 21 | t << 16 | imm & 0xffff


def integer(r):
    """One instruction on general registers."""
    s, t, d, sa = (r.choice(GPRS) for _ in range(4))
    kind = r.randrange(12)
    if kind <= 2:
        return r_type(r.choice([0x21, 0x23, 0x24, 0x25, 0x26, 0x27, 0x2a, 0x2b, 0x0a, 0x0b]), s, t, d)
    if kind == 3:
        return r_type(r.choice([0, 2, 3]), 0, t, d, r.randrange(32))
    if kind == 4:
        return r.choice([r_type(4, s, t, d), r_type(6, s, t, d), r_type(7, s, t, d),
                         r_type(0x46, s, t, d), r_type(2, 1, t, d, r.randrange(32))])
    if kind <= 6:
        op = r.choice([9, 10, 11, 12, 13, 14])
        return i_type(op, s, t, r.randrange(65536))
    if kind == 7:
        return r.choice([i_type(15, 0, t, r.randrange(65536)), 0x70000002 | r_type(0, s, t, d)])
    if kind == 8:
        return r_type(r.choice([0x18, 0x19, 0x1a, 0x1b]), s, t, 0)
    if kind == 9:
        return r.choice([0x70000000 | r_type(r.choice([0, 1, 4, 5]), s, t, 0), r_type(0x10, 0, 0, d),
                         r_type(0x12, 0, 0, d), r_type(0x11, s, 0, 0), r_type(0x13, s, 0, 0)])
    if kind == 10:
        low = r.randrange(32)
        high = r.randrange(low, 32)
        return r.choice([0x7c000000 | r_type(0, s, t, high - low, low),
                         0x7c000000 | r_type(4, s, t, high, low)])
    return r.choice([0x70000000 | r_type(r.choice([0x20, 0x21]), s, d, d),
                     0x7c000000 | r_type(0x20, 0, t, d, r.choice([2, 0x10, 0x18]))])


def memory(r):
    """A load or store in the scratch area, or an integer instruction."""
    if r.random() < 0.3:
        return integer(r)
    t = r.choice(GPRS)
    op, align = r.choice([(32, 1), (33, 2), (34, 1), (35, 4), (36, 1), (37, 2), (38, 1), (40, 1),
                          (41, 2), (42, 1), (43, 4), (46, 1), (48, 4), (53, 8), (61, 8), (49, 4),
                          (57, 4)])
    if op in (53, 61):
        t &= 30
    return i_type(op, 26, t, SCR + r.randrange(SCRATCH // align) * align)


def floating(r, fr):
    """One instruction of coprocessor 1; fr: registers of 64 bits."""
    double = r.random() < 0.5
    pick = (lambda: r.randrange(32)) if fr else (lambda: r.randrange(16) * 2)
    any_ = lambda: r.randrange(32)
    reg = pick if double else any_
    fmt = 0x46200000 if double else 0x46000000
    s, t, d = reg(), reg(), reg()
    g = r.choice(GPRS)
    kind = r.randrange(13)
    if kind <= 3:
        return fmt | r_type(r.choice([0, 1, 2, 3]), 0, t, s, d)
    if kind == 4:
        return fmt | r_type(r.choice([4, 6, 0x15, 0x16]), 0, 0, s, d)
    if kind == 5:
        return fmt | r_type(0x30 + r.randrange(16), 0, t, s, r.randrange(8) << 2)
    if kind == 6:
        return fmt | r_type(r.choice([0xc, 0xd, 0xe, 0xf, 0x24]), 0, 0, s, any_())
    if kind == 7:
        return r.choice([0x46200020 | r_type(0, 0, 0, pick(), any_()),
                         0x46000021 | r_type(0, 0, 0, any_(), pick()),
                         0x46800020 | r_type(0, 0, 0, any_(), any_()),
                         0x46800021 | r_type(0, 0, 0, any_(), pick())])
    if kind == 8:
        funct = r.choice([0x20, 0x28, 0x30, 0x38]) | double
        return 0x4c000000 | r_type(funct, reg(), t, s, d)
    if kind == 9:
        return r.choice([fmt | r_type(0x11, 0, r.randrange(8) << 2 | r.randrange(2), s, d),
                         fmt | r_type(0x12, 0, g, s, d), fmt | r_type(0x13, 0, g, s, d),
                         r_type(1, r.choice(GPRS), r.randrange(8) << 2 | r.randrange(2), g)])
    if kind == 10:
        op = r.choice([0x44000000, 0x44800000, 0x44600000, 0x44e00000])
        return op | g << 16 | (any_() if op in (0x44000000, 0x44800000) else pick()) << 11
    if kind == 11:
        return 0x44400000 | g << 16 | r.choice([0, 25, 26, 28, 31]) << 11
    if not fr:
        return integer(r)
    return r.choice([fmt | r_type(r.choice([8, 9, 0xa, 0xb, 0x25]), 0, 0, s, any_()),
                     0x46a00020 | r_type(r.randrange(2), 0, 0, any_(), any_())])


def branch(r, left):
    """A forward branch inside of the block: at most `left` words from its slot."""
    s, t = r.choice(GPRS), r.choice(GPRS)
    far = r.randrange(1, left + 1)
    return r.choice([i_type(r.choice([4, 5, 20, 21]), s, t, far),
                     i_type(r.choice([6, 7, 22, 23]), s, 0, far),
                     i_type(1, s, r.choice([0, 1, 2, 3]), far)])


def block(kind, seed):
    r = random.Random(f'{kind} {seed}')
    make = {'integer': integer, 'memory': memory, 'memory-be': memory, 'float': lambda r: floating(r, False),
            'float64': lambda r: floating(r, True)}[kind]
    words = []
    while len(words) < WORDS:
        left = WORDS - len(words) - 2
        branched = words and words[-1] in branches
        if left > 0 and not branched and r.random() < 0.08:
            words.append(branch(r, left))
            branches.add(words[-1])
        else:
            words.append(make(r))
    return words


branches = set()


def assembly(kind, blocks):
    fr = kind == 'float64'
    out = ['.set noreorder', '.set noat', '.text', '.globl __start', '__start:']
    step = 1 if fr else 2
    for n, (seed, words) in enumerate(blocks):
        out += [f'la $26, state{n}']
        for f in range(0, 32, step):
            out.append(f'ldc1 $f{f}, {FPR + 8 * f}($26)' if fr else
                       f'lwc1 $f{f}, {FPR + 8 * f}($26)\nlwc1 $f{f + 1}, {FPR + 8 * f + 8}($26)')
        out += [f'lw $1, {FCSR}($26)', 'ctc1 $1, $31', f'lw $1, {HI}($26)', 'mthi $1',
                f'lw $1, {LO}($26)', 'mtlo $1']
        out += [f'lw ${g}, {4 * g}($26)' for g in GPRS]
        out += [f'.word 0x{w:08x}' for w in words]
        out += [f'sw ${g}, {4 * g}($26)' for g in GPRS]
        out += ['mfhi $1', f'sw $1, {HI}($26)', 'mflo $1', f'sw $1, {LO}($26)', 'cfc1 $1, $31',
                f'sw $1, {FCSR}($26)']
        for f in range(32):
            out.append(f'sdc1 $f{f}, {FPR + 8 * f}($26)' if fr else f'swc1 $f{f}, {FPR + 8 * f}($26)')
    out += ['li $2, 4004', 'li $4, 1', 'la $5, state0', f'li $6, {SIZE * len(blocks)}', 'syscall',
            'li $2, 4001', 'li $4, 0', 'syscall', '.data', '.align 3']
    for n, (seed, _) in enumerate(blocks):
        values = struct.unpack(f'<{SIZE // 4}I', start_values(seed))
        out += [f'state{n}:'] + [f'.word 0x{x:08x}' for x in values]
    return '\n'.join(out) + '\n'


def run(kind, blocks):
    """The states after the blocks, by QEMU."""
    with tempfile.TemporaryDirectory(prefix='ring3-record.') as folder:
        source, program = folder + '/blocks.S', folder + '/blocks'
        with open(source, 'w', encoding='ascii') as f:
            f.write(assembly(kind, blocks))
        big = kind == 'memory-be'
        subprocess.run(['mipsel-linux-gnu-gcc', '-EB' if big else '-EL', '-mips32r2', '-nostdlib', '-static', '-mno-abicalls',
                        '-fno-pic', '-mfp64' if kind == 'float64' else '-mfp32', source, '-o', program], check=True)
        done = subprocess.run(['qemu-mips' if big else 'qemu-mipsel', '-cpu', '24Kf', program],
                              check=True, stdout=subprocess.PIPE)
    assert len(done.stdout) == SIZE * len(blocks), 'a block did not run to its end'
    # States are compared as words, which are the same in both byte orders.
    words = struct.unpack(f'{">" if big else "<"}{len(done.stdout) // 4}I', done.stdout)
    states = struct.pack(f'<{len(words)}I', *words)
    return [states[i * SIZE:(i + 1) * SIZE] for i in range(len(blocks))]


def digest(state):
    h = 0xcbf29ce484222325
    for byte in state:
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return h


def show(state):
    words = struct.unpack(f'<{SIZE // 4}I', state)
    for at in range(0, len(words), 8):
        print(f'{4 * at:3}: ' + ' '.join(f'{x:08x}' for x in words[at:at + 8]))


def main():
    arguments = sys.argv[1:]
    showing = arguments[0] == '--show'
    kind, count = arguments[showing], int(arguments[showing + 1])
    first = int(arguments[showing + 2]) if len(arguments) > showing + 2 else 1
    seeds = [first + count] if showing else range(first, first + count)
    blocks = [(s * 2654435761 & 0xffffffff, block(kind, s)) for s in seeds]
    for at in range(0, len(blocks), 200):
        part = blocks[at:at + 200]
        for (seed, words), state in zip(part, run(kind, part)):
            if showing:
                show(state)
            else:
                print(f'{seed:08x} ' + ' '.join(f'{w:08x}' for w in words) + f' = {digest(state):016x}')


main()
