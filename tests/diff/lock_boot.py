#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boot Debian's unmodified kernel in lock-step: see lock_boot.c.

    lock_boot.py LOCK_BOOT i386|mipsel|malta quick|whole|finds|snapshots [OPTION...]

quick: up to the first line of init, without the kernel's crypto self-tests, compared every 200
instructions. whole: everything, to the guest's power-off, compared after each translation.
snapshots: as quick, while the machines are saved and restored in turns. finds: a bit is flipped on
the way, and that must show. Further options go to lock_boot. Exit code 0 passed, 1 failed, 77 skipped
because the guest was never fetched or the host cannot translate.
"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from harness import APPEND, FULL_APPEND, guest_files, initramfs  # noqa: E402

SCRIPT = 'uname -r\nseq 1 100 | awk \'{ s += $1 } END { print "sum=" s }\'\n'
CASES = {
    'quick': (APPEND, ['--stretch', '200', '--until', 'ring3: init running']),
    'snapshots': (APPEND, ['--stretch', '1000', '--snapshot-every', '200000', '--until',
                           'ring3: init running']),
    'whole': (FULL_APPEND, ['--until', 'sum=5050']),
    'finds': (APPEND, ['--steps', '20000', '--spoil', '10000']),
}


def main():
    program, arch, case = sys.argv[1:4]
    append, options = CASES[case]
    board = ['--board', arch] if arch == 'malta' else []
    with tempfile.TemporaryDirectory(prefix='ring3-lock.') as folder:
        initrd = initramfs(os.path.join(folder, 'initramfs.gz'), SCRIPT, arch=arch)
        code = subprocess.run([program, '--kernel', guest_files(arch) + '/vmlinuz', *board,
                               '--initrd', initrd, '--append', append, *options, *sys.argv[4:]],
                              check=False).returncode
    if case == 'finds' and code != 77:
        return 0 if code == 1 else 1
    return code


sys.exit(main())
