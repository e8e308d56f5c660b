# SPDX-License-Identifier: Apache-2.0
"""WireGuard's messages as the paper says (5.4), byte by byte and slowly: for the peers that tests are made of.

Only the standard library is used. Nothing here decides what is right to send: stamps, indices, counters,
padding and both macs are the caller's.
"""
import base64
import os
import socket
import struct
import time
from hashlib import blake2s
from hmac import digest as hmac

INITIATION, RESPONSE, COOKIE, DATA = 1, 2, 3, 4
LENGTH = {INITIATION: 148, RESPONSE: 92, COOKIE: 64}


class Wrong(Exception):
    """A message that is not what it has to be."""


P = 2**255 - 19


def x25519(scalar, point):
    """RFC 7748, 5."""
    k = int.from_bytes(scalar, "little") & ~7 & (2**255 - 1) | 2**254
    u = int.from_bytes(point, "little") & (2**255 - 1)
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb = d * a, c * b
        x3, z3 = (da + cb) ** 2 % P, u * (da - cb) ** 2 % P
        aa, bb = a * a % P, b * b % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + 121665 * (aa - bb)) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def quarter(s, a, b, c, d):
    for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & 0xFFFFFFFF
        s[z] ^= s[x]
        s[z] = (s[z] << bits | s[z] >> (32 - bits)) & 0xFFFFFFFF


