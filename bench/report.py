# SPDX-License-Identifier: MIT
"""What the samples of a run say: medians, ratios, a table, and the targets of the project.

A run is a dictionary, the JSON file of bench.py:

    clock      'cpu' or 'wall': which of the two times counts
    programs   [{name, group, unit}]
    machines   names, in the order of the columns
    samples    {machine: {program: [{wall, cpu, guest, sum, count} or None, one a round]}}

A ratio is the median over the rounds of the ratio within a round, where both ran close together.
"""
import statistics

# The most that compute programs may cost against native, geometric mean and each; the least gain
# over QEMU, geometric mean and each.
COMPUTE_NATIVE, COMPUTE_QEMU = (1.25, 1.6), (4, 1)
SYSTEM_QEMU, BOOT_QEMU = (1.5, 0.9), 2.5


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
    columns = [('time ' + m, 11) for m in run.machines]
    pairs = []
    if 'native' in run.machines:
        pairs += [(m, 'native') for m in run.machines if m != 'native']
    if 'qemu' in run.machines:
        pairs += [('qemu', e) for e in run.engines]
    columns += [(f'{a}/{b}', 13) for a, b in pairs]
    yield f"{'program':11}" + ''.join(f' {title:>{width}}' for title, width in columns)
    for group in ('compute', 'system', 'other', 'boot'):
        names = run.group(group)
        for program in names:
            times = [run.median(m, program) for m in run.machines]
            yield (f'{program:11}' + ''.join(f" {short_time(t) if t else '-':>11}" for t in times)
                   + ''.join(f' {cell(run.ratio(a, b, program)):>13}' for a, b in pairs))
        if len(names) > 1 and group in ('compute', 'system'):
            yield (f'{group:11}' + f" {'':11}" * len(run.machines)
                   + ''.join(f' {cell(mean(run.ratios(a, b, group))):>13}' for a, b in pairs)
                   + '  geometric mean')


def verdict(good, text):
    return f"{'PASS ' if good else 'short'} {text}"


def targets(run, engine):
    """Lines: each target and what this run says about it. Information, never an exit code."""
    against = run.ratios(engine, 'native', 'compute')
    if against:
        worst = max(against, key=against.get)
        yield verdict(mean(against) <= COMPUTE_NATIVE[0],
                      f'compute {mean(against):.2f} times native (at most {COMPUTE_NATIVE[0]})')
        yield verdict(against[worst] <= COMPUTE_NATIVE[1],
                      f'worst: {worst} {against[worst]:.2f} (at most {COMPUTE_NATIVE[1]})')
    for group, (least, each) in (('compute', COMPUTE_QEMU), ('system', SYSTEM_QEMU)):
        gain = run.ratios('qemu', engine, group)
        if gain:
            worst = min(gain, key=gain.get)
            yield verdict(mean(gain) >= least,
                          f'{group} {mean(gain):.2f} times as fast as QEMU (at least {least})')
            yield verdict(gain[worst] >= each,
                          f'worst: {worst} {gain[worst]:.2f} (at least {each})')
    for boot in run.group('boot'):
        gain = run.ratio('qemu', engine, boot)
        if gain:
            wall = run.ratio('qemu', engine, boot, 'wall')
            yield verdict(gain >= BOOT_QEMU, f'{boot} {gain:.2f} times as fast as QEMU, {wall:.2f} '
                          f'by the wall clock (at least {BOOT_QEMU})')


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
