#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""meson_log.py BUILD testlog.json: one "ok - …" or "not ok - …" line for each case that ran.

A cmocka program names its cases in its output; any other program is one test.
"""
import json
import re
import sys

CASE = re.compile(r"^\[\s+(OK|FAILED|SKIPPED)\s+\] (?!\d+ test)([^\s:]+)", re.M)


def main(build, path):
    for line in open(path, encoding="utf-8"):
        test = json.loads(line)
        name = test["name"].split(" / ")[-1]
        head, result = f"{name} ({build})", test["result"]
        out = (test.get("stdout") or "") + (test.get("stderr") or "")
        cases = {case: word for word, case in CASE.findall(out)}
        for case, word in cases.items():
            what = {"OK": "ok", "FAILED": "not ok", "SKIPPED": "skip"}[word]
            print(f"{what} - {head}: {case}" + ("" if word == "OK" else ": see the log"))
        good = result in ("OK", "EXPECTEDFAIL")
        if result == "SKIP" and not cases:
            print(f"skip - {head}: it skipped itself")
        elif good and not cases:
            print(f"ok - {head}")
        elif not good and "FAILED" not in cases.values():
            print(f"not ok - {head}: {result.lower()}")


main(sys.argv[1], sys.argv[2])
