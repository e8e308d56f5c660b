#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""UDP datagrams of chosen sizes, there and back, byte for byte.

  echo.py serve PORT                          answers each datagram with itself
  echo.py check [OPTION…] HOST PORT SIZES…    sends one datagram of each size and compares the answer

SIZES are bytes of the IP packet (headers of IP and UDP included, so that they compare with an MTU):
  1400  1280-1300  sample:SEED:COUNT:LO:HI    (a sample has LO and HI in it)
  --tries N   each size so often before it has failed (default 3)
  --df        with the Don't Fragment bit; what the kernel itself refuses is told apart
  --seed N    of the bytes

Prints "N sizes: N echoed, N refused, N failed: LIST" and "refused from SIZE on" with --df; the status
is not 0 when a size failed (a refusal is no failure). Sizes smaller than the headers are their smallest.

  echo.py bundle HOST PORT SIZE               ten datagrams of that size and a small one, in
                                              two sends (UDP_SEGMENT)
  echo.py count PORT                          prints how many arrived, once none has for half a second
"""
import argparse
import errno
import hashlib
import random
import select
import socket
import sys
import time

WINDOW = 48  # datagrams under way
WAIT = 0.4  # seconds for an answer
BUFFER = 8 << 20


def udp_socket(family):
    s = socket.socket(family, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        s.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    # SO_RCVBUFFORCE: the host's limit does not hold for root
    s.setsockopt(socket.SOL_SOCKET, 33, BUFFER)
    return s


def serve(port):
    s = udp_socket(socket.AF_INET6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    while True:
        data, peer = s.recvfrom(65536)
        try:
            s.sendto(data, peer)
        except OSError:
            pass  # an ICMP error of an earlier one


def bundle(host, port, size):
    s = udp_socket(socket.AF_INET)
    s.setsockopt(socket.IPPROTO_UDP, 103, size - 28)
    s.setsockopt(socket.IPPROTO_IP, 10, 2)
    s.connect((host, port))
    for piece in (5, 5.01):  # all at once could be more than a datagram may have
        s.send(bytes(int(piece * (size - 28))))


def count(port):
    s = udp_socket(socket.AF_INET)
    s.bind(("0.0.0.0", port))
    n, wait = 0, 5
    while select.select([s], [], [], wait)[0]:
        s.recv(65536)
        n, wait = n + 1, 0.5
    print(n)


def sizes_of(words, least):
    sizes = []
    for word in words:
        if word.startswith("sample:"):
            seed, count, low, high = map(int, word.split(":")[1:])
            some = range(low + 1, high)
            drawn = random.Random(seed).sample(some, min(count, len(some)))
            sizes += sorted({low, high, *drawn})
        elif "-" in word:
            low, high = map(int, word.split("-"))
            sizes += range(low, high + 1)
        else:
            sizes.append(int(word))
    return sorted({max(size, least) for size in sizes})


def body(seed, size, length):
    return hashlib.shake_128(f"{seed} {size}".encode()).digest(length)


class Check:
    def __init__(self, args):
        info = socket.getaddrinfo(args.host, args.port, type=socket.SOCK_DGRAM)[0]
        self.socket = udp_socket(info[0])
        self.socket.connect(info[4])
        self.v6 = info[0] == socket.AF_INET6
        self.head = 48 if self.v6 else 28
        self.set_df(args.df)
        self.args = args
        self.bodies = {size: body(args.seed, size, size - self.head)
                       for size in sizes_of(args.sizes, self.head)}
        self.echoed, self.refused, self.failed = set(), set(), set()
        self.wrong = 0

    def set_df(self, df):
        """IP_MTU_DISCOVER 10, IPV6_MTU_DISCOVER 23: DO 2, DONT 0"""
        level, option = (socket.IPPROTO_IPV6, 23) if self.v6 else (socket.IPPROTO_IP, 10)
        self.socket.setsockopt(level, option, 2 if df else 0)

    def send(self, size):
        for _ in range(3):
            try:
                self.socket.send(self.bodies[size])
                return True
            except OSError as e:
                if e.errno == errno.EMSGSIZE and self.args.df:
                    self.refused.add(size)
                    return False
                if e.errno not in (errno.EMSGSIZE, errno.ECONNREFUSED, errno.EHOSTUNREACH):
                    raise
        return True

    def hear(self, wait):
        if not select.select([self.socket], [], [], wait)[0]:
            return
        try:
            data = self.socket.recv(65536)
        except OSError:
            return
        size = len(data) + self.head
        if self.bodies.get(size) == data:
            self.echoed.add(size)
        else:
            self.wrong += 1

    def run(self):
        todo, under_way, tries = sorted(self.bodies), {}, {}
        todo.reverse()
        while todo or under_way:
            while todo and len(under_way) < WINDOW:
                size = todo.pop()
                if self.send(size):
                    tries[size] = tries.get(size, 0) + 1
                    under_way[size] = time.monotonic() + WAIT
            self.hear(0.05)
            now = time.monotonic()
            for size in [s for s in under_way if s in self.echoed]:
                del under_way[size]
            for size in [s for s, until in under_way.items() if until < now]:
                del under_way[size]
                if tries[size] < self.args.tries:
                    todo.append(size)
                else:
                    self.failed.add(size)
        self.failed -= self.echoed


def ranges(sizes):
    """[1, 2, 3, 7] as "1-3 7" """
    out = []
    for size in sorted(sizes):
        if out and out[-1][1] == size - 1:
            out[-1][1] = size
        else:
            out.append([size, size])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def check(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--df", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("sizes", nargs="+")
    c = Check(parser.parse_args(argv))
    c.run()
    failed = f": {ranges(c.failed)}" if c.failed else ""
    wrong = f", {c.wrong} answers with other bytes" if c.wrong else ""
    print(f"{len(c.bodies)} sizes: {len(c.echoed)} echoed, {len(c.refused)} refused,"
          f" {len(c.failed)} failed{failed}{wrong}")
    if c.refused:
        print(f"refused from {min(c.refused)} on")
    return bool(c.failed or c.wrong)


def main(argv):
    if argv[0] == "serve":
        return serve(int(argv[1]))
    if argv[0] == "bundle":
        return bundle(argv[1], int(argv[2]), int(argv[3]))
    if argv[0] == "count":
        return count(int(argv[1]))
    return check(argv[1:])


sys.exit(main(sys.argv[1:]))
