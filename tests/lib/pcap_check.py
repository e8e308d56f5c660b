#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds captures against docs/protocol.md.

  pcap_check.py [--outside FILE]… [--inside FILE]… [--marker TEXT] [--need KIND,…] [--clean] [--inner PREFIX]…

Every UDP datagram in an outside capture must be one of the messages that the protocol knows, with
its exact length; each kind is counted and printed. --need names kinds that must have been seen. A
frame larger than Ethernet's is a bundle of the kernel's, which hides where messages begin: refused.
The marker must occur in each inside capture (in a packet, or in a TCP stream put in order) and in
no outside one. --clean refuses anything outside but UDP, ARP, ICMPv6, IGMP and ICMP errors about our
own datagrams: an inner packet that left beside the tunnel. --inner refuses each address of that prefix
outside, in ARP and IP. Only the standard library is used.
"""
import argparse
import ipaddress
import struct
import sys
from collections import Counter, defaultdict

HANDSHAKE = {1: 148, 2: 92, 3: 64}
DATA_MIN, OUTER_FIXED, OUTER_MAC, OUTER_MAX, RELAY_HEADER = 32, 60, 16, 256, 28
FRAME_MAX = 14 + 4 + 1500  # Ethernet with a VLAN's tag
STUN_COOKIE = bytes.fromhex("2112a442")


def read_pcap(path):
    """Yields (link type, frame) of a classic pcap file; a cut last record ends it."""
    with open(path, "rb") as f:
        head = f.read(24)
        if len(head) < 24:
            sys.exit(f"{path}: no capture")
        order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">",
                 b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\x3c\x4d": ">"}.get(head[:4])
        if not order:
            sys.exit(f"{path}: not a pcap file")
        link = struct.unpack(order + "I", head[20:24])[0] & 0xFFFF
        while True:
            rec = f.read(16)
            if len(rec) < 16:
                return
            kept, real = struct.unpack(order + "II", rec[8:16])
            frame = f.read(kept)
            if len(frame) < kept:
                return
            if kept < real:
                sys.exit(f"{path}: a frame of {real} bytes was cut to {kept}")
            yield link, frame


def network_layer(link, frame):
    """The EtherType and the packet of a frame; raw IP is told by its version."""
    if link == 1 and len(frame) >= 14:
        kind, rest = struct.unpack(">H", frame[12:14])[0], frame[14:]
        if kind == 0x8100 and len(rest) >= 4:
            kind, rest = struct.unpack(">H", rest[2:4])[0], rest[4:]
        return kind, rest
    if link == 113 and len(frame) >= 16:
        return struct.unpack(">H", frame[14:16])[0], frame[16:]
    if link == 276 and len(frame) >= 20:
        return struct.unpack(">H", frame[0:2])[0], frame[20:]
    if link in (12, 101, 228, 229) and frame:
        return {4: 0x0800, 6: 0x86DD}.get(frame[0] >> 4, 0), frame
    return 0, frame


class Reassembly:
    """IPv4 fragments put together, because a large datagram may leave in pieces."""

    def __init__(self):
        self.parts = defaultdict(dict)

    def add(self, key, offset, more, payload):
        parts = self.parts[key]
        parts[offset] = (more, payload)
        whole, at = b"", 0
        while at in parts:
            more, piece = parts[at]
            whole, at = whole + piece, at + len(piece)
            if not more:
                del self.parts[key]
                return whole
        return None


def transport(kind, packet, frags):
    """(protocol, source, destination, payload) of an IP packet, or None for a part of one."""
    if kind == 0x0800 and len(packet) >= 20:
        ihl, total = (packet[0] & 15) * 4, struct.unpack(">H", packet[2:4])[0]
        frag = struct.unpack(">H", packet[6:8])[0]
        body = packet[ihl:total or len(packet)]
        src, dst, proto = packet[12:16], packet[16:20], packet[9]
        if frag & 0x3FFF:
            body = frags.add((src, dst, packet[4:6], proto), (frag & 0x1FFF) * 8, frag & 0x2000, body)
            if body is None:
                return None
        return proto, src, dst, body
    if kind == 0x86DD and len(packet) >= 40:
        size = struct.unpack(">H", packet[4:6])[0]
        return packet[6], packet[8:24], packet[24:40], packet[40:40 + size]
    return None


def wireguard(p):
    """The kind of a WireGuard message, or None."""
    if len(p) < 4 or p[1:4] != b"\0\0\0":
        return None
    if HANDSHAKE.get(p[0]) == len(p):
        return {1: "initiation", 2: "response", 3: "cookie"}[p[0]]
    if p[0] == 4 and len(p) >= DATA_MIN:  # of any length: the last of a path MTU, and probes
        return "keepalive" if len(p) == DATA_MIN else "data"
    return None


def outer(p):
    """The kind of a path message (docs/protocol.md, "Outer messages"), or None."""
    if len(p) < OUTER_FIXED + OUTER_MAC or len(p) > OUTER_MAX or p[0] not in (0x80, 0x81) or p[1] != 1:
        return None
    tlvs = struct.unpack(">H", p[58:60])[0]
    if OUTER_FIXED + tlvs + OUTER_MAC != len(p):
        return None
    return "ping" if p[0] == 0x80 else "pong"


def stun(p):
    if len(p) >= 20 and p[4:8] == STUN_COOKIE and p[0] < 0x40:
        if struct.unpack(">H", p[2:4])[0] + 20 == len(p):
            return "stun"
    return None


def classify(p):
    if len(p) > RELAY_HEADER and p[0] == 0x90 and p[1] == 1:
        inner = wireguard(p[RELAY_HEADER:]) or outer(p[RELAY_HEADER:])
        return f"relay:{inner}" if inner else None
    return wireguard(p) or outer(p) or stun(p)


def quotes_ours(body):
    """Is it an ICMP error (unreachable, time exceeded) about one of our own datagrams?"""
    if len(body) < 8 + 20 + 8 + 1 or body[0] not in (3, 11):
        return False
    quoted = body[8:]
    at = (quoted[0] & 15) * 4 + 8
    return quoted[9] == 17 and len(quoted) > at and quoted[at] in (1, 2, 3, 4, 0x80, 0x81, 0x90)


def addresses(kind, packet):
    """Those that a frame names: ARP's, IP's."""
    if kind == 0x0806 and len(packet) >= 28:
        return packet[14:18], packet[24:28]
    if kind == 0x0800 and len(packet) >= 20:
        return packet[12:16], packet[16:20]
    if kind == 0x86DD and len(packet) >= 40:
        return packet[8:24], packet[24:40]
    return ()


def check_outside(path, seen, clean, marker, inner):
    """Complaints about one capture from outside; kinds are counted into seen."""
    bad, frags = [], Reassembly()
    for number, (link, frame) in enumerate(read_pcap(path), 1):
        if marker and marker in frame:
            bad.append(f"{path}: frame {number} holds the marker")
        kind, packet = network_layer(link, frame)
        for address in map(ipaddress.ip_address, addresses(kind, packet)):
            if any(address in prefix for prefix in inner):
                bad.append(f"{path}: frame {number} has the inner address {address}: {packet[:40].hex()}")
        if len(frame) > FRAME_MAX:
            bad.append(f"{path}: frame {number} is a bundle of {len(frame)} bytes, not what is on a wire")
        if kind not in (0x0800, 0x86DD):
            continue
        found = transport(kind, packet, frags)
        if found is None:
            continue
        proto, _, _, body = found
        if proto != 17:
            if clean and proto not in (0, 2, 58) and not (proto == 1 and quotes_ours(body)):
                bad.append(f"{path}: frame {number} is IP protocol {proto}: {packet[:40].hex()}")
            continue
        name = classify(body[8:struct.unpack(">H", body[4:6])[0]]) if len(body) >= 8 else None
        if name is None:
            bad.append(f"{path}: frame {number} is no message of ours: {body[:48].hex()} ({len(body) - 8} bytes)")
        else:
            seen[name] += 1
    return bad


def holds_marker(path, marker):
    """Is the marker in a packet, or in a TCP stream that is cut across packets?"""
    streams, frags = defaultdict(dict), Reassembly()
    for link, frame in read_pcap(path):
        if marker in frame:
            return True
        found = transport(*network_layer(link, frame), frags)
        if found and found[0] == 6 and len(found[3]) >= 20:
            tcp = found[3]
            payload = tcp[(tcp[12] >> 4) * 4:]
            if payload:
                streams[found[1] + found[2] + tcp[:4]][struct.unpack(">I", tcp[4:8])[0]] = payload
    for pieces in streams.values():
        if marker in b"".join(pieces[seq] for seq in sorted(pieces)):
            return True
    return False


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--outside", action="append", default=[])
    ap.add_argument("--inside", action="append", default=[])
    ap.add_argument("--marker", default="")
    ap.add_argument("--need", default="")
    ap.add_argument("--clean", action="store_true")
    ap.add_argument("--inner", action="append", default=[], type=ipaddress.ip_network)
    args = ap.parse_args()
    marker, seen, bad = args.marker.encode(), Counter(), []
    for path in args.outside:
        bad += check_outside(path, seen, args.clean, marker, args.inner)
    for path in args.inside:
        if marker and not holds_marker(path, marker):
            bad.append(f"{path}: the marker is not there")
    for kind in filter(None, args.need.split(",")):
        if not seen[kind]:
            bad.append(f"no {kind} was seen")
    print(", ".join(f"{n} {kind}" for kind, n in seen.most_common()) or "no datagrams")
    for line in bad[:10]:
        print(line)
    if len(bad) > 10:
        print(f"… and {len(bad) - 10} more")
    sys.exit(1 if bad else 0)


main()