def twenty_rounds(key, last16):
    begin = list(struct.unpack("<16I", b"expand 32-byte k" + key + last16))
    s = begin[:]
    for _ in range(10):
        for i in range(4):
            quarter(s, i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return begin, s


def block(key, counter, nonce):
    """RFC 8439, 2.3."""
    begin, s = twenty_rounds(key, struct.pack("<I", counter) + nonce)
    return struct.pack("<16I", *((x + y) & 0xFFFFFFFF for x, y in zip(begin, s)))


def extended(key, nonce):
    """XChaCha20 (draft-irtf-cfrg-xchacha): key and nonce for the rest of it."""
    _, s = twenty_rounds(key, nonce[:16])
    return struct.pack("<8I", *s[:4], *s[12:]), bytes(4) + nonce[16:]


def poly1305(key, data):
    """RFC 8439, 2.5."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    acc = 0
    for i in range(0, len(data), 16):
        acc = (acc + int.from_bytes(data[i:i + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((acc + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def stream(key, nonce, text):
    blocks = (block(key, 1 + i, nonce) for i in range((len(text) + 63) // 64))
    return bytes(x ^ y for x, y in zip(text, b"".join(blocks)))


def tag(key, nonce, sealed, more):
    def padded(b):
        return b + bytes(-len(b) % 16)
    return poly1305(block(key, 0, nonce)[:32],
                    padded(more) + padded(sealed) + struct.pack("<QQ", len(more), len(sealed)))


def nonce_of(counter):
    return bytes(4) + struct.pack("<Q", counter)


def seal(key, nonce, text, more=b""):
    sealed = stream(key, nonce, text)
    return sealed + tag(key, nonce, sealed, more)


def unseal(key, nonce, sealed, more=b""):
    if tag(key, nonce, sealed[:-16], more) != sealed[-16:]:
        raise Wrong("a message that does not authenticate")
    return stream(key, nonce, sealed[:-16])


def kdf(ck, data, n):
    out, t = [], b""
    secret = hmac(ck, data, "blake2s")
    for i in range(1, n + 1):
        t = hmac(secret, t + bytes([i]), "blake2s")
        out.append(t)
    return out


def mix(h, data):
    return blake2s(h + data).digest()


def public(private):
    return x25519(private, (9).to_bytes(32, "little"))


def mac(key, message):
    return blake2s(message, key=key, digest_size=16).digest()


def label_key(label, pub):
    return blake2s(label + pub).digest()


def with_macs(message, receiver, cookie=None):
    message += mac(label_key(b"mac1----", receiver), message)
    return message + (mac(cookie, message) if cookie else bytes(16))


def tai64n(ns=None):
    """Of a time in nanoseconds since 1970."""
    ns = time.time_ns() if ns is None else ns
    return struct.pack(">QI", 2**62 + 10 + ns // 10**9, ns % 10**9)


class Keys:
    def __init__(self, private=None):
        self.private = private or os.urandom(32)
        self.public = public(self.private)


def key_of(text):
    return Keys(base64.b64decode(text))


class Session:
    def __init__(self, ck, local, remote, initiator):
        first, second = kdf(ck, b"", 2)
        self.send, self.receive = (first, second) if initiator else (second, first)
        self.local, self.remote, self.counter = local, remote, 0

    def seal(self, packet, counter=None, padded=None):
        """A data message. `padded`: the length of its plaintext, else as the paper wants it."""
        if counter is None:
            counter, self.counter = self.counter, self.counter + 1
        text = packet.ljust(-(-len(packet) // 16) * 16 if padded is None else padded, b"\0")
        return struct.pack("<IIQ", DATA, self.remote, counter) + seal(self.send, nonce_of(counter), text)

    def unseal(self, message):
        kind, receiver, counter = struct.unpack("<IIQ", message[:16])
        if kind != DATA or receiver != self.local:
            raise Wrong("no data of this session")
        return counter, unseal(self.receive, nonce_of(counter), message[16:])


def begin(responder):
    ck = blake2s(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s").digest()
    return ck, mix(mix(ck, b"WireGuard v1 zx2c4 Jason@zx2c4.com"), responder)


class Initiation:
    """Message 1 to `theirs`; complete() takes message 2 for it."""

    def __init__(self, ours, theirs, index=7, stamp=None, ephemeral=None, cookie=None):
        self.ours, self.index, self.private = ours, index, os.urandom(32)
        e = public(self.private) if ephemeral is None else ephemeral(public(self.private))
        ck, h = begin(theirs)
        (ck,) = kdf(ck, e, 1)
        h = mix(h, e)
        ck, k = kdf(ck, x25519(self.private, theirs), 2)
        static = seal(k, nonce_of(0), ours.public, h)
        h = mix(h, static)
        self.ck, k = kdf(ck, x25519(ours.private, theirs), 2)
        payload = seal(k, nonce_of(0), stamp or tai64n(), h)
        self.h = mix(h, payload)
        message = struct.pack("<II", INITIATION, index) + e + static + payload
        self.message = with_macs(message, theirs, cookie)

    def complete(self, reply, psk=bytes(32)):
        kind, sender, receiver = struct.unpack("<III", reply[:12])
        if len(reply) != LENGTH[RESPONSE] or kind != RESPONSE or receiver != self.index:
            raise Wrong("no response to this initiation")
        e = reply[12:44]
        (ck,) = kdf(self.ck, e, 1)
        h = mix(self.h, e)
        (ck,) = kdf(ck, x25519(self.private, e), 1)
        (ck,) = kdf(ck, x25519(self.ours.private, e), 1)
        ck, t, k = kdf(ck, psk, 3)
        unseal(k, nonce_of(0), reply[44:60], mix(h, t))
        return Session(ck, self.index, sender, True)


class Answer:
    """Message 2 for an initiation of `theirs`: .message, .session, and the .stamp that came."""

    def __init__(self, ours, theirs, initiation, index=7, psk=bytes(32), cookie=None):
        kind, sender = struct.unpack("<II", initiation[:8])
        if len(initiation) != LENGTH[INITIATION] or kind != INITIATION:
            raise Wrong("no initiation")
        if mac(label_key(b"mac1----", ours.public), initiation[:-32]) != initiation[-32:-16]:
            raise Wrong("its first mac is wrong")
        e, static, payload = initiation[8:40], initiation[40:88], initiation[88:116]
        ck, h = begin(ours.public)
        (ck,) = kdf(ck, e, 1)
        h = mix(h, e)
        ck, k = kdf(ck, x25519(ours.private, e), 2)
        if unseal(k, nonce_of(0), static, h) != theirs:
            raise Wrong("an initiation of another key")
        h = mix(h, static)
        ck, k = kdf(ck, x25519(ours.private, theirs), 2)
        self.stamp = unseal(k, nonce_of(0), payload, h)
        h = mix(h, payload)
        own = Keys()
        (ck,) = kdf(ck, own.public, 1)
        h = mix(h, own.public)
        (ck,) = kdf(ck, x25519(own.private, e), 1)
        (ck,) = kdf(ck, x25519(own.private, theirs), 1)
        ck, t, k = kdf(ck, psk, 3)
        empty = seal(k, nonce_of(0), b"", mix(h, t))
        message = struct.pack("<III", RESPONSE, index, sender) + own.public + empty
        self.message = with_macs(message, theirs, cookie)
        self.session = Session(ck, index, sender, False)


def cookie_in(reply, responder, sent):
    """The cookie in message 3, for a message of ours that was `sent` to the responder."""
    key, nonce = extended(label_key(b"cookie--", responder), reply[8:32])
    return unseal(key, nonce, reply[32:], sent[-32:-16])


def cookie_reply(ours, message, cookie):
    """Message 3 for a `message` that came."""
    nonce = os.urandom(24)
    key, rest = extended(label_key(b"cookie--", ours.public), nonce)
    return struct.pack("<I", COOKIE) + message[4:8] + nonce + seal(key, rest, cookie, message[-32:-16])


# --- inner packets ---

def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def summed(message, pseudo=b""):
    """An ICMP message with its checksum."""
    return message[:2] + struct.pack(">H", checksum(pseudo + message)) + message[4:]


def ipv4(source, to, protocol, payload, total=None, flags=0, tos=0):
    ip = struct.pack(">BBHHHBBH", 0x45, tos, 20 + len(payload) if total is None else total, 0, flags, 64, protocol, 0)
    ip += socket.inet_aton(source) + socket.inet_aton(to)
    return ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:] + payload


def ipv6(source, to, kind, payload):
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, to)
    return struct.pack(">IHBB", 6 << 28, len(payload), kind, 64) + ends + payload


def echo4(source, to, number, fill=0, **more):
    return ipv4(source, to, 1, summed(struct.pack(">BBHHH", 8, 0, 0, 921, number) + bytes(fill)), **more)


def echo6(source, to, number, fill=0, extension=b""):
    """`extension`: the kind of the first extension header, and all of them."""
    icmp = struct.pack(">BBHHH", 128, 0, 0, 921, number) + bytes(fill)
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, to)
    icmp = summed(icmp, ends + struct.pack(">II", len(icmp), 58))
    return ipv6(source, to, extension[0] if extension else 58, extension[1:] + icmp)


def echo_number(packet):
    """Which echo an inner packet answers; None: none."""
    at, kind = (20, 0) if packet[:1] and packet[0] >> 4 == 4 else (40, 129)
    answers = len(packet) >= at + 8 and packet[at] == kind and packet[at + 4:at + 6] == struct.pack(">H", 921)
    return struct.unpack(">H", packet[at + 6:at + 8])[0] if answers else None
