#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Show that each lint goes red on what it is for, and green on the same without it.

    selftest.py

Makes small trees and object files in a temporary directory and runs the lints on them.
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SPDX = '/* SPDX-License-Identifier: MIT */\n'
STYLE = 'BasedOnStyle: LLVM\nIndentWidth: 4\nBreakBeforeBraces: Linux\n'

# lint, name of the case, files, expected exit code
TREES = [
    ('layers', 'down', {'src/vm/a.c': '#include "mem/m.h"\n', 'src/mem/m.h': ''}, 0),
    ('layers', 'up', {'src/mem/a.c': '#include "vm/v.h"\n', 'src/vm/v.h': ''}, 1),
    ('layers', 'device sees the monitor', {'src/dev/a.c': '# include "vm/v.h"\n',
                                           'src/vm/v.h': ''}, 1),
    ('layers', 'device sees a processor', {'src/dev/a.c': '#include "isa/x86/x.h"\n',
                                           'src/isa/x86/x.h': ''}, 1),
    ('layers', 'relative way round', {'src/dev/a.c': '#include "../mem/m.h"\n',
                                      'src/mem/m.h': ''}, 1),
    ('layers', 'one isa sees another', {'src/isa/arm/a.c': '#include "isa/x86/x.h"\n',
                                        'src/isa/x86/x.h': ''}, 1),
    ('layers', 'own isa', {'src/isa/x86/a.c': '#include "x.h"\n', 'src/isa/x86/x.h': ''}, 0),
    ('layers', 'contract', {'src/dev/a.c': '#include "ring3/d.h"\n', 'include/ring3/d.h': ''}, 0),
    ('layers', 'contract sees code', {'include/ring3/a.h': '#include "vm/v.h"\n',
                                      'src/vm/v.h': ''}, 1),
    ('layers', 'unknown layer', {'src/new/a.c': '#include "mem/m.h"\n', 'src/mem/m.h': ''}, 1),
    ('layers', 'missing file', {'src/mem/a.c': '#include "mem/none.h"\n'}, 1),
    ('layers', 'nothing to look at', {}, 1),
    ('text', 'clean', {'a.c': SPDX + 'int x;\n'}, 0),
    ('text', 'note', {'a.c': SPDX + '/* TO' + 'DO: all of it */\n'}, 1),
    ('text', 'path', {'a.sh': 'cd /ho' + 'me/me/ring3\n'}, 1),
    ('text', 'licence', {'a.h': 'int x;\n'}, 1),
    ('text', 'blanks', {'a.c': SPDX + 'int x; \n'}, 1),
    ('text', 'binary', {'a.bin': b'\xff\xfe\x00'}, 1),
    ('text', 'long is a warning', {'a.c': SPDX + 'int x;\n' * 900}, 0),
    ('text', 'nothing to look at', {}, 1),
    ('format', 'good', {'src/a.c': 'int f(int x)\n{\n    x++;\n    return x;\n}\n',
                        '.clang-format': STYLE}, 0),
    ('format', 'bad', {'src/a.c': 'int f(void) {return 1;}\n', '.clang-format': STYLE}, 1),
]

# check, object name, C source, expected exit code
OBJECTS = [
    ('data', 'dev_a.c.o', 'const int a = 1; const char *const b[] = {"x"};', 0),
    ('data', 'dev_a.c.o', 'int a = 1;', 1),
    ('data', 'dev_a.c.o', 'int a;', 1),
    ('data', 'dev_a.c.o', 'int f(void) { static int n; return ++n; }', 1),
    ('data', 'dev_a.c.o', '_Thread_local int n;', 1),
    ('data', 'dev_a.c.o', 'const char *b[] = {"x"};', 1),
    ('fatal', 'dev_a.c.o', '#include <stdlib.h>\nvoid f(void) { abort(); }', 1),
    ('fatal', 'isa_x86_a.c.o', '#include <assert.h>\nvoid f(int x) { assert(x); }', 1),
    ('fatal', 'pv_a.c.o', '#include <stdlib.h>\nvoid f(void) { exit(1); }', 1),
    ('fatal', 'cli_a.c.o', '#include <stdlib.h>\nvoid f(void) { exit(1); }', 0),
    ('fatal', 'dev_a.c.o', 'void bug_at(int); void f(void) { bug_at(1); }', 0),
]


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def tree_case(lint, files, folder):
    for name, content in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(content if isinstance(content, bytes) else content.encode())
    return run(sys.executable, f'{HERE}/{lint}.py', folder)


def object_case(check, name, source, folder):
    c, library = f'{folder}/a.c', f'{folder}/lib.a'
    with open(c, 'w', encoding='utf-8') as f:
        f.write(source + '\n')
    subprocess.run(['cc', '-fPIC', '-c', '-o', f'{folder}/{name}', c], check=True)
    subprocess.run(['ar', 'rcT', library, f'{folder}/{name}'], check=True)
    return run(sys.executable, f'{HERE}/symbols.py', check, library)


def main():
    bad = 0
    cases = [(lint, name, tree_case, (lint, files), code) for lint, name, files, code in TREES]
    cases += [('symbols ' + check, source.split('\n')[-1], object_case, (check, name, source), code)
              for check, name, source, code in OBJECTS]
    for lint, name, function, arguments, expected in cases:
        with tempfile.TemporaryDirectory(prefix='ring3-lint.') as folder:
            done = function(*arguments, folder)
        good = done.returncode == expected or (lint == 'format' and done.returncode == 77)
        bad += not good
        print(f"{'ok' if good else 'NOT OK'}: {lint}: {name}")
        if not good:
            print(done.stdout.decode())
    print(f"{'FAIL' if bad else 'pass'}: lint self-test, {len(cases)} cases, {bad} wrong")
    return 1 if bad else 0


sys.exit(main())
