#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Is every C file formatted as .clang-format says?

    format.py TREE

Versions of clang-format differ in taste, so the one of Debian 12 (14) judges; with another one the
check is skipped (exit code 77). `make format` repairs.
"""
import glob
import re
import shutil
import subprocess
import sys

VERSION = '14'


def main():
    tree = sys.argv[1]
    tool = shutil.which('clang-format-' + VERSION) or shutil.which('clang-format')
    if not tool:
        print('FAIL: format: clang-format is not installed')
        return 1
    said = subprocess.run([tool, '--version'], stdout=subprocess.PIPE, universal_newlines=True,
                          check=True).stdout
    if not re.search(r'version ' + VERSION + r'\.', said):
        print(f'skip: format is judged by clang-format {VERSION}; this is {said.strip()}')
        return 77
    paths = sorted(path for folder in ('include', 'src', 'tests', 'bench')
                   for end in ('c', 'h')
                   for path in glob.glob(f'{tree}/{folder}/**/*.{end}', recursive=True))
    bad = [path for path in paths
           if subprocess.run([tool, '--dry-run', '--Werror', path], stderr=subprocess.PIPE,
                             check=False).returncode]
    for path in bad:
        print(f'{path}: not formatted (make format)')
    if not paths:
        print('no C files found')
    failed = bad or not paths
    print(f"{'FAIL' if failed else 'pass'}: format, {len(paths)} files, {len(bad)} complaints")
    return 1 if failed else 0


sys.exit(main())
