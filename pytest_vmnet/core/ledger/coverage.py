"""When a guest's own capture was listening, on the clock of its node. Pure.

A guest begins and ends its capture by itself, and its clock is its own. What it did not see counts
only for the time that it listened; frames that both its NIC and its tap saw tie the two clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.facts import Capture

Times = npt.NDArray[np.int64]
"""Times of frames in ns since the epoch, 0 for those that were not seen."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The same frames at a guest's tap and at its NIC; arrays of one shape."""

    tap: Times
    nic: Times


@dataclass(frozen=True, slots=True)
class Listening:
    """When a guest's capture listened, on the clock of its node, in ns since the epoch."""

    since_ns: int
    until_ns: int

    def misses(self, pair: Pair) -> npt.NDArray[np.bool_]:
        """Return which frames passed the tap while the capture may not have listened."""
        early, late = pair.tap < self.since_ns, pair.tap > self.until_ns
        missed: npt.NDArray[np.bool_] = (pair.tap != 0) & (pair.nic == 0) & (early | late)
        return missed


def listening(capture: Capture, pairs: Sequence[Pair]) -> Listening | None:
    """Return when a guest's capture listened; None if no frame was seen at both places.

    The two clocks differ by the median of the common frames' differences; nine of ten differences
    lie within the margin that is taken off at either end.

    Args:
        capture: The guest's capture; without its own word on when it listened, its first and last
            frames bound it.
        pairs: Frames of every flow that passed the guest's tap.
    """
    if not pairs:
        return None
    tap = np.concatenate([pair.tap.ravel() for pair in pairs])
    nic = np.concatenate([pair.nic.ravel() for pair in pairs])
    common = (tap != 0) & (nic != 0)
    if not common.any():
        return None
    differences = tap[common] - nic[common]
    offset = int(np.median(differences))
    margin = int(np.quantile(np.abs(differences - offset), 0.9))
    stamps = capture.packets.sightings["t_ns"]
    since = int(stamps.min()) if capture.since_ns is None else capture.since_ns
    until = int(stamps.max()) if capture.until_ns is None else capture.until_ns
    return Listening(since + offset + margin, until + offset - margin)
