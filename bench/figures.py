#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How the translator does its work, in counts rather than seconds.

    figures.py RING3 [GUEST_DIR] [--check] [--json FILE]

Bare-metal compute programs (bare/) run with translated code that counts its instructions, with and
without chaining: how many entries of generated code chaining saves, and how much runs without the
monitor. One more shows that the interrupt flag needs no monitor. With GUEST_DIR also Debian: its boot and a checksum of 16 MiB. The figures are those of
`--stats`. Each line compares with the target. Exit code 0, but with --check 1 if one falls short
that does not depend on the host's speed.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
INITRAMFS = os.path.join(HERE, '..', 'tools', 'initramfs.sh')
PROGRAMS = ('fib', 'crc', 'x87')
SCRIPT = 'dd if=/dev/zero bs=64k count=256 2>/dev/null | sha256sum\n'
# Of as many zero bytes.
DIGEST = '080acf35a507ac9849cfcba47dc2ad83e01b75663a516279c8b9d243b719643e'
SECONDS = 300


def assemble(name, folder):
    """The bare-metal program's ELF image, its entry at 1 MiB."""
    image, obj = f'{folder}/{name}.elf', f'{folder}/{name}.o'
    subprocess.run(['as', '--32', '-I', f'{HERE}/bare', '-o', obj, f'{HERE}/bare/{name}.S'],
                   check=True)
    subprocess.run(['ld', '-m', 'elf_i386', '-Ttext-segment=0x100000', '-z', 'noexecstack',
                    '--no-warn-rwx-segments', '-N', '-e', 'start', '-o', image, obj], check=True)
    return image


def run(command):
    """(statistics, console) of a run that must end with 0."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, errors='replace',
                          check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith('{')]
    if done.returncode or not lines:
        sys.exit(f'figures: exit code {done.returncode} from {" ".join(command)}\n'
                 f'{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return json.loads(lines[-1]), done.stdout


class Report:
    """Lines, one a figure."""

    def __init__(self):
        self.rows, self.short = [], 0

    def add(self, text, value, good=None, target='', speed=False):
        """`good`: None without target. `speed`: depends on the host's, so --check ignores it."""
        word = '     ' if good is None else 'PASS ' if good else 'short'
        self.short += good is False and not speed
        print(f'{word} {text}: {value:,.6g}' + (f' ({target})' if target else ''), flush=True)
        self.rows.append({'figure': text, 'value': value, 'good': good, 'target': target})

    def shares(self, name, figures, least):
        self.add(f'{name}: % of instructions without monitor entry', figures['dbt_unaided'],
                 figures['dbt_unaided'] >= least, f'at least {least}')
        self.add(f'{name}: % of translated instructions found in the cache',
                 figures['dbt_hit_rate'], figures['dbt_hit_rate'] > 99, 'more than 99')
        self.add(f'{name}: entries of generated code per million instructions',
                 figures['dbt_entries_per_minsn'])


def bare(report, ring3, folder):
    common = [ring3, 'run', '-m', '64M', '--engine', 'dbt', '--timeout', f'{SECONDS}s',
              '--stats=json']
    free, trapping = (run([*common, *options, assemble('clisti', folder)])[0]['exit_emulate']
                      for options in ((), ('--dbt', 'trap')))
    report.add('2,000,000 times cli or sti: instructions that leave', free, free < 100, 'less than 100')
    report.add('the same, pure trap and emulate', trapping, trapping >= 2e6, 'all')
    for name in PROGRAMS:
        image = assemble(name, folder)
        chained, apart = (run([*common, '--dbt', options, image])[0]
                          for options in ('count', 'count,nochain'))
        factor = apart['dbt_entries_per_minsn'] / chained['dbt_entries_per_minsn']
        report.shares(name, chained, 90)
        report.add(f'{name}: as many entries without chaining', factor, factor >= 100,
                   'at least 100 times')


def debian(report, ring3, guest, folder):
    script, initrd = f'{folder}/script', f'{folder}/initramfs.gz'
    with open(script, 'w', encoding='utf-8') as f:
        f.write(SCRIPT)
    subprocess.run([INITRAMFS, guest + '/busybox', initrd, script], check=True)
    common = [ring3, 'run', '-m', '256M', '--engine', 'dbt', '--timeout', f'{SECONDS}s',
              '--stats=json', '--initrd', initrd,
              '--append', 'console=ttyS0 rdinit=/init quiet panic=-1']
    plain, console = run([*common, guest + '/vmlinuz'])
    counted, counted_console = run([*common, '--dbt', 'count', guest + '/vmlinuz'])
    right = DIGEST in console and DIGEST in counted_console
    report.add('Debian: runs with the right checksum', 2 * right, right, 'both of 2')
    report.shares('Debian', counted, 90)
    report.add('Debian: % of instructions run translated', counted['dbt_share_translated'])
    report.add('Debian: % of instructions copied without any change', plain['dbt_ident'])
    report.add('Debian: % of instructions copied, operands renamed or prefixed',
               plain['dbt_copied'], plain['dbt_copied'] > 50, 'most')
    report.add('Debian: host bytes per guest byte', plain['dbt_expansion'])
    cycles = plain['dbt_cycles_per_insn']
    report.add('Debian: cycles to translate an instruction are counted', cycles, cycles > 0,
               'more than 0')
    report.add('Debian: cycles to translate an instruction, cold', cycles, cycles <= 2000,
               'at most 2,000', speed=True)
    beyond = plain['resident_beyond_mib']
    report.add('Debian: MiB resident beyond guest RAM', beyond, beyond <= 128, 'at most 128')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('ring3')
    parser.add_argument('guest', nargs='?')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--json')
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix='ring3-figures.') as folder:
        if arguments.guest:
            debian(report, arguments.ring3, arguments.guest, folder)
        bare(report, arguments.ring3, folder)
    if arguments.json:
        with open(arguments.json, 'w', encoding='utf-8') as f:
            json.dump(report.rows, f, indent=1)
            f.write('\n')
    return 1 if arguments.check and report.short else 0


if __name__ == '__main__':
    sys.exit(main())
