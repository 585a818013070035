#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sum up the tests of meson build directories: `N passed, N failed` on the last line.

Reads meson's testlog.json. A program that runs several tests and says so (cmocka's closing lines)
counts as that many, any other as one. A program that failed counts at least one failure, so that a
crash after the closing lines is not lost. No log, or one without tests, is a failure of its own.
"""
import glob
import json
import re
import sys

PASSED = re.compile(r'^\[  PASSED  \] (\d+) test\(s\)', re.M)
FAILED = re.compile(r'^\[  FAILED  \] (\d+) test\(s\)', re.M)
SKIPPED = re.compile(r'^\[  SKIPPED \] (\d+) test\(s\)', re.M)


def count(entry):
    """(passed, failed, skipped) of one program."""
    text = entry.get('stdout', '') + '\n' + entry.get('stderr', '')
    passed, failed, skipped = (sum(map(int, r.findall(text))) for r in (PASSED, FAILED, SKIPPED))
    result = entry['result']
    if result in ('OK', 'EXPECTEDFAIL'):
        return (passed, failed, skipped) if passed + failed + skipped else (1, 0, 0)
    if result == 'SKIP':
        return (0, 0, max(1, skipped))
    return (passed, max(1, failed), skipped)


def main():
    total = [0, 0, 0]
    for build in sys.argv[1:]:
        here = [0, 0, 0]
        for log in glob.glob(build + '/meson-logs/testlog*.json'):
            with open(log, encoding='utf-8', errors='replace') as lines:
                for entry in map(json.loads, lines):
                    counts = count(entry)
                    here = [a + b for a, b in zip(here, counts)]
                    if counts[1]:
                        print(f"failed: {entry['name']} ({entry['result']}) in {build}")
                    if entry['result'] == 'SKIP':
                        print(f"skipped: {entry['name']} in {build}")
        if not sum(here):
            print(f'failed: no test ran in {build}')
            here[1] = 1
        total = [a + b for a, b in zip(total, here)]
    tail = f', {total[2]} skipped' if total[2] else ''
    print(f'{total[0]} passed, {total[1]} failed{tail}')
    return 1 if total[1] else 0


sys.exit(main())
