"""Frames and capture files as tcpdump writes them, put together by hand."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

MARK = b"abcdefghijkl"
MAC, OTHER = bytes.fromhex("bc241100010b"), bytes.fromhex("dc62795f4a92")
KINDS = {
    "micro-little": ("<", b"\xd4\xc3\xb2\xa1", 1000),
    "nano-little": ("<", b"\x4d\x3c\xb2\xa1", 1),
    "micro-big": (">", b"\xa1\xb2\xc3\xd4", 1000),
    "nano-big": (">", b"\xa1\xb2\x3c\x4d", 1),
}


def icmp(flow=3, seq=7, *, reply=False, mark=MARK, kind=None, code=0) -> bytes:
    kind = (0 if reply else 8) if kind is None else kind
    payload = bytes(16) + mark + flow.to_bytes(2, "big") + b"vn"
    return struct.pack("!BBHHH", kind, code, 0, 4711, seq) + payload


def ipv4(payload: bytes, *, protocol=1, fragment=0, options=b"", version=4, ihl=None) -> bytes:
    words = 5 + len(options) // 4 if ihl is None else ihl
    total = 20 + len(options) + len(payload)
    addresses = IPv4Address("192.0.2.11").packed + IPv4Address("192.0.2.1").packed
    head = struct.pack("!BBHHHBBH", version << 4 | words, 0, total, 1, fragment, 64, protocol, 0)
    return head + addresses + options + payload


SOURCE6, TARGET6 = IPv6Address("2001:db8::b"), IPv6Address("2001:db8::1")


def icmp6(flow=3, seq=7, *, reply=False, mark=MARK, kind=None) -> bytes:
    kind = (129 if reply else 128) if kind is None else kind
    return bytes([kind]) + icmp(flow, seq, mark=mark)[1:]


def ipv6(payload: bytes, *, following=58, hops=64, source=SOURCE6, target=TARGET6) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), following, hops)
    return head + source.packed + target.packed + payload


def discovery(kind=136, *, option: bytes | None = None, target=SOURCE6) -> bytes:
    """Return a neighbour advertisement or solicitation, with the link-layer option if given."""
    return struct.pack("!BBHI", kind, 0, 0, 0) + target.packed + (option or b"")


def error(packet: bytes, kind=3, code=1) -> bytes:
    """Return an ICMP or ICMPv6 error that quotes a packet."""
    return struct.pack("!BBHI", kind, code, 0, 0) + packet


def tagged(packet: bytes, vid=42, ethertype=0x0800) -> bytes:
    """Return what stands behind a link header of type 0x8100."""
    return struct.pack("!HH", vid, ethertype) + packet


def arp(oper=2, *, hlen=6) -> bytes:
    own = MAC + IPv4Address("192.0.2.11").packed
    return struct.pack("!HHBBH", 1, 0x0800, hlen, 4, oper) + own + own


def sll2(packet: bytes, *, ethertype=0x0800, ifindex=4, kind=0, source=MAC) -> bytes:
    return struct.pack("!HHIHBB", ethertype, 0, ifindex, 1, kind, 6) + source + b"\0\0" + packet


def ethernet(packet: bytes, *, ethertype=0x0800, source=MAC) -> bytes:
    return OTHER + source + ethertype.to_bytes(2, "big") + packet


def pcap(*frames: bytes, kind="micro-little", linktype=276) -> bytes:
    order, magic, scale = KINDS[kind]
    parts = [magic, struct.pack(order + "HHiIII", 2, 4, 0, 0, 96, linktype)]
    for number, frame in enumerate(frames):
        micros = number * 1000 // scale
        parts += [struct.pack(order + "IIII", 1000, micros, len(frame), 98), frame]
    return b"".join(parts)
