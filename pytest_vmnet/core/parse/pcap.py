"""Read a capture file into sightings, ARP and neighbour discovery frames, and ICMP errors."""

from __future__ import annotations

import numpy as np

from pytest_vmnet.core.facts import SIGHTING, Packets
from pytest_vmnet.core.parse.aside import Asides
from pytest_vmnet.core.parse.frame import (
    CHUNK,
    LINKTYPE_ETHERNET,
    LINKTYPE_SLL2,
    MARK_BYTES,
    MARK_OFFSET,
    read_block,
    read_links,
    sort_frames,
)
from pytest_vmnet.core.parse.record import find_records
from pytest_vmnet.errors import ParseError

__all__ = ["LINKTYPE_ETHERNET", "LINKTYPE_SLL2", "MARK_BYTES", "MARK_OFFSET", "parse_capture"]


def parse_capture(data: bytes, source: str, mark: bytes, *, own_mac: str | None = None) -> Packets:
    """Read a capture file.

    Args:
        data: The file's bytes.
        source: Name for error messages, for example ``"pve1 capture"``.
        mark: The run's mark, MARK_BYTES long.
        own_mac: For Ethernet captures: MAC of the interface; a frame from it is outgoing.

    Returns:
        What the file holds, up to its damage if it has one. Frames of other kinds are counted
        as records and dropped.

    Raises:
        ParseError: The file is no capture, or has a link type that we do not read.
    """
    if len(mark) != MARK_BYTES:
        raise ValueError(f"a mark has {MARK_BYTES} bytes, not {len(mark)}")
    records = find_records(data, source)
    linktype = records.linktype
    if linktype not in {LINKTYPE_SLL2, LINKTYPE_ETHERNET}:
        raise ParseError(source, 20, f"link type {linktype}: expected LINUX_SLL2 or Ethernet")
    own = int(own_mac.replace(":", ""), 16) if own_mac else 1 << 63
    count = len(records.starts)
    sightings = np.empty(count, dtype=SIGHTING)
    asides = Asides(mark)
    filled = 0
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count)
        chunk = read_links(records, read_block(records, first, last), own)
        found = sort_frames(chunk, mark)
        rows = chunk.rows[found.probes]
        sightings[filled : filled + len(rows)] = rows
        filled += len(rows)
        asides.add(data, records.starts[first:last], chunk, found.asides)
    sightings.resize(filled, refcheck=False)  # gives the rest back without a copy
    return Packets(
        records=count,
        sightings=sightings,
        arps=tuple(asides.arps),
        errors=tuple(asides.errors),
        nds=tuple(asides.nds),
        damage=records.damage,
        left_out=asides.left_out,
    )
