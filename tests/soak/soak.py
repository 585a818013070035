#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Soak the translator: boot Debian, load it like a build machine, kill it, repeat.

    soak.py RING3 MINUTES [--seed N]

Half of the time goes to two virtual machines that live long, one with the view of memory that the
engine chooses and one with windows, which are dearest. Every two seconds their use of the host is
sampled; what they use in the last quarter of their lives must not exceed the first quarter by more
than GROWTH allows. The other half goes to short lives, with every view, code caches down to 2 MiB,
different memory sizes and every way to end: power off, reset, a crash of the guest's kernel, SIGTERM
and SIGKILL at any moment. Nothing may remain of them.

The load is load.sh. What it computes must be what the same busybox computes on the host. Trouble is
also: a complaint of the guest's kernel, a line of ring3's own that is not about the way it ended, a
wrong exit code, silence for SILENCE seconds. Then the console, ring3's lines and the state of
its threads are kept in a directory, which the last line names, and the exit code is 1. The same seed
makes the same choices, not the same timing.
"""
import argparse
import glob
import itertools
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
import harness  # noqa: E402

SEEDS = range(1, 5)
SILENCE = 120
SAMPLE_SECONDS = 2
COMPLAINTS = re.compile(r'BUG:|Oops|general protection|segfault|Kernel panic|Call Trace|WARNING:|'
                        r'lockup|stalls? on|hung task|invalid opcode|Segmentation|Illegal|Bus error')
# What may grow between the first and the last quarter of a long life: a share of it and a number.
# Pages of guest RAM count once for each mapping, and the guest takes to more and more of its RAM.
GROWTH = {
    'own memory, KiB': (0.1, 8 << 10),
    'guest RAM shown, KiB': (0.5, 128 << 10),
    'page tables, KiB': (0.25, 4 << 10),
    'mappings': (0.25, 1000),
    'descriptors': (0, 0),
    'threads': (0, 0),
}
# Ways to end: what the guest's script does last, extra options, the exit code. SIGTERM and SIGKILL
# come from outside, at a random time.
ENDINGS = {
    'power off': ('', [], 0),
    'SIGTERM': ('while :; do sh /bin/load.sh /bin 2; done\n', [], 125),
    'SIGKILL': ('while :; do sh /bin/load.sh /bin 3; done\n', [], -9),
    'crash': ('echo "soak: crash"; echo c >/proc/sysrq-trigger\n', [], 122),
    'reset': ('reboot -f\n', ['--reboot'], 125),
}


class Trouble(Exception):
    """Something that must not happen did."""


class Life:
    """One virtual machine from start to end, and everything that is looked at meanwhile."""

    def __init__(self, soak, script, options, memory):
        self.soak = soak
        self.guest = harness.Guest(soak.ring3, memory=memory, script='dmesg -n 8; cd /tmp\n' + script,
                                   program=harness.LOAD, options=['--engine', 'dbt', *options])
        self.looked = self.loads = 0
        self.heard = time.monotonic()
        self.crashing = False

    def look(self):
        """Judge the lines that came since the last time."""
        end = self.guest.output.rfind('\n') + 1
        for line in self.guest.output[self.looked:end].splitlines():
            self.heard = time.monotonic()
            self.crashing |= line == 'soak: crash'
            if COMPLAINTS.search(line) and not self.crashing:
                raise Trouble(f'the guest says: {line}')
            if line.startswith('load '):
                self.check(line)
        self.looked = end

    def check(self, line):
        words = line.split()
        if len(words) != 4 or self.soak.right.get((words[1], words[2])) != words[3]:
            raise Trouble(f'a wrong result: {line}')
        self.loads += words[2] == self.soak.last_part

    def run(self, until, every=lambda life: None):
        """Go on until the time, the guest's end or `until` says so."""
        while self.guest.process.poll() is None and not until():
            self.guest.read(0.2)
            self.look()
            every(self)
            if time.monotonic() - self.heard > SILENCE:
                raise Trouble(f'nothing was heard for {SILENCE} seconds')

    def finish(self, code, complaint=''):
        """It must end with this code and say nothing on stderr but, perhaps, one matching line."""
        try:
            self.guest.wait_exit(code, 60)
        except harness.Failed as why:
            raise Trouble(str(why)) from None
        self.look()
        lines = self.guest.complaints().splitlines()
        if len(lines) > bool(complaint) or not all(re.search(complaint, s) for s in lines):
            raise Trouble(f'unexpected of ring3: {lines}')

    def keep(self, folder):
        """Everything that may explain what went wrong."""
        threads = ''
        for task in glob.glob(f'/proc/{self.guest.process.pid}/task/*'):
            for name in ('comm', 'status', 'syscall', 'wchan'):
                try:
                    with open(f'{task}/{name}', encoding='utf-8') as f:
                        threads += f'{name}: {f.read()}\n'
                except OSError as why:
                    threads += f'{name}: {why}\n'
        command = ' '.join(self.guest.process.args)
        for name, text in (('console', self.guest.output), ('stderr', self.guest.complaints()),
                           ('threads', threads), ('command', command)):
            with open(f'{folder}/{name}', 'w', encoding='utf-8') as f:
                f.write(text)


