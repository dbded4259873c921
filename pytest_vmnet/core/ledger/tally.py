"""Count sightings into the cells of every flow at once: waypoint, leg, sequence number. Pure.

A sighting finds its cell by arithmetic, so the cost is the same however many flows there are, and
frames that were repeated or came late fall into the cell that they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pytest_vmnet.core.facts import Capture, Sightings
from pytest_vmnet.core.ledger.expected import Expected, Site
from pytest_vmnet.core.ledger.framecheck import FrameCheck
from pytest_vmnet.core.ledger.lane import LEGS, Lanes, Marks, Numbers
from pytest_vmnet.core.ledger.oddity import Oddity, OddityCounts
from pytest_vmnet.core.ledger.sender import Senders, note_intruders
from pytest_vmnet.core.ledger.slot import Slot, match, slots_of
from pytest_vmnet.core.words import Leg

_CHUNK = 16_384
_NEVER = np.iinfo(np.int64).max


class Tally:
    """Counts the sightings of all flows.

    Args:
        flows: The flows.
        site: The site's guests.
        captures: Captures by host.
    """

    def __init__(
        self, flows: Sequence[Expected], site: Site, captures: Mapping[str, Capture]
    ) -> None:
        self._lanes = Lanes(flows)
        self._site = site
        self._captures = captures if flows else {}
        self._senders = Senders(self._lanes, site)
        self._waypoints: dict[str, list[tuple[int, int]]] = {}
        for index, each in enumerate(flows):
            for at, waypoint in enumerate(each.path.waypoints):
                self._waypoints.setdefault(waypoint.host, []).append((index, at))
        self._enter_all()
        if self._senders.use_learnt():  # a guest's own port shows what it really sends from
            self._enter_all()
        if self._check.mixed.any():
            self._look_again()
        self._check.judge(self._odd)

    def times(self, index: int) -> Numbers:
        """Return a flow's first sightings in ns, 0 for none; shape (2, W, count)."""
        cells, shape = self._lanes.part(index)
        return self._times[cells].reshape(shape)

    def strays(self, index: int) -> dict[tuple[int, Leg], int]:
        """Return how many packets passed a waypoint in the wrong direction."""
        if not self._has_strays[index]:
            return {}
        cells, shape = self._lanes.part(index)
        counts = self._strays[cells].reshape(shape).sum(axis=2)
        return {(at, LEGS[leg]): int(counts[leg, at]) for leg, at in np.argwhere(counts).tolist()}

    def duplicates(self, index: int) -> Numbers:
        """Return how many frames each waypoint saw again; shape (2, W)."""
        first, last = self._lanes.lanes[index : index + 2].tolist()
        hits = self._check.hits[first:last].reshape(2, -1)
        seen: Numbers = (self.times(index) != 0).sum(axis=2)
        return hits - seen

    def forged(self, index: int) -> Marks | None:
        """Return which packets came in by the port of a guest that did not send them.

        The shape is (2, count), requests first; None if there is none.
        """
        first, last = self._lanes.packets[index : index + 2].tolist()
        forged = self._forged[first:last].reshape(2, -1)
        return forged if forged.any() else None

    def oddities(self, index: int) -> tuple[Oddity, ...]:
        """Return what was odd, in a fixed order."""
        return self._odd.of(index)

    def _enter_all(self) -> None:
        lanes = self._lanes
        self._times = np.full(int(lanes.cells[-1]), _NEVER, dtype=np.int64)
        self._strays = np.zeros(int(lanes.cells[-1]), dtype=np.bool_)
        self._has_strays = np.zeros(len(lanes.flows), dtype=np.bool_)
        self._forged = np.zeros(int(lanes.packets[-1]), dtype=np.bool_)
        self._check = FrameCheck(lanes)
        self._odd = OddityCounts()
        for host, rows, slots in self._chunks():
            rest = np.ones(len(rows), dtype=np.bool_)
            for slot in slots:
                self._enter(rows, slot, rest)
            claimed = note_intruders(
                rows[rest], self._ports(host), self._senders, lanes, self._odd
            )
            self._forged[claimed] = True
        self._times[self._times == _NEVER] = 0

    def _chunks(self) -> Iterator[tuple[str, Sightings, list[Slot]]]:
        """Yield rows that belong to a packet of a flow, with their host and its slots."""
        lanes = self._lanes
        for host, capture in sorted(self._captures.items()):
            sightings = capture.packets.sightings
            ifindexes = {ifname: ifindex for ifindex, ifname in capture.points.items()}
            slots = slots_of(lanes, self._waypoints.get(host, ()), ifindexes)
            for first in range(0, len(sightings), _CHUNK):
                rows = sightings[first : first + _CHUNK]
                flow = lanes.number[rows["flow"]]
                fits = (flow >= 0) & (rows["seq"] >= 1) & (rows["seq"] <= lanes.count[flow])
                yield host, rows if fits.all() else rows[fits], slots

    def _ports(self, host: str) -> dict[int, tuple[str, str]]:
        """Return interface name and guest of the guests' own ports at a host."""
        points = self._captures[host].points
        return {
            ifindex: (ifname, self._site.taps[host, ifname])
            for ifindex, ifname in points.items()
            if (host, ifname) in self._site.taps
        }

    def _enter(self, rows: Sightings, slot: Slot, rest: Marks) -> None:
        """Enter what a slot saw; what it expected is no longer *rest*."""
        at, seen = match(rows, slot, self._lanes)
        rest[at[seen.right]] = False
        if not seen.right.all():
            astray = self._senders.astray(seen)
            self._strays[seen.cell[astray]] = True
            self._has_strays[seen.flow[astray]] = True
            seen = seen.take(seen.right)
        seen = seen.take(self._senders.fits(seen, self._odd))
        np.minimum.at(self._times, seen.cell, np.maximum(seen.rows["t_ns"], 1))
        self._check.add(seen.rows, seen.lane)

    def _look_again(self) -> None:
        mixed = self._check.mixed
        for _, rows, slots in self._chunks():
            for slot in slots:
                _, seen = match(rows, slot, self._lanes)
                seen = seen.take(seen.right & mixed[seen.lane])
                seen = seen.take(self._senders.fits(seen, None))
                self._check.add_again(seen.rows, seen.lane)
