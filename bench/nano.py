#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What single operations cost a guest, in cycles: the nanobenchmarks of bench/nano/nano.c.

    nano.py RING3 [--rounds N] [--only LABEL[,LABEL...]] [--qemu] [--json FILE]

The guest runs N times (3) under each engine of the table ENGINES, the engines taking turns; the
figures are medians. An engine that this ring3 does not have is left out, with a note. --qemu adds
QEMU's TCG for comparison, if it is installed. Below the table stands what it says about the
project's targets. The JSON holds {label: {name: {cycles, low, high}}}. Exit code 1 if an
operation did not do what it claims, or a run failed.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTS = os.path.join(os.path.dirname(HERE), 'tests', 'guest')
SECONDS = 120
ENGINES = (  # label, arguments of `ring3 run`
    ('interp', ['--engine', 'interp']),
    ('dbt', ['--engine', 'dbt']),
    ('dbt noadapt', ['--engine', 'dbt', '--dbt', 'noadapt']),
    # Page tables traced: what a store to one costs before and after it is translated as a call-out.
    ('traced noadapt', ['--engine', 'dbt', '--dbt', 'trace-tables,noadapt']),
    ('traced', ['--engine', 'dbt', '--dbt', 'trace-tables']),
    ('dbt trap', ['--engine', 'dbt', '--dbt', 'trap']),
)
TARGETS = (  # what it shows, row, column that pays, column that does not, at least so many times
    ('virtual interrupt flag', 'cr8wr-cli-sti', 'dbt trap', 'dbt', 20),
    ('adaptation', 'ptemod-plain', 'traced noadapt', 'traced', 10),
    ('adaptation', 'ptemod-invlpg', 'traced noadapt', 'traced', 10),
    ('adaptation', 'ptemod-used', 'traced noadapt', 'traced', 10),
)
FLAGS = ['-m32', '-march=pentium3', '-mgeneral-regs-only', '-std=gnu17', '-O2', '-ffreestanding',
         '-fno-pic', '-fno-stack-protector', '-fno-asynchronous-unwind-tables',
         '-fcf-protection=none', '-fno-strict-aliasing', '-Wall', '-Wextra',
         '-Wno-unused-parameter', '-Werror', '-nostdlib', '-static', '-no-pie', '-Wl,-m,elf_i386',
         '-Wl,--build-id=none', '-Wl,-z,noexecstack', '-Wl,--no-warn-rwx-segments']


def build(folder):
    image = f'{folder}/nano.elf'
    subprocess.run([os.environ.get('CC', 'cc'), *FLAGS, '-I', GUESTS,
                    f'-Wl,-T,{GUESTS}/lib/link.ld', f'{GUESTS}/lib/start.S', f'{GUESTS}/lib/lib.c',
                    f'{HERE}/nano/loops.S', f'{HERE}/nano/nano.c', '-o', image], check=True)
    return image


def commands(arguments, image):
    """(label, command)"""
    for label, options in ENGINES:
        yield label, [arguments.ring3, 'run', '-m', '64M', '--timeout', f'{SECONDS}s', *options,
                      image]
    if arguments.qemu and shutil.which('qemu-system-i386'):
        yield 'qemu tcg', ['qemu-system-i386', '-accel', 'tcg', '-m', '64', '-kernel', image,
                           '-device', 'isa-debug-exit,iobase=0xf4,iosize=4', '-serial', 'stdio',
                           '-display', 'none', '-no-reboot']


def call(command):
    """(whether all is well, output, messages)"""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, errors='replace',
                          check=False, timeout=2 * SECONDS)
    wanted = 1 if command[0].startswith('qemu') else 0  # its debug exit makes 2 * code + 1
    return done.returncode == wanted, done.stdout, done.stderr


def lacks(ring3, options):
    """Why this ring3 cannot run with these options, or None."""
    messages = call([ring3, 'run', *options, '/dev/null'])[2]
    return messages.strip().split('\n')[0] if '[unknown-' in messages else None


def measure(runs, rounds):
    """{label: {name: [cycles]}}"""
    results = {label: {} for label, _ in runs}
    for _ in range(rounds):
        for label, command in runs:
            good, out, messages = call(command)
            lines = re.findall(r'^(\S+) (\d+\.\d) \d+$', out, re.M)
            if not good or not lines:
                sys.exit(f'nano: {label} failed\n{out}{messages}')
            for name, cycles in lines:
                results[label].setdefault(name, []).append(float(cycles))
    return results


def table(summary):
    labels = list(summary)
    print(f"{'cycles':20}" + ''.join(f'{label:>14}' for label in labels))
    for name in summary[labels[0]]:
        print(f'{name:20}' + ''.join(f"{summary[label][name]['cycles']:14.1f}" for label in labels))


def targets(summary):
    """What the table says about them. Information, never an exit code."""
    for what, row, dear, cheap, least in TARGETS:
        if dear in summary and cheap in summary:
            gain = summary[dear][row]['cycles'] / max(summary[cheap][row]['cycles'], 0.1)
            print(f"{'PASS ' if gain >= least else 'short'} {what}: {row} {gain:.1f} times as cheap "
                  f'under {cheap} as under {dear} (at least {least})')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('ring3')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--only', default='', help='labels of the engines to run, by commas')
    parser.add_argument('--qemu', action='store_true')
    parser.add_argument('--json')
    arguments = parser.parse_args()
    only = {label for label in arguments.only.split(',') if label}

    with tempfile.TemporaryDirectory(prefix='ring3-nano.') as folder:
        runs = []
        for label, command in commands(arguments, build(folder)):
            if only and label not in only:
                continue
            options = dict(ENGINES).get(label)
            why = options and lacks(arguments.ring3, options)
            if why:
                print(f'{label}: left out: {why}', file=sys.stderr)
            else:
                runs.append((label, command))
        if not runs:
            sys.exit('nano: no engine to run')
        results = measure(runs, arguments.rounds)
    summary = {label: {name: {'cycles': statistics.median(x), 'low': min(x), 'high': max(x)}
                       for name, x in rows.items()} for label, rows in results.items()}
    table(summary)
    targets(summary)
    if arguments.json:
        with open(arguments.json, 'w', encoding='utf-8') as f:
            json.dump({'rounds': arguments.rounds, 'cycles': summary}, f, indent=2)
            f.write('\n')
    return 0


sys.exit(main())
