#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boot Debian's unmodified i386 kernel in lock-step: see lock_boot.c.

    lock_boot.py LOCK_BOOT quick|whole|finds|snapshots [OPTION...]

quick: up to the first line of init, without the kernel's crypto self-tests, compared every 200
instructions. whole: everything, to the guest's power-off, compared after each translation.
snapshots: as quick, while the machines are saved and restored in turns. finds: a bit is flipped on the way, and that must show. Further options go to lock_boot. Exit code 0
passed, 1 failed, 77 skipped because the guest was never fetched or the host cannot translate.
"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from harness import APPEND, FULL_APPEND, TOOLS, guest_files  # noqa: E402

SCRIPT = 'uname -r\nseq 1 100 | awk \'{ s += $1 } END { print "sum=" s }\'\n'
CASES = {
    'quick': (APPEND, ['--stretch', '200', '--until', 'ring3: init running']),
    'snapshots': (APPEND, ['--stretch', '1000', '--snapshot-every', '200000', '--until',
                           'ring3: init running']),
    'whole': (FULL_APPEND, ['--until', 'sum=5050']),
    'finds': (APPEND, ['--steps', '20000', '--spoil', '10000']),
}


def main():
    program, case = sys.argv[1:3]
    append, options = CASES[case]
    files = guest_files()
    with tempfile.TemporaryDirectory(prefix='ring3-lock.') as folder:
        script = os.path.join(folder, 'script')
        with open(script, 'w', encoding='utf-8') as f:
            f.write(SCRIPT)
        initrd = os.path.join(folder, 'initramfs.gz')
        subprocess.run([os.path.join(TOOLS, 'initramfs.sh'), files + '/busybox', initrd, script],
                       check=True)
        code = subprocess.run([program, '--kernel', files + '/vmlinuz', '--initrd', initrd,
                               '--append', append, *options, *sys.argv[3:]], check=False).returncode
    if case == 'finds' and code != 77:
        return 0 if code == 1 else 1
    return code


sys.exit(main())
