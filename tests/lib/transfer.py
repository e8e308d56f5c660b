#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A TCP transfer whose two ends tell the SHA-256 of what they sent and received.

  transfer.py receive PORT                              prints "BYTES SHA256" of one connection
  transfer.py send HOST PORT BYTES [BYTES-PER-S [S]]    the same of what it sent; paced where a rate is given; begun again
                                                        for S seconds where it finds no route

The bytes are pseudo-random and cheap to make, and no 64 KiB block is like another.
"""
import errno
import hashlib
import socket
import sys
import time

BLOCK = 65536


def receive(port):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    conn, _ = server.accept()
    total, digest = 0, hashlib.sha256()
    while data := conn.recv(1 << 20):
        total += len(data)
        digest.update(data)
    return total, digest


def connect(host, port, patience):
    began = time.monotonic()
    while True:
        try:
            return socket.create_connection((host, port), timeout=60)
        except OSError as e:
            if e.errno != errno.EHOSTUNREACH or time.monotonic() - began >= patience:
                raise
            time.sleep(0.05)


def send(host, port, size, rate, patience):
    base = hashlib.shake_256(b"warren").digest(BLOCK)
    with connect(host, port, patience) as conn:
        digest, sent, began = hashlib.sha256(), 0, time.monotonic()
        conn.settimeout(60)
        while sent < size:
            block = (sent.to_bytes(8, "big") + base)[:min(BLOCK, size - sent)]
            conn.sendall(block)
            digest.update(block)
            sent += len(block)
            ahead = sent / rate - (time.monotonic() - began) if rate else 0
            if ahead > 0:
                time.sleep(ahead)
        # what the kernel still holds may take long on a lossy path: until the other end has all of it
        conn.shutdown(socket.SHUT_WR)
        conn.settimeout(120)
        conn.recv(1)
    return sent, digest


def main(argv):
    if argv[0] == "receive":
        total, digest = receive(int(argv[1]))
    else:
        rate, patience = (float(argv[i]) if len(argv) > i else 0 for i in (4, 5))
        total, digest = send(argv[1], int(argv[2]), int(argv[3]), rate, patience)
    print(total, digest.hexdigest())


main(sys.argv[1:])
