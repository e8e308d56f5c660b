#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the table of tests/bench.sh from its raw figures (name, measure, value per line)."""
import statistics
import sys
from collections import defaultdict

# measure, heading, factor, digits; whether more is better
MEASURES = [
    ("tcp1", "TCP 1 stream, Gbit/s", 1, 2),
    ("tcp4", "TCP 4 streams, Gbit/s", 1, 2),
    ("cpu1", "CPU-s per Gbit, 1 stream", 1, 3),
    ("cpu4", "CPU-s per Gbit, 4 streams", 1, 3),
    ("ping", "ping, ms", 1, 3),
    ("hwm", "peak memory (VmHWM), MB", 1 / 1024, 1),
    ("anon", "own memory (RssAnon), MB", 1 / 1024, 1),
]


def main(path):
    values = defaultdict(list)
    names = []
    for line in open(path, encoding="utf-8"):
        name, measure, value = line.rstrip("\n").split("\t")
        if name not in names:
            names.append(name)
        values[name, measure].append(float(value))
    middle = {key: statistics.median(v) for key, v in values.items()}
    ratio = [n for n in ("bare", "wireguard-go") if n in names and "warren" in names]
    head = f"{'':28}" + "".join(f"{n:>15}" for n in names)
    print(head + "".join(f"{'warren/' + n:>21}" for n in ratio))
    for measure, title, factor, digits in MEASURES:
        row = f"{title:28}"
        for n in names:
            v = middle.get((n, measure), 0) * factor
            row += f"{v:15.{digits}f}" if v else f"{'-':>15}"
        for n in ratio:
            low = middle.get((n, measure), 0)
            row += f"{middle['warren', measure] / low:21.2f}" if low else f"{'-':>21}"
        print(row)
    for measure in ("tcp1", "tcp4"):
        for n in names:
            raw = " ".join(f"{v:.2f}" for v in values[n, measure])
            print(f"  {measure} {n}: {raw}")


main(sys.argv[1])
