#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every secret of a network in every log of it: log_secrets.py RV-STATE NODE-STATE… -- TEXT… -- LOG…

From the rendezvous' state (docs/protocol.md, "Secrets") follow the admission secret, the keys for
leases and rosters, each member's PSK and each pair's; a node's state holds its private key and PSK.
TEXT is what else is secret: a token, a key as text. Each is looked for as it is, in base64 (both
alphabets) and in hex; and so is anything that looks like 16 bytes or more of key, known or not.
Prints what it found; the status is 1 when that is anything, and when the secrets are not to be had.
"""
import base64
import contextlib
import glob
import hashlib
import hmac
import os
import re
import shutil
import sqlite3
import struct
import sys
import tempfile

PRIVATE_KEY, PSK = 1, 5
EPOCH = struct.pack(">I", 1)
# 22 characters of base64 are 16 bytes; words and paths are none, for they lack one of the three
LOOKS_LIKE = re.compile(rb"(?<![A-Za-z0-9+/_-])(?=[A-Za-z0-9+/_-]{40,})(?=[^\s]*[0-9])(?=[^\s]*[A-Z])(?=[^\s]*[a-z])"
                        rb"[A-Za-z0-9+/_-]{40,}={0,2}|\b[0-9a-fA-F]{32,}\b")


def derive(secret, label, *parts):
    data = label.encode() + b"\0" + b"".join(parts)
    return hmac.new(secret, data, hashlib.blake2s).digest()


def identity(folder):
    with open(os.path.join(folder, "identity"), "rb") as f:
        raw = f.read()
    body, fields = raw[9:-8], {}
    while body:
        kind, size = struct.unpack(">HH", body[:4])
        fields[kind & 0x7FFF] = body[4:4 + size]
        body = body[4 + size:]
    return fields


def leases(folder):
    """From a copy: a rendezvous that runs has the database for itself."""
    with tempfile.TemporaryDirectory() as copy:
        for part in glob.glob(f"{folder}/leases.db*"):
            shutil.copy(part, copy)
        with contextlib.closing(sqlite3.connect(f"{copy}/leases.db")) as db:
            return [(i, bytes(k)) for i, k in db.execute("SELECT id, key FROM lease")]


def network(folder):
    key = identity(folder)[PRIVATE_KEY]
    registrar = derive(key, "warren registrar")
    yield "the rendezvous' private key", key
    yield "the admission secret of old tokens", derive(key, "warren admission")
    for epoch in range(2):
        yield f"the admission secret of epoch {epoch}", derive(registrar, "warren admission psk", struct.pack(">I", epoch))
    yield "the registrar's secret", registrar
    yield "the key of lease MACs", derive(registrar, "warren lease mac")
    yield "the key of hashes", derive(registrar, "warren registrar hash")[:16]
    members = leases(folder)
    for name, public in members:
        yield f"the PSK of {name}", derive(registrar, "warren member psk", public)
        for other, key in members:
            if public < key:
                yield f"the PSK of {name} and {other}", derive(registrar, "warren pair psk", EPOCH + public, key)


def forms(secret):
    text = base64.b64encode(secret)
    return {secret, text.rstrip(b"="), base64.urlsafe_b64encode(secret).rstrip(b"="), secret.hex().encode(),
            secret.hex().upper().encode()}


def main(rv, *rest):
    states, texts, logs = split(rest)
    secrets = list(network(rv))
    for folder in states:
        fields = identity(folder)
        secrets.append((f"the private key in {folder}", fields[PRIVATE_KEY]))
        if PSK in fields:
            secrets.append((f"the PSK in {folder}", fields[PSK]))
            if fields[PSK] not in [s for _, s in secrets[:-1]]:
                print(f"the PSK in {folder} is none that follows from the rendezvous' state")
                return 1
    wanted = [(what, f) for what, s in secrets for f in forms(s)]
    wanted += [(f"the text {t[:4]}…", t.encode()) for t in texts]
    found = 0
    for log in logs:
        with open(log, "rb") as f:
            data = f.read()
        for what, form in wanted:
            if form in data:
                print(f"{log}: {what}")
                found = 1
        for m in LOOKS_LIKE.finditer(data):
            print(f"{log}: looks like a secret: {m.group()[:12].decode(errors='replace')}…")
            found = 1
    print(f"{len(secrets)} secrets and {len(texts)} texts, {len(logs)} logs")
    return found


def split(words):
    parts = [[]]
    for w in words:
        if w == "--":
            parts.append([])
        else:
            parts[-1].append(w)
    return parts


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
