#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The smallest WireGuard client: one handshake, one ping, and one datagram read for each.

  wg_single.py HOST PORT KEY PRIVATE FROM TO [WAIT]

KEY is the gateway's public key and PRIVATE ours, both in base64. Pings TO from FROM, two inner IPv4
addresses, and takes the next datagram for the answer, whatever it is; then, for WAIT seconds, counts what
else comes. Prints "answered, N more"; anything that is not as it should be ends it with a reason. Only the
standard library is used.
"""
import base64
import os
import socket
import struct
import sys
import time
from hashlib import blake2s
from hmac import digest as hmac

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


def block(key, counter, nonce):
    """RFC 8439, 2.3."""
    begin = list(struct.unpack("<16I", b"expand 32-byte k" + key + struct.pack("<I", counter) + nonce))
    s = begin[:]
    for _ in range(10):
        for i in range(4):
            quarter(s, i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((x + y) & 0xFFFFFFFF for x, y in zip(begin, s)))


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


def seal(key, counter, text, more=b""):
    nonce = bytes(4) + struct.pack("<Q", counter)
    sealed = stream(key, nonce, text)
    return sealed + tag(key, nonce, sealed, more)


def unseal(key, counter, sealed, more=b""):
    nonce = bytes(4) + struct.pack("<Q", counter)
    if tag(key, nonce, sealed[:-16], more) != sealed[-16:]:
        sys.exit("a datagram that does not authenticate")
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


def initiate(theirs, ours, ephemeral):
    ck = blake2s(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s").digest()
    h = mix(mix(ck, b"WireGuard v1 zx2c4 Jason@zx2c4.com"), theirs)
    e = public(ephemeral)
    (ck,) = kdf(ck, e, 1)
    h = mix(h, e)
    ck, k = kdf(ck, x25519(ephemeral, theirs), 2)
    static = seal(k, 0, public(ours), h)
    h = mix(h, static)
    ck, k = kdf(ck, x25519(ours, theirs), 2)
    now = time.time_ns()
    stamp = seal(k, 0, struct.pack(">QI", 2**62 + 10 + now // 10**9, now % 10**9 & ~0xFFFFFF), h)
    m = struct.pack("<II", 1, 7) + e + static + stamp
    m += blake2s(m, key=blake2s(b"mac1----" + theirs).digest(), digest_size=16).digest() + bytes(16)
    return m, ck, mix(h, stamp)


def complete(reply, ours, ephemeral, ck, h):
    kind, sender, receiver = struct.unpack("<III", reply[:12])
    if len(reply) != 92 or kind != 2 or receiver != 7:
        sys.exit("no response came first")
    e = reply[12:44]
    (ck,) = kdf(ck, e, 1)
    h = mix(h, e)
    (ck,) = kdf(ck, x25519(ephemeral, e), 1)
    (ck,) = kdf(ck, x25519(ours, e), 1)
    ck, t, k = kdf(ck, bytes(32), 3)
    unseal(k, 0, reply[44:60], mix(h, t))
    return [sender] + kdf(ck, b"", 2)


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(source, to):
    icmp = struct.pack(">BBHHH", 8, 0, 0, 921, 1)
    icmp = icmp[:2] + struct.pack(">H", checksum(icmp)) + icmp[4:]
    ip = struct.pack(">BBHIBBH", 0x45, 0, 20 + len(icmp), 0, 64, 1, 0)
    ip += socket.inet_aton(source) + socket.inet_aton(to)
    return ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:] + icmp


def main(host, port, key, private, source, to, wait="0"):
    theirs, ours, ephemeral = base64.b64decode(key), base64.b64decode(private), os.urandom(32)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((host, int(port)))
        s.settimeout(3)
        m, ck, h = initiate(theirs, ours, ephemeral)
        s.send(m)
        peer, sending, receiving = complete(s.recv(4096), ours, ephemeral, ck, h)
        packet = ping(source, to)
        s.send(struct.pack("<IIQ", 4, peer, 0) + seal(sending, 0, packet + bytes(-len(packet) % 16)))
        answer = s.recv(4096)
        kind, receiver, counter = struct.unpack("<IIQ", answer[:16])
        if kind != 4 or receiver != 7 or counter != 0:
            sys.exit("something else came first")
        inner = unseal(receiving, 0, answer[16:])
        if inner[12:20] != packet[16:20] + packet[12:16] or inner[20] != 0 or inner[24:28] != packet[24:28]:
            sys.exit("no echo reply came first")
        more, ends = 0, time.monotonic() + float(wait)
        while (left := ends - time.monotonic()) > 0:
            s.settimeout(left)
            try:
                s.recv(4096)
                more += 1
            except TimeoutError:
                break
    print(f"answered, {more} more")


main(*sys.argv[1:])
