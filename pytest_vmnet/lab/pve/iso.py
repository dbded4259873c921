"""A small ISO 9660 image: a few files in the root folder, under the names they are given.

Names are written as they are, lower case included. Linux reads such names; the standard's own
alphabet has upper case letters only.
"""

from __future__ import annotations

from collections.abc import Mapping

_SECTOR = 2048
_FIRST_FILE = 20


def iso9660(label: str, files: Mapping[str, bytes]) -> bytes:
    """Return the image of a volume called *label* that holds *files*.

    Args:
        label: Volume identifier, at most 32 ASCII characters.
        files: Name -> content; names of at most 30 ASCII characters. All records must fit into
            one sector: about 30 files.

    References:
        ECMA-119: sectors 16 (primary descriptor), 17 (terminator), 18 and 19 (path tables).
    """
    place = _FIRST_FILE + 1
    records = [_record(b"\0", _FIRST_FILE, _SECTOR, folder=True)]
    records.append(_record(b"\1", _FIRST_FILE, _SECTOR, folder=True))
    body = bytearray()
    for name, content in sorted(files.items()):
        records.append(_record(name.encode("ascii"), place, len(content), folder=False))
        body += content + bytes(-len(content) % _SECTOR)
        place += -(-len(content) // _SECTOR)
    root = _sector(b"".join(records))
    out = bytes(16 * _SECTOR) + _sector(_primary(label, place, records[0]))
    out += _sector(b"\xffCD001\1")
    out += _sector(b"\1\0" + _FIRST_FILE.to_bytes(4, "little") + b"\1\0\0\0")
    out += _sector(b"\1\0" + _FIRST_FILE.to_bytes(4, "big") + b"\0\1\0\0")
    return out + root + bytes(body)


def _sector(data: bytes) -> bytes:
    return data.ljust(_SECTOR, b"\0")


def _both(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little") + value.to_bytes(size, "big")


def _record(name: bytes, place: int, size: int, *, folder: bool) -> bytes:
    date = bytes((100, 1, 1, 0, 0, 0, 0))
    data = b"\0" + _both(place, 4) + _both(size, 4) + date + bytes((2 if folder else 0, 0, 0))
    data += _both(1, 2) + bytes((len(name),)) + name
    data += bytes((len(data) + 1) % 2)
    return bytes((len(data) + 1,)) + data


def _primary(label: str, sectors: int, root: bytes) -> bytes:
    no_date = b"0" * 16 + b"\0"
    data = b"\1CD001\1\0" + b" " * 32 + label.encode("ascii").ljust(32) + bytes(8)
    data += _both(sectors, 4) + bytes(32) + _both(1, 2) + _both(1, 2) + _both(_SECTOR, 2)
    data += _both(10, 4)
    data += (18).to_bytes(4, "little") + bytes(4) + (19).to_bytes(4, "big") + bytes(4)
    data += root + b" " * (128 * 4 + 37 * 3) + no_date * 4 + b"\1\0"
    return data
