# SPDX-License-Identifier: MIT
"""The measured user programs and how to build the binary that serves them (see user/main.c).

A count makes a program run 0.2 to 0.5 s (compute) or about 0.1 s (system) on a host of 2023; it is
the same on every machine, but for machines too slow for that, which do a part of it.
"""
import collections
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
DATA_LINES = 120000  # the text that the applications work on, 4 MiB

Program = collections.namedtuple('Program', 'name group count unit')
PROGRAMS = [Program(*p) for p in (
    ('sieve', 'compute', 140, '1 MiB'),
    ('crc32', 'compute', 500, '256 KiB'),
    ('quicksort', 'compute', 90, '64 K words'),
    ('fib', 'compute', 1600, 'fib(24)'),
    ('indirect', 'compute', 2400, '61,000 calls'),
    ('nbody-x87', 'compute', 1900, '1000 steps'),
    ('nbody-sse2', 'compute', 4500, '1000 steps'),
    ('sha256', 'compute', 13, '4 MiB'),
    ('gzip', 'compute', 1, '4 MiB'),
    ('sort', 'compute', 3, '120,000 lines'),
    ('awk', 'compute', 3, '120,000 lines'),
    ('getppid', 'system', 500000, 'call'),
    ('pagefault', 'system', 15000, 'page'),
    ('touch16m', 'system', 10, '16 MiB'),
    ('fork', 'system', 2000, 'fork+wait'),
    ('exec', 'system', 1000, 'fork+exec'),
    ('pipe', 'system', 20000, 'round trip'),
    ('signal', 'system', 15000, 'signal'),
    ('write64k', 'system', 20000, '64 KiB'),
    ('read64k', 'system', 25000, '64 KiB'),
    # Outside of the means: some hosts answer this gate twenty times as slowly as the fast entry.
    ('int80', 'other', 50000, 'call'),
    # Not served: from the start of the process to init's first line, with the kernel's tests of its
    # own cryptography and without.
    ('boot', 'boot', 1, 'boot'),
    ('boot-quick', 'boot', 1, 'boot'),
)]

FLAGS = ['-m32', '-march=pentium3', '-std=gnu17', '-O2', '-g', '-ffreestanding', '-fno-pic',
         '-fno-stack-protector', '-fno-asynchronous-unwind-tables', '-fcf-protection=none',
         '-fno-strict-aliasing', '-fno-optimize-sibling-calls', '-fno-math-errno',
         '-Wall', '-Wextra', '-Wshadow', '-Werror']
LINK = ['-m32', '-nostdlib', '-static', '-no-pie', '-Wl,-m,elf_i386', '-Wl,--build-id=none',
        '-Wl,-z,noexecstack']
GENERAL = ['-mgeneral-regs-only']
UNITS = (
    ('main', 'main.c', GENERAL),
    ('compute', 'compute.c', GENERAL),
    ('system', 'system.c', GENERAL),
    ('apps', 'apps.c', GENERAL),
    ('disk', 'disk.c', GENERAL),
    ('nbody_x87', 'nbody.c', ['-mfpmath=387', '-DNBODY=run_nbody_x87']),
    ('nbody_sse2', 'nbody.c', ['-msse2', '-mfpmath=sse', '-DNBODY=run_nbody_sse2']),
)


def build(folder):
    """Compile the server into this folder; returns its path."""
    objects = []
    for name, source, flags in UNITS:
        objects.append(f'{folder}/{name}.o')
        subprocess.run(['cc', *FLAGS, *flags, '-c', f'{HERE}/user/{source}', '-o', objects[-1]],
                       check=True)
    image = f'{folder}/bench'
    subprocess.run(['cc', *LINK, *objects, '-o', image], check=True)
    return image


def select(names):
    """The programs of these names, in the table's order; all for None. ValueError: unknown."""
    if names is None:
        return PROGRAMS
    unknown = set(names) - {p.name for p in PROGRAMS}
    if unknown:
        raise ValueError(f'no program {", ".join(sorted(unknown))}; there are '
                         + ', '.join(p.name for p in PROGRAMS))
    return [p for p in PROGRAMS if p.name in names]
