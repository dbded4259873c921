"""A flow's packets over the moves of its guest's FDB entry, before they are drawn, and as text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_vmnet.core.outcome import Flow, Timeline
from pytest_vmnet.core.words import Leg
from pytest_vmnet.report.wording import plain

_ZOOMED = 12  # packets in the enlarged stretch
_NARROWEST = 20
ANSWERED = "."


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in us after the first packet."""

    begin: int
    end: int

    @property
    def length(self) -> int:
        """How long it is, in us."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Stay:
    """The FDB entry is on a port, by its index in ``ports``; None if that is not known."""

    begin: int
    end: int
    port: int | None


def whole(timeline: Timeline) -> Window:
    """Return the time from the first packet to one step after the last one."""
    last = timeline.sent_us[-1] if timeline.sent_us else 0
    return Window(0, last + (_step(timeline) or 1_000))


def enlarged(timeline: Timeline, packets: int = _ZOOMED) -> Window | None:
    """Return a short stretch in which packets died and others did not, the first of the best.

    None if there is nothing to see in it that the whole does not show: no moves, or few packets.
    """
    sent, fates = timeline.sent_us, timeline.fates
    if not timeline.moved_us or len(sent) <= 2 * packets:
        return None
    died = [sum(fate != ANSWERED for fate in fates[at : at + packets]) for at in _starts(timeline)]
    span = [sent[at + packets - 1] - sent[at] for at in _starts(timeline)]
    usual = sorted(span)[len(span) // 2]
    fit = [at for at in range(len(span)) if span[at] <= 2 * usual]  # none across a pause
    best = max(fit, key=lambda at: (min(died[at], packets - died[at]), -at))
    step = _step(timeline)
    return Window(sent[best] - step // 4, sent[best + packets - 1] + step * 3 // 4)


def _starts(timeline: Timeline) -> range:
    return range(len(timeline.sent_us) - _ZOOMED + 1)


def _step(timeline: Timeline) -> int:
    """Return the usual time between two packets, in us."""
    sent = timeline.sent_us
    gaps = sorted(after - before for before, after in pairwise(sent))
    return gaps[len(gaps) // 2] if gaps else 0


def packets_in(timeline: Timeline, window: Window) -> list[tuple[int, str]]:
    """Return time and fate of the packets of a stretch."""
    first = bisect_left(timeline.sent_us, window.begin)
    end = bisect_left(timeline.sent_us, window.end)
    return list(zip(timeline.sent_us[first:end], timeline.fates[first:end], strict=False))


def leg_of(flow: Flow, fate: str) -> Leg:
    """Return the leg that a packet with this fate died on."""
    at = ord(fate) - ord("a")
    return flow.deaths[at].leg if 0 <= at < len(flow.deaths) else Leg.UNKNOWN


def stays(timeline: Timeline, window: Window) -> Iterator[Stay]:
    """Yield where the entry was during a stretch, without gaps."""
    moved = timeline.moved_us
    at = bisect_right(moved, window.begin)
    begin, port = window.begin, _port(timeline.moved_to[at - 1]) if at else None
    while begin < window.end:
        end = min(moved[at], window.end) if at < len(moved) else window.end
        if end > begin:
            yield Stay(begin, end, port)
        if at < len(moved):
            port = _port(timeline.moved_to[at])
        begin, at = end, at + 1


def _port(letter: str) -> int | None:
    return ord(letter) - ord("a") if "a" <= letter <= "z" else None


def timeline_lines(timeline: Timeline, width: int = 96) -> list[str]:
    """Return the timeline as lines of ASCII, each column a bucket of time.

    The whole first; where it hides moves, a short stretch enlarged. Names of ports are as they
    were seen, on one line.

    Args:
        timeline: The timeline; its first port is the guest's own.
        width: Most columns that a line may take.
    """
    room = max(width - 12, _NARROWEST)
    lines = _rows(timeline, whole(timeline), room)
    zoom = enlarged(timeline)
    if zoom:
        lines += _rows(timeline, zoom, room)
    return lines


def timing(timeline: Timeline) -> list[str]:
    """Return what the timeline shows, one sentence each: the alignment, and what is left out."""
    said = []
    if timeline.alignment:
        said.append(plain(timeline.alignment.sentence))
    elif timeline.moved_us:
        said.append(f"{timeline.moves} FDB moves; that the deaths follow them is not proven")
    else:
        said.append("the FDB entry of the guest's MAC did not move during the probes")
    if timeline.packets > len(timeline.sent_us):
        said.append(f"{len(timeline.sent_us)} of {timeline.packets} probes are drawn, evenly")
    if timeline.moves > len(timeline.moved_us):
        said.append(
            f"{len(timeline.moved_us)} of {timeline.moves} FDB moves are drawn: the shortest "
            "stays are left out"
        )
    return said


def legend(timeline: Timeline) -> str:
    """Return what the letters of `timeline_lines` mean."""
    marks = "`.` answered, `x` some died, `X` all died"
    if not timeline.moved_us:
        return f"{marks}; the FDB entry did not move"
    ports = [
        f"`{letter}` on {plain(name, 40)}"
        for letter, name in zip(_letters(timeline), timeline.ports, strict=True)
    ]
    return f"{marks}; FDB entry: {', '.join(ports)}, `*` moved there and back, `?` not known"


def _letters(timeline: Timeline) -> Sequence[str]:
    """Return a letter for each port: t for the guest's own, u for the uplink, v and so on."""
    return [chr(ord("t") + at) if at < 7 else "o" for at in range(len(timeline.ports))]


def _rows(timeline: Timeline, window: Window, room: int) -> list[str]:
    edges = [window.begin + window.length * at // room for at in range(room + 1)]
    buckets = [Window(*edge) for edge in pairwise(edges)]
    left, right = f"{_seconds(window.begin, window)} s", f"{_seconds(window.end, window)} s"
    rows = [("time", left + right.rjust(room - len(left)))]
    rows.append(("packets", "".join(_died(timeline, bucket) for bucket in buckets)))
    if timeline.moved_us:
        rows.append(("fdb port", "".join(_where(timeline, bucket) for bucket in buckets)))
    return [f"  {name:<9} {row}".rstrip() for name, row in rows]


def _seconds(moment_us: int, window: Window) -> str:
    decimals = 1 if window.length > 2_000_000 else 3
    return f"{moment_us / 1e6:.{decimals}f}"


def _died(timeline: Timeline, bucket: Window) -> str:
    fates = [fate for _, fate in packets_in(timeline, bucket)]
    if not fates:
        return " "
    died = sum(fate != ANSWERED for fate in fates)
    return "X" if died == len(fates) else "x" if died else ANSWERED


def _where(timeline: Timeline, bucket: Window) -> str:
    ports = [stay.port for stay in stays(timeline, bucket)]
    if len(ports) > 2:
        return "*"
    port = ports[-1] if ports else None
    return "?" if port is None or port >= len(timeline.ports) else _letters(timeline)[port]
