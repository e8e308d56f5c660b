# SPDX-License-Identifier: Apache-2.0
"""A WireGuard peer of a configuration socket's interface: it has keys, outer ports, sessions and inner pings.

The interface has 10.7.0.1 and fd07::1 inside. begin() says where it is.
"""
import os
import select
import socket
import struct
import time

from wg_noise import DATA, INITIATION, RESPONSE, Answer, Initiation, Keys, echo4, echo6, echo_number

UDP_SEGMENT = 103


def uapi(text):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(Peer.control)
        s.sendall(text.encode() + b"\n\n")
        got = b""
        while not got.endswith(b"\n\n"):
            got += s.recv(65536)
    if b"errno=0\n" not in got:
        raise SystemExit(f"{text!r} is refused: {got!r}")
    return got.decode()


class Peer:
    count = 1
    control, family, at, device = "", 0, (), b""  # the configuration socket, where it is, its public key

    def __init__(self, *lines):
        Peer.count += 1
        self.keys, self.v4, self.v6 = Keys(), f"10.7.0.{Peer.count}", f"fd07::{Peer.count}"
        self.sockets, self.sessions, self.psk, self.number = [], {}, bytes(32), 0
        self.begun = 0
        self.marks = {}  # echo number → its answer's TOS outside, where the socket tells it, and inside
        self.answers, self.other = {}, []  # echo number → socket; other messages that came
        self.socket = self.another()
        self.set("replace_allowed_ips=true", f"allowed_ip={self.v4}/32", f"allowed_ip={self.v6}/128", *lines)

    def another(self):
        """An outer port more."""
        s = socket.socket(Peer.family, socket.SOCK_DGRAM)
        s.bind(("", 0))
        self.sockets.append(s)
        return s

    def set(self, *lines):
        uapi("\n".join(["set=1", f"public_key={self.keys.public.hex()}", *lines]))

    def known(self, field):
        """What the interface says of us."""
        mine = uapi("get=1").split(f"public_key={self.keys.public.hex()}\n")[1].split("public_key=")[0]
        return [line.split("=")[1] for line in mine.splitlines() if line.startswith(field + "=")][0]

    def here(self, s=None):
        """Our endpoint, for set()."""
        with socket.socket(Peer.family, socket.SOCK_DGRAM) as way:
            way.connect(Peer.at)
            address = way.getsockname()[0].split("%")[0]
        if address.startswith("fe80:"):
            address += "%eth0"  # as the interface's host calls it
        port = (s or self.socket).getsockname()[1]
        return f"endpoint=[{address}]:{port}" if ":" in address else f"endpoint={address}:{port}"

    def send(self, message, s=None):
        (s or self.socket).sendto(message, Peer.at)

    def read(self, wait):
        """The next message, into self.answers or self.other; False: none in time."""
        ready = select.select(self.sockets, [], [], wait)[0]
        if not ready:
            return False
        message, control, _, _ = ready[0].recvmsg(65536, 256)
        kind, receiver = struct.unpack("<II", message[:8])
        if kind == DATA and receiver in self.sessions:
            session = self.sessions[receiver]
            _, inner = session.unseal(message)
            number = echo_number(inner)
            if number is not None:
                self.answers[number] = (ready[0], session)
                self.marks[number] = (control[0][2][0] if control else None, inner[1])
                return True
        self.other.append((kind, message, ready[0]))
        return True

    def wait_for(self, kind, wait=1.0):
        """The next message of a kind other than an echo's answer, or None."""
        ends = time.monotonic() + wait
        while True:
            for i, (k, message, s) in enumerate(self.other):
                if k == kind:
                    del self.other[i]
                    self.came_to = s
                    return message
            left = ends - time.monotonic()
            if left <= 0 or not self.read(left):
                return None

    def answered(self, *numbers, wait=1.0):
        """Are all of these answered?"""
        ends = time.monotonic() + wait
        while not all(n in self.answers for n in numbers):
            left = ends - time.monotonic()
            if left <= 0 or not self.read(left):
                return False
        return True

    def initiation(self, hasty=False, **more):
        """Our next message 1; `hasty`: without the 20 ms that have to lie between two."""
        if not hasty:
            time.sleep(max(0, self.begun + 0.0202 - time.monotonic()))
        self.begun = time.monotonic()
        return Initiation(self.keys, Peer.device, **more)

    def shake(self, s=None, **more):
        """A handshake that we begin; the session, or None without an answer."""
        first = self.initiation(**{"index": int.from_bytes(os.urandom(4), "little"), **more})
        self.send(first.message, s)
        return self.complete(first)

    def complete(self, first, wait=1.0):
        reply = self.wait_for(RESPONSE, wait)
        self.begun = time.monotonic()
        return reply and self.own(first.complete(reply, self.psk))

    def own(self, session):
        self.sessions[session.local] = session
        return session

    def echo(self, make=echo4, **more):
        """An echo request and its number."""
        self.number += 1
        ends = (self.v4, "10.7.0.1") if make is echo4 else (self.v6, "fd07::1")
        return self.number, make(*ends, self.number, **more)

    def ping(self, session, s=None, make=echo4, counter=None, padded=None, **more):
        number, packet = self.echo(make, **more)
        self.send(session.seal(packet, counter, padded), s)
        return number

    def alive(self, session, s=None, wait=1.0, **more):
        return self.answered(self.ping(session, s, **more), wait=wait)

    def answer(self, message, **more):
        return Answer(self.keys, Peer.device, message, psk=self.psk, **more)

    def summoned(self, wait=7):
        """Has the interface begin a handshake with us; its initiation."""
        self.set(self.here(), "persistent_keepalive_interval=0")
        self.set("persistent_keepalive_interval=600")
        return self.wait_for(INITIATION, wait)


def begin(control, host, port):
    Peer.control = control
    Peer.family, _, _, _, Peer.at = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    Peer.device = Keys(bytes.fromhex(uapi("get=1").split("private_key=")[1].split("\n")[0])).public


def burst(peer, session, counters, drop=()):
    """Pings of one size as one batch; those in `drop` do not authenticate."""
    numbers, messages = [], []
    for i, c in enumerate(counters):
        number, packet = peer.echo()
        m = session.seal(packet, c)
        messages.append(m[:-1] + bytes([m[-1] ^ 1]) if i in drop else m)
        numbers.append(number)
    with socket.socket(Peer.family, socket.SOCK_DGRAM) as s:
        s.bind(("", 0))
        s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(messages[0]))
        s.connect(Peer.at)
        peer.sockets.append(s)
        s.send(b"".join(messages))
        good = [n for i, n in enumerate(numbers) if i not in drop and counters.index(counters[i]) == i]
        peer.answered(*good)
        peer.sockets.remove(s)
    return [i for i, n in enumerate(numbers) if n in peer.answers]
