"""Find the records of a capture file, without reading them.

File format: draft-ietf-opsawg-pcap. The walk from header to header is exact; where many records
in a row have one length, which is the rule for probes, it takes them by the thousand.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_vmnet.errors import ParseError

HEADER = 16
"""Length of a record's header: seconds, fraction, captured length, original length."""

_FILE_HEADER = 24
_MAX_CAPLEN = 262_144
_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_STEP = 64
"""Records that are walked one by one before a run of equal ones is looked for again."""


@dataclass(frozen=True, slots=True)
class Records:
    """Where the whole records of a capture file are.

    Attributes:
        data: The file's bytes.
        order: Byte order of its headers, as `struct` writes it.
        scale: Nanoseconds in one unit of a time's fraction.
        linktype: Link type of its frames.
        starts: Offset of each record's header.
        damage: Why it ends before the file does, with the place, or None.
    """

    data: bytes
    order: str
    scale: int
    linktype: int
    starts: npt.NDArray[np.int64]
    damage: str | None


def find_records(data: bytes, source: str) -> Records:
    """Return the whole records of a capture file; what is behind a damage is left out.

    Args:
        data: The file's bytes.
        source: Name for error messages, for example ``"pve1 capture"``.

    Raises:
        ParseError: It is no capture file.
    """
    if len(data) < _FILE_HEADER:
        raise ParseError(source, len(data), f"expected a 24-byte pcap header, got {len(data)}")
    if data[:4] not in _MAGIC:
        raise ParseError(source, 0, f"not a pcap file: magic number {data[:4].hex()}")
    order, scale = _MAGIC[data[:4]]
    linktype = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    starts, damage = _walk(data, order)
    return Records(data, order, scale, linktype, starts, damage)


def _walk(data: bytes, order: str) -> tuple[npt.NDArray[np.int64], str | None]:
    length_at = struct.Struct(order + "8xI4x").unpack_from
    starts = array("q")
    offset, end = _FILE_HEADER, len(data)
    while offset < end:
        if run := _equal_run(data, order, offset):
            count, stride = run
            starts.frombytes(np.arange(offset, offset + count * stride, stride).tobytes())
            offset += count * stride
        for _ in range(_STEP):
            if offset >= end:
                break
            if offset + HEADER > end:
                return _array(starts), _told(offset, "the last record's header is cut off")
            (caplen,) = length_at(data, offset)
            if caplen > _MAX_CAPLEN:
                return _array(starts), _told(offset, f"a record claims {caplen} bytes")
            if offset + HEADER + caplen > end:
                return _array(starts), _told(offset, "the last record is cut off")
            starts.append(offset)
            offset += HEADER + caplen
    return _array(starts), None


def _equal_run(data: bytes, order: str, offset: int) -> tuple[int, int] | None:
    """Return how many whole records from *offset* on have its length, and that; None if few."""
    if offset + HEADER > len(data):
        return None
    (caplen,) = struct.unpack_from(order + "I", data, offset + 8)
    stride = HEADER + caplen
    most = (len(data) - offset) // stride
    if caplen > _MAX_CAPLEN:
        return None
    found, window = 0, _STEP
    while found < most:
        size = min(window, most - found)
        lengths: npt.NDArray[np.uint32] = np.ndarray(
            (size,), order + "u4", data, offset + found * stride + 8, (stride,)
        )
        other = np.flatnonzero(lengths != caplen)
        if len(other):
            found += int(other[0])
            break
        found += size
        window *= 4
    return (found, stride) if found >= _STEP // 4 else None


def _array(starts: array[int]) -> npt.NDArray[np.int64]:
    return np.frombuffer(starts, dtype=np.int64) if starts else np.zeros(0, dtype=np.int64)


def _told(offset: int, what: str) -> str:
    return f"byte {offset}: {what}"
