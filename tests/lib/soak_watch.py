#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares what tests/soak.sh has noted; prints what is not as it should be, a line each.

  soak_watch.py drops BEFORE AFTER REASON…    lines "NODE PROCESS JSON": reasons that have grown and are
                                              not among those that may
  soak_watch.py memory QUARTER END            lines "NODE PROCESS NAME KIB DESCRIPTORS": of a process that
                                              is in both, and of the largest of each name: no more than
                                              1 MiB more; descriptors: no more
"""
import json
import sys

MORE_KIB = 1024


def read_drops(path):
    with open(path) as f:
        lines = [line.split(" ", 2) for line in f]
    return {(node, pid): json.loads(text or "{}") for node, pid, text in lines if text.strip() not in ("", "null")}


def drops(before, after, allowed):
    old, new, found = read_drops(before), read_drops(after), {}
    for (node, pid), counts in new.items():
        for why, n in counts.items():
            grown = n - old.get((node, pid), {}).get(why, 0)
            if grown > 0 and why not in allowed:
                found.setdefault(why, []).append(f"{node} {grown}")
    return [f"{why}: {', '.join(who)}" for why, who in sorted(found.items())]


def read_processes(path):
    with open(path) as f:
        rows = [line.split() for line in f]
    return {(node, pid, name): (int(kib), int(fds)) for node, pid, name, kib, fds in (r for r in rows if len(r) == 5)}


def largest(rows, i):
    top = {}
    for (_, _, name), values in rows.items():
        top[name] = max(top.get(name, 0), values[i])
    return top


def memory(quarter, end):
    old, new, bad, both = read_processes(quarter), read_processes(end), [], 0
    for key in sorted(old.keys() & new.keys()):
        both += 1
        if new[key][0] > old[key][0] + MORE_KIB:
            bad.append(f"{key[0]} {key[2]} {key[1]}: {old[key][0]} KiB, and {new[key][0]} at the end")
        if new[key][1] > old[key][1]:
            bad.append(f"{key[0]} {key[2]} {key[1]}: {old[key][1]} descriptors, and {new[key][1]} at the end")
    for i, (what, more) in enumerate((("KiB", MORE_KIB), ("descriptors", 0))):
        was = largest(old, i)
        for name, n in largest(new, i).items():
            if n > was.get(name, 0) + more:
                bad.append(f"the largest {name}: {was.get(name, 0)} {what}, and {n} at the end")
    if not both:
        bad.append("no process lived from a quarter of the time to the end")
    return bad


lines = drops(sys.argv[2], sys.argv[3], sys.argv[4:]) if sys.argv[1] == "drops" else memory(*sys.argv[2:])
print("\n".join(lines))
