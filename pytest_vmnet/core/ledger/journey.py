"""How far each packet of a flow came, for all of them at once. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.flow.route import Path
from pytest_vmnet.core.words import Leg

Cells = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]

_LEGS = (Leg.REQUEST, Leg.REPLY, Leg.UNKNOWN)
_NOWHERE = 0


@dataclass(frozen=True, slots=True)
class Fates:
    """Where each packet was seen last and where it was missed next, as if all had died.

    Attributes:
        path: The flow's path; W waypoints.
        legs: Leg of the death: request 0, reply 1, unknown 2; shape (count,).
        last: Last point that saw it: its waypoint plus 1, 0 for none; shape (count,).
        following: Next point that is known not to have seen it: its waypoint, W for the far end, W
            + 1 for the prober's end, W + 2 for a router in between; shape (count,).
    """

    path: Path
    legs: Codes
    last: Codes
    following: Codes

    def of(self, seq: int) -> tuple[Leg, str | None, str]:
        """Return leg, last point and next point of the packet at index *seq*."""
        return self._named(int(self.legs[seq]), int(self.last[seq]), int(self.following[seq]))

    def count(self, which: Cells) -> dict[tuple[Leg, str | None, str], int]:
        """Return how many of those packets died in which way."""
        width = len(self.path.waypoints)
        rows, columns = width + 1, width + 3
        codes = (self.legs * rows + self.last) * columns + self.following
        found: dict[tuple[Leg, str | None, str], int] = {}
        sizes = np.bincount(codes[which])
        for code in np.flatnonzero(sizes).tolist():
            rest, following = divmod(code, columns)
            place = self._named(*divmod(rest, rows), following)
            found[place] = found.get(place, 0) + int(sizes[code])
        return found

    def _named(self, leg: int, last: int, following: int) -> tuple[Leg, str | None, str]:
        points = [waypoint.point for waypoint in self.path.waypoints]
        ends = (*points, self.path.end, self.path.start, "gateway")
        return _LEGS[leg], points[last - 1] if last else None, ends[following]


def trace(path: Path, seen: npt.NDArray[np.bool_], known: Cells) -> Fates:
    """Follow each packet along its journey: out by the waypoints, and back.

    Args:
        path: The flow's path; W waypoints.
        seen: Which packets were seen; shape (2, W, count), requests first.
        known: Where "not seen" counts; shape (W, count).
    """
    width, count = known.shape
    if not width:
        nowhere = np.zeros(count, dtype=np.int64)
        return Fates(path, nowhere + 2, nowhere, nowhere + width)
    steps = np.arange(2 * width)[:, None]
    watched = np.concatenate([known, known[::-1]])
    passed = np.concatenate([seen[0], seen[1, ::-1]]) & watched
    last = np.where(passed, steps, -1).max(axis=0)
    ahead = watched & (steps > last)
    following = np.where(ahead.any(axis=0), ahead.argmax(axis=0), 2 * width)
    return Fates(path, *_codes(path, last, following))


def _codes(path: Path, last: Codes, following: Codes) -> tuple[Codes, Codes, Codes]:
    """Turn steps of the journey, 0..2W-1, into what `Fates` holds of them."""
    width = len(path.waypoints)
    end, start, router = width, width + 1, width + 2
    at = np.concatenate([np.arange(width), np.arange(width)[::-1], [end]])
    points = np.array([waypoint.point for waypoint in path.waypoints] + [path.end])
    here = at[last]  # without a last step this is the far end, which is no waypoint
    missed = at[following]
    legs = np.where(following >= width, 1, 0)
    routed = (points[here] == points[missed]) & (last >= 0)
    missed = np.where(routed, router, missed)  # out by a port, and never back in by it
    turning = (last >= 0) & (last < width) & (following >= width)
    legs[turning] = 0 if path.end.endswith(":stack") else 2
    missed[turning] = end
    missed[(last >= width) & (following == 2 * width)] = start
    legs[(last < 0) & (following == 2 * width)] = 2
    return legs, np.where(last >= 0, here + 1, _NOWHERE), missed
