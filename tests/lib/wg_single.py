#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The smallest WireGuard client: one handshake, one ping, and one datagram read for each.

  wg_single.py HOST PORT KEY PRIVATE FROM TO [WAIT]

KEY is the gateway's public key and PRIVATE ours, both in base64. Pings TO from FROM, two inner IPv4
addresses, and takes the next datagram for the answer, whatever it is; then, for WAIT seconds, counts what
else comes. Prints "answered, N more"; anything that is not as it should be ends it with a reason.
"""
import base64
import socket
import sys
import time

from wg_noise import Initiation, Wrong, echo4, key_of


def main(host, port, key, private, source, to, wait="0"):
    first = Initiation(key_of(private), base64.b64decode(key))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((host, int(port)))
        s.settimeout(3)
        s.send(first.message)
        session = first.complete(s.recv(4096))
        packet = echo4(source, to, 1)
        s.send(session.seal(packet))
        counter, inner = session.unseal(s.recv(4096))
        if counter != 0 or inner[12:20] != packet[16:20] + packet[12:16] or inner[20] != 0 or inner[24:28] != packet[24:28]:
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


try:
    main(*sys.argv[1:])
except Wrong as wrong:
    sys.exit(f"something else came first: {wrong}")
