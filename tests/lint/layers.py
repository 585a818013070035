#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Includes only point down: check every #include "..." under src/ and include/.

    layers.py TREE

docs/ARCHITECTURE.md has the picture. ALLOWED says for each layer (the folder right under src/)
which layers it may include besides include/ring3 and itself. Folders under isa/ and engine/ keep to
themselves: one instruction set never sees another.
"""
import os
import re
import sys

STACK = ['util', 'host', 'mem', 'isa', 'engine', 'vm', 'board', 'control', 'cli']
ALLOWED = {layer: set(STACK[:i]) for i, layer in enumerate(STACK)}
ALLOWED['board'] |= {'dev', 'backend', 'pv', 'boot'}
ALLOWED['control'] |= {'debug'}
ALLOWED['cli'] |= {'backend', 'boot', 'debug'}
ALLOWED['debug'] = set(STACK[:STACK.index('board')])
for leaf in ('dev', 'backend', 'pv', 'boot'):
    ALLOWED[leaf] = set()

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def sources(tree):
    for top in ('src', 'include'):
        for folder, _, names in os.walk(os.path.join(tree, top)):
            for name in sorted(names):
                if name.endswith(('.c', '.h', '.S')):
                    yield os.path.join(folder, name)


def layer_of(tree, path):
    """('dev', '') or ('isa', 'x86'); the contract is ('ring3', ''), src/main.c belongs to cli."""
    parts = os.path.relpath(path, tree).split(os.sep)
    if parts[0] == 'include':
        return ('ring3', '')
    if len(parts) == 2:
        return ('cli', '')
    return (parts[1], parts[2] if parts[1] in ('isa', 'engine') and len(parts) > 3 else '')


def resolve(tree, path, name):
    for base in (os.path.dirname(path), os.path.join(tree, 'src'), os.path.join(tree, 'include')):
        found = os.path.normpath(os.path.join(base, name))
        if os.path.exists(found):
            return found
    return None


def complaint(tree, path, name):
    """Why this include is wrong, or None."""
    target = resolve(tree, path, name)
    if target is None:
        return 'no such file in the tree'
    (mine, mine_sub), (theirs, theirs_sub) = layer_of(tree, path), layer_of(tree, target)
    if theirs == 'ring3':
        return None
    if mine == 'ring3':
        return f'the contract includes {theirs}'
    if mine not in ALLOWED:
        return f'folder src/{mine} is in no layer: add it to ALLOWED'
    if theirs == mine:
        if mine_sub and theirs_sub and mine_sub != theirs_sub:
            return f'{mine}/{mine_sub} includes {theirs}/{theirs_sub}'
        return None
    if theirs not in ALLOWED[mine]:
        return f'{mine} must not include {theirs}'
    return None


def main():
    tree = sys.argv[1]
    files = bad = 0
    for path in sources(tree):
        files += 1
        with open(path, encoding='utf-8') as lines:
            for number, line in enumerate(lines, 1):
                match = INCLUDE.match(line)
                why = match and complaint(tree, path, match.group(1))
                if why:
                    bad += 1
                    print(f'{os.path.relpath(path, tree)}:{number}: "{match.group(1)}": {why}')
    if not files:
        print('no source files found')
        bad = 1
    print(f"{'FAIL' if bad else 'pass'}: layers, {files} files, {bad} complaints")
    return 1 if bad else 0


sys.exit(main())
