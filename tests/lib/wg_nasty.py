#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ten clients of a configuration socket, each as much of a burden as it can be: wg_nasty.py SOCKET SECONDS

Four ask for everything and read it, two never read, two add and remove peers, one moves a thousand
allowed IPs, one sends a line without end. What the peers do that were there before is not theirs to
change. The last line says how many bytes each sort was able to say.
"""
import os
import socket
import sys
import threading
import time

PATH, UNTIL = sys.argv[1], time.monotonic() + float(sys.argv[2])
said = {}


def peers(count):
    keys = [os.urandom(32).hex() for _ in range(count)]
    come = "".join(f"public_key={k}\nallowed_ip=10.200.{i}.0/24\n" for i, k in enumerate(keys))
    go = "".join(f"public_key={k}\nremove=true\n" for k in keys)
    return f"set=1\n{come}\nset=1\n{go}\n".encode()


def moving():
    a, b = os.urandom(32).hex(), os.urandom(32).hex()
    ips = "".join(f"allowed_ip=10.{201 + i // 250}.{i % 250}.0/24\n" for i in range(1000))
    return f"set=1\npublic_key={a}\n{ips}public_key={b}\n{ips}public_key={a}\nremove=true\n" \
        f"public_key={b}\nremove=true\n\n".encode()


def client(sort, text, reads):
    s = socket.socket(socket.AF_UNIX)
    s.connect(PATH)
    s.settimeout(0.2)
    at = 0
    while time.monotonic() < UNTIL:
        try:
            n = s.send(text[at:at + 65536])
            said[sort] = said.get(sort, 0) + n
            at = (at + n) % len(text)
        except TimeoutError:
            pass
        if reads:
            s.setblocking(False)
            try:
                while s.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass
            s.settimeout(0.2)


SORTS = [("asks", b"get=1\n\n" * 1000, True)] * 4 + [("asks, reads nothing", b"get=1\n\n" * 1000, False)] * 2 + \
    [("peers", peers(250), True)] * 2 + [("allowed IPs", moving(), True)] + \
    [("no end", b"set=1\n" + b"x" * (1 << 24), True)]

threads = [threading.Thread(target=client, args=a, daemon=True) for a in SORTS]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(said)
