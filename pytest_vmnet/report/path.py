"""The picture of a flow's path, before it is drawn: stations, counts and where packets die."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from pytest_vmnet.core.outcome import Death, Flow
from pytest_vmnet.core.words import FlowKind, Leg
from pytest_vmnet.report.wording import plain

_ENDS = frozenset(("gateway", "external", "workstation"))
_STACK = ":stack"
_NOUN = {Leg.REQUEST: "requests", Leg.REPLY: "replies"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A place on the path, from the prober's end to the far end.

    Attributes:
        name: A capture point, or what an end is called.
        requests: Requests seen there as text, ``?`` if that is not known, empty at the far end.
        replies: Replies likewise.
        is_end: Whether it is one of the two ends, where nothing is captured.
        doubt: Why the counts are not known, or None.
    """

    name: str
    requests: str
    replies: str
    is_end: bool = False
    doubt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Packets that died in a stretch of the path.

    Attributes:
        leg: Which row it belongs to; ``unknown`` or ``both`` have a row of their own.
        first: Index of the station at the left of the stretch.
        last: Index of the station at its right.
        packets: How many.
    """

    leg: Leg
    first: int
    last: int
    packets: int

    @property
    def gap(self) -> int:
        """The gap that bears the mark, as the index of the station at its left."""
        return (self.first + self.last - 1) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A flow's path, ready to be drawn."""

    stations: tuple[Station, ...]
    marks: tuple[Mark, ...]

    def mark(self, leg: Leg, gap: int) -> int:
        """Return how many packets of that leg die in that gap."""
        return sum(mark.packets for mark in self.marks if mark.leg is leg and mark.gap == gap)

    def part(self, first: int, last: int) -> Path:
        """Return the stretch between two stations, both included, as a path of its own."""
        marks = (
            Mark(
                leg=each.leg,
                first=each.gap - first,
                last=each.gap - first + 1,
                packets=each.packets,
            )
            for each in self.marks
            if first <= each.gap < last
        )
        return Path(stations=self.stations[first : last + 1], marks=tuple(marks))

    @property
    def legs(self) -> tuple[Leg, ...]:
        """The rows to draw: always requests and replies, and one for what is not known."""
        odd = any(mark.leg not in _NOUN for mark in self.marks)
        return (Leg.REQUEST, Leg.REPLY, Leg.UNKNOWN) if odd else (Leg.REQUEST, Leg.REPLY)


def by_prober(flow: Flow) -> tuple[Flow, ...]:
    """Return the flow, or for one that both ends probed what each end's probes show of it."""
    return tuple(
        replace(
            flow,
            source=side.source,
            target=side.target,
            transmitted=side.transmitted,
            received=side.received,
            points=side.points,
            deaths=side.deaths,
            sides=(),
        )
        for side in flow.sides
    ) or (flow,)


def probes_sentence(flow: Flow) -> str:
    """Return whose probes a picture shows: ``probes that vm-2 sent: 89 of 300 lost``."""
    return f"probes that {plain(flow.source, 80)} sent: {flow.lost} of {flow.transmitted} lost"


def lay_out(flow: Flow) -> Path:
    """Return the stations and marks of *flow*; a death that has no place on it has no mark."""
    near = Station(
        name=plain(flow.source, 24),
        requests=str(flow.transmitted),
        replies=str(flow.received),
        is_end=True,
    )
    middle = [
        Station(
            name=plain(point.point, 24),
            requests=_count(point.requests),
            replies=_count(point.replies),
            doubt=plain(point.doubt, 300) if point.doubt else None,
        )
        for point in flow.points
    ]
    far = Station(name=_far_name(flow), requests="", replies="", is_end=True)
    stations = (near, *middle, far)
    names = [flow.source, *(point.point for point in flow.points), flow.target]
    marks = [mark for death in flow.deaths if (mark := _mark(death, names))]
    return Path(stations=stations, marks=tuple(marks))


def death_sentence(death: Death) -> str:
    """Return where a group of packets died: ``165 replies between enp4s0 and tap111i0``."""
    noun = _NOUN.get(death.leg, "packets (request or reply)")
    if death.packets == 1:
        noun = {"requests": "request", "replies": "reply"}.get(noun, "packet (request or reply)")
    seen = plain(death.last_seen, 60) if death.last_seen else None
    wanted = plain(death.next_point, 60) if death.next_point else None
    if seen and wanted:
        where = f"between {seen} and {wanted}"
    elif seen:
        where = f"after {seen}"
    elif wanted:
        where = f"before {wanted}"
    else:
        where = "at a place that is not known"
    return f"{death.packets} {noun} {where}"


def doubts(flow: Flow) -> list[str]:
    """Return, for each capture point that cannot be trusted, why."""
    return [
        f"{plain(point.point, 60)}: {plain(point.doubt, 300)}"
        for point in flow.points
        if point.doubt
    ]


def _count(count: int | None) -> str:
    return "?" if count is None else str(count)


def _far_name(flow: Flow) -> str:
    if flow.kind in {FlowKind.GATEWAY, FlowKind.EXTERNAL}:
        return flow.kind.value
    return plain(flow.target, 24)


def _mark(death: Death, names: Sequence[str]) -> Mark | None:
    """Find the shortest stretch between the two points that lies in the leg's direction."""
    if death.leg in _NOUN:
        spans = _spans(death, names, forward=death.leg is Leg.REQUEST)
        leg = death.leg
    else:
        spans = _spans(death, names, forward=True) or _spans(death, names, forward=False)
        leg = Leg.UNKNOWN
    if not spans:
        return None
    first, last = min(spans, key=lambda span: (span[1] - span[0], span))
    return Mark(leg=leg, first=first, last=last, packets=death.packets)


def _spans(death: Death, names: Sequence[str], *, forward: bool) -> list[tuple[int, int]]:
    """Return every stretch that the death can mean; two guests may both have a ``guest:eth0``."""
    end = len(names) - 1
    step = 1 if forward else -1
    goal = end if forward else 0
    seen = _places(death.last_seen, names, goal)
    wanted = _places(death.next_point, names, goal)
    if death.last_seen is None:
        seen = [at - step for at in wanted]
    elif death.next_point is None:
        wanted = [at + step for at in seen]
    return [
        (min(start, stop), max(start, stop))
        for start, stop in product(seen, wanted)
        if (stop - start) * step > 0 and min(start, stop) >= 0 and max(start, stop) <= end
    ]


def _places(name: str | None, names: Sequence[str], goal: int) -> list[int]:
    """Return where on the path a point is; an end lies where the leg goes to."""
    if name and (name in _ENDS or name.endswith(_STACK)):
        return [goal]
    return [at for at in range(1, len(names) - 1) if names[at] == name]
