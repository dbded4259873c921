"""Find the cell of each sighting: which waypoint saw which packet in the expected direction. Pure.

A host's capture covers a few waypoints of each flow. The first of each flow make one slot, the
second ones the next: a slot is a table by flow, and thousands of sightings are looked up in it at
once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_vmnet.core.facts import Sightings
from pytest_vmnet.core.ledger.lane import Lanes, Marks, Numbers


@dataclass(frozen=True, slots=True)
class Slot:
    """One waypoint of each flow at one host; arrays by flow.

    Attributes:
        ifindex: Interface, -1 where the flow has no such waypoint.
        out: Whether a request leaves through it.
        cell: First cell of its requests.
        lane: Lane of its requests.
        own: Whether it is the own port of who sends its requests, and its replies; shape (2, F).
    """

    ifindex: Numbers
    out: Marks
    cell: Numbers
    lane: Numbers
    own: Marks


@dataclass(frozen=True, slots=True)
class Match:
    """Sightings at a slot.

    Attributes:
        rows: The sightings.
        flow: Place of each one's flow.
        reply: 1 for replies, 0 for requests.
        cell: Its cell.
        lane: Its lane.
        own: Whether it is at its sender's own port.
        right: Whether it passed in the expected direction.
    """

    rows: Sightings
    flow: Numbers
    reply: Numbers
    cell: Numbers
    lane: Numbers
    own: Marks
    right: Marks

    def take(self, which: Marks) -> Match:
        """Return those of the sightings."""
        if which.all():
            return self
        return Match(
            self.rows[which],
            self.flow[which],
            self.reply[which],
            self.cell[which],
            self.lane[which],
            self.own[which],
            self.right[which],
        )


def slots_of(
    lanes: Lanes, waypoints: Sequence[tuple[int, int]], ifindexes: Mapping[str, int]
) -> list[Slot]:
    """Return the slots of a host.

    Args:
        lanes: The flows.
        waypoints: Place of the flow, and waypoint, of all that the host covers.
        ifindexes: Its captured interfaces.
    """
    slots: list[Slot] = []
    taken: Counter[int] = Counter()
    for index, at in waypoints:
        if taken[index] == len(slots):
            slots.append(_empty(len(lanes.flows)))
        slot = slots[taken[index]]
        taken[index] += 1
        each = lanes.flows[index]
        waypoint = each.path.waypoints[at]
        slot.ifindex[index] = ifindexes.get(waypoint.ifname, -1)
        slot.out[index] = waypoint.request_out
        slot.cell[index] = lanes.cells[index] + at * each.flow.count
        slot.lane[index] = lanes.lanes[index] + at
        if waypoint.guest is not None:
            slot.own[0, index] = waypoint.guest == each.request.guest
            slot.own[1, index] = waypoint.guest == each.reply.guest
    return slots


def _empty(size: int) -> Slot:
    return Slot(
        np.full(size, -1, dtype=np.int64),
        np.zeros(size, dtype=np.bool_),
        np.zeros(size, dtype=np.int64),
        np.zeros(size, dtype=np.int64),
        np.zeros((2, size), dtype=np.bool_),
    )


def match(rows: Sightings, slot: Slot, lanes: Lanes) -> tuple[Numbers, Match]:
    """Return which of the rows are at a slot, and what they are there.

    Args:
        rows: Sightings of packets of the flows.
        slot: The slot.
        lanes: The flows.
    """
    every = lanes.number[rows["flow"]]
    at = np.flatnonzero(slot.ifindex[every] == rows["ifindex"])
    mine, flow = rows[at], every[at]
    is_reply = mine["reply"]
    reply = is_reply.astype(np.int64)
    return at, Match(
        rows=mine,
        flow=flow,
        reply=reply,
        cell=slot.cell[flow] + reply * lanes.half[flow] + mine["seq"] - 1,
        lane=slot.lane[flow] + reply * lanes.width[flow],
        own=slot.own[reply, flow],
        right=mine["out"] == (slot.out[flow] != is_reply),
    )
