#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compare what the translator makes of tests/golden/cases.S with x86.golden.

    golden.py PROGRAM            print the differences, if any; exit code 1
    golden.py PROGRAM --update   take what it makes now for right; review it with git diff
"""
import difflib
import os
import subprocess
import sys

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'x86.golden')


def main():
    p = subprocess.run([sys.argv[1]], stdout=subprocess.PIPE, timeout=60)
    if p.returncode == 77:
        return 77
    made = p.stdout.decode()
    if p.returncode != 0:
        print('\n'.join(line for line in made.splitlines() if line.startswith(('==', '!!'))))
        print(f'exit code {p.returncode}: lines with !! say which tables are wrong')
        return 1
    if '--update' in sys.argv[2:]:
        with open(GOLDEN, 'w') as f:
            f.write(made)
        return 0
    with open(GOLDEN) as f:
        golden = f.read()
    diff = list(difflib.unified_diff(golden.splitlines(), made.splitlines(), 'x86.golden',
                                     'translator', lineterm='', n=12))
    print('\n'.join(diff))
    if diff:
        print(f'if that is meant: {sys.argv[0]} {sys.argv[1]} --update, and review git diff')
    return 1 if diff else 0


sys.exit(main())
