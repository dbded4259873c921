"""Round-trip times in a few numbers that can be checked by hand. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def quantiles(rtts: Iterable[float]) -> dict[str, float]:
    """Return the round-trip times that so large a share of all does not exceed.

    The nearest-rank definition: each is a time that was measured. Empty without a time.

    >>> quantiles([4.0, 1.0, 3.0, 2.0])
    {'p50': 2.0, 'p90': 4.0, 'p99': 4.0, 'max': 4.0}
    """
    ranked = sorted(rtts)
    if not ranked:
        return {}
    return {
        name: ranked[max(0, math.ceil(share * len(ranked)) - 1)]
        for name, share in QUANTILES.items()
    }


def jitter(series: Iterable[Mapping[int, float]]) -> float | None:
    """Return the mean absolute difference of the round-trip times of neighbouring probes.

    It is the mean of the absolute delay variation of RFC 3393, of round trips. Only pairs of which
    both were answered count; None without one.

    Args:
        series: For each prober and stage, times by sequence number.
    """
    differences = [
        abs(times[seq + 1] - rtt)
        for times in series
        for seq, rtt in times.items()
        if seq + 1 in times
    ]
    return math.fsum(differences) / len(differences) if differences else None
