"""What was seen of a flow's packets that should not be, and how often. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from pytest_vmnet.core.words import Leg

_MOST = 1_000
"""Kinds of odd frames that are told apart: a flood of them may not eat the memory."""


class OddityKind(StrEnum):
    """What is odd about a frame.

    ``foreign``: a reply whose source is not the address that was probed. ``impostor``: a frame
    with the MAC of a guest that has no part in the flow. ``intruder``: a frame that came in by
    the port of a guest that did not send it. None of the three counts as a sighting.
    ``wrong-mac``: another MAC than the sender's, or behind a router than most. ``wrong-ttl``:
    another TTL than most of its leg's packets have at that point.
    """

    FOREIGN = "foreign"
    IMPOSTOR = "impostor"
    INTRUDER = "intruder"
    WRONG_MAC = "wrong-mac"
    WRONG_TTL = "wrong-ttl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """Frames of one leg that are odd in one way.

    Attributes:
        kind: In which way.
        leg: Leg.
        point: Where they were seen: a waypoint of the flow, or another guest's port.
        value: What is odd: the address, MAC or TTL; for an intruder the guest's id. ``others``
            where too many were seen to be told apart.
        frames: How many frames.
    """

    kind: OddityKind
    leg: Leg
    point: str
    value: str
    frames: int


OddKey = tuple[OddityKind, Leg, str, str]
"""Kind, leg, point and value of an oddity."""


class OddityCounts:
    """Counts odd frames by flow."""

    def __init__(self) -> None:
        self._counts: dict[int, Counter[OddKey]] = {}
        self._kinds = 0

    def add(self, flow: int, key: OddKey, frames: int) -> None:
        """Add frames of a flow."""
        counts = self._counts.setdefault(flow, Counter())
        if key not in counts and self._kinds >= _MOST:
            key = (*key[:3], "others")
        self._kinds += key not in counts
        counts[key] += frames

    def of(self, flow: int) -> tuple[Oddity, ...]:
        """Return what was odd of a flow, in a fixed order."""
        found = self._counts.get(flow, Counter())
        return tuple(
            Oddity(kind=kind, leg=leg, point=point, value=value, frames=frames)
            for (kind, leg, point, value), frames in sorted(found.items())
        )
