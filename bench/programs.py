# SPDX-License-Identifier: MIT
"""The measured user programs and how to build the binary that serves them (see user/main.c), for
i386 and for MIPS.

A count makes a program run 0.2 to 0.5 s (compute) or about 0.1 s (system) on a host of 2023; it is
the same on every machine, but for machines too slow for that, which do a part of it.
"""
import collections
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
DATA_LINES = 120000  # the text that the applications work on, 4 MiB

# `arch`: where it exists, None for everywhere.
Program = collections.namedtuple('Program', 'name group count unit arch', defaults=(None,))
PROGRAMS = [Program(*p) for p in (
    ('sieve', 'compute', 140, '1 MiB'),
    ('crc32', 'compute', 500, '256 KiB'),
    ('quicksort', 'compute', 90, '64 K words'),
    ('fib', 'compute', 1600, 'fib(24)'),
    ('indirect', 'compute', 2400, '61,000 calls'),
    ('nbody-x87', 'compute', 1900, '1000 steps', 'i386'),
    ('nbody-sse2', 'compute', 4500, '1000 steps', 'i386'),
    ('nbody', 'compute', 900, '1000 steps', 'mips'),
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
    ('int80', 'other', 50000, 'call', 'i386'),
    # Not served: from the start of the process to init's first line, with the kernel's tests of its
    # own cryptography and without.
    ('boot', 'boot', 1, 'boot'),
    ('boot-quick', 'boot', 1, 'boot'),
)]

FLAGS = ['-std=gnu17', '-O2', '-g', '-ffreestanding', '-fno-pic', '-fno-stack-protector',
         '-fno-strict-aliasing', '-fno-optimize-sibling-calls', '-fno-math-errno',
         '-Wall', '-Wextra', '-Wshadow', '-Werror']
LINK = ['-nostdlib', '-static', '-no-pie', '-Wl,--build-id=none', '-Wl,-z,noexecstack']
COMMON = ('main.c', 'compute.c', 'system.c', 'apps.c', 'disk.c')

# How an architecture's binary is made. `general`: flags of all units but those of n-body, which are
# (object, flags); `own`: further flags of its arch.c.
Target = collections.namedtuple('Target', 'compiler package flags general own link nbody')
TARGETS = {
    'i386': Target(
        compiler='cc', package='gcc',
        flags=['-m32', '-march=pentium3', '-fno-asynchronous-unwind-tables',
               '-fcf-protection=none'],
        general=['-mgeneral-regs-only'], own=[], link=['-m32', '-Wl,-m,elf_i386'],
        nbody=(('nbody_x87', ['-mfpmath=387', '-DNBODY=run_nbody_x87']),
               ('nbody_sse2', ['-msse2', '-mfpmath=sse', '-DNBODY=run_nbody_sse2']))),
    # Hard float, as Debian's own programs. Its arch.c has memset, whose loop must not become a call
    # of memset.
    'mips': Target(
        compiler='mipsel-linux-gnu-gcc', package='gcc-mipsel-linux-gnu',
        flags=['-march=mips32r2', '-mabi=32', '-mhard-float', '-mno-abicalls', '-G0'],
        general=[], own=['-fno-tree-loop-distribute-patterns'], link=['-mabi=32', '-mno-abicalls'],
        nbody=(('nbody', ['-DNBODY=run_nbody']),)),
}


def build(folder, arch='i386'):
    """Compile the server into this folder; returns its path."""
    target, user, objects = TARGETS[arch], f'{HERE}/user', []
    if not shutil.which(target.compiler):
        raise FileNotFoundError(f'no {target.compiler} to compile the measured programs with: '
                                f'install package {target.package}')
    units = [(source[:-2], source, target.general) for source in COMMON]
    units.append(('arch', arch + '/arch.c', [*target.general, *target.own]))
    units += [(name, 'nbody.c', flags) for name, flags in target.nbody]
    for name, source, flags in units:
        objects.append(f'{folder}/{name}.o')
        subprocess.run([target.compiler, *target.flags, *FLAGS, *flags, '-I', f'{user}/{arch}',
                        '-I', user, '-c', f'{user}/{source}', '-o', objects[-1]], check=True)
    image = f'{folder}/bench'
    subprocess.run([target.compiler, *target.link, *LINK, *objects, '-o', image], check=True)
    return image


def select(names, arch='i386'):
    """The programs of these names, in the table's order; all for None. ValueError: unknown."""
    known = [p for p in PROGRAMS if p.arch in (None, arch)]
    if names is None:
        return known
    unknown = set(names) - {p.name for p in known}
    if unknown:
        raise ValueError(f'no program {", ".join(sorted(unknown))} for {arch}; there are '
                         + ', '.join(p.name for p in known))
    return [p for p in known if p.name in names]
