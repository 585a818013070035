# SPDX-License-Identifier: MIT
"""What the samples of a run say: medians, ratios, a table, and the targets of the project.

A run is a dictionary, the JSON file of bench.py:

    arch       whose programs they are, i386 unless it says otherwise
    clock      'cpu' or 'wall': which of the two times counts
    programs   [{name, group, unit}]
    machines   names, in the order of the columns
    samples    {machine: {program: [{wall, cpu, guest, sum, count} or None, one a round]}}

A ratio is the median over the rounds of the ratio within a round, where both ran close together.
"""
import collections
import statistics

# What the project wants of an architecture's translator: the most that compute programs may cost
# against native, geometric mean and each; the least gain over QEMU, geometric mean and each, and that
# of single programs and of boots.
Targets = collections.namedtuple('Targets', 'native compute system programs boot')
TARGETS = {
    'i386': Targets((1.25, 1.6), (4, 1), (1.5, 0.9), {}, 2.5),
    'mips': Targets(None, (2, 0.9), (1.3, 0.9), {'nbody': 4}, None),
}


class Run:
    def __init__(self, data):
        self.data = data
        self.machines = data['machines']
        self.programs = [p['name'] for p in data['programs']]
        self.engines = [m for m in self.machines if m not in ('native', 'qemu')]

    def group(self, name):
        return [p['name'] for p in self.data['programs'] if p['group'] == name]

    def times(self, machine, program, clock=None):
        """Seconds for one time, per round; None where it failed or was not measured."""
        samples = self.data['samples'].get(machine, {}).get(program, [])
        return [s and s[clock or self.data['clock']] / s['count'] for s in samples]

    def median(self, machine, program, clock=None):
        good = [t for t in self.times(machine, program, clock) if t]
        return statistics.median(good) if good else None

    def ratio(self, machine, base, program, clock=None):
        """How many times as long as on `base` it takes; None without both."""
        pairs = zip(self.times(machine, program, clock), self.times(base, program, clock))
        good = [t / b for t, b in pairs if t and b]
        return statistics.median(good) if good else None

    def ratios(self, machine, base, group):
        """{program: ratio} of those that both ran."""
        found = {p: self.ratio(machine, base, p) for p in self.group(group)}
        return {p: r for p, r in found.items() if r}

    def wrong(self):
        """Programs whose checksum was not the same everywhere: (program, {machine: sums})."""
        for program in self.programs:
            sums = {m: {s['sum'] for s in self.data['samples'][m].get(program, []) if s}
                    for m in self.machines}
            if len(set().union(*sums.values())) > 1:
                yield program, sums

    def unsteady(self):
        """(machine, program, seconds at best, at worst) where rounds differ by more than half."""
        for machine in self.machines:
            for program in self.programs:
                good = [t for t in self.times(machine, program) if t]
                if good and max(good) > 1.5 * min(good):
                    yield machine, program, min(good), max(good)

    def failed(self):
        """(machine, program, rounds that failed)"""
        for machine in self.machines:
            for program, samples in self.data['samples'][machine].items():
                if None in samples:
                    yield machine, program, samples.count(None)


def mean(ratios):
    return statistics.geometric_mean(ratios.values()) if ratios else None


def short_time(seconds):
    for unit, size in (('s', 1), ('ms', 1e-3), ('us', 1e-6), ('ns', 1e-9)):
        if seconds >= size:
            return f'{seconds / size:.3g} {unit}'
    return '0'


def cell(value, form='{:.2f}'):
    return form.format(value) if value else '-'


def table(run):
    """Lines: one time's length on each machine, then its ratio to native, and QEMU's to it."""
    pairs = []
    if 'native' in run.machines:
        pairs += [(m, 'native') for m in run.machines if m != 'native']
    if 'qemu' in run.machines:
        pairs += [('qemu', e) for e in run.engines]
    times = [max(11, len('time ' + m)) for m in run.machines]
    ratios = [max(13, len(f'{a}/{b}')) for a, b in pairs]
    titles = ['time ' + m for m in run.machines] + [f'{a}/{b}' for a, b in pairs]

    def row(name, cells):
        return f'{name:11}' + ''.join(f' {c:>{w}}' for c, w in zip(cells, times + ratios))
    yield row('program', titles)
    for group in ('compute', 'system', 'other', 'boot'):
        names = run.group(group)
        for program in names:
            medians = [run.median(m, program) for m in run.machines]
            yield row(program, [short_time(t) if t else '-' for t in medians]
                      + [cell(run.ratio(a, b, program)) for a, b in pairs])
        if len(names) > 1 and group in ('compute', 'system'):
            yield row(group, [''] * len(times) + [cell(mean(run.ratios(a, b, group)))
                                                  for a, b in pairs]) + '  geometric mean'


def verdict(good, text):
    return f"{'PASS ' if good else 'short'} {text}"


def native_targets(run, engine, wanted):
    against = run.ratios(engine, 'native', 'compute')
    if against and wanted.native:
        worst = max(against, key=against.get)
        mean_most, each_most = wanted.native
        yield verdict(mean(against) <= mean_most,
                      f'compute {mean(against):.2f} times native (at most {mean_most})')
        yield verdict(against[worst] <= each_most,
                      f'worst: {worst} {against[worst]:.2f} (at most {each_most})')


def targets(run, engine):
    """Lines: each target and what this run says about it. Information, never an exit code."""
    wanted = TARGETS[run.data.get('arch', 'i386')]
    yield from native_targets(run, engine, wanted)
    for group, (least, each) in (('compute', wanted.compute), ('system', wanted.system)):
        gain = run.ratios('qemu', engine, group)
        if gain:
            worst = min(gain, key=gain.get)
            yield verdict(mean(gain) >= least,
                          f'{group} {mean(gain):.2f} times as fast as QEMU (at least {least})')
            yield verdict(gain[worst] >= each,
                          f'worst: {worst} {gain[worst]:.2f} (at least {each})')
    for program, least in wanted.programs.items():
        gain = run.ratio('qemu', engine, program)
        if gain:
            yield verdict(gain >= least,
                          f'{program} {gain:.2f} times as fast as QEMU (at least {least})')
    for boot in run.group('boot') if wanted.boot else ():
        gain = run.ratio('qemu', engine, boot)
        if gain:
            wall = run.ratio('qemu', engine, boot, 'wall')
            yield verdict(gain >= wanted.boot, f'{boot} {gain:.2f} times as fast as QEMU, '
                          f'{wall:.2f} by the wall clock (at least {wanted.boot})')


def remarks(run):
    """Lines about what spoils the figures."""
    for machine, program, rounds in run.failed():
        yield f'FAILED: {program} on {machine} in {rounds} rounds'
    for program, sums in run.wrong():
        yield f'WRONG RESULT: {program}: ' + ', '.join(f'{m} {sorted(s)}' for m, s in sums.items())
    for machine, program, best, worst in run.unsteady():
        yield f'unsteady: {program} on {machine}: {short_time(best)} to {short_time(worst)}'
    samples = [s for m in run.machines for rounds in run.data['samples'][m].values()
               for s in rounds if s and s['guest']]
    if samples:
        drift = statistics.median(abs(s['guest'] - s['wall']) / s['wall'] for s in samples)
        busy = statistics.median(s['wall'] / s['cpu'] for s in samples)
        yield (f"times are the {'processor time' if run.data['clock'] == 'cpu' else 'wall clock'} "
               f'of the host; its wall clock ran {busy:.2f} times as long as its processors worked; '
               f'guest clocks differ from it by {drift:.1%} (median)')
