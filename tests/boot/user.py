#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs of the guest's users that look for the monitor, or that use what few programs use.

    user.py RING3 ENGINE PROGRAM CASE

ENGINE as boot.py has it, PROGRAM is the guest program of the case. Exit code 0 passed, 1 failed, 77
skipped. Lines of the *.expected files are what the same program prints under QEMU's TCG with the same
kernel; where TCG differs from the manual, they are the manual's: int1 (TCG 7.2 has none: 6), XBEGIN
without RTM (TCG lets it pass), and the accessed bit that LAR shows (TCG forgets it).
"""
import difflib
import os
import re
import subprocess
import sys

import harness
from harness import Failed, expect

RING3 = sys.argv[1]
ENGINE, _, DBT = sys.argv[2].partition(':')
PROGRAM = sys.argv[3]


def run_in_guest(before='', seconds=880 if ENGINE == 'interp' else 280):
    """The program's lines in Debian, from the first on."""
    name = os.path.basename(PROGRAM)
    options = ['--engine', ENGINE, *(['--dbt', DBT] if DBT else [])]
    with harness.Guest(RING3, options=options, script=f'{before}\n/bin/{name}\n',
                       program=PROGRAM) as guest:
        guest.wait_for(r'script ended with status \d+', seconds)
        guest.wait_exit(0)
        lines = guest.output.splitlines()
        end = next(i for i, text in enumerate(lines) if 'script ended' in text)
        start = next(i for i, text in enumerate(lines) if text.startswith('MemFree')) + 1
        return lines[start:end]


def expected(name):
    with open(os.path.join(harness.HERE, name + '.expected'), encoding='utf-8') as f:
        return f.read().splitlines()


def difference(right, lines):
    return '\n'.join(difflib.unified_diff(right, lines, 'expected', 'seen', lineterm='', n=0))


def intruder_lines():
    """What the intruder saw, without the processor's name, which must be the one that the guest's
    kernel reads at its own privilege."""
    lines = run_in_guest('grep -E "^(vendor_id|cpu family|model\t|stepping)" /proc/cpuinfo')
    told = dict(re.match(r'([^\t]+)\t*: (\S+)', text).groups() for text in lines[:4])
    family, model, stepping = (int(told[k]) for k in ('cpu family', 'model', 'stepping'))
    signature = family << 8 | (model & 15) << 4 | stepping | (model >> 4) << 16
    mine = [text for text in lines if text.startswith('cpuid ')]
    expect(mine == [f'cpuid vendor {told["vendor_id"]} signature {signature:08x}'],
           f'the kernel reads {told}, its user {mine}')
    return [text for text in lines[4:] if not text.startswith('cpuid ')]


def intruder():
    """A hostile user of the guest sees the guest's processor and kernel, and nothing else; other
    processes compute on."""
    wrong = difference(expected('intruder'), intruder_lines())
    expect(not wrong, 'the guest shows what it should not:\n' + wrong)


def intruder_native():
    """What the program calls everybody's answers is what this host answers, too."""
    try:
        done = subprocess.run([PROGRAM, 'traps'], stdout=subprocess.PIPE, check=False,
                              universal_newlines=True)
    except OSError as why:
        print(f'the host does not run 32-bit programs: {why}')
        sys.exit(harness.SKIP)
    lines = done.stdout.splitlines()
    expect(done.returncode == 0 and lines[-1] == 'intruder: done', 'it did not end well')
    right = expected('intruder')[:len(lines) - 1]
    wrong = difference(right, lines[:-1])
    expect(not wrong, 'the host differs:\n' + wrong)


def intruder_finds():
    """In a ring3 whose translator copies a few sensitive instructions, it reports the leak."""
    right, lines = expected('intruder'), intruder_lines()
    wrong = {text.split(' ', 1)[0].rstrip(':') for text in lines if text not in right}
    print('leaks: ' + ' '.join(sorted(wrong)))
    expect(lines[-1] == 'intruder: done', 'it did not come to its end')
    expect('lar' in wrong and 'str' in wrong, 'the leaks were not noticed')


def debugger():
    """Single steps, breakpoints, watchpoints, 16-bit code, ports, many processes."""
    lines = [text for text in run_in_guest() if not re.match(r'\[ *\d+\.', text)]
    wrong = difference(expected('debugger'), lines)
    expect(not wrong, 'not as the manual says:\n' + wrong)


def debugger_native():
    """The program's idea of what is right is this host's, too."""
    try:
        done = subprocess.run([PROGRAM], stdout=subprocess.PIPE, check=False,
                              universal_newlines=True)
    except OSError as why:
        print(f'the host does not run 32-bit programs: {why}')
        sys.exit(harness.SKIP)
    print(done.stdout)
    expect(done.returncode == 0 and 'WRONG' not in done.stdout and
           done.stdout.endswith('debugger: done\n'), 'the host says otherwise')


CASES = {f.__name__: f for f in (intruder, intruder_native, intruder_finds, debugger,
                                 debugger_native)}


def main():
    try:
        CASES[sys.argv[4]]()
    except Failed as why:
        print(f'FAIL: {sys.argv[4]}, engine {sys.argv[2]}: {why}')
        return 1
    print(f'pass: {sys.argv[4]}, engine {sys.argv[2]}')
    return 0


sys.exit(main())
