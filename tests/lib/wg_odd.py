#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A peer that does what few do and WireGuard allows, and some of what it does not.

  wg_odd.py SOCKET HOST PORT [CASE…]

SOCKET is the configuration socket of an interface with 10.7.0.1 and fd07::1 inside, which is reached at HOST
(IPv4; most cases work with IPv6) and PORT. Each case is a peer of its own, with a key, inner addresses, and outer ports. What the
interface takes is answered by its host's kernel (pings); where a packet must be dropped, one behind it that
must not be shows that there is nothing to wait for. Speaks as lib/check.sh does.
"""
import os
import socket
import struct
import sys
import time

from wg_noise import (COOKIE, DATA, INITIATION, RESPONSE, Initiation, Keys, Wrong, cookie_in, cookie_reply, echo4,
                      echo6, ipv4, mac, tai64n, with_macs)
from wg_peer import Peer, begin, burst

SO_NO_CHECK = 11
LAST = 2**64 - 2**13 - 1  # counters end here
failed = []


def check(name, good, why=""):
    print(f"ok - {name}" if good else f"not ok - {name}: {why or 'failed'}", flush=True)
    if not good:
        failed.append(name)


CASES = []


def case(f):
    CASES.append(f)
    return f


@case
def padding():
    p = Peer()
    s = p.shake()
    check("no padding", p.alive(s, padded=0, fill=1) and p.alive(s, padded=0, fill=0))
    check("padding to lengths that are no multiple of 16", all(p.alive(s, padded=n) for n in (29, 47, 333, 1441)))
    check("IPv6", p.alive(s, make=echo6))
    check("IPv6 with a destination options header", p.alive(s, make=echo6, extension=b"\x3c\x3a\0\1\4\0\0\0\0"))
    check("IPv6 with hop-by-hop options and a fragment header", p.alive(
        s, make=echo6, extension=b"\0\x2c\0\1\4\0\0\0\0\x3a\0\0\0\0\0\0\1"))
    whole = p.echo(fill=64)[1]
    for at, flags in ((0, 0x2000), (24, 3)):
        p.send(s.seal(ipv4(p.v4, "10.7.0.1", 1, whole[20 + at:20 + (at or 24) + (48 if at else 0)], flags=flags)))
    check("an echo in two IPv4 fragments", p.answered(p.number))


@case
def largest():
    p = Peer()
    check("the largest datagram that there is", p.alive(p.shake(), padded=65507 - 32, wait=5))


def dropped(p, s, inner, padded=None):
    """Is an inner packet, which has a number of its own where it is an echo, dropped, and is all well after it?"""
    before = set(p.answers)
    p.send(s.seal(inner, padded=padded))
    return p.alive(s) and set(p.answers) - before == {p.number}


@case
def inner():
    p = Peer()
    s = p.shake()
    p.alive(s)
    for n in (1, 19):
        check(f"inner: {n} bytes", dropped(p, s, b"\x45" * n, n))
    check("inner: 20 bytes that end in the header", dropped(p, s, p.echo()[1][:20], 20))
    check("inner: IPv6 of 39 bytes", dropped(p, s, p.echo(echo6)[1][:39], 39))
    for version in (0, 5, 7, 8, 12, 15):
        number, packet = p.echo()
        check(f"inner: version {version}", dropped(p, s, bytes([version << 4 | 5]) + packet[1:]))
    check("inner: a total length beyond the plaintext", dropped(p, s, p.echo(total=300)[1]))
    check("inner: by one byte", dropped(p, s, p.echo(fill=3, total=32)[1], 31))
    check("inner: a total length below a header's", dropped(p, s, p.echo(total=19)[1]))
    check("inner: IPv6, a length beyond the plaintext", dropped(p, s, p.echo(echo6)[1][:-1], 47))
    p.number += 1
    check("inner: somebody else's source", dropped(p, s, echo4("10.7.0.250", "10.7.0.1", p.number)))
    p.number += 1
    check("inner: IPv6, somebody else's source", dropped(p, s, echo6("fd07::250", "fd07::1", p.number)))


@case
def counters():
    p = Peer()
    s = p.shake()
    check("counter: begins with 77", p.alive(s, counter=77))
    for c in (5000, 10**9, 2**40, 2**60, LAST - 4000):
        check(f"counter: jumps to {c}", p.alive(s, counter=c))
    top = LAST - 4000
    numbers = [p.ping(s, counter=top - i) for i in range(1, 100)]
    check("counter: backwards within the window", p.answered(*numbers, wait=3))
    check("counter: 2000 behind", p.alive(s, counter=top - 2000))
    number = p.ping(s, counter=top - 7)
    check("counter: none twice", p.alive(s, counter=top + 1) and number not in p.answers)
    number = p.ping(s, counter=top - 200000)
    check("counter: none that is out of the window", p.alive(s, counter=top + 2) and number not in p.answers)
    check("counter: the last one", p.alive(s, counter=LAST - 1))
    number = p.ping(s, counter=2**64 - 1)
    check("counter: 2^64 - 1", p.alive(s, counter=LAST - 2) and number not in p.answers)


@case
def batches():
    p = Peer()
    s = p.shake()
    check("batch: forty, backwards", burst(p, s, list(range(40))[::-1]) == list(range(40)))
    odd = [100, 101, 100, 103, 102, 103, 104, 105]
    check("batch: with two replays and a forgery", burst(p, s, odd, drop={6}) == [0, 1, 3, 4, 7], p.answers)
    s = p.shake()
    p.alive(s)
    t = p.shake()
    numbers, messages = zip(*[(n, (s if i % 2 else t).seal(m)) for i, (n, m) in enumerate(p.echo() for _ in range(20))])
    for m in messages:
        p.send(m)
    check("batch: two sessions in turns", p.answered(*numbers))


@case
def keepalives():
    p = Peer()
    s = p.shake()
    p.send(s.seal(b""))
    time.sleep(0.1)
    check("keepalives alone confirm a session", p.known("last_handshake_time_sec") != "0")
    other = p.another()
    p.send(s.seal(b""), other)
    time.sleep(0.1)
    check("a keepalive roams", p.known("endpoint").endswith(f":{other.getsockname()[1]}"), p.known("endpoint"))
    check("an empty one with padding is dropped", dropped(p, s, b"", 16))


@case
def roaming():
    p = Peer()
    s, b, c = p.shake(), p.another(), p.another()
    number = p.ping(s, b)
    check("roaming: the answer goes to the new port", p.answered(number) and p.answers[number][0] is b)
    bad = bytearray(s.seal(p.echo()[1]))
    bad[-1] ^= 1
    p.send(bytes(bad), c)
    number = p.ping(s, b, counter=s.counter - 2)
    p.ping(s, c, counter=s.counter - 2)
    number = p.ping(s, b)
    check("roaming: not by a forgery, nor by a replay", p.answered(number) and p.answers[number][0] is b)
    first = p.initiation(index=5)
    p.send(first.message, b)
    t = p.complete(first)
    number = p.ping(t, c)
    check("roaming: amid a handshake", p.answered(number) and p.answers[number][0] is c)
    number = p.ping(s, b)
    check("roaming: by the session before", p.answered(number) and p.answers[number][0] is b)
    check("roaming: and it is answered under the new one", p.answers[number][1] is t)


def silent(p, message, wait=0.15):
    p.send(message)
    return p.wait_for(RESPONSE, wait) is None


@case
def stamps():
    p, now = Peer(), time.time_ns()
    check("stamp: one", p.shake(stamp=tai64n(now)))
    check("stamp: the same again", silent(p, p.initiation(stamp=tai64n(now)).message))
    check("stamp: one nanosecond less", silent(p, p.initiation(stamp=tai64n(now - 1)).message))
    check("stamp: one nanosecond more", p.shake(stamp=tai64n(now + 1)))
    check("stamp: of the year 1970 plus 2^61 s", p.shake(stamp=struct.pack(">QI", 2**62 + 2**61, 0)))
    check("stamp: the greatest", p.shake(stamp=b"\xff" * 12))
    q = Peer()
    many = [q.initiation(hasty=True, index=i, stamp=tai64n(now + i)) for i in range(1, 21)]
    for first in many:
        q.send(first.message)
        if q.complete(first):
            time.sleep(0.0202)
    check("stamp: twenty handshakes, 20 ms apart", len(q.sessions) == 20, len(q.sessions))
    check("stamp: the last is alive", q.alive(q.sessions[20]))


@case
def haste():
    p, now = Peer(), time.time_ns()
    soon = [p.initiation(hasty=i > 0, index=i, stamp=tai64n(now + i)).message for i in (0, 1)]
    for message in soon:
        p.send(message)
    check("haste: not two at once", p.wait_for(RESPONSE) and p.wait_for(RESPONSE, 0.15) is None)
    check("haste: which the second can say again", not silent(p, soon[1]))


@case
def rekeys():
    p = Peer()
    sessions = []
    for _ in range(12):
        sessions.append(p.shake())
        if not p.alive(sessions[-1]):
            break
    check("rekeys: twelve in a second", len(sessions) == 12 and all(sessions))
    check("rekeys: data of the session before the last", p.alive(sessions[-2]))
    check("rekeys: is answered under the last", p.answers[p.number][1] is sessions[-1])
    a = p.initiation(index=40)
    p.send(a.message)
    first = p.complete(a)
    b = p.initiation(index=41)
    p.send(b.message)
    second = p.complete(b)
    check("rekeys: two in flight, the second is used", p.alive(second))
    check("rekeys: the old session goes on", p.alive(sessions[-1]))
    p.ping(first)
    check("rekeys: and the newest", p.alive(second))


@case
def indices():
    p = Peer()
    for index in (0, 2**32 - 1, 7, 7):
        s = p.shake(index=index)
        check(f"index {index}", s and p.alive(s))

@case
def malformed():
    p = Peer()
    first = p.initiation()
    m = first.message
    reserved = with_macs(b"\1\1\0\0" + m[4:-32], Peer.device)
    check("bad: reserved bytes of an initiation", silent(p, reserved, 0.05))
    check("bad: an initiation of 147 bytes", silent(p, m[:-1], 0.05))
    check("bad: an initiation of 149 bytes", silent(p, m + b"\0", 0.05))
    check("bad: a wrong first mac", silent(p, m[:-17] + bytes([m[-17] ^ 1]) + m[-16:], 0.05))
    check("bad: an ephemeral key of zero", silent(p, p.initiation(ephemeral=lambda e: bytes(32)).message, 0.05))
    q, high = Peer(), lambda e: e[:31] + bytes([e[31] | 128])
    s = q.shake(ephemeral=high)
    check("an ephemeral key with its top bit set", s and q.alive(s))
    s = p.shake()
    check("a second mac of who knows what", s and p.alive(s))
    t = p.shake(cookie=os.urandom(16))
    check("one without a cookie that was asked for", t and p.alive(t))
    d = t.seal(p.echo()[1])
    p.send(b"\4\0\1\0" + d[4:])
    p.send(d[:31])
    p.send(b"")
    p.send(b"\4\0\0")
    check("bad: data with reserved bytes, and cut ones", p.alive(t) and p.number - 1 not in p.answers)
    p.send(s.seal(p.echo()[1], 0)[:4] + struct.pack("<I", t.remote) + s.seal(p.echo()[1], 9)[8:])
    check("bad: data under another session's index", p.alive(t))


@case
def psk():
    p = Peer()
    s = p.shake()
    p.alive(s)
    secret = os.urandom(32)
    p.set(f"preshared_key={secret.hex()}")
    check("psk: the session goes on when one is set", p.alive(s))
    try:
        check("psk: none fits no more", not p.shake())
    except Wrong:
        check("psk: none fits no more", True)
    p.psk = secret
    s = p.shake()
    check("psk: the right one", s and p.alive(s))
    p.set(f"preshared_key={bytes(32).hex()}")
    p.psk = bytes(32)
    s = p.shake()
    check("psk: taken away", s and p.alive(s))


@case
def outer():
    p = Peer()
    for tos in (0xff, 0x03, 0xb8):
        p.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        s = p.shake()
        check(f"outer: TOS {tos:#x} on all", s and p.alive(s))
    p.socket.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    s = p.shake()
    check("outer: UDP without a checksum", s and p.alive(s))
    p.socket.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01\x01\x01\x00")
    s = p.shake()
    check("outer: IP options", s and p.alive(s))


@case
def congestion():
    p, inside = Peer(), {0: 0x20, 1: 0x21, 2: 0x22, 3: 0x23}
    s = p.shake()
    p.socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    p.alive(s)
    for outer in (0, 1, 2, 3):
        p.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, outer)
        for ecn, tos in inside.items():
            want = tos if outer < 3 or not ecn else 0x23
            good = p.alive(s, tos=tos) and p.marks[p.number] == (2 if want & 3 == 3 else want & 3, want)
            check(f"congestion: ECN {ecn} inside and {outer} outside", good, p.marks)


@case
def responder():
    p = Peer()
    first = p.summoned()
    a = p.answer(first, index=0)
    p.send(a.message)
    s = p.own(a.session)
    check("responder: data before the initiator's first is taken", p.alive(s))
    p.send(a.message)
    check("responder: the same response again changes nothing", p.alive(s))
    q = Peer()
    first = q.summoned()
    a, other = q.answer(first, index=2**32 - 1), q.another()
    time.sleep(2)
    q.send(a.message, other)
    s = q.own(a.session)
    confirmed = q.wait_for(DATA)
    check("responder: a response after 2 s, from another port, is confirmed", confirmed and q.came_to is other)
    check("responder: by an empty packet with counter 0", confirmed and s.unseal(confirmed) == (0, b""))
    check("responder: a session as any", q.alive(s, other))


@case
def response_bad():
    p = Peer()
    first = p.summoned()
    p.psk = os.urandom(32)
    p.send(p.answer(first).message)  # of another psk
    p.psk = bytes(32)
    a = p.answer(first)
    m = a.message
    p.send(m[:12] + bytes(32) + m[44:])
    p.send(with_macs(m[:12] + bytes(32) + m[44:-32], Peer.device))
    p.send(with_macs(m[:44] + bytes(16), Peer.device))
    p.send(m[:-1])
    p.send(with_macs(b"\2\0\0\1" + m[4:-32], Peer.device))
    p.send(m)
    s = p.own(a.session)
    check("responder: wrong responses before the right one do no harm", p.alive(s))


@case
def crossing():
    p = Peer()
    theirs = p.summoned()
    ours = p.initiation(index=50)
    p.send(ours.message)
    s = p.complete(ours)
    check("crossing: an initiation is answered while one is in flight", s and p.alive(s))
    a = p.answer(theirs, index=51)
    p.send(a.message)
    t = p.own(a.session)
    check("crossing: a late answer to the other does no harm", p.alive(s))
    p.ping(t)
    check("crossing: whether it is taken or not", p.alive(s))


@case
def cookies():
    p = Peer()
    first = p.summoned()
    cookie = os.urandom(16)
    p.send(cookie_reply(p.keys, first, cookie))
    p.send(cookie_reply(p.keys, first, cookie))
    again = p.wait_for(INITIATION, 7)
    good = again and mac(cookie, again[:-16]) == again[-16:]
    check("cookie: is used within 7 s", good)
    a = p.answer(again)
    p.send(a.message)
    check("cookie: a session with it", p.alive(p.own(a.session)))


@case
def load():
    p, stranger = Peer(), Keys()
    m = Initiation(stranger, Peer.device).message
    flood = [with_macs(m[:4] + struct.pack("<I", i) + m[8:-32], Peer.device) for i in range(1500)]
    with socket.socket(Peer.family, socket.SOCK_DGRAM) as sock:
        def asked(message, s=None):
            for i, f in enumerate(flood):
                sock.sendto(f, Peer.at)
                if i % 100 == 99:  # what comes right behind more than a few hundred may be dropped
                    time.sleep(0.01)
            p.send(message, s)
            return p.wait_for(COOKIE)
        first, other = p.initiation(), p.another()
        got = asked(first.message)
        check("load: a cookie is asked for", got)
        cookie = got and cookie_in(got, Peer.device, first.message)
        check("load: again where the second mac is wrong", asked(p.initiation(cookie=os.urandom(16)).message))
        good = p.initiation(cookie=cookie)
        check("load: again where it is of another port", asked(good.message, other) and p.came_to is other)
        p.send(good.message)
        s = p.complete(good)
        check("load: and that is let in", s and p.alive(s))
        over = next(filter(None, (p.shake() for _ in range(5))), None)
        check("load: which ends", over and p.alive(over))


def main(control, host, port, *names):
    begin(control, host, port)
    for f in CASES:
        if not names or f.__name__ in names:
            f()
    sys.exit(bool(failed))


main(*sys.argv[1:])
