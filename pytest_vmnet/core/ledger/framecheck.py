"""Find packets whose MAC or TTL is not that of the others in their lane. Pure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.facts import Sightings, mac_text
from pytest_vmnet.core.ledger.lane import Lanes, Marks, Numbers
from pytest_vmnet.core.ledger.oddity import OddityCounts, OddityKind

_MOST = 10_000
"""Kinds of frames that are told apart: a flood of them may not eat the memory."""


class FrameCheck:
    """Compares the frames of each lane.

    On the first look only the least and the greatest of each lane's frames are kept: if they are
    equal, as is the rule, all are. The others need a second look.

    Args:
        lanes: The flows.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        size = int(lanes.lanes[-1])
        self.hits = np.zeros(size, dtype=np.int64)
        self._least = np.full(size, np.iinfo(np.uint64).max, dtype=np.uint64)
        self._most = np.zeros(size, dtype=np.uint64)
        self._counts: Counter[tuple[int, int]] = Counter()

    def add(self, rows: Sightings, lane: Numbers) -> None:
        """Look at sightings for the first time."""
        self.hits += np.bincount(lane, minlength=len(self.hits))
        frame = _frame(rows)
        np.minimum.at(self._least, lane, frame)
        np.maximum.at(self._most, lane, frame)

    @property
    def mixed(self) -> Marks:
        """Lanes that saw different frames."""
        return self._least < self._most

    def add_again(self, rows: Sightings, lane: Numbers) -> None:
        """Look for a second time at sightings in mixed lanes."""
        pairs = np.empty(len(rows), dtype=[("lane", "i8"), ("frame", "u8")])
        pairs["lane"], pairs["frame"] = lane, _frame(rows)
        for pair, frames in zip(*np.unique(pairs, return_counts=True), strict=True):
            key = int(pair[0]), int(pair[1])
            if key in self._counts or len(self._counts) < _MOST:
                self._counts[key] += int(frames)

    def judge(self, odd: OddityCounts) -> None:
        """Count the frames whose MAC or TTL is not as it should be."""
        expected = self._expected()
        alike = ~self.mixed & (self.hits > 0)
        wrong = alike & (expected != 0) & (self._least >> np.uint64(8) != expected)
        for lane in np.flatnonzero(wrong).tolist():
            self._counts[lane, int(self._least[lane])] = int(self.hits[lane])
        by_lane: dict[int, Counter[int]] = {}
        for (lane, frame), frames in self._counts.items():
            by_lane.setdefault(lane, Counter())[frame] += frames
        for lane, found in sorted(by_lane.items()):
            self._judge(lane, found, int(expected[lane]), odd)

    def _expected(self) -> npt.NDArray[np.uint64]:
        """Return the MAC that each lane's frames should have, 0 where that is not known."""
        macs = [
            mac if own else 0
            for each in self._lanes.flows
            for mac, legs in zip((each.request.mac, each.reply.mac), each.own_mac, strict=True)
            for own in legs
        ]
        return np.array(macs, dtype=np.uint64)

    def _judge(self, lane: int, found: Counter[int], expected: int, odd: OddityCounts) -> None:
        index = self._lanes.flow_of(lane)
        leg, point = self._lanes.place(index, lane)
        macs: Counter[int] = Counter()
        ttls: Counter[int] = Counter()
        for frame, frames in found.items():
            macs[frame >> 8] += frames
            ttls[frame & 0xFF] += frames
        for mac in macs.keys() - {expected or _mode(macs)}:
            odd.add(index, (OddityKind.WRONG_MAC, leg, point, mac_text(mac)), macs[mac])
        for ttl in ttls.keys() - {_mode(ttls)}:
            odd.add(index, (OddityKind.WRONG_TTL, leg, point, str(ttl)), ttls[ttl])


def _mode(counts: Counter[int]) -> int:
    """Return the most frequent value, the smallest of several."""
    return min(counts, key=lambda value: (-counts[value], value))


def _frame(rows: Sightings) -> npt.NDArray[np.uint64]:
    """Return MAC and TTL of each row as one number."""
    frame: npt.NDArray[np.uint64] = rows["mac"] << np.uint64(8) | rows["ttl"]
    return frame
