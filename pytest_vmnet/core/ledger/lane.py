"""Where the cells of every flow lie in the arrays that hold all of them. Pure.

A lane is one leg of a flow at one waypoint; it has a cell for each packet. The cells of a flow are
those of its requests at each waypoint, from prober to far end, then those of its replies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.ledger.expected import Expected
from pytest_vmnet.core.words import Leg

Numbers = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]

LEGS = (Leg.REQUEST, Leg.REPLY)


class Lanes:
    """The lanes of some flows.

    Attributes:
        flows: The flows; what follows is by their place here.
        number: Place of a flow by its number, -1 for other numbers.
        count: Packets.
        width: Waypoints.
        half: Cells of one leg.
        cells: First cell, and at last their total.
        lanes: First lane, and at last their total.
        packets: First packet of the requests, followed by the replies, and at last their total.
    """

    def __init__(self, flows: Sequence[Expected]) -> None:
        self.flows = flows
        self.number = np.full(1 << 16, -1, dtype=np.int64)
        self.number[[each.flow.number for each in flows]] = np.arange(len(flows))
        self.count = np.array([each.flow.count for each in flows], dtype=np.int64)
        self.width = np.array([len(each.path.waypoints) for each in flows], dtype=np.int64)
        self.half = self.count * self.width
        self.cells = _starts(2 * self.half)
        self.lanes = _starts(2 * self.width)
        self.packets = _starts(2 * self.count)

    def part(self, index: int) -> tuple[slice, tuple[int, int, int]]:
        """Return which cells are a flow's, and their shape (2, W, count)."""
        shape = 2, int(self.width[index]), int(self.count[index])
        return slice(int(self.cells[index]), int(self.cells[index + 1])), shape

    def flow_of(self, lane: int) -> int:
        """Return the place of a lane's flow."""
        return int(np.searchsorted(self.lanes, lane, side="right")) - 1

    def place(self, index: int, lane: int) -> tuple[Leg, str]:
        """Return leg and point of a flow's lane."""
        leg, at = divmod(lane - int(self.lanes[index]), int(self.width[index]))
        return LEGS[leg], self.flows[index].path.waypoints[at].point


def _starts(sizes: Numbers) -> Numbers:
    """Return where each part starts if they lie one behind another, and at last their end."""
    starts = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts
