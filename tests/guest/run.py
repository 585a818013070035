#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run the bare-metal test guests.

    run.py [--ring3 PROGRAM] [--engine HOW[,HOW...]] [IMAGE...]       under ring3, in every way named
    run.py --qemu [IMAGE...]                                          under QEMU's TCG
    run.py --bochs [IMAGE...]                                         under Bochs

HOW is an engine and what it is told: dbt+nochain+flat is --engine dbt --dbt nochain,flat, and
+cache=1M is --cache 1M. IMAGE is a file or the name of a program; without any, all of them are run, freshly built. QEMU and Bochs are the
outside oracles: what a guest calls right is right if they agree. QEMU is known to leave out some
checks (each program lists them, with reasons); Bochs agrees with all of them. Bochs boots from a CD
image that grub-mkrescue makes (Debian packages bochs, bochsbios, vgabios, grub-pc-bin, xorriso,
mtools).

A guest prints "ok NAME" or "FAIL NAME: ..." per check and ends with "N passed, N failed"; the last
line here is the sum over all. Exit code 0 if nothing failed.
"""
import argparse
import functools
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
SECONDS = 60
FIRMWARE = ('pam',)  # what ring3 too starts through the BIOS
COMMAND_LINES = {'multi': 'one two=2 three', 'pagefault': 'second'}
MODULE = b'The module of the multiboot test.\n'


class Result:
    """What one run of one image came to."""

    def __init__(self, code, out, err, triple_fault=False):
        self.code, self.out, self.err, self.triple_fault = code, out, err, triple_fault


def call(argv, stdin=subprocess.DEVNULL):
    try:
        p = subprocess.run(argv, stdin=stdin, capture_output=True, timeout=SECONDS)
        return p.returncode, p.stdout.decode(errors='replace'), p.stderr.decode(errors='replace')
    except subprocess.TimeoutExpired as e:
        text = (e.stdout or b'').decode(errors='replace')
        return 124, text, (e.stderr or b'').decode(errors='replace') + 'no end within the time\n'


def engine_options(how):
    """The options of `ring3 run` for HOW."""
    engine, *words = how.split('+')
    told = [w for w in words if not w.startswith('cache=')]
    sizes = [w.removeprefix('cache=') for w in words if w.startswith('cache=')]
    options = ['--engine', engine]
    if told:
        options += ['--dbt', ','.join(told)]
    for size in sizes:
        options += ['--cache', size]
    return options


@functools.lru_cache
def host_lacks(program, engine):
    """What the host lacks for this engine, or ''. That is looked at before the kernel is."""
    code, _, err = call([program, 'run', '--engine', engine, '/'])
    return err.strip() if code == 126 else ''


def with_ring3(program, how, image, extra):
    argv = [program, 'run', '-m', '64M', *engine_options(how), '--timeout', f'{SECONDS - 5}s',
            *extra['ring3'], image]
    code, out, err = call(argv)
    return Result(code, out, err, code == 120)


def with_qemu(image, extra):
    argv = ['qemu-system-i386', '-accel', 'tcg', '-m', '64', '-kernel', image, '-device',
            'isa-debug-exit,iobase=0xf4,iosize=4', '-serial', 'stdio', '-display', 'none',
            '-no-reboot', '-d', 'cpu_reset', '-D', '/dev/stderr', *extra['qemu']]
    code, out, err = call(argv)
    triple = code == 0 and 'Triple fault' in err
    return Result(code >> 1 if code & 1 else code, out, '', triple)


BOCHSRC = '''display_library: rfb, options="timeout=0"
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
speaker: enabled=0
megs: 64
romimage: file=/usr/share/bochs/BIOS-bochs-legacy
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=p3_katmai, count=1, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=0
clock: sync=none, time0=1
ata0-master: type=cdrom, path={d}/boot.iso, status=inserted
boot: cdrom
log: {d}/log
com1: enabled=1, mode=file, dev={d}/out
panic: action=fatal
'''


def with_bochs(image, extra):
    """Its end is a write to its shut-down port, which it calls a panic; there is no exit code."""
    with tempfile.TemporaryDirectory() as d:
        os.makedirs(f'{d}/iso/boot/grub')
        with open(image, 'rb') as f, open(f'{d}/iso/image', 'wb') as to:
            to.write(f.read())
        with open(f'{d}/iso/module', 'wb') as f:
            f.write(MODULE)
        with open(f'{d}/iso/boot/grub/grub.cfg', 'w', encoding='ascii') as f:
            f.write(f'multiboot /image {COMMAND_LINES.get(extra["name"], "")}\n'
                    'module /module module-words\nboot\n')
        with open(f'{d}/rc', 'w', encoding='ascii') as f:
            f.write(BOCHSRC.format(d=d))
        code, out, err = call(['grub-mkrescue', '-d', '/usr/lib/grub/i386-pc', '-o',
                               f'{d}/boot.iso', f'{d}/iso', '--locales=', '--themes=', '--fonts=',
                               '--install-modules=multiboot normal iso9660 boot biosdisk'])
        if code:
            return Result(code, out, err)
        with tempfile.TemporaryFile() as answers:
            answers.write(b'c\n')
            answers.seek(0)
            code, out, err = call(['bochs-bin', '-q', '-f', f'{d}/rc'], answers)

        def text(name):
            try:
                with open(f'{d}/{name}', encoding='utf-8', errors='replace') as f:
                    return f.read()
            except FileNotFoundError:
                return ''
        out, log = without_known(extra['name'], text('out')), text('log')
        triple = '3rd' in log and 'exception with no resolution' in log
        ended = 'shutdown requested' in log
        good = ended and not re.search(r'^\d+ passed, [1-9]\d* failed$', out, re.M)
        return Result(0 if good else 1, out, '', triple)


# Where Bochs is wrong, too: program, check, why.
BOCHS_KNOWN = {
    ('segment', 'iret-ss-not-present'): 'raises #NP; SDM vol. 3A 6.15 says #SS',
    ('smc', 'alias-second-page-remapped'): 'runs the bytes of the old mapping',
    ('smc2', 'second-half-remapped'): 'runs the bytes of the old mapping',
    ('smc2', 'first-half-remapped'): 'runs the bytes of the old mapping',
    ('smc2', 'second-half-absent'): 'runs the bytes of the old mapping',
    ('smc2', 'second-half-absent-cr2'): 'runs the bytes of the old mapping',
    ('smc2', 'second-half-back'): 'runs the bytes of the old mapping',
    ('straddle', 'faults-store-fstt'): 'stores in two parts',
    ('straddle', 'faults-store-fbstp'): 'stores in two parts',
    ('events', 'exec-bp-on-rep-once'): 'an interrupt inside saves RF as 0; SDM vol. 3B 17.3.1.1',
    ('v86', 'iret-ip-beyond-64k'): 'not checked; SDM vol. 2, IRET',
    ('pic', 'priority-order'): 'settles on a request before the acknowledge cycle',
    ('pic', 'priority-set-back'): 'settles on a request before the acknowledge cycle',
    ('pic', 'poll-4'): 'no request bit, no acknowledge',
    ('pic', 'poll-acknowledges'): 'no request bit, no acknowledge',
    ('pic', 'polled-is-not-delivered'): 'no request bit, no acknowledge',
}


def without_known(name, out):
    """Bochs cannot be told from inside, so its deviations are forgiven here."""
    passed = failed = 0
    lines = []
    for line in out.splitlines():
        m = re.match(r'FAIL ([^:]+): ', line)
        if m and (name, m[1]) in BOCHS_KNOWN:
            line = f'known {m[1]} ({BOCHS_KNOWN[name, m[1]]})'
        failed += line.startswith('FAIL ')
        passed += line.startswith('ok ')
        if re.match(r'\d+ passed, \d+ failed$', line):
            line = f'{passed} passed, {failed} failed'
        lines.append(line)
    return ''.join(line + '\n' for line in lines)


# ---- what a program's run must look like -----------------------------------------------------------


def plain(result):
    """The guest counts by itself; whatever else went wrong is one more failure."""
    totals = re.findall(r'^(\d+) passed, (\d+) failed$', result.out, re.M)
    if len(totals) != 1:
        return 0, 1, f'no closing line; exit code {result.code}'
    passed, failed = map(int, totals[0])
    if result.code != (1 if failed else 0):
        return passed, failed + 1, f'exit code {result.code}'
    if passed == 0 and failed == 0:
        return 0, 1, 'no checks'
    return passed, failed, ''


def triple_fault(result):
    if not result.triple_fault:
        return 0, 1, f'no triple fault; exit code {result.code}'
    if 'shutting down' not in result.out or 'not reached' in result.out:
        return 0, 1, 'the guest did not end at the triple fault'
    return 1, 0, ''


def triple_fault_told(result):
    """ring3 also says how it came to that, oldest fault first."""
    passed, failed, why = triple_fault(result)
    chain = re.findall(r'^ *(#[A-Z]+) +error=([0-9a-f]+)', result.err, re.M)
    # INT3 beyond the IDT, that fault beyond it, the double fault beyond it (EXT set from then on).
    want = [('#GP', '0000001a'), ('#GP', '0000006b'), ('#DF', '00000000'), ('#GP', '00000043')]
    if not failed and chain != want:
        return passed, 1, f'fault chain {chain}, want {want}'
    return passed + 1, failed, why


def silent(result):
    """No console output; the guest's verdict is the exit code (Bochs has none)."""
    if result.out or result.code:
        return 0, 1, f'exit code {result.code}, console {result.out!r}'
    return 1, 0, ''


def page_fault_counters(program, how, image):
    """Each kind of page fault moves its own counter and no other. A translator fills views with
    neighbours of the page that is missing, so it may come along with fewer hidden ones."""
    names = ('fault_device', 'fault_guest', 'fault_hidden')
    count = 16  # COUNT of pagefault.c
    fewer = not how.startswith('interp')

    def counters(what):
        code, out, err = call([program, 'run', '-m', '64M', *engine_options(how), '--stats=json',
                               '--append', what, image])
        if code or out:
            print(f'  {what}: exit code {code}, console {out!r}')
            return None
        stats = json.loads(err[err.index('{'):])
        return [stats[n] for n in names]
    base = counters('base')
    failed = 0
    for what, want in (('base', [0, 0, 0]), ('device', [count, 0, 0]), ('guest', [0, count, 0]),
                       ('first', [0, 0, count]), ('second', [0, 0, count])):
        now = counters(what)
        moved = now and base and [a - b for a, b in zip(now, base)]
        if moved and fewer and moved[:2] == want[:2] and 0 <= moved[2] <= want[2]:
            continue
        if moved != want:
            print(f'  {what}: {names} moved by {moved}, want {want}')
            failed += 1
    return 5 - failed, failed


# Judges by program: of any monitor, and of ring3.
JUDGES = {'fault3': triple_fault, 'pagefault': silent}
RING3_JUDGES = {'fault3': triple_fault_told}


def extra_arguments(name, folder):
    """Options of a monitor that one program needs."""
    extra = {'name': name, 'ring3': [], 'qemu': []}
    if name in FIRMWARE:
        extra['ring3'] += ['--firmware']
    if name in COMMAND_LINES:
        extra['ring3'] += ['--append', COMMAND_LINES[name]]
        extra['qemu'] += ['-append', COMMAND_LINES[name]]
    if name == 'vga': # gives the machine a screen
        extra['ring3'] += ['--screenshot', f'{folder}/screen.txt']
    if name == 'multi':
        module = f'{folder}/module'
        with open(module, 'wb') as f:
            f.write(MODULE)
        extra['ring3'] += ['--initrd', module]
        extra['qemu'] += ['-initrd', f'{module} module-words']
    return extra


def report(title, passed, failed):
    print(f"{'FAIL' if failed else 'pass'}: {title}: {passed} passed, {failed} failed", flush=True)
    return passed, failed


def judge(title, result, verdict):
    passed, failed, why = verdict(result)
    if failed:
        for line in result.out.splitlines():
            if not line.startswith(('ok ', 'known ', 'skip ')):
                print(f'  {line}')
        for line in result.err.splitlines()[-40:]:
            print(f'  {line}')
        if why:
            print(f'  {title}: {why}')
    return report(title, passed, failed)


def runs_of(a, image):
    """(passed, failed) of every run of one image."""
    name = os.path.basename(image).removesuffix('.elf')
    verdict = JUDGES.get(name, plain)
    with tempfile.TemporaryDirectory() as folder:
        extra = extra_arguments(name, folder)
        if a.qemu:
            yield judge(f'{name} (qemu)', with_qemu(image, extra), verdict)
        if a.bochs:
            yield judge(f'{name} (bochs)', with_bochs(image, extra), verdict)
        if a.qemu or a.bochs:
            return
        for engine in a.engine.split(','):
            lacking = host_lacks(a.ring3, engine.split('+')[0])
            if lacking:
                print(f'skip {engine}: {lacking}')
                continue
            title = f'{name} ({engine})'
            if name == 'pagefault':
                yield report(title, *page_fault_counters(a.ring3, engine, image))
            else:
                yield judge(title, with_ring3(a.ring3, engine, image, extra),
                            RING3_JUDGES.get(name, verdict))


def images(build):
    subprocess.run(['ninja', '-C', build], check=True, stdout=subprocess.DEVNULL)
    return sorted(glob.glob(f'{build}/tests/guest/*.elf'))


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--ring3', default=f'{TOP}/build/ring3')
    p.add_argument('--engine', default='interp')
    p.add_argument('--qemu', action='store_true')
    p.add_argument('--bochs', action='store_true')
    p.add_argument('--build', default=f'{TOP}/build')
    p.add_argument('image', nargs='*')
    a = p.parse_args()
    passed = failed = 0
    for image in a.image or images(a.build):
        if os.sep not in image and not image.endswith('.elf'):
            image = f'{a.build}/tests/guest/{image}.elf'
        for good, bad in runs_of(a, image):
            passed += good
            failed += bad
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0


sys.exit(main())
