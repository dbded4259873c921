"""Take probes out of captured frames, thousands at a time.

A probe is recognised by the run's mark at a fixed place of its ICMP payload, so a look-alike from
a guest that does not know the mark is never taken for one. Read are LINUX_SLL2 and Ethernet
frames, with up to two VLAN tags (802.1Q, 802.1ad), IPv4 with options, and IPv6 (RFC 4443 echo)
without extension headers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.facts import SIGHTING, Sightings
from pytest_vmnet.core.parse.record import HEADER, Records

LINKTYPE_ETHERNET = 1
LINKTYPE_SLL2 = 276
MARK_BYTES = 12
"""Length of the run's mark; the two bytes behind it are the flow's number."""

MARK_OFFSET = 8 + 16
"""Where the mark stands behind the start of the ICMP header: header, then ping's time stamp."""

_PROBE_BYTES = MARK_OFFSET + MARK_BYTES + 2
_TAGS = (0x8100, 0x88A8, 0x9100)
_MAX_TAGS = 2
_WIDTH = HEADER + 128
"""Bytes of a record that are looked at: behind the longest headers a probe's mark ends at 126."""

CHUNK = 16_384
"""Records that are read at once: their bytes stay in the processor's cache."""

IPV4, IPV6, ARP, OTHER = 0, 16, 32, 48
"""Kinds of a frame; added to ``IPV4`` is the length of its header in words."""

_KINDS = 64
_MESSAGES = {4: ((8, 0), (3, 5, 11, 12)), 6: ((128, 129), (1, 2, 3, 4, 135, 136, 137))}
"""By IP version: types of echo request and reply, and of what is kept beside them."""

Numbers = npt.NDArray[np.int64]


class Block:
    """The first bytes of some records, each padded or cut to one width."""

    def __init__(self, raw: npt.NDArray[np.void]) -> None:
        self._raw = np.ascontiguousarray(raw)

    @property
    def size(self) -> int:
        """How many records it holds."""
        return len(self._raw)

    def take(self, rows: Numbers) -> Block:
        """Return a block of some of the records."""
        return self if len(rows) == self.size else Block(self._raw[rows])

    def field(self, offset: int, kind: str) -> npt.NDArray[np.integer]:
        """Return the number at an offset of every record; *kind* as in ``>u2``."""
        return np.ndarray((self.size,), kind, self._raw.data, offset, (_WIDTH,))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records with what their link layer says.

    Attributes:
        block: Their bytes.
        rows: Their sightings, so far with time, interface, direction and MAC.
        end: Where each captured frame ends, from the start of its record.
        kind: Kind of each frame.
        tags: VLAN tags of each frame.
        network: Where the network header of an untagged frame starts.
    """

    block: Block
    rows: Sightings
    end: Numbers
    kind: Numbers
    tags: Numbers
    network: int

    def network_of(self, index: int) -> int:
        """Return where a frame's network header starts, from the start of its record."""
        return self.network + 4 * int(self.tags[index])


def read_block(records: Records, first: int, last: int) -> Block:
    """Return the bytes of the records *first* to *last* (exclusive)."""
    starts, data = records.starts[first:last], records.data
    inside = starts <= len(data) - _WIDTH
    if inside.all():
        window = np.ndarray((len(data) - _WIDTH + 1,), f"V{_WIDTH}", data, 0, (1,))
        return Block(window[starts])
    raw = b"".join(data[start : start + _WIDTH].ljust(_WIDTH, b"\0") for start in starts.tolist())
    return Block(np.frombuffer(raw, dtype=f"V{_WIDTH}"))


def read_links(records: Records, block: Block, own: int) -> Chunk:
    """Return a chunk of frames with what their link layer says.

    Args:
        records: The file.
        block: Bytes of some of its records.
        own: MAC of the interface as a number; an Ethernet frame from it is outgoing.
    """
    order = records.order
    rows = np.zeros(block.size, dtype=SIGHTING)
    seconds = block.field(0, f"{order}u4").astype(np.int64)
    rows["t_ns"] = seconds * 1_000_000_000
    rows["t_ns"] += block.field(4, f"{order}u4").astype(np.int64) * records.scale
    end = block.field(8, f"{order}u4").astype(np.int64) + HEADER
    if records.linktype == LINKTYPE_SLL2:
        network, ethertype = HEADER + 20, block.field(HEADER, ">u2")
        rows["ifindex"] = block.field(HEADER + 4, ">u4")
        rows["out"] = block.field(HEADER + 10, "u1") == 4  # PACKET_OUTGOING
        rows["mac"] = block.field(HEADER + 12, ">u8") >> np.uint64(16)
    else:
        network, ethertype = HEADER + 14, block.field(HEADER + 12, ">u2")
        rows["mac"] = block.field(HEADER + 6, ">u8") >> np.uint64(16)
        rows["out"] = rows["mac"] == own
    kind, tags = _kinds(block, ethertype, network)
    return Chunk(block, rows, end, kind, tags, network)


