#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Secrets in the memory of live processes: memory_secrets.py [RV-STATE NODE-STATE…] -- SECRET… -- PID…

The secrets are those of log_secrets.py, which follow from these states, and what else is given: a token, or
a key in base64. Beside them the keys of links and relays, and whatever looks like a key in an arena of one of
the processes (of sessions, and what else nobody could name). All memory that can be written to and is there is
searched for each as it is, in base64 and in hex, and so is what /proc/PID/environ and cmdline show.

An arena is a mapping that is locked and not in core files (`lo` and `dd` of smaps). Prints `NAME PID: SECRET in
MAPPING ADDRESS…` for each that is anywhere else, then `NAME PID: holds SECRET` for each in an arena, then a
count; the status is 1 when there is any of the first.
"""
import base64
import binascii
import hashlib
import hmac
import itertools
import os
import re
import struct
import sys

from log_secrets import PRIVATE_KEY, PSK, derive, forms, identity, network, split

PAGE = os.sysconf("SC_PAGE_SIZE")
PRESENT = 1 << 63 | 1 << 62  # of /proc/PID/pagemap: in memory, or swapped out
HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+) *(.*)")


class Mapping:
    def __init__(self, first, last, mode, inode, name):
        self.first, self.last, self.mode = int(first, 16), int(last, 16), mode
        self.name = name or "anonymous memory"
        self.of_file = inode != "0"
        self.arena = False
        self.runs = []  # (address, bytes): what is there of it


def mappings(pid):
    """What can have been written to."""
    found = []
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as smaps:
        for line in smaps:
            head = HEAD.match(line)
            if head:
                found.append(Mapping(*head.groups()))
            elif line.startswith("VmFlags:"):
                found[-1].arena = {"lo", "dd"} <= set(line.split())
    return [m for m in found if "w" in m.mode or not m.of_file and not m.name.startswith("[v")]


def present(pagemap, m):
    """Its pages that are there, as runs (first, last)."""
    pagemap.seek(m.first // PAGE * 8)
    raw = pagemap.read((m.last - m.first) // PAGE * 8)
    pages = enumerate(struct.unpack(f"{len(raw) // 8}Q", raw))
    for there, run in itertools.groupby(pages, lambda p: bool(p[1] & PRESENT)):
        run = list(run)
        if there:
            yield m.first + run[0][0] * PAGE, m.first + (run[-1][0] + 1) * PAGE


class Process:
    def __init__(self, pid):
        self.pid = pid
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            self.name = f"{f.read().strip()} {pid}"
        self.maps = mappings(pid)
        with open(f"/proc/{pid}/mem", "rb", 0) as mem, open(f"/proc/{pid}/pagemap", "rb", 0) as pagemap:
            for m in self.maps:
                for first, last in present(pagemap, m):
                    mem.seek(first)
                    m.runs.append((first, mem.read(last - first)))
        self.maps = [m for m in self.maps if m.runs]
        self.shown = b""
        for what in "environ", "cmdline":
            with open(f"/proc/{pid}/{what}", "rb") as f:
                self.shown += f.read()

    def where(self, form):
        """(mapping, address) of each copy."""
        for m in self.maps:
            for first, data in m.runs:
                at = data.find(form)
                while at >= 0:
                    yield m, first + at
                    at = data.find(form, at + 1)

    def chunks(self, arena, size, step):
        for m in self.maps:
            for first, data in m.runs if m.arena == arena else ():
                for at in range(0, len(data) - size + 1, step):
                    yield m, first + at, data[at:at + size]


def looks_like_key(chunk):
    return len(set(chunk)) >= 24 and not all(32 <= c < 127 or c == 0 for c in chunk)


def halves(key):
    """Whatever is half of it: a table may have a public key at any place."""
    return {key[i:i + 16] for i in range(len(key) - 15)}


def public_key(private):
    """X25519 of it and 9 (RFC 7748, section 5)."""
    p = 2**255 - 19
    k = int.from_bytes(private, "little") & (2**254 - 8) | 2**254
    x2, z2, x3, z3 = 1, 0, 9, 1
    for bit in range(254, -1, -1):
        if k >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, (x3 + z3) * (x2 - z2), (x3 - z3) * (x2 + z2)
        x3, z3 = pow(c + d, 2, p), 9 * pow(c - d, 2, p) % p
        aa, bb = a * a, b * b
        x2, z2 = aa * bb % p, (aa - bb) * (aa + 121665 * (aa - bb)) % p
        if k >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


def known(states, texts):
    if states:
        yield from ((what, f) for what, s in network(states[0]) for f in forms(s))
    for folder in states[1:]:
        fields = identity(folder)
        for what, kind in ("the private key", PRIVATE_KEY), ("the PSK", PSK):
            if kind in fields:
                yield from ((f"{what} in {folder}", f) for f in forms(fields[kind]))
    for text in texts:
        yield f"the text {text[:4]}…", text.rstrip("=").encode()
        try:
            raw = base64.b64decode(text, validate=True)
        except binascii.Error:
            continue
        yield from ((f"the key {text[:4]}…", f) for f in forms(raw))


def derived(processes):
    """What follows from a static-static secret and the PSK behind it: keys of links and of the relay."""
    for p in processes:
        for _, at, pair in p.chunks(True, 64, 64):
            if looks_like_key(pair[:32]) and looks_like_key(pair[32:]):
                first = hmac.new(pair[:32], pair[32:], hashlib.blake2s).digest()
                secret = hmac.new(first, b"\1", hashlib.blake2s).digest()
                yield f"a link's key of {p.name}", derive(secret, "warren outer")
                yield f"a relay key of {p.name}", derive(secret, "warren relay")[:16]


def main(words):
    states, texts, pids = split(words)
    processes = [Process(int(pid)) for pid in pids]
    secrets = list(known(states, texts)) + list(derived(processes))
    outside, inside = {}, {}
    for p in processes:
        for what, form in secrets:
            if form in p.shown:
                outside.setdefault(f"{p.name}: {what} in environ or cmdline", []).append(0)
            for m, at in p.where(form):
                if m.arena:
                    inside[f"{p.name}: holds {what}"] = True
                else:
                    outside.setdefault(f"{p.name}: {what} in {m.name} ({m.mode})", []).append(at)
    public = {half for _, form in secrets if len(form) == 32 for half in halves(public_key(form))}
    keys = {c: f"{p.name} (at {at - m.first:#x})" for p in processes for m, at, c in p.chunks(True, 32, 32)
            if looks_like_key(c) and not public & halves(c)}
    for p in processes:
        for m, at, c in p.chunks(False, 32, 4):
            if c in keys:
                outside.setdefault(f"{p.name}: something of an arena of {keys[c]} in {m.name} ({m.mode})", []).append(at)
    for line, at in outside.items():
        print(line, " ".join(f"{a:x}" for a in at[:8]))
    for line in inside:
        print(line)
    print(f"{len(secrets)} forms of secrets, {len(keys)} keys of arenas, {len(processes)} processes")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
