#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measure the same user programs on the host, in a Debian guest under each engine of ring3, and in
the same guest under QEMU's translator.

    bench.py RING3 GUEST_DIR [BOARD=GUEST_DIR...] [OPTIONS]

GUEST_DIR is the guest of the architecture's first board (vms.py), which QEMU has, too. With
`--arch mips` there is no host to compare with, and GUEST_DIR holds Debian's kernel for malta;
`mipsvirt=DIR` adds its generic one on the board that needs it.

In each round every machine boots once; then each program runs on one machine after the other, so
that the figures which are compared lie seconds apart. Prints a table, and what it says about the
project's targets. Times are processor time of the monitor on the host (natively: of the program),
because a shared machine spoils the wall clock; `--clock wall` takes that one. What ran is in
programs.py, on which machines in vms.py, what is made of the samples in report.py and chart.py.
"""
import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

import chart
import programs
import report
import vms

HERE = os.path.dirname(os.path.abspath(__file__))
INITRAMFS = os.path.join(HERE, '..', 'tools', 'initramfs.sh')
QUICK = 1 / 8


def note(text):
    print('bench: ' + text, file=sys.stderr, flush=True)


def words(text):
    return [w for w in text.split(',') if w]


def parse():
    p = argparse.ArgumentParser()
    p.add_argument('ring3')
    p.add_argument('guest')
    p.add_argument('others', nargs='*', metavar='BOARD=GUEST_DIR')
    p.add_argument('--arch', choices=vms.PLATFORMS, default='i386')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--programs', type=words, help='names of programs.py, separated by commas')
    p.add_argument('--engines', type=words, help='engines of ring3, with options like '
                   'dbt:trace-tables+noadapt; default: all of `ring3 doctor`')
    p.add_argument('--vms', type=words, help='native, qemu and engines, in place of --engines; '
                   'mipsvirt/dbt is an engine on another board than the first')
    p.add_argument('--quick', action='store_true', help='an eighth of each count')
    p.add_argument('--clock', choices=('cpu', 'wall'), default='cpu')
    p.add_argument('--timeout', type=float, default=300, help='seconds for one program')
    p.add_argument('--json')
    p.add_argument('--svg')
    arguments = p.parse_args()
    if arguments.rounds < 1:
        p.error('--rounds must be at least 1')
    try:
        arguments.programs = programs.select(arguments.programs, arguments.arch)
        boards = vms.PLATFORMS[arguments.arch].boards
        arguments.guests = {next(iter(boards)): arguments.guest,
                            **dict(other.split('=', 1) for other in arguments.others)}
    except ValueError as e:
        p.error(str(e))
    for board in arguments.guests:
        if board not in boards:
            p.error(f'no board {board}; for {arguments.arch} there are {", ".join(boards)}')
    return arguments


def default_vms(arguments, engines):
    """The host, if it runs the programs; every engine; the translator on further boards; QEMU."""
    further = [f'{board}/dbt' for board in list(arguments.guests)[1:] if 'dbt' in engines]
    return [*(['native'] if arguments.arch == 'i386' else []), *(arguments.engines or engines),
            *further, 'qemu']


def make_machines(arguments, folder):
    """The machines asked for that this host has, the host itself first."""
    arch = arguments.arch
    image = programs.build(folder, arch)
    script, initrd = f'{folder}/script', f'{folder}/initramfs.gz'
    with open(script, 'w', encoding='utf-8') as f:
        f.write(vms.SCRIPT)
    subprocess.run([INITRAMFS, arguments.guest + '/busybox', initrd, script, image], check=True)
    known = vms.engines(arguments.ring3)
    machines = []
    for name in arguments.vms or default_vms(arguments, known):
        board, engine, _ = vms.split(name, arch)
        if name == 'native' and arch == 'i386':
            machines.append(vms.Native(arguments.guest, image))
        elif name == 'qemu' and vms.qemu_version(arch):
            machines.append(vms.Qemu(name, arguments.guest, initrd, arch))
        elif engine in known and board in arguments.guests:
            machines.append(vms.Ring3(name, arguments.ring3, arguments.guests[board], initrd, arch))
        else:
            note(f'no {name} here: left out')
    if arguments.quick:
        for machine in machines:
            machine.share = min(machine.share, QUICK * vms.PLATFORMS[arch].share)
    return machines


class Round:
    """One round over the machines. A machine that fails is started again for the next program."""

    def __init__(self, number, machines, samples, timeout):
        self.number, self.machines = number, machines
        self.samples, self.timeout = samples, timeout

    def record(self, machine, program, sample):
        self.samples[machine.name].setdefault(program, []).append(sample)

    def failed(self, machine, what, why):
        tail = machine.tail.decode('utf-8', 'replace').strip().splitlines()[-3:]
        note(f'{machine.name} failed in {what}: {why}\n    ' + '\n    '.join(tail))
        machine.stop()

    def boot(self, machine):
        """The whole boot, of which nothing else is wanted."""
        try:
            times = machine.boot(vms.APPEND)
            self.record(machine, 'boot', {**times, 'guest': 0, 'sum': 0, 'count': 1})
            note(f"round {self.number}: {machine.name}: boot {times['wall']:.1f} s")
        except vms.Broken as e:
            self.failed(machine, 'boot', e)
            self.record(machine, 'boot', None)
        machine.stop()

    def start(self, machine):
        """Returns the times of the boot, None for a machine that does not boot or cannot."""
        try:
            times = machine.start()
            machine.ask('data', programs.DATA_LINES, 120)
            return times
        except vms.Broken as e:
            self.failed(machine, 'its start', e)
            return None

    def measure(self, machine, program):
        if not machine.process:
            self.start(machine)
        count = max(1, round(program.count * machine.share))
        sample = None
        if machine.process:
            try:
                sample = {**machine.ask(program.name, count, self.timeout), 'count': count}
                note(f"round {self.number}: {machine.name}: {program.name} "
                     f"{sample['cpu']:.2f} s of {sample['wall']:.2f} s")
            except vms.Broken as e:
                self.failed(machine, program.name, e)
        self.record(machine, program.name, sample)

    def run(self, wanted):
        guests = [m for m in self.machines if not m.native]
        names = {p.name for p in wanted}
        try:
            for machine in guests if 'boot' in names else ():
                self.boot(machine)
            for machine in self.machines:
                times = self.start(machine)
                if not machine.native and 'boot-quick' in names:
                    self.record(machine, 'boot-quick',
                                times and {**times, 'guest': 0, 'sum': 0, 'count': 1})
            for program in wanted:
                if program.group != 'boot':
                    for machine in self.machines:
                        self.measure(machine, program)
        finally:
            for machine in self.machines:
                machine.stop()


def host():
    """What the figures depend on."""
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        model = [line.split(':')[1].strip() for line in f if line.startswith('model name')]
    return {'processor': model[0] if model else platform.machine(), 'processors': os.cpu_count(),
            'kernel': platform.release(), 'load': os.getloadavg()[1]}


def describe(arguments):
    version = subprocess.run([arguments.ring3, 'version'], stdout=subprocess.PIPE, check=False,
                             universal_newlines=True).stdout.split('\n')[0]
    packages = []
    for folder in arguments.guests.values():
        with open(folder + '/packages', encoding='utf-8') as f:
            packages += [line for line in f.read().splitlines() if line not in packages]
    return {'date': datetime.date.today().isoformat(), 'host': host(), 'ring3': version,
            'arch': arguments.arch, 'qemu': vms.qemu_version(arguments.arch), 'guest': packages}


def main():
    arguments = parse()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='ring3-bench.') as folder:
        machines = make_machines(arguments, folder)
        samples = {m.name: {} for m in machines}
        for number in range(1, arguments.rounds + 1):
            Round(number, machines, samples, arguments.timeout).run(arguments.programs)
    data = {**describe(arguments), 'clock': arguments.clock, 'rounds': arguments.rounds,
            'machines': [m.name for m in machines if any(map(any, samples[m.name].values()))],
            'programs': [{'name': p.name, 'group': p.group, 'unit': p.unit}
                         for p in arguments.programs],
            'samples': samples}
    for machine in machines:
        if machine.name not in data['machines']:
            note(f'{machine.name} ran nothing: its column is left out')
    run = report.Run(data)
    print('\n'.join(report.table(run)))
    for engine in run.engines:
        if engine != 'interp' or len(run.engines) == 1:
            print('\n'.join([f'targets, {engine}:', *report.targets(run, engine)]))
    print('\n'.join(report.remarks(run)))
    data['ratios'] = {f'{a}/{b}': {p: r for p in run.programs if (r := run.ratio(a, b, p))}
                      for a in run.machines for b in run.machines if a != b}
    if arguments.json:
        with open(arguments.json, 'w', encoding='utf-8') as f:
            json.dump(data, f, indent=1)
            f.write('\n')
    if arguments.svg:
        chart.write(run, arguments.svg)
    note(f'took {time.monotonic() - began:.0f} s')
    return 0


if __name__ == '__main__':
    sys.exit(main())
