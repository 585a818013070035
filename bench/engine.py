#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measure one engine by itself: its speed, and memory beyond guest RAM.

    engine.py RING3 GUEST_DIR [--rounds N] [--engine NAME] [--json FILE]

Workloads: the bare-metal programs in bare/, each of which checks its own result, and the boot
of Debian's i386 kernel to a power-off. A workload is run N times (3); the table and the JSON give
the median of each figure. The figures come from ring3 itself (`--stats=json`). MIPS here is million
guest instructions per second of processor time, all threads, so that a busy machine does not spoil it;
memory is MiB resident beyond guest RAM. Last, the share of a processor that a Debian guest costs
while it only waits: its kernel asks for 250 timer ticks a second even then. The engine is interp
unless another is named. A translator does not count the instructions that it runs, so there is no
goal for its MIPS.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from figures import assemble

HERE = os.path.dirname(os.path.abspath(__file__))
INITRAMFS = os.path.join(HERE, '..', 'tools', 'initramfs.sh')
PROGRAMS = ('sieve', 'fib', 'crc', 'sort', 'chase', 'x87')
BEYOND = {'interp': 48}  # MiB
BEYOND_OTHERS = 128
FIGURES = ('instructions', 'host_cpu_s', 'time_total_s', 'mips', 'ram_touched_mib',
           'resident_beyond_mib')


def workloads(arguments, folder):
    """(name, arguments of `ring3 run`)"""
    for name in PROGRAMS:
        yield name, ['-m', '64M', assemble(name, folder)]
    script, initrd = f'{folder}/script', f'{folder}/initramfs.gz'
    with open(script, 'w', encoding='utf-8') as f:
        f.write('true\n')
    subprocess.run([INITRAMFS, arguments.guest + '/busybox', initrd, script], check=True)
    for memory in ('128M', '1G'):
        yield 'boot ' + memory, ['-m', memory, '--initrd', initrd, '--append',
                                 'console=ttyS0 rdinit=/init quiet panic=-1',
                                 arguments.guest + '/vmlinuz']


def run_once(arguments, options):
    """The statistics of one run."""
    command = [arguments.ring3, 'run', '--timeout', '600s', '--stats=json',
               '--engine', arguments.engine]
    done = subprocess.run(command + options, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, errors='replace',
                          check=False)
    if done.returncode:
        sys.exit(f'bench: exit code {done.returncode} from {" ".join(command + options)}\n'
                 f'{done.stdout[-2000:]}{done.stderr[-2000:]}')
    lines = [line for line in done.stderr.splitlines() if line.startswith('{')]
    figures = json.loads(lines[-1])
    figures['mips'] = figures['instructions'] / 1e6 / figures['host_cpu_s']
    return figures


def cpu_seconds(pid):
    """Processor time of all threads of a process so far."""
    nanoseconds = 0
    for task in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{task}/schedstat', encoding='ascii') as f:
            nanoseconds += int(f.read().split()[0])
    return nanoseconds / 1e9


def idle_share(arguments, folder):
    """Processor time per second of a guest that sleeps."""
    script, initrd = f'{folder}/script', f'{folder}/initramfs.gz'
    with open(script, 'w', encoding='utf-8') as f:
        f.write('echo bench: idle now\nsleep 1000\n')
    subprocess.run([INITRAMFS, arguments.guest + '/busybox', initrd, script], check=True)
    command = [arguments.ring3, 'run', '--engine', arguments.engine, '-m', '128M', '--timeout', '600s', '--initrd', initrd,
               '--append', 'console=ttyS0 rdinit=/init quiet panic=-1 cryptomgr.notests',
               arguments.guest + '/vmlinuz']
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as ring3:
        for line in ring3.stdout:
            if line.startswith(b'bench: idle now'):
                break
        time.sleep(4)  # the boot's last deferred work
        before, began = cpu_seconds(ring3.pid), time.monotonic()
        time.sleep(10)
        share = (cpu_seconds(ring3.pid) - before) / (time.monotonic() - began)
        ring3.terminate()
        ring3.stdout.read()
    return share


def conclude(engine, compute, beyond, idle):
    """What the figures say about the targets. Information, never an exit code."""
    def line(good, text):
        print(f"{'PASS ' if good else 'short'} {text}", flush=True)
    if engine == 'interp':
        line(compute >= 50, f'compute programs, geometric mean: {compute:.1f} MIPS (at least 50)')
    most = BEYOND.get(engine, BEYOND_OTHERS)
    line(beyond <= most, f'most memory beyond touched guest RAM: {beyond:.1f} MiB '
         f'(at most {most})')
    line(idle < 0.02, f'idle Debian guest: {idle:.2%} of a processor (less than 2%)')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('ring3')
    parser.add_argument('guest')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--engine', default='interp')
    parser.add_argument('--json')
    arguments = parser.parse_args()

    results = {}
    print(f"{'workload':12} {'M instr':>9} {'CPU s':>9} {'MIPS':>8} {'range':>13}"
          f" {'RAM MiB':>9} {'beyond MiB':>11}", flush=True)
    with tempfile.TemporaryDirectory(prefix='ring3-bench.') as folder:
        for name, options in workloads(arguments, folder):
            runs = [run_once(arguments, options) for _ in range(arguments.rounds)]
            m = {key: statistics.median(run[key] for run in runs) for key in FIGURES}
            m['mips_range'] = [min(r['mips'] for r in runs), max(r['mips'] for r in runs)]
            results[name] = m
            spread = '{:.1f}-{:.1f}'.format(*m['mips_range'])
            print(f"{name:12} {m['instructions'] / 1e6:9.1f} {m['host_cpu_s']:9.2f}"
                  f" {m['mips']:8.1f} {spread:>13} {m['ram_touched_mib']:9.1f}"
                  f" {m['resident_beyond_mib']:11.1f}", flush=True)
        idle = statistics.median(idle_share(arguments, folder) for _ in range(arguments.rounds))
    compute = statistics.geometric_mean(results[name]['mips'] for name in PROGRAMS)
    beyond = max(m['resident_beyond_mib'] for m in results.values())
    conclude(arguments.engine, compute, beyond, idle)
    summary = {'rounds': arguments.rounds, 'engine': arguments.engine,
               'compute_mips': compute, 'idle_share': idle,
               'resident_beyond_mib': beyond, 'workloads': results}
    if arguments.json:
        with open(arguments.json, 'w', encoding='utf-8') as f:
            json.dump(summary, f, indent=2)
            f.write('\n')
    else:
        print(json.dumps(summary))
    return 0


sys.exit(main())
