#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Text rules for every file of the tree.

    text.py TREE

Complains about notes left for later, absolute paths of somebody's machine, C and assembler files
without a licence on their first line, trailing blanks, and files that cannot be read as UTF-8.
Warns, without failing, about files over 800 lines. Build directories and .git are not looked at.
"""
import os
import re
import sys

LONG = 800
# Written in pieces so that this file passes its own rules.
LATER = re.compile(r'\b(' + '|'.join(('TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX')) + r')\b')
SOMEWHERE = re.compile(r'(?<![\w./}$)*>-])/(?:home|root|Users|mnt|srv|media|work[a-z]*)/[\w.]')
SKIP = re.compile(r'^(\.git|build.*|\.cache|__pycache__|LICENSE)$')
CODE = ('.c', '.h', '.S')


def files(tree):
    for folder, folders, names in os.walk(tree):
        folders[:] = sorted(f for f in folders if not SKIP.match(f))
        for name in sorted(names):
            if name not in ('LICENSE', '.git'):  # in a work tree of git it is a file
                yield os.path.join(folder, name)


def complaints(path, text):
    lines = text.split('\n')
    if path.endswith(CODE) and 'SPDX-License-Identifier' not in lines[0]:
        yield 1, 'no SPDX licence line'
    for number, line in enumerate(lines, 1):
        if LATER.search(line):
            yield number, f'a note left for later: {line.strip()}'
        if SOMEWHERE.search(line):
            yield number, f"a path of somebody's machine: {line.strip()}"
        if line != line.rstrip() and not path.endswith('.md'):
            yield number, 'blanks at the end of the line'


def main():
    tree = sys.argv[1]
    seen = bad = 0
    for path in files(tree):
        seen += 1
        name = os.path.relpath(path, tree)
        try:
            with open(path, encoding='utf-8') as f:
                text = f.read()
        except UnicodeDecodeError:
            if not name.startswith('tests/fuzz/'):
                bad += 1
                print(f'{name}: not UTF-8 text')
            continue
        for number, why in complaints(name, text):
            bad += 1
            print(f'{name}:{number}: {why}')
        length = text.count('\n')
        if length > LONG and name.endswith(CODE + ('.py', '.sh')):
            print(f'warning: {name} has {length} lines, more than {LONG}')
    if not seen:
        print('no files found')
        bad = 1
    print(f"{'FAIL' if bad else 'pass'}: text, {seen} files, {bad} complaints")
    return 1 if bad else 0


sys.exit(main())
