#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ICMP messages that say "too big" of packets that were not.

  icmp_forge.py [OPTION…] DEVICE FROM TO MTU COUNT

Waits on DEVICE (of a router between them) for UDP datagrams FROM → TO and tells FROM for each of the
first COUNT that no more than MTU passes: Fragmentation Needed for IPv4, Packet Too Big for IPv6.
Prints "listening", then how many it sent, and the sizes of the packets that they quote.
  --least N      only datagrams of that many bytes of IP packet or more
  --quote N      so many bytes of the packet are quoted (default 548)
  --wrong WHAT   a guess from off the path. "ports": the ports are others; "bytes": the ports are right,
                 but what is behind the UDP header was never sent
  --seconds N    give up after (default 10)
"""
import argparse
import ipaddress
import os
import select
import socket
import struct
import sys
import time


def checksum(data):
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def header_length(packet, v6):
    return 40 if v6 else (packet[0] & 15) * 4


def is_wanted(packet, args):
    v6 = args.src.version == 6
    if len(packet) < max(args.least, 48) or packet[0] >> 4 != args.src.version:
        return False
    protocol, at = (packet[6], 8) if v6 else (packet[9], 12)
    length = len(args.src.packed)
    return (protocol == socket.IPPROTO_UDP and packet[at:at + length] == args.src.packed
            and packet[at + length:at + 2 * length] == args.dst.packed)


def quote_of(packet, args):
    head = header_length(packet, args.src.version == 6)
    quote = bytearray(packet[:args.quote])
    if args.wrong == "ports":
        quote[head:head + 4] = os.urandom(4)
    elif args.wrong == "bytes":
        quote[head + 8:] = os.urandom(len(quote) - head - 8)
    return bytes(quote)


def tell(args, quote):
    v6 = args.src.version == 6
    if v6:
        # the kernel fills in the checksum
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        message = struct.pack("!BBHI", 2, 0, 0, args.mtu) + quote[:1232]
    else:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        message = struct.pack("!BBHHH", 3, 4, 0, 0, args.mtu) + quote
        message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    with raw:
        raw.sendto(message, (str(args.src), 0))


def main(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("--least", type=int, default=0)
    parser.add_argument("--quote", type=int, default=548)
    parser.add_argument("--wrong", choices=["ports", "bytes"])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("device")
    parser.add_argument("src", metavar="FROM", type=ipaddress.ip_address)
    parser.add_argument("dst", metavar="TO", type=ipaddress.ip_address)
    parser.add_argument("mtu", type=int)
    parser.add_argument("count", type=int)
    args = parser.parse_args(argv)
    ethertype = 0x86dd if args.src.version == 6 else 0x0800
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ethertype))
    tap.bind((args.device, ethertype))
    print("listening", flush=True)
    end, sizes = time.monotonic() + args.seconds, []
    while len(sizes) < args.count and (left := end - time.monotonic()) > 0:
        if select.select([tap], [], [], left)[0]:
            packet, where = tap.recvfrom(65536)
            if where[2] != socket.PACKET_OUTGOING and is_wanted(packet, args):
                tell(args, quote_of(packet, args))
                sizes.append(len(packet))
    print(len(sizes), "sent, about packets of", *sorted(set(sizes)), "bytes")
    return len(sizes) < args.count


sys.exit(main(sys.argv[1:]))
