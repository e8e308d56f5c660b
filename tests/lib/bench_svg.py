#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws a run of tests/bench.sh from its raw figures: bench_svg.py RAW SVG NOTE…

One panel for each measure, one bar for each variant: the median, and a thin line from the least to the
largest of the rounds. What is bare stands in words beside the panel's title, for no bar would be seen
beside it. Colours follow the reader's light or dark; a background of its own keeps it legible where the
viewer does not know which it is."""
import html
import statistics
import sys
from collections import defaultdict

# measure, title, factor, digits
PANELS = [
    ("tcp1", "TCP, 1 stream: Gbit/s (more is better)", 1, 2),
    ("tcp4", "TCP, 4 streams: Gbit/s (more is better)", 1, 2),
    ("cpu1", "CPU-s of both ends per Gbit, 1 stream (less is better)", 1, 3),
    ("cpu4", "CPU-s of both ends per Gbit, 4 streams (less is better)", 1, 3),
    ("ping", "round trip, idle, median: ms (less is better)", 1, 3),
    ("anon", "peak own memory of one end: MB (less is better)", 1 / 1024, 1),
]
COLUMNS, PANEL_W, GAP, MARGIN = 2, 410, 30, 24
LABEL_W, VALUE_W, BAR_H, ROW_H, TITLE_H = 104, 52, 14, 23, 30
NOTE_H, NOTE_CHARS = 17, 128

STYLE = """
  .card { fill: #ffffff; stroke: #d0d7de }
  text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .soft { fill: #59636e; font-weight: 400 }
  .value { font-variant-numeric: tabular-nums }
  .bar { fill: #afb8c1 } .ours { fill: #1f6feb } .spread { stroke: #1f2328; stroke-width: 1.2 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #30363d }
    text { fill: #e6edf3 } .soft { fill: #9198a1 }
    .bar { fill: #57606a } .ours { fill: #4493f8 } .spread { stroke: #e6edf3 }
  }
"""


def read(path):
    """{measure: {name: [value]}}, and the names as they came."""
    values, names = defaultdict(lambda: defaultdict(list)), []
    with open(path, encoding="utf-8") as f:
        for line in f:
            name, measure, value = line.rstrip("\n").split("\t")
            if name not in names:
                names.append(name)
            values[measure][name].append(float(value))
    return values, names


def text(x, y, what, css="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{html.escape(what)}</text>'


def bar(x, y, name, figures, digits, most):
    """The name, the bar with its spread, the figure."""
    room = PANEL_W - LABEL_W - VALUE_W
    middle, low, high = (f(figures) for f in (statistics.median, min, max))
    left, centre = x + LABEL_W, y + BAR_H / 2
    yield text(left - 8, centre + 4, name, anchor="end")
    yield (f'<rect x="{left}" y="{y:.1f}" width="{max(room * middle / most, 1):.1f}" height="{BAR_H}" rx="2" '
           f'class="bar{" ours" if name.startswith("warren") else ""}"/>')
    if high > low:
        yield (f'<line x1="{left + room * low / most:.1f}" x2="{left + room * high / most:.1f}" '
               f'y1="{centre:.1f}" y2="{centre:.1f}" class="spread"/>')
    yield text(x + PANEL_W, centre + 4, f"{middle:.{digits}f}", "value", "end")


def panel(x, y, title, names, series, digits):
    bare = series.get("bare", [])
    yield text(x, y + 12, title, "title")
    if any(bare):
        yield text(x + PANEL_W, y + 12, f"bare: {statistics.median(bare):.{digits}f}", "soft", "end")
    shown = [n for n in names if n != "bare" and n in series]
    most = max(max(series[n]) for n in shown)
    for i, name in enumerate(shown):
        yield from bar(x, y + TITLE_H - 8 + i * ROW_H, name, series[name], digits, most)


def wrapped(note):
    line = ""
    for word in note.split():
        if len(line) + len(word) >= NOTE_CHARS:
            yield line
            line = ""
        line += (" " if line else "") + word
    yield line


def draw(values, names, notes):
    panels = [p for p in PANELS if any(n in values[p[0]] for n in names if n != "bare")]
    high = TITLE_H + ROW_H * len([n for n in names if n != "bare"]) + 12
    width = 2 * MARGIN + COLUMNS * PANEL_W + (COLUMNS - 1) * GAP
    at = MARGIN + high * -(-len(panels) // COLUMNS)
    lines = [line for note in notes for line in wrapped(note)]
    height = at + NOTE_H * len(lines) + 14
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" role="img" aria-label="warren beside other VPNs">')
    yield f"<style>{STYLE}</style>"
    yield f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" class="card"/>'
    for i, (measure, title, factor, digits) in enumerate(panels):
        series = {n: [v * factor for v in vs] for n, vs in values[measure].items()}
        yield from panel(MARGIN + (i % COLUMNS) * (PANEL_W + GAP), MARGIN - 4 + i // COLUMNS * high,
                         title, names, series, digits)
    for i, line in enumerate(lines):
        yield text(MARGIN, at + NOTE_H * i + 8, line, "soft")
    yield "</svg>"


def main():
    raw, svg, *notes = sys.argv[1:]
    values, names = read(raw)
    with open(svg, "w", encoding="utf-8") as f:
        f.write("\n".join(draw(values, names, notes)) + "\n")


main()
