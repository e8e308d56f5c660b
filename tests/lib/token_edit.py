#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes another token of a token (docs/protocol.md, "Token"), with a right checksum:

  token_edit.py TOKEN expires SECONDS-SINCE-1970
  token_edit.py TOKEN critical                     a critical field that nobody knows
  token_edit.py TOKEN version NUMBER
  token_edit.py TOKEN admission                    another admission secret: a foreign token
  token_edit.py TOKEN key                          another key of the rendezvous
  token_edit.py TOKEN prefix ADDRESS/BITS          one prefix, and it is IPv4
"""
import base64
import hashlib
import struct
import sys

FIELD_PREFIX, FIELD_KEY, FIELD_ADMISSION, FIELD_EXPIRES, CRITICAL = 2, 4, 6, 7, 0x8000


def fields(body):
    while body:
        kind, size = struct.unpack(">HH", body[:4])
        yield kind, body[4:4 + size]
        body = body[4 + size:]


def main(token, verb, value="0"):
    prefix, text = token.strip().split("_", 1)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    version, parts = raw[0], list(fields(raw[1:-8]))
    if verb == "expires":
        parts = [p for p in parts if p[0] & 0x7FFF != FIELD_EXPIRES]
        parts.append((FIELD_EXPIRES, struct.pack(">q", int(value))))
    elif verb == "critical":
        parts.append((CRITICAL | 0x7000, b"?"))
    elif verb == "version":
        version = int(value)
    elif verb == "admission":
        parts = [(k, b"\x55" * 32 if k & 0x7FFF == FIELD_ADMISSION else v) for k, v in parts]
    elif verb == "key":
        parts = [(k, b"\x09" + b"\0" * 31 if k & 0x7FFF == FIELD_KEY else v) for k, v in parts]
    elif verb == "prefix":
        address, bits = value.split("/")
        packed = b"\0" * 10 + b"\xff\xff" + bytes(map(int, address.split(".")))
        other = [p for p in parts if p[0] & 0x7FFF != FIELD_PREFIX]
        kind = next(k for k, _ in parts if k & 0x7FFF == FIELD_PREFIX)
        parts = other[:1] + [(kind, bytes([int(bits)]) + packed)] + other[1:]
    new = bytes([version]) + b"".join(struct.pack(">HH", k, len(v)) + v for k, v in parts)
    new += hashlib.blake2s(new).digest()[:8]
    print(prefix + "_" + base64.urlsafe_b64encode(new).decode().rstrip("="))


main(*sys.argv[1:])
