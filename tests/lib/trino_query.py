#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks Trino one query: trino_query.py SECONDS URL SQL; prints "TIME ANSWER", the answer as bare CSV.

The time is from the first request to the last row. Trino's own client is a Java machine, which takes
longer to start than the query, and the cores with it."""
import json
import sys
import time
import urllib.request

HEADERS = {"X-Trino-User": "warren", "X-Trino-Session": "join_distribution_type=PARTITIONED"}


def ask(url, end, body=None):
    """One request; a 503 is Trino's word for "again"."""
    while True:
        left = end - time.monotonic()
        if left <= 0:
            sys.exit("the query takes too long")
        try:
            request = urllib.request.Request(url, data=body, headers=HEADERS)
            with urllib.request.urlopen(request, timeout=left) as f:
                return json.load(f)
        except urllib.error.HTTPError as e:
            if e.code != 503:
                sys.exit(f"{url}: {e}")
            time.sleep(0.1)


def main():
    patience, url, sql = sys.argv[1:]
    began = time.monotonic()
    end, rows = began + float(patience), []
    page = ask(url + "/v1/statement", end, sql.encode())
    while True:
        rows += page.get("data", [])
        if "error" in page:
            sys.exit(page["error"]["message"])
        if "nextUri" not in page:
            break
        page = ask(page["nextUri"], end)
    print(f"{time.monotonic() - began:.3f}", "\n".join(",".join(map(str, row)) for row in rows))


main()
