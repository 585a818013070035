#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draw a run of bench.py as bars: how many times as long as native each program takes.

    chart.py RUN.json OUT.svg

One row a program, one bar a machine, on a logarithmic scale that starts at native speed: no bar is
native speed, a bar to the left is faster. Below, seconds of a boot, linear. Text stays text, and
the colours fit light and dark pages: grey and black follow the page's scheme, bars are the same.
"""
import json
import math
import sys
from xml.sax.saxutils import escape

import report

WIDTH, LEFT, RIGHT = 760, 110, 64
BAR, GAP = 9, 7  # height of a bar, space between rows
COLOURS = {'dbt': '#2f81c7', 'qemu': '#d9822b', 'interp': '#8a8f98'}
OTHER = ('#3f9d6d', '#9a67c9', '#b8566b')
LABELS = {'qemu': 'QEMU (TCG)', 'dbt': 'ring3, translator', 'interp': 'ring3, interpreter'}
TITLES = {'compute': 'Compute', 'system': 'System', 'boot': 'Boot of Debian to init, seconds'}
CLOCKS = {'cpu': 'processor time', 'wall': 'wall clock'}
STYLE = '''text{font:12px system-ui,sans-serif;fill:#24292f}
.small{font-size:10px}.head{font-weight:600}.soft{fill:#6e7781}.grid{stroke:#8c959f;stroke-opacity:.3}
.one{stroke:#6e7781}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9198a1}.one{stroke:#9198a1}}'''


class Canvas:
    """Collects SVG elements from top to bottom; `y` is where the next one goes."""

    def __init__(self):
        self.parts, self.y = [], 0

    def text(self, x, y, text, kind='', anchor='start'):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">'
                          f'{escape(text)}</text>')

    def bar(self, x, y, width, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" '
                          f'height="{BAR - 1}" fill="{colour}"/>')

    def line(self, x, top, bottom, kind):
        self.parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}" '
                          f'class="{kind}"/>')

    def svg(self, label):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.y:.0f}" '
                f'width="{WIDTH}" height="{self.y:.0f}" role="img" aria-label="{escape(label)}">\n'
                f'<style>{STYLE}</style>\n' + '\n'.join(self.parts) + '\n</svg>\n')


class LogScale:
    """Ratios to places; 1 is where bars start."""

    def __init__(self, values):
        self.low = min([1, *values])
        self.high = max([2, *values])

    def place(self, value):
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def ticks(self):
        return [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
                if self.low <= t <= self.high]


def times(ratio):
    """Three digits and the sign."""
    return f'{ratio:.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}×'


def colours(machines):
    spare = iter(OTHER * len(machines))
    return {m: COLOURS.get(m) or next(spare) for m in machines}


def rows(canvas, names, machines, value, bar, label):
    """Rows of bars: `value(name, machine)`, drawn by `bar` from and to, `label` behind."""
    paint = colours(machines)
    for name in names:
        found = [(m, v) for m in machines if (v := value(name, m))]
        if not found:
            continue
        canvas.text(LEFT - 12, canvas.y + len(found) * BAR / 2 + 4, name, anchor='end')
        for machine, v in found:
            start, end = bar(v)
            canvas.bar(min(start, end), canvas.y, abs(end - start), paint[machine])
            canvas.text(max(start, end) + 4, canvas.y + BAR - 1, label(v), 'small soft')
            canvas.y += BAR
        canvas.y += GAP


def ratio_part(canvas, run, base, machines):
    """The programs, group by group, with their geometric means."""
    groups = [g for g in ('compute', 'system') if any(run.ratios(m, base, g) for m in machines)]
    values = [r for g in groups for m in machines for r in run.ratios(m, base, g).values()]
    scale = LogScale(values)
    for group in groups:
        canvas.text(LEFT, canvas.y + 10, TITLES[group], 'head')
        canvas.y += 20
        top, mark = canvas.y - 4, len(canvas.parts)
        ratios = {m: run.ratios(m, base, group) for m in machines}
        rows(canvas, run.group(group), machines, lambda p, m: ratios[m].get(p),
             lambda v: (scale.place(1), scale.place(v)), times)
        rows(canvas, ['geo. mean'], machines, lambda _, m: report.mean(ratios[m]),
             lambda v: (scale.place(1), scale.place(v)), times)
        grid = Canvas()
        for tick in scale.ticks():
            grid.line(scale.place(tick), top, canvas.y - 2, 'one' if tick == 1 else 'grid')
            grid.text(scale.place(tick), canvas.y + 9, f'{tick:g}×' if tick != 1 else base,
                      'small soft', 'middle')
        canvas.parts[mark:mark] = grid.parts
        canvas.y += 30


def boot_part(canvas, run, machines):
    boots = {(b, m): run.median(m, b) for b in run.group('boot') for m in machines}
    longest = max((t for t in boots.values() if t), default=None)
    if not longest:
        return
    canvas.text(LEFT, canvas.y + 10, TITLES['boot'], 'head')
    canvas.y += 20
    reach = WIDTH - LEFT - RIGHT
    rows(canvas, run.group('boot'), machines, lambda b, m: boots[b, m],
         lambda v: (LEFT, LEFT + v / longest * reach), '{:.1f}'.format)


def draw(run):
    """The SVG text, or None when there is nothing to compare with."""
    base = next((m for m in ('native', 'qemu') if m in run.machines), None)
    # Beside a translator, the interpreter would only stretch the scale.
    left_out = {'native', base} | ({'interp'} if len(run.engines) > 1 else set())
    machines = [m for m in run.machines if m not in left_out]
    if not base or not machines:
        return None
    canvas = Canvas()
    canvas.y = 20
    canvas.text(LEFT, canvas.y, f'Time against {base}, logarithmic; shorter is better', 'head')
    canvas.y += 12
    x = LEFT
    for machine, colour in colours(machines).items():
        canvas.bar(x, canvas.y, 14, colour)
        label = LABELS.get(machine, machine)
        canvas.text(x + 18, canvas.y + BAR, label)
        x += 40 + 7 * len(label)
    canvas.y += 26
    ratio_part(canvas, run, base, machines)
    boot_part(canvas, run, machines if base == 'native' else [*machines, base])
    about = run.data['host']
    canvas.y += 8
    canvas.text(LEFT, canvas.y + 8, f"{run.data['date']}, {about['processor']}, Linux "
                f"{about['kernel']}; {CLOCKS[run.data['clock']]}, median of {run.data['rounds']}",
                'small soft')
    canvas.y += 18
    return canvas.svg(f'Bar chart: time of programs under ring3 and QEMU against {base}')


def write(run, path):
    text = draw(run)
    if text:
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)


if __name__ == '__main__':
    with open(sys.argv[1], encoding='utf-8') as source:
        write(report.Run(json.load(source)), sys.argv[2])
