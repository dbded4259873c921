"""Do two losses belong together: exact tests of two-by-two tables. Pure.

R. A. Fisher, "On the interpretation of chi-squared from contingency tables", Journal of the Royal
Statistical Society 85 (1922): with the margins given, the table follows the hypergeometric law.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Marks = npt.NDArray[np.bool_]


def fisher(lost: tuple[int, int], sent: tuple[int, int]) -> float:
    """Return how likely so unequal losses of two samples are if both lose alike, two-sided.

    >>> round(fisher((3, 0), (3, 3)), 3)
    0.1

    Args:
        lost: Lost probes of either.
        sent: Probes of either.
    """
    together, total = sum(lost), sum(sent)
    low, high = max(0, together - sent[1]), min(together, sent[0])
    shares = [_share(hits, together, sent[0], total) for hits in range(low, high + 1)]
    observed = shares[lost[0] - low]
    return min(1.0, math.fsum(share for share in shares if share <= observed * (1 + 1e-9)))


def overlap(one: Marks, other: Marks) -> tuple[int, float]:
    """Return how many moments two flows lost together, and how likely so many are by chance.

    Args:
        one: Which probes the one lost; shape (n,).
        other: Which the other lost at the same moments; shape (n,).
    """
    both = int((one & other).sum())
    first, second = int(one.sum()), int(other.sum())
    most = min(first, second)
    shares = [_share(hits, first, second, len(one)) for hits in range(both, most + 1)]
    return both, min(1.0, math.fsum(shares))


def trend(lost: Marks) -> tuple[int, int, float]:
    """Return the losses in the early and the late half, and how likely so uneven ones are."""
    half = len(lost) // 2
    early, late = int(lost[:half].sum()), int(lost[half:].sum())
    return early, late, fisher((early, late), (half, len(lost) - half))


def _share(hits: int, drawn: int, marked: int, total: int) -> float:
    """Return the probability of *hits* marked ones among *drawn* of *total* of which *marked*."""
    log = _log_choose(marked, hits) + _log_choose(total - marked, drawn - hits)
    return math.exp(log - _log_choose(total, drawn))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
