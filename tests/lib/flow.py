#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A TCP connection that goes on until it is told to end, and when its bytes arrived.

  flow.py receive PORT FILE            writes "TIME BYTES" to FILE when something arrived, at most once in
                                       20 ms; at the end prints "BYTES SHA256"
  flow.py send HOST PORT BYTES-PER-S
                                       sends until SIGTERM; then prints the same of what it sent
  flow.py gap FILE SINCE [UNTIL]       the longest time in seconds without a byte after the moment SINCE
                                       (seconds since 1970, as FILE has them; UNTIL: now), or what has
                                       passed since the last byte

The receiver keeps the time; nothing is taken from the sender's idea of when something was sent.
"""
import hashlib
import signal
import socket
import sys
import time

BLOCK = 16384


def receive(port, name):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    conn, _ = server.accept()
    total, digest, written = 0, hashlib.sha256(), 0.0
    with open(name, "w", buffering=1, encoding="ascii") as file:
        while data := conn.recv(1 << 18):
            total += len(data)
            digest.update(data)
            now = time.time()
            if now - written >= 0.02:
                file.write(f"{now:.3f} {total}\n")
                written = now
    print(total, digest.hexdigest())


def send(host, port, rate):
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    base = hashlib.shake_256(b"flow").digest(BLOCK - 8)
    digest, sent, began = hashlib.sha256(), 0, time.monotonic()
    with socket.create_connection((host, port), timeout=60) as conn:
        conn.settimeout(120)
        while not ended:
            block = sent.to_bytes(8, "big") + base
            conn.sendall(block)
            digest.update(block)
            sent += len(block)
            ahead = sent / rate - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -0.2:
                began = time.monotonic() - sent / rate  # what was not sent is not made up for
        conn.shutdown(socket.SHUT_WR)
        conn.recv(1)
    print(sent, digest.hexdigest())


def gap(name, since, until):
    last, longest = since, 0.0
    with open(name, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if len(words) != 2 or not line.endswith("\n"):
                continue
            now = float(words[0])
            if since < now <= until:
                longest = max(longest, now - last)
                last = now
    print(f"{max(longest, until - last):.2f}")


def main(argv):
    if argv[0] == "receive":
        receive(int(argv[1]), argv[2])
    elif argv[0] == "send":
        send(argv[1], int(argv[2]), float(argv[3]))
    else:
        gap(argv[1], float(argv[2]), float(argv[3]) if len(argv) > 3 else time.time())


main(sys.argv[1:])
