#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everybody talks with everybody: one process with a UDP socket in each node's network namespace.

  mesh.py DIR PREFIX PORT NODE=ADDRESS…      a namespace is named PREFIX + NODE

Each node asks each other one once a second, and an address that nobody has, with a small and a large
datagram in turn; who is asked answers. Commands come by the FIFO DIR/ask, a line each; answers go to
DIR/answer. It ends with the process that started it.

  check SECONDS     "all in T s" once each pair has had answers to both sizes, to questions of after the
                    command; else, after so long, "missing N: a>b …"
  reset, worst      forget; "worst T s, lost N of M": the slowest answer since, and the questions of
                    more than 2 s ago that have none
"""
import ctypes
import os
import select
import socket
import struct
import sys
import time

HEAD = struct.Struct("!4sBHHd")  # magic, kind, from, to, when it was asked
SIZES = (64, 1200)
PERIOD, HURRY, LATE = 1.0, 0.3, 2.0
NOBODY = ("10.77.200.200", 9)
CLONE_NEWNET, PR_SET_PDEATHSIG = 0x40000000, 1
libc = ctypes.CDLL(None, use_errno=True)


def enter(path):
    """Goes over to a network namespace; returns a way back."""
    before, fd = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(path, os.O_RDONLY)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        sys.exit(f"{path}: {os.strerror(ctypes.get_errno())}")
    os.close(fd)
    return before


class Mesh:
    def __init__(self, directory, prefix, port, nodes):
        for name in ("ask", "answer"):
            os.mkfifo(os.path.join(directory, name))
        self.to = os.path.join(directory, "answer")
        # for reading and writing, so that it never ends
        self.commands = os.open(os.path.join(directory, "ask"), os.O_RDWR | os.O_NONBLOCK)
        self.names, self.at = list(nodes), [(a, port) for a in nodes.values()]
        self.n, self.sockets = len(self.names), []
        for name in self.names:
            before = enter("/run/netns/" + prefix + name)
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            s.bind(("0.0.0.0", port))
            s.setblocking(False)
            self.sockets.append(s)
            libc.setns(before, CLONE_NEWNET)
            os.close(before)
        self.heard = {}  # (size, from, to): when the last answered question was asked
        self.due = {(a, b): i * PERIOD / self.n**2 for i, (a, b) in enumerate(
            (a, b) for a in range(self.n) for b in range(self.n) if a != b)}
        self.turn = dict.fromkeys(self.due, 0)
        self.last = {}  # when a pair was asked
        self.check_from = self.check_until = None
        self.reset()

    def reset(self):
        self.asked, self.slowest, self.answered = {}, 0.0, 0

    def send(self, who, data, to):
        try:
            self.sockets[who].sendto(data, to)
        except OSError:  # no such address now, no route: that is what is tested
            pass

    def ask(self, a, b, now):
        size = SIZES[self.turn[a, b] % 2]
        self.turn[a, b] += 1
        self.asked[size, a, b, now] = True
        self.send(a, HEAD.pack(b"mesh", 0, a, b, now).ljust(size, b"."), self.at[b])
        if b == (a + 1) % self.n:
            self.send(a, b"to nobody", NOBODY)

    def receive(self, who):
        while True:
            try:
                data, sender = self.sockets[who].recvfrom(2048)
            except OSError:
                return
            if len(data) < HEAD.size:
                continue
            magic, kind, a, b, when = HEAD.unpack_from(data)
            if magic != b"mesh":
                continue
            if kind == 0 and b == who:
                self.send(who, HEAD.pack(magic, 1, a, b, when) + data[HEAD.size:], sender)
            elif kind == 1 and a == who and self.asked.pop((len(data), a, b, when), None):
                self.answered += 1
                self.slowest = max(self.slowest, time.monotonic() - when)
                key = len(data), a, b
                self.heard[key] = max(self.heard.get(key, 0), when)

    def missing(self):
        return [(a, b) for a, b in self.due
                if min(self.heard.get((size, a, b), 0) for size in SIZES) < self.check_from]

    def say(self, text):
        with open(self.to, "w") as f:
            print(text, file=f)

    def command(self, words, now):
        if words[0] == "check":
            self.check_from, self.check_until = now, now + float(words[1])
        elif words[0] == "reset":
            self.reset()
        elif words[0] == "worst":
            lost = sum(1 for key in self.asked if key[3] < now - LATE)
            self.say(f"worst {self.slowest:.3f} s, lost {lost} of {lost + self.answered}")

    def tick(self, now):
        missing = []
        if self.check_from:
            missing = self.missing()
            if not missing:
                self.say(f"all in {now - self.check_from:.1f} s")
                self.check_from = None
            elif now >= self.check_until:
                self.say(f"missing {len(missing)}: " + " ".join(
                    f"{self.names[a]}>{self.names[b]}" for a, b in missing[:12]))
                self.check_from = None
        for pair in missing:
            self.due[pair] = min(self.due[pair], self.last.get(pair, 0) + HURRY)
        for pair, at in self.due.items():
            if at <= now:
                self.due[pair] = now + PERIOD
                self.last[pair] = now
                self.ask(*pair, now)
        if len(self.asked) > 100 * len(self.due):  # only in a run that never asks for them
            self.asked = {k: True for k in self.asked if k[3] > now - LATE}

    def run(self):
        poll = select.epoll()
        for i, s in enumerate(self.sockets):
            poll.register(s, select.EPOLLIN)
        poll.register(self.commands, select.EPOLLIN)
        index = {s.fileno(): i for i, s in enumerate(self.sockets)}
        began = time.monotonic()
        self.due = {pair: began + at for pair, at in self.due.items()}
        while True:
            for fd, _ in poll.poll(0.02):
                if fd in index:
                    self.receive(index[fd])
                    continue
                for line in os.read(self.commands, 4096).decode().splitlines():
                    self.command(line.split(), time.monotonic())
            self.tick(time.monotonic())


libc.prctl(PR_SET_PDEATHSIG, 9)
Mesh(sys.argv[1], sys.argv[2], int(sys.argv[3]), dict(x.split("=") for x in sys.argv[4:])).run()
