#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints a table of tests/bench.sh from its raw figures (name, measure, value per line).

Each cell is the median of the rounds with the least and the largest beside it; a ratio is that of
two medians of the same run."""
import argparse
import re
import statistics
from collections import defaultdict

# measure, heading, factor, digits
MEASURES = [
    ("tcp1", "TCP 1 stream, Gbit/s", 1, 2),
    ("tcp4", "TCP 4 streams, Gbit/s", 1, 2),
    ("cpu1", "CPU-s per Gbit, 1 stream", 1, 3),
    ("cpu4", "CPU-s per Gbit, 4 streams", 1, 3),
    ("busy1", "  whole machine, 1 stream", 1, 3),
    ("busy4", "  whole machine, 4 streams", 1, 3),
    ("udp", "UDP, loss <= 1 %, Mbit/s", 1000, 0),
    ("udpcpu", "CPU-s per Gbit, UDP", 1, 3),
    ("udpbusy", "  whole machine, UDP", 1, 3),
    ("halfcpu", "CPU-s per Gbit, UDP, same rate", 1, 3),
    ("halfbusy", "  whole machine, same rate", 1, 3),
    ("udp1372_", "UDP 1372, loss <= 1 %, Mbit/s", 1000, 0),
    ("udp1372_cpu", "CPU-s per Gbit, UDP 1372", 1, 3),
    ("udp64_", "UDP 64, loss <= 1 %, Mbit/s", 1000, 1),
    ("udp64_cpu", "CPU-s per Gbit, UDP 64", 1, 3),
    ("ping", "ping, median, ms", 1, 3),
    ("added", "  more than bare, ms", 1, 3),
    ("loaded", "ping beside TCP, 99 %, ms", 1, 3),
    ("query", "Trino's query, s", 1, 2),
    ("querycpu", "CPU-s of the VPN, a run", 1, 2),
    ("queryjava", "  Trino's processes, a run", 1, 2),
    ("querybusy", "  whole machine, a run", 1, 2),
    ("hwm", "peak memory (VmHWM), MB", 1 / 1024, 1),
    ("anon", "peak own memory (RssAnon), MB", 1 / 1024, 1),
]


def read(path):
    """{(name, measure): [value]}, and the names as they came."""
    values, names = defaultdict(list), []
    with open(path, encoding="utf-8") as f:
        for line in f:
            name, measure, value = line.rstrip("\n").split("\t")
            if name not in names:
                names.append(name)
            values[name, measure].append(float(value))
    return values, names


def cell(values, factor, digits):
    if not values or not any(values):
        return "-"
    low, high = (f"{v * factor:.{digits}f}" for v in (min(values), max(values)))
    middle = f"{statistics.median(values) * factor:.{digits}f}"
    return middle if low == high else f"{middle} ({low}-{high})"


def ratio(values, measure, pair):
    over, under = (values.get((n, measure)) for n in pair)
    if not over or not under or not statistics.median(under):
        return "-"
    return f"{statistics.median(over) / statistics.median(under):.2f}"


def plain(head, rows):
    """Columns as wide as what is in them."""
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        yield row[0].ljust(widths[0]) + "".join("  " + c.rjust(w) for c, w in zip(row[1:], widths[1:]))


def markdown(head, rows):
    """As docs/ and the README show it."""
    for row in [head, ["---"] * len(head), *rows]:
        cells = [re.sub(r"(?<=[0-9])-(?=[0-9])", "\u2013", c).replace("<=", "\u2264").strip() for c in row]
        yield "| " + " | ".join("\u2013" if c == "-" else c.replace("/", " / ") if row is head else c for c in cells) + " |"


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("file")
    args.add_argument("--names", type=lambda s: s.split(","))
    args.add_argument("--markdown", action="store_true")
    args.add_argument("ratios", nargs="*", help="NAME/NAME")
    args = args.parse_intermixed_args()
    values, names = read(args.file)
    names = [n for n in args.names or names if n in names]
    pairs = [r.split("/") for r in args.ratios]
    pairs = [p for p in pairs if p[0] in names and p[1] in names]
    head = ["", *names, *("/".join(p) for p in pairs)]
    rows = [[title, *(cell(values.get((n, measure)), factor, digits) for n in names),
             *(ratio(values, measure, p) for p in pairs)]
            for measure, title, factor, digits in MEASURES if any((n, measure) in values for n in names)]
    for line in (markdown if args.markdown else plain)(head, rows):
        print(line)


main()
