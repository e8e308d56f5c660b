#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a compiler does not know; prints each offence, exits 1 on any.

- the rooms' direction: base <- {crypto, tun, route, punch, discovery} <- gateway; a room includes
  its own headers and base's, base only base's, gateway everybody's
- one clock: only the files of CLOCKS read one, everything else is told the time
- files of at most 500 lines, each with its licence, none with work left over
"""
import os
import re
import sys

MIDDLE = ["crypto", "tun", "route", "punch", "discovery"]
MAY_INCLUDE = {"base": {"base"}, "gateway": {"base", "gateway", *MIDDLE}}
MAY_INCLUDE.update({room: {room, "base"} for room in MIDDLE})

# Who may read a clock, and why. Anything else gets `nsec now` from its caller.
CLOCKS = {
    "gateway/loop.c": "the one clock read of a turn, passed down from there",
    "base/log.c": "the time stamp of a log line, for people; nothing is timed by it",
    "discovery/shim.c": "the discovery process turns a loop of its own, which reads it once a turn",
    "punch/lease_store_serve.c": "the lease process waits by itself for its group commit",
}
CLOCK = re.compile(
    r"\b(clock_gettime|clock_nanosleep|gettimeofday|timespec_get|ftime|time|ev_time|ev_now)\s*\(")

LINES_MAX = 500
LICENCE = "SPDX-License-Identifier: Apache-2.0"
LEFT_OVER = re.compile(r"\b(TODO|FIXME|XXX)\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def without_comments(text):
    """The code alone; lines keep their numbers."""
    return COMMENT_OR_STRING.sub(lambda m: "\n" * m.group().count("\n"), text)


def sources(root, folders):
    for folder in folders:
        for path, _, names in sorted(os.walk(os.path.join(root, folder))):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(path, name), root)


def wrong_includes(root, path, lines):
    room = path.split("/")[0]
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        parts = found.group(1).split("/")
        if ".." in parts:
            yield f"{path}:{number}: includes by ..: {found.group(1)}"
        elif len(parts) == 1:
            beside = os.path.join(root, os.path.dirname(path), parts[0])
            if not os.path.exists(beside):
                yield f"{path}:{number}: no such header beside it: {parts[0]}"
        elif parts[0] not in MAY_INCLUDE[room]:
            yield f"{path}:{number}: {room} may not include {found.group(1)}"


def clock_reads(path, text):
    code = without_comments(text)
    if path in CLOCKS:
        if not CLOCK.search(code):
            yield f"{path}: may read a clock and does not: take it off the list"
        return
    for number, line in enumerate(code.split("\n"), 1):
        found = CLOCK.search(line)
        if found:
            yield f"{path}:{number}: reads a clock: {found.group(1)}()"


def house_rules(path, text, lines):
    if len(lines) > LINES_MAX:
        yield f"{path}: {len(lines)} lines, more than {LINES_MAX}"
    if not lines or LICENCE not in lines[0]:
        yield f"{path}:1: the first line does not say '{LICENCE}'"
    for number, line in enumerate(lines, 1):
        found = LEFT_OVER.search(line)
        if found:
            yield f"{path}:{number}: {found.group(1)}"


def check(root):
    for path in sources(root, MAY_INCLUDE):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            text = f.read()
        lines = text.splitlines()
        yield from wrong_includes(root, path, lines)
        yield from clock_reads(path, text)
        yield from house_rules(path, text, lines)
    for path in sources(root, ["tests"]):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            text = f.read()
        yield from house_rules(path, text, text.splitlines())


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(
        os.path.abspath(__file__)))
    if not any(sources(root, ["base"])):
        sys.exit(f"{root}: no sources of the project there")
    offences = list(check(root))
    for offence in offences:
        print(offence)
    print(f"{len(offences)} offences" if offences else "the rooms are in order")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
