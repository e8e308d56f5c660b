#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Watches what memory processes have: bench_memory.py OUT NAME=PID,PID …

Ten times a second, until it is told to end (SIGTERM), it adds up RssAnon over each PID and its
descendants: the kernel keeps a high-water mark of the resident size (VmHWM), which holds pages of the
program's file, too, and none of what is the process' own. Then it writes a line NAME anon KB for the
largest sum that a side had, and a line NAME hwm KB for that of the marks."""
import signal
import sys
import time


def tree(pid):
    """The process and all that came of it."""
    yield pid
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            children = f.read().split()
    except OSError:
        return
    for child in children:
        yield from tree(child)


def kilobytes(pid):
    """(RssAnon, VmHWM) of one process; nothing where it is gone."""
    found = {"RssAnon": 0, "VmHWM": 0}
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            for line in f:
                key, _, value = line.partition(":")
                if key in found:
                    found[key] = int(value.split()[0])
    except OSError:
        pass
    return found["RssAnon"], found["VmHWM"]


def main():
    out, *wanted = sys.argv[1:]
    sides = [(name, pid) for name, _, pids in (w.partition("=") for w in wanted) for pid in pids.split(",")]
    peak = {name: [0, 0] for name, _ in sides}
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    while True:
        for name, pid in sides:
            for i, sum_ in enumerate(map(sum, zip(*map(kilobytes, tree(pid))))):
                peak[name][i] = max(peak[name][i], sum_)
        if not going:
            break
        time.sleep(0.1)
    with open(out, "w", encoding="ascii") as f:
        for name, (anon, hwm) in peak.items():
            f.write(f"{name}\tanon\t{anon}\n{name}\thwm\t{hwm}\n")


main()
