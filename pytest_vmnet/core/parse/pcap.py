"""Read a capture file into sightings, ARP frames and ICMP errors.

File format: draft-ietf-opsawg-pcap; link types LINUX_SLL2 (276) and EN10MB (1). A probe is
recognised by the run's mark at a fixed place of its ICMP payload, so a look-alike from a guest
that does not know the mark is never taken for one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

import numpy as np

from pytest_vmnet.core.facts import SIGHTING, ArpFrame, IcmpError, Packets
from pytest_vmnet.errors import ParseError

LINKTYPE_ETHERNET = 1
LINKTYPE_SLL2 = 276
MARK_BYTES = 12
"""Length of the run's mark; the two bytes behind it are the flow's number."""

MARK_OFFSET = 8 + 16
"""Where the mark stands behind the start of the ICMP header: header, then ping's time stamp."""

_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_MAX_CAPLEN = 262_144
_MAX_ASIDES = 20_000
"""ARP frames and ICMP errors that are kept: a flood of them may not eat the memory."""


def _records(data: bytes, source: str) -> tuple[int, Iterator[tuple[int, int, int]]]:
    """Return the link type and (time in ns, offset, captured length) of every record."""
    if len(data) < 24:
        raise ParseError(source, len(data), f"expected a 24-byte pcap header, got {len(data)}")
    if data[:4] not in _MAGIC:
        raise ParseError(source, 0, f"not a pcap file: magic number {data[:4].hex()}")
    order, scale = _MAGIC[data[:4]]
    linktype = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    head = struct.Struct(order + "IIII")

    def walk() -> Iterator[tuple[int, int, int]]:
        offset = 24
        while offset < len(data):
            if offset + 16 > len(data):
                raise ParseError(source, offset, "the last record's header is cut off")
            seconds, fraction, caplen, _ = head.unpack_from(data, offset)
            if caplen > _MAX_CAPLEN:
                raise ParseError(source, offset, f"a record claims {caplen} bytes")
            if offset + 16 + caplen > len(data):
                raise ParseError(source, offset, "the last record is cut off")
            yield seconds * 1_000_000_000 + fraction * scale, offset + 16, caplen
            offset += 16 + caplen

    return linktype, walk()


def parse_capture(data: bytes, source: str, mark: bytes, *, own_mac: str | None = None) -> Packets:
    """Read a capture file.

    Args:
        data: The file's bytes.
        source: Name for error messages, for example ``"pve1 capture"``.
        mark: The run's mark, MARK_BYTES long.
        own_mac: For Ethernet captures: MAC of the interface; a frame from it is outgoing.

    Returns:
        What the file holds. Frames of other kinds are counted as records and dropped.

    Raises:
        ParseError: The file is no capture, is cut off, or has a link type that we do not read.
    """
    linktype, records = _records(data, source)
    if linktype not in {LINKTYPE_SLL2, LINKTYPE_ETHERNET}:
        raise ParseError(source, 20, f"link type {linktype}: expected LINUX_SLL2 or Ethernet")
    own = int(own_mac.replace(":", ""), 16) if own_mac else -1
    rows: list[tuple[int, int, int, int, int, bool, bool, int, int, int]] = []
    arps: list[ArpFrame] = []
    errors: list[IcmpError] = []
    count = 0
    for t_ns, at, length in records:
        count += 1
        if linktype == LINKTYPE_SLL2:
            if length < 20:
                continue
            ethertype = int.from_bytes(data[at : at + 2])
            ifindex = int.from_bytes(data[at + 4 : at + 8])
            out = data[at + 10] == 4  # PACKET_OUTGOING
            mac = int.from_bytes(data[at + 12 : at + 18])
            network, end = at + 20, at + length
        else:
            if length < 14:
                continue
            ethertype = int.from_bytes(data[at + 12 : at + 14])
            ifindex = 0
            mac = int.from_bytes(data[at + 6 : at + 12])
            out = mac == own
            network, end = at + 14, at + length
        if ethertype == 0x0800:
            probe = _probe(data, network, end, mark)
            if probe:
                flow, seq, reply = probe
                ttl, size = data[network + 8], int.from_bytes(data[network + 2 : network + 4])
                src = int.from_bytes(data[network + 12 : network + 16])
                rows.append((t_ns, flow, seq, ifindex, mac, reply, out, ttl, src, size))
            elif len(errors) < _MAX_ASIDES and (error := _error(data, network, end)):
                errors.append(
                    IcmpError(
                        t_ns=t_ns,
                        ifindex=ifindex,
                        out=out,
                        source=error[0],
                        destination=error[1],
                        type=error[2],
                        code=error[3],
                    )
                )
        elif ethertype == 0x0806 and len(arps) < _MAX_ASIDES and _is_arp(data, network, end):
            arps.append(_arp(data, network, t_ns, ifindex, out=out))
    return Packets(count, np.array(rows, dtype=SIGHTING), tuple(arps), tuple(errors))


def _icmp(data: bytes, network: int, end: int) -> int | None:
    """Return the offset of the ICMP header, or None if this is no whole ICMP packet."""
    if end - network < 28 or data[network] >> 4 != 4 or data[network + 9] != 1:
        return None
    if int.from_bytes(data[network + 6 : network + 8]) & 0x1FFF:
        return None  # a later fragment has no ICMP header
    length = (data[network] & 0xF) * 4
    icmp = network + length
    return icmp if length >= 20 and icmp + 8 <= end else None


def _probe(data: bytes, network: int, end: int, mark: bytes) -> tuple[int, int, bool] | None:
    icmp = _icmp(data, network, end)
    if icmp is None or data[icmp] not in {0, 8}:
        return None
    at = icmp + MARK_OFFSET
    if at + len(mark) + 2 > end or data[at : at + len(mark)] != mark:
        return None
    flow = int.from_bytes(data[at + len(mark) : at + len(mark) + 2])
    return flow, int.from_bytes(data[icmp + 6 : icmp + 8]), data[icmp] == 0


def _error(
    data: bytes, network: int, end: int
) -> tuple[IPv4Address, IPv4Address, int, int] | None:
    icmp = _icmp(data, network, end)
    if icmp is None or data[icmp] not in {3, 5, 11}:
        return None
    return (
        IPv4Address(data[network + 12 : network + 16]),
        IPv4Address(data[network + 16 : network + 20]),
        data[icmp],
        data[icmp + 1],
    )


def _is_arp(data: bytes, at: int, end: int) -> bool:
    """Tell whether this is a whole ARP packet for IPv4 over Ethernet."""
    return end - at >= 28 and data[at : at + 6] == b"\0\1\x08\0\6\4"


def _arp(data: bytes, at: int, t_ns: int, ifindex: int, *, out: bool) -> ArpFrame:
    return ArpFrame(
        t_ns=t_ns,
        ifindex=ifindex,
        out=out,
        oper=int.from_bytes(data[at + 6 : at + 8]),
        sha=data[at + 8 : at + 14].hex(":"),
        spa=IPv4Address(data[at + 14 : at + 18]),
        tpa=IPv4Address(data[at + 24 : at + 28]),
    )
