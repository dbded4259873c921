"""How losses lie among the probes: at random, in bursts, or coming and going. Pure.

The test of randomness is that of runs (A. Wald and J. Wolfowitz, "On a test whether two samples
are from the same population", Annals of Mathematical Statistics 11, 1940), exact for every number
of probes: of all orders in which so many losses can lie, how many have so few stretches?
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.outcome import Bursts
from pytest_vmnet.core.words import LossPattern

OUTAGE = 10
"""Probes lost in a row that are an outage: at 30 % independent loss, one flow of 300 probes in 800
has one; at 10 % one in 37 million."""

CALM = 40
"""Probes answered in a row that are a calm: at 30 % independent loss, one flow of 300 probes in
17 000 has one behind a loss. At no rate are outages and calms both likely."""

_DOUBT = 0.01


def stretches(lost: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the lengths of the stretches of lost probes, in their order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(np.int8)))
    lengths: npt.NDArray[np.int64] = np.diff(edges)[::2]
    return lengths


def runs_test(lost: int, sent: int, found: int) -> tuple[float, float]:
    """Return how likely so few stretches of losses are, and so many, if all orders are.

    >>> few, many = runs_test(lost=3, sent=6, found=1)
    >>> round(few, 3), round(many, 3)
    (0.2, 1.0)

    Args:
        lost: Lost probes, 1..sent.
        sent: Probes.
        found: Stretches, at most ``min(lost, sent - lost + 1)``.
    """
    most = min(lost, sent - lost + 1)
    shares = [math.exp(_log_share(lost, sent, count)) for count in range(1, most + 1)]
    few = math.fsum(shares[:found])
    many = math.fsum(shares[found - 1 :])
    return min(1.0, few), min(1.0, many)


def _log_share(lost: int, sent: int, count: int) -> float:
    """Return the logarithm of the share of all orders that have *count* stretches."""
    ways = _log_choose(lost - 1, count - 1) + _log_choose(sent - lost + 1, count)
    return ways - _log_choose(sent, lost)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def outages(lost: npt.NDArray[np.bool_]) -> int:
    """Return how many outages there are that a calm parts from the one before."""
    count, calm = 0, CALM
    edges = np.flatnonzero(np.diff(lost.astype(np.int8))) + 1
    for part in np.split(lost, edges):
        if not part.any():
            calm = max(calm, len(part))
        elif len(part) >= OUTAGE:
            count += calm >= CALM
            calm = 0
    return count


def bursts_of(series: Sequence[npt.NDArray[np.bool_]]) -> Bursts | None:
    """Return how losses lie among a flow's probes, None if nothing was sent.

    Args:
        series: For each prober and stage, which of the probes that it sent were lost, in their
            order. The one with the most losses is described, the longest of several; each one can
            show that the loss comes and goes.
    """
    told = max(series, key=lambda each: (int(each.sum()), len(each)), default=None)
    if told is None or not len(told):
        return None
    lengths, lost, sent = stretches(told), int(told.sum()), len(told)
    apart = max(outages(each) for each in series)
    if lost in {0, sent}:
        return Bursts(
            pattern=LossPattern.ALL if lost else LossPattern.NONE,
            stretches=len(lengths),
            longest=lost,
            mean=float(lost),
            p_value=None,
            outages=apart,
            flaps=apart >= 2,
        )
    few, many = runs_test(lost, sent, len(lengths))
    pattern = LossPattern.RANDOM
    if min(few, many) < _DOUBT:
        pattern = LossPattern.BURSTS if few < many else LossPattern.REGULAR
    return Bursts(
        pattern=pattern,
        stretches=len(lengths),
        longest=int(lengths.max()),
        mean=lost / len(lengths),
        p_value=min(few, many),
        outages=apart,
        flaps=apart >= 2,
    )