def sample(pid):
    """What the process uses of the host now, in the order of GROWTH."""
    with open(f'/proc/{pid}/status', encoding='utf-8') as f:
        status = dict(re.findall(r'^(\w+):\s+(\d+)', f.read(), re.M))
    with open(f'/proc/{pid}/maps', 'rb') as f:
        mappings = sum(1 for _ in f)
    kib = {name: int(status[name]) for name in ('VmRSS', 'RssShmem', 'VmPTE', 'Threads')}
    return (kib['VmRSS'] - kib['RssShmem'], kib['RssShmem'], kib['VmPTE'], mappings,
            len(os.listdir(f'/proc/{pid}/fd')), kib['Threads'])


def compare(samples):
    """Print the table of one long life; Trouble if something grew."""
    quarter = len(samples) // 4
    if not quarter:
        raise Trouble(f'a long life of {len(samples)} samples is too short to compare')
    grown = []
    print(f'    {"medians of quarters":22} {"first":>10} {"last":>10} {"allowed":>10} {"most":>10}')
    for i, (name, (share, number)) in enumerate(GROWTH.items()):
        first = statistics.median(s[i] for s in samples[:quarter])
        last = statistics.median(s[i] for s in samples[-quarter:])
        allowed = first * (1 + share) + number
        print(f'    {name:22} {first:10.0f} {last:10.0f} {allowed:10.0f} '
              f'{max(s[i] for s in samples):10.0f}')
        if last > allowed:
            grown.append(name)
    if grown:
        raise Trouble('grew: ' + ', '.join(grown))


