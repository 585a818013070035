#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The measured programs (bench/) in a MIPS guest compute what their i386 build computes on the host.

    programs.py RING3 ENGINE BOARD

Every program runs once; of those that compute, all sums must be equal, n-body's that of SSE2. Exit
code 0 passed, 1 failed, 77 skipped: no compiler for MIPS, no guest in the cache, or a host that runs
no 32-bit programs.
"""
import os
import subprocess
import sys
import tempfile

import harness

sys.path.insert(0, os.path.join(harness.HERE, '..', '..', 'bench'))
import programs  # noqa: E402
import vms  # noqa: E402

LINES = 2000  # of the applications' data
SECONDS = 120
ALSO = {'nbody': 'nbody-sse2'}  # the host's name


def sums(machine, wanted):
    """{program: checksum}, each run once."""
    machine.start()
    found = {'data': machine.ask('data', LINES, SECONDS)['sum']}
    for program in wanted:
        found[program.name] = machine.ask(program.name, 1, SECONDS)['sum']
    return found


def by_host(folder):
    files = harness.guest_files()
    machine = vms.Native(files, programs.build(folder))
    wanted = [p for p in programs.select(None) if p.group != 'boot']
    try:
        return sums(machine, wanted)
    except vms.Broken as why:
        return harness.skip(f'nothing to compare with, the host does not run the programs: {why}')
    finally:
        machine.stop()


def by_guest(ring3, engine, board, folder):
    files = harness.guest_files(vms.PLATFORMS['mips'].boards[board])
    try:
        image = programs.build(folder, 'mips')
    except FileNotFoundError as why:
        harness.skip(str(why))
    script, initrd = f'{folder}/script', f'{folder}/initramfs.gz'
    with open(script, 'w', encoding='utf-8') as f:
        f.write(vms.SCRIPT)
    subprocess.run([os.path.join(harness.TOOLS, 'initramfs.sh'), files + '/busybox', initrd, script,
                    image], check=True)
    machine = vms.Ring3(f'{board}/{engine}', ring3, files, initrd, 'mips')
    wanted = [p for p in programs.select(None, 'mips') if p.group != 'boot']
    try:
        return sums(machine, wanted)
    except vms.Broken as why:
        sys.exit(f'{why}; the guest said last:\n{machine.tail.decode("utf-8", "replace")}')
    finally:
        machine.stop()


def main():
    ring3, engine, board = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix='ring3-programs.') as folder:
        right = by_host(folder)
        found = by_guest(ring3, engine, board, folder)
    wrong = [f'{name}: {total} in the guest, {right[ALSO.get(name, name)]} on the host'
             for name, total in found.items() if total != right[ALSO.get(name, name)]]
    print('\n'.join(wrong) or f'{len(found)} programs agree')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
