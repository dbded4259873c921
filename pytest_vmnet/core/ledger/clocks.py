"""Clocks: did a node's clock step, and how far apart are two nodes' clocks? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.facts import Sweep
from pytest_vmnet.core.ledger.book import FlowLedger

_TICK_NS = 10_000_000
"""Resolution of ``/proc/uptime``."""

_WORTH_SAYING_NS = 1_000_000

_LEAST_STEP_NS = 20_000_000
"""Less than that is no step: a clock that is slewed gains 0.5 ms in a second at most."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks of a host, read together.

    Attributes:
        real_ns: Time of day in ns since the epoch.
        mono_ns: Uptime in ns.
        error_ns: How far apart the two may have been read.
    """

    real_ns: int
    mono_ns: int
    error_ns: int


def parse_reading(line: str) -> Reading | None:
    """Read ``uptime time-of-day-in-ns uptime``, the outer two in seconds; None if it is not that.

    >>> parse_reading("100.00 1764000000000000000 100.02")
    Reading(real_ns=1764000000000000000, mono_ns=100010000000, error_ns=20000000)
    """
    words = line.split()
    plain = [word.replace(".", "", 1) for word in words]
    if len(words) != 3 or not all(p.isascii() and p.isdigit() and len(p) < 20 for p in plain):
        return None
    first, last = (round(float(word) * 1e9) for word in (words[0], words[2]))
    error = (last - first) // 2 + _TICK_NS
    return Reading(real_ns=int(plain[1]), mono_ns=(first + last) // 2, error_ns=error)


def step_ns(before: Reading, after: Reading) -> int:
    """Return by how much the time of day stepped between two readings; 0 if it is not proven."""
    gained = (after.real_ns - before.real_ns) - (after.mono_ns - before.mono_ns)
    doubt = before.error_ns + after.error_ns + _LEAST_STEP_NS
    return gained if abs(gained) > doubt else 0


@dataclass(frozen=True, slots=True)
class Offset:
    """How far another clock is ahead.

    Attributes:
        ns: Best estimate in ns.
        error_ns: The truth is within so many ns of it, if no frame arrives before it is sent.
        packets: Number of one-way delays that it comes from.
    """

    ns: int
    error_ns: int
    packets: int


def offset_between(
    forth_ns: npt.NDArray[np.int64], back_ns: npt.NDArray[np.int64]
) -> Offset | None:
    """Estimate how far the far clock is ahead of the near one from one-way delays.

    A delay seen on two clocks is the true one plus the offset on the way forth, and minus the
    offset on the way back. True delays are not negative, so the offset is at most the least delay
    forth and at least minus the least delay back: the middle is the estimate, half of the width
    its error bound. Queues make delays longer, so the least ones tell.

    Args:
        forth_ns: Far stamp minus near stamp, of frames to the far end.
        back_ns: Near stamp minus far stamp, of frames from there.

    Returns:
        None without frames both ways, or if no offset fits all: then a clock stepped meanwhile.
    """
    if not len(forth_ns) or not len(back_ns):
        return None
    most, least = int(forth_ns.min()), -int(back_ns.min())
    if least > most:
        return None
    return Offset((most + least) // 2, -(-(most - least) // 2), len(forth_ns) + len(back_ns))


def node_offsets(ledgers: Iterable[FlowLedger]) -> Mapping[tuple[str, str], Offset | None]:
    """Return how far nodes' clocks are apart, from the packets that went from one to the other.

    Returns:
        How far the second node's clock is ahead of the first one's, by pair of names in order;
        None where packets went one way only or no offset fits all of them.
    """
    delays: dict[tuple[str, str], list[npt.NDArray[np.int64]]] = {}
    for ledger in ledgers:
        for start, end, taken in _crossings(ledger):
            delays.setdefault((start, end), []).append(taken)
    nothing = [np.zeros(0, dtype=np.int64)]
    found: dict[tuple[str, str], Offset | None] = {}
    for one, other in sorted({(min(pair), max(pair)) for pair in delays}):
        forth = np.concatenate(delays.get((one, other), nothing))
        back = np.concatenate(delays.get((other, one), nothing))
        found[one, other] = offset_between(forth, back)
    return found


def _crossings(ledger: FlowLedger) -> Iterator[tuple[str, str, npt.NDArray[np.int64]]]:
    """Yield the hosts and one-way delays between two nodes' neighbouring points."""
    points = ledger.path.waypoints
    for index, (near, far) in enumerate(pairwise(points)):
        if near.guest == near.host or far.host in {far.guest, near.host}:
            continue
        for leg, (start, end) in enumerate(((index, index + 1), (index + 1, index))):
            left, came = ledger.times[leg, start], ledger.times[leg, end]
            both = (left != 0) & (came != 0)
            yield points[start].host, points[end].host, (came - left)[both]


def clock_notes(sweeps: Iterable[Sweep], ledgers: Iterable[FlowLedger]) -> list[str]:
    """Return what is worth saying of the nodes' clocks."""
    notes = [
        f"{host}: {facts.capture.time_doubt}: when packets were seen there is not known; whether "
        "they were seen is"
        for sweep in sweeps
        for host, facts in sorted(sweep.hosts.items())
        if facts.capture and facts.capture.time_doubt
    ]
    for (one, other), offset in node_offsets(ledgers).items():
        if offset is None:
            notes.append(f"{other}: its clock could not be compared with {one}'s")
        elif abs(offset.ns) - offset.error_ns > _WORTH_SAYING_NS:
            notes.append(
                f"{other}: its clock is {offset.ns / 1e6:+.1f} ms from {one}'s, give or take "
                f"{offset.error_ns / 1e6:.1f} ms, by {offset.packets} packets between them"
            )
    return notes