class Soak:
    def __init__(self, ring3, seed):
        self.ring3, self.random = ring3, random.Random(seed)
        self.right, self.last_part = {}, None
        for number in SEEDS:
            for line in harness.known_good(number):
                _, text, part, value = line.split()
                self.right[text, part] = value
                self.last_part = part
        # Our processes are known by their environment, our files by their directory.
        self.mark = uuid.uuid4().hex
        self.folder = tempfile.mkdtemp(prefix='ring3-soak.')
        os.mkdir(self.folder + '/tmp')
        os.environ['RING3_SOAK'] = self.mark
        os.environ['TMPDIR'] = tempfile.tempdir = self.folder + '/tmp'
        self.descriptors = len(os.listdir('/proc/self/fd'))
        self.lives = self.loads = 0

    def live(self, title, script, options, memory, course):
        """One life: course(life) is what happens in it. Keeps what there is when it fails."""
        began = time.monotonic()
        before = set(os.listdir('/dev/shm')) if os.path.isdir('/dev/shm') else None
        print(f'{title}', flush=True)
        life, trouble = Life(self, script, options, memory), None
        with life.guest:
            try:
                course(life)
            except Trouble as why:
                life.keep(self.folder)
                trouble = why
        if trouble:
            raise trouble
        self.nothing_remains(before, life.guest.process.pid)
        self.lives += 1
        self.loads += life.loads
        print(f'    {time.monotonic() - began:.0f} s, {life.loads} loads', flush=True)

    def nothing_remains(self, before, pid):
        """No process, file, descriptor or shared memory."""
        for path in glob.glob('/proc/[0-9]*/environ'):
            try:
                with open(path, 'rb') as f:
                    if self.mark.encode() in f.read():
                        raise Trouble(f'a process is left over: {path}')
            except OSError:
                pass
        left = os.listdir(self.folder + '/tmp') + glob.glob(f'/tmp/perf-{pid}.map')
        if before is not None:
            # Benchmarks and other runs of ours may work here at the same time, others always.
            left += [f for f in set(os.listdir('/dev/shm')) - before
                     if 'ring3' in f and 'bench' not in f or str(pid) in f]
        if left:
            raise Trouble(f'files are left over: {left}')
        if len(os.listdir('/proc/self/fd')) != self.descriptors:
            raise Trouble('descriptors of this script are left over')

    def long_life(self, view, seconds):
        """Load until the time is over, sampling, then power off."""
        samples = []
        script = (f'n=1; while [ "$(cut -d . -f 1 /proc/uptime)" -lt {seconds} ]; do\n'
                  f'sh /bin/load.sh /bin $n; n=$((n % {len(SEEDS)} + 1)); done\n')

        def look_at(life):
            # It is warm once every load has run.
            if life.loads >= len(SEEDS) and time.monotonic() >= look_at.next:
                samples.append(sample(life.guest.process.pid))
                look_at.next = time.monotonic() + SAMPLE_SECONDS
        look_at.next = 0

        def course(life):
            life.run(lambda: 'script ended' in life.guest.output, look_at)
            life.finish(0)
            compare(samples)
        self.live(f'long life: {view}, 256M, {seconds} s', script,
                  ['--dbt', view] if view != 'auto' else [], '256M', course)

    def short_life(self, ending, view, cache, memory, extra):
        last, options, code = ENDINGS[ending]
        choice = ','.join(filter(None, (view, extra)))
        seconds = self.random.uniform(0.1, 20)
        title = f'{ending}: {choice or "auto"}, cache {cache}, {memory}'

        def course(life):
            end = time.monotonic() + seconds
            if ending in ('SIGTERM', 'SIGKILL'):
                life.run(lambda: time.monotonic() > end)
                life.guest.signal(getattr(signal, ending))
            elif ending == 'reset':
                life.run(lambda: life.guest.output.count('init running') >= 3)
                life.guest.signal(signal.SIGTERM)
            else:
                life.run(lambda: False)
            life.finish(code, {125: 'SIGTERM|terminated', 122: 'reset'}.get(code, ''))
        self.live(title, f'sh /bin/load.sh /bin {self.random.choice(SEEDS)}\n' + last,
                  ['--cache', cache, *(['--dbt', choice] if choice else []), *options], memory, course)

    def short_lives(self, end):
        """Every choice in turn, in an order that meets them in different company."""
        def turns(choices):
            choices = list(choices)
            while True:
                self.random.shuffle(choices)
                yield from choices
        choices = zip(turns(ENDINGS), turns(['', 'window', 'flat']), turns(['2M', '4M', '32M']),
                      turns(['64M', '128M', '256M', '1G']),
                      turns(['', '', '', 'check', 'trace-tables', 'noadapt', 'max=4']))
        for choice in itertools.takewhile(lambda _: time.monotonic() < end, choices):
            self.short_life(*choice)


def main():
    options = argparse.ArgumentParser(description='Boot, load and kill guests for a while.')
    options.add_argument('ring3')
    options.add_argument('minutes', type=float)
    options.add_argument('--seed', type=int, default=int(time.time()))
    given = options.parse_args()
    began = time.monotonic()
    seconds = given.minutes * 60
    print(f'soak: {given.minutes:g} minutes, seed {given.seed}', flush=True)
    soak = Soak(given.ring3, given.seed)
    try:
        soak.long_life('auto', int(seconds * 0.3))
        soak.long_life('window', int(seconds * 0.2))
        soak.short_lives(began + seconds)
    except Trouble as why:
        print(f'soak: FAILED after {time.monotonic() - began:.0f} s: {why}\n'
              f'soak: see {soak.folder}')
        return 1
    os.rmdir(soak.folder + '/tmp')
    os.rmdir(soak.folder)
    print(f'soak: passed, {soak.lives} lives, {soak.loads} loads of about a thousand processes, '
          f'{time.monotonic() - began:.0f} s')
    return 0


if __name__ == '__main__':
    sys.exit(main())
