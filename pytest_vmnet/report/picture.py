"""A flow's path drawn with characters, left to right, one row per leg."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from pytest_vmnet.core.outcome import Flow
from pytest_vmnet.core.words import Leg
from pytest_vmnet.report.path import Path, lay_out

_MARGIN = 10  # columns for the names of the rows
_LABEL = {Leg.REQUEST: "request", Leg.REPLY: "reply", Leg.UNKNOWN: "either"}


@dataclass(frozen=True, slots=True)
class Pen:
    """The characters to draw with."""

    line: str
    right: str
    left: str
    dead: str
    none: str


DRAWING = Pen("─", "▶", "◀", "✗", "·")
ASCII = Pen("-", ">", "<", "X", ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """A path with the columns that its stations and gaps take."""

    path: Path
    pen: Pen
    sizes: list[int]
    gaps: list[int]


def columns(text: str) -> int:
    """Return how many columns *text* takes in a terminal."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def pad(text: str, width: int) -> str:
    """Return *text* with blanks up to *width* columns."""
    return text + " " * (width - columns(text))


def path_lines(flow: Flow, width: int = 96, *, drawing: bool = True) -> list[str]:
    """Return the path of *flow* as lines: the points, then both legs with their counts.

    The arrows show which way packets go; a mark with a number stands where that many died. A
    path that is too long for one line goes on in further blocks that repeat the last point.

    Args:
        flow: The flow; its points are in order from the prober's side.
        width: Most columns that a line may take.
        drawing: Whether arrows and marks may be other than ASCII.
    """
    path = lay_out(flow)
    pen = DRAWING if drawing else ASCII
    sheet = _Sheet(
        path=path,
        pen=pen,
        sizes=[
            max(columns(station.name), len(station.requests), len(station.replies))
            for station in path.stations
        ],
        gaps=[_gap_width(path, gap, pen) for gap in range(len(path.stations) - 1)],
    )
    spans = _blocks(sheet.sizes, sheet.gaps, width - _MARGIN)
    return [line for first, last in spans for line in _block(sheet, first, last)]


def _gap_width(path: Path, gap: int, pen: Pen) -> int:
    marks = [path.mark(leg, gap) for leg in path.legs]
    widest = max((columns(_dead(count, pen)) for count in marks if count), default=0)
    return widest + 8 if widest else 4


def _dead(count: int, pen: Pen) -> str:
    return f"{pen.dead} {count}"


def _blocks(sizes: list[int], gaps: list[int], room: int) -> list[tuple[int, int]]:
    """Cut the stations into stretches that fit; neighbours share a station."""
    blocks = []
    first = 0
    used = sizes[0]
    for at in range(1, len(sizes)):
        more = gaps[at - 1] + sizes[at]
        if used + more > room and at - 1 > first:
            blocks.append((first, at - 1))
            first = at - 1
            used = sizes[first]
        used += more
    return [*blocks, (first, len(sizes) - 1)]


def _block(sheet: _Sheet, first: int, last: int) -> list[str]:
    path = sheet.path
    names = [
        pad(path.stations[at].name, sheet.sizes[at] + sheet.gaps[at]) for at in range(first, last)
    ]
    lines = [" " * _MARGIN + "".join([*names, path.stations[last].name])]
    for leg in path.legs:
        cells = [_stretch(sheet, at, leg) for at in range(first, last)]
        row = "".join([*cells, _count(path, last, leg)]).rstrip()
        if row or leg is not Leg.UNKNOWN:
            lines.append(f"  {_LABEL[leg]:<8}{row}")
    return lines


def _count(path: Path, at: int, leg: Leg) -> str:
    station = path.stations[at]
    if leg is Leg.REQUEST:
        return station.requests
    return station.replies if leg is Leg.REPLY else ""


def _is_silent(path: Path, gap: int, leg: Leg) -> bool:
    """Tell whether nothing sets out into that gap on that leg."""
    if leg is Leg.REQUEST:
        return _count(path, gap, leg) == "0"
    return (_count(path, gap + 1, leg) or _count(path, gap, leg)) == "0"


def _stretch(sheet: _Sheet, gap: int, leg: Leg) -> str:
    """Return a station's count and the line from there to the next station's first column."""
    path, pen, size = sheet.path, sheet.pen, sheet.sizes[gap]
    width = sheet.gaps[gap]
    count = _count(path, gap, leg)
    dead = path.mark(leg, gap)
    mark = f" {_dead(dead, pen)} " if dead else ""
    if leg is Leg.UNKNOWN:
        return pad(" " * (size + 3) + mark, size + width)
    room = size + width - columns(count) - 2
    head = size + 2 - columns(count) if mark else 0
    tail = room - head - columns(mark)
    forward = leg is Leg.REQUEST
    silent = _is_silent(path, gap, leg)
    missed = silent or bool(mark and _count(path, gap + 1 if forward else gap, leg) == "0")
    left = pen.none if (silent if forward else missed) else pen.line
    right = pen.none if (missed if forward else silent) else pen.line
    line = left * head + mark + right * tail
    if not missed:
        line = f"{line[:-1]}{pen.right}" if forward else f"{pen.left}{line[1:]}"
    return f"{count} {line} "
