"""Read what a capture holds beside probes: ARP, neighbour discovery, ICMP errors.

RFC 826, RFC 4861; RFC 792 and RFC 4443 for errors, which quote the packet that they are about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.facts import Address, ArpFrame, IcmpError, NdFrame, Quoted, mac_text
from pytest_vmnet.core.parse.frame import (
    ARP,
    IPV6,
    MARK_BYTES,
    MARK_OFFSET,
    Chunk,
)

MOST = 20_000
"""Frames beside the probes that are kept: a flood of them may not eat the memory."""

_ND = (135, 136)
_ECHO = {4: (8, 0), 6: (128, 129)}
_PROTOCOL = {4: 1, 6: 58}


@dataclass(slots=True)
class Asides:
    """What was found so far.

    Attributes:
        mark: The run's mark.
        arps: ARP frames.
        nds: Neighbour discovery.
        errors: ICMP errors.
        left_out: Frames beyond `MOST`.
    """

    mark: bytes
    arps: list[ArpFrame] = field(default_factory=list)
    nds: list[NdFrame] = field(default_factory=list)
    errors: list[IcmpError] = field(default_factory=list)
    left_out: int = 0
    _looked_at: int = 0

    def add(
        self,
        data: bytes,
        starts: npt.NDArray[np.int64],
        chunk: Chunk,
        which: npt.NDArray[np.bool_],
    ) -> None:
        """Read those frames of a chunk.

        Args:
            data: The capture file.
            starts: Where the chunk's records start.
            chunk: The chunk.
            which: The frames to read.
        """
        rows = np.flatnonzero(which)
        room = MOST - self._looked_at
        self.left_out += max(0, len(rows) - room)
        self._looked_at += len(rows[:room])
        for row in rows[:room].tolist():
            start = int(starts[row])
            packet = data[start + chunk.network_of(row) : start + int(chunk.end[row])]
            self._read(packet, int(chunk.kind[row]), _place(chunk, row))

    def _read(self, packet: bytes, kind: int, place: _Place) -> None:
        if kind == ARP:
            if len(packet) >= 28 and packet[:6] == b"\0\1\x08\0\6\4":
                self.arps.append(_arp(packet, place))
            return
        message = packet[40 if kind == IPV6 else kind * 4 :]
        if kind == IPV6 and message[0] in _ND:
            if len(message) >= 24:
                self.nds.append(_nd(packet, message, place))
            return
        source, destination = _addresses(packet)
        self.errors.append(
            IcmpError(
                t_ns=place.t_ns,
                ifindex=place.ifindex,
                out=place.out,
                source=source,
                destination=destination,
                type=message[0],
                code=message[1],
                quoted=_quoted(message[8:], self.mark),
            )
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """When and where a frame was seen, and who sent it there."""

    t_ns: int
    ifindex: int
    out: bool
    mac: str


def _place(chunk: Chunk, row: int) -> _Place:
    seen = chunk.rows[row]
    return _Place(
        int(seen["t_ns"]), int(seen["ifindex"]), bool(seen["out"]), mac_text(int(seen["mac"]))
    )


def _arp(packet: bytes, place: _Place) -> ArpFrame:
    return ArpFrame(
        t_ns=place.t_ns,
        ifindex=place.ifindex,
        out=place.out,
        oper=int.from_bytes(packet[6:8]),
        sha=packet[8:14].hex(":"),
        spa=IPv4Address(packet[14:18]),
        tpa=IPv4Address(packet[24:28]),
    )


def _nd(packet: bytes, message: bytes, place: _Place) -> NdFrame:
    wanted = 1 if message[0] == _ND[0] else 2  # source, or target link-layer address
    options = dict(_options(message[24:]))
    return NdFrame(
        t_ns=place.t_ns,
        ifindex=place.ifindex,
        out=place.out,
        type=message[0],
        source=IPv6Address(packet[8:24]),
        target=IPv6Address(message[8:24]),
        lladdr=options.get(wanted, place.mac),
    )


def _options(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield type and MAC of the options that are as long as one with a MAC."""
    while len(data) >= 8 and data[1]:
        if data[1] == 1:
            yield data[0], data[2:8].hex(":")
        data = data[data[1] * 8 :]


def _addresses(packet: bytes) -> tuple[Address, Address]:
    """Return source and destination of a packet with a whole header."""
    if packet[0] >> 4 == 6:
        return IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    return IPv4Address(packet[12:16]), IPv4Address(packet[16:20])


def _message(packet: bytes, version: int) -> bytes | None:
    """Return the ICMP or ICMPv6 message in a packet, None without a whole header of both."""
    header = 40 if version == 6 else (packet[0] & 0xF) * 4
    if header < 20 or len(packet) < header + 8:
        return None
    return packet[header:] if packet[6 if version == 6 else 9] == _PROTOCOL[version] else None


def _quoted(packet: bytes, mark: bytes) -> Quoted | None:
    """Return the packet that an error quotes, None if not even its addresses are there."""
    version = packet[0] >> 4 if packet else 0
    if len(packet) < {4: 20, 6: 40}.get(version, len(packet) + 1):
        return None
    source, destination = _addresses(packet)
    size = int.from_bytes(packet[4:6]) + 40 if version == 6 else int.from_bytes(packet[2:4])
    message = _message(packet, version)
    if message is None or message[0] not in _ECHO[version]:
        return Quoted(source=source, destination=destination, size=size)
    end = MARK_OFFSET + MARK_BYTES + 2
    quoted_mark = message[MARK_OFFSET : MARK_OFFSET + MARK_BYTES]
    if not mark.startswith(quoted_mark):
        return Quoted(source=source, destination=destination, size=size)
    marked = len(message) >= end
    return Quoted(
        source=source,
        destination=destination,
        size=size,
        seq=int.from_bytes(message[6:8]),
        reply=message[0] == _ECHO[version][1],
        flow=int.from_bytes(message[end - 2 : end]) if marked else None,
    )
