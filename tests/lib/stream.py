#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stream of UDP datagrams of one size, and how long none of them arrived.

  stream.py send HOST PORT SIZE PER-S      datagrams of SIZE bytes of IP packet, without DF, until SIGTERM
  stream.py receive PORT FILE              writes "SENT NUMBER" for each to FILE, until SIGTERM: when it was
                                           sent (seconds since 1970) and its number
  stream.py hole FILE PER-S SINCE          the longest time in seconds, from the first datagram that got lost
                                           after the moment SINCE to the next one that did not; to now, where
                                           none has arrived any more

Lost is what is missing where it should be: the sender's time is in the datagrams, so that neither the
period of a slow stream nor the delay of the path counts as a hole.
"""
import signal
import socket
import struct
import sys
import time

HEAD = struct.Struct("!dQ")


def send(host, port, size, rate):
    info = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    v6 = info[0] == socket.AF_INET6
    s = socket.socket(info[0], socket.SOCK_DGRAM)
    # IP_MTU_DISCOVER 10, IPV6_MTU_DISCOVER 23: DONT 0
    s.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, 23 if v6 else 10, 0)
    s.connect(info[4])
    filling = bytes(size - (48 if v6 else 28) - HEAD.size)
    number, due = 0, time.monotonic()
    while True:
        try:
            s.send(HEAD.pack(time.time(), number) + filling)
        except OSError:
            pass  # an ICMP error of an earlier one; what was not sent is lost as well
        number += 1
        due = max(due + 1 / rate, time.monotonic() - 1 / rate)
        time.sleep(max(0, due - time.monotonic()))


def receive(port, name):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    with open(name, "w", buffering=1, encoding="ascii") as file:
        while True:
            sent, number = HEAD.unpack_from(s.recv(65536))
            file.write(f"{sent:.4f} {number}\n")


def hole(name, rate, since):
    arrived = []
    with open(name, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if len(words) == 2 and line.endswith("\n"):
                arrived.append((int(words[1]), float(words[0])))
    arrived.sort()
    longest = 0.0
    for (number, sent), (after, next_sent) in zip(arrived, arrived[1:]):
        if after > number + 1 and next_sent > since:
            longest = max(longest, next_sent - max(sent + 1 / rate, since))
    silence = time.time() - max(arrived[-1][1] + 1 / rate, since) if arrived else time.time() - since
    if silence > 1 / rate:
        longest = max(longest, silence)
    print(f"{longest:.2f}")


def main(argv):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if argv[0] == "send":
        send(argv[1], int(argv[2]), int(argv[3]), float(argv[4]))
    elif argv[0] == "receive":
        receive(int(argv[1]), argv[2])
    else:
        hole(argv[1], float(argv[2]), float(argv[3]))


main(sys.argv[1:])