def _kinds(
    block: Block, ethertype: npt.NDArray[np.integer], network: int
) -> tuple[Numbers, Numbers]:
    """Return each frame's kind and number of VLAN tags.

    Of a frame that is cut off before its network header the kind is that of what lies behind it.
    """
    inner = ethertype.astype(np.int64)
    first = block.field(network, "u1").astype(np.int64)
    tags = np.zeros(block.size, dtype=np.int64)
    for depth in range(_MAX_TAGS):
        tagged = np.flatnonzero(np.isin(inner, _TAGS) & (tags == depth))
        if not len(tagged):
            break
        at = network + 4 * depth
        tags[tagged] += 1
        part = block.take(tagged)
        inner[tagged] = part.field(at + 2, ">u2")
        first[tagged] = part.field(at + 4, "u1")
    kind = np.full(block.size, OTHER)
    kind[inner == 0x0806] = ARP
    version = first >> 4
    kind[(inner == 0x86DD) & (version == 6)] = IPV6
    is_ipv4 = (inner == 0x0800) & (version == 4) & (first & 0xF >= 5)
    kind[is_ipv4] = IPV4 + (first & 0xF)[is_ipv4]
    return kind, tags


@dataclass(frozen=True, slots=True)
class Sorted:
    """Which frames of a chunk are what.

    Attributes:
        probes: Probes of this run; their sightings are complete.
        asides: ARP frames, neighbour discovery and ICMP errors, by their first bytes.
    """

    probes: npt.NDArray[np.bool_]
    asides: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Headers:
    """Where some frames of one kind have their headers, from the start of a record.

    Attributes:
        version: IP version.
        network: Offset of the network header.
        icmp: Offset of what follows it.
    """

    version: int
    network: int
    icmp: int

    @classmethod
    def of(cls, kind: int, network: int) -> _Headers:
        if kind == IPV6:
            return cls(6, network, network + 40)
        return cls(4, network, network + kind * 4)


def sort_frames(chunk: Chunk, mark: bytes) -> Sorted:
    """Tell a chunk's frames apart, and complete the sightings of its probes."""
    probes = np.zeros(len(chunk.rows), dtype=np.bool_)
    asides = chunk.kind == ARP
    shape = chunk.tags * _KINDS + chunk.kind
    for value in np.flatnonzero(np.bincount(shape, minlength=1)).tolist():
        tags, kind = divmod(value, _KINDS)
        if kind >= ARP:
            continue
        rows = np.flatnonzero(shape == value)
        at = _Headers.of(kind, chunk.network + 4 * tags)
        block = chunk.block.take(rows)
        end = chunk.end[rows]
        is_icmp = _is_icmp(block, at) & (end >= at.icmp + 8)
        message = block.field(at.icmp, "u1")
        echo, others = _MESSAGES[at.version]
        asides[rows] = is_icmp & np.isin(message, others)
        whole = is_icmp & np.isin(message, echo) & (end >= at.icmp + _PROBE_BYTES)
        ours = np.flatnonzero(whole & _has_mark(block, at.icmp, mark))
        if len(ours):
            probes[rows[ours]] = True
            _complete(chunk.rows, rows[ours], block.take(ours), at)
    return Sorted(probes, asides)


def _is_icmp(block: Block, at: _Headers) -> npt.NDArray[np.bool_]:
    """Tell which frames have the header of an ICMP or ICMPv6 message."""
    its: npt.NDArray[np.bool_]
    if at.version == 6:
        its = block.field(at.network + 6, "u1") == 58
    else:  # a later fragment has no ICMP header
        first = block.field(at.network + 6, ">u2") & 0x1FFF == 0
        its = (block.field(at.network + 9, "u1") == 1) & first
    return its


def _has_mark(block: Block, icmp: int, mark: bytes) -> npt.NDArray[np.bool_]:
    at = icmp + MARK_OFFSET
    head, tail = (np.uint64(int.from_bytes(part)) for part in (mark[:8], mark[8:]))
    same: npt.NDArray[np.bool_] = (block.field(at, ">u8") == head) & (
        block.field(at + 8, ">u4") == tail
    )
    return same


def _complete(rows: Sightings, ours: Numbers, block: Block, at: _Headers) -> None:
    """Fill in what the network layer says of those rows, whose bytes are in *block*."""
    rows["flow"][ours] = block.field(at.icmp + MARK_OFFSET + MARK_BYTES, ">u2")
    rows["seq"][ours] = block.field(at.icmp + 6, ">u2")
    rows["reply"][ours] = block.field(at.icmp, "u1") == _MESSAGES[at.version][0][1]
    if at.version == 6:
        rows["ttl"][ours] = block.field(at.network + 7, "u1")
        rows["src"][ours] = block.field(at.network + 16, ">u8")
        rows["size"][ours] = block.field(at.network + 4, ">u2") + np.uint16(40)
    else:
        rows["ttl"][ours] = block.field(at.network + 8, "u1")
        rows["src"][ours] = block.field(at.network + 12, ">u4")
        rows["size"][ours] = block.field(at.network + 2, ">u2")
