#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a NAT does, seen from both of its sides (RFC 4787's words).

  nat_probe.py echo PORT                       answers each datagram with the address that it came from;
                                               "via HOST PORT" makes it send HOST:PORT a datagram instead
  nat_probe.py ask LOCAL-PORT HOST PORT …      asks each echo in turn from one socket, prints the answers
  nat_probe.py hear LOCAL-PORT HOST PORT       tells the echo our mapping, then prints who else gets in
"""
import socket
import sys


def echo(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", port))
    while True:
        data, peer = s.recvfrom(2048)
        words = data.decode(errors="replace").split()
        if len(words) == 3 and words[0] == "via":
            s.sendto(b"unasked", (words[1], int(words[2])))
            s.sendto(b"sent", peer)
        else:
            s.sendto(f"{peer[0]}:{peer[1]}".encode(), peer)


def ask(s, host, port, text=b"who am I"):
    for _ in range(5):
        s.sendto(text, (host, port))
        try:
            return s.recvfrom(2048)[0].decode()
        except socket.timeout:
            continue
    return "nothing"


def client(port, timeout=0.5):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", port))
    s.settimeout(timeout)
    return s


def main(argv):
    if argv[0] == "echo":
        echo(int(argv[1]))
    s = client(int(argv[1]))
    if argv[0] == "ask":
        for host, port in zip(argv[2::2], argv[3::2]):
            print(ask(s, host, int(port)), flush=True)
    elif argv[0] == "hear":
        print(ask(s, argv[2], int(argv[3])), flush=True)
        s.settimeout(float(argv[4]))
        try:
            while True:
                data, peer = s.recvfrom(2048)
                print(f"{data.decode()} from {peer[0]}:{peer[1]}", flush=True)
        except socket.timeout:
            pass


main(sys.argv[1:])
