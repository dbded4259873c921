"""Exact binomial bounds, and the number of probes that a threshold needs.

Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the
binomial", Biometrika 26 (1934). Each bound is one-sided, so that "at most 1 % at 95 %" means
what it says. Losses are taken as independent; bursts make the bounds optimistic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_vmnet.core.words import Verdict

_NO_LOSS = 0.001
"""What is proven where no loss at all is asked for: no number of probes proves that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What a healthy flow has to prove: at most this loss, at this confidence; both 0..1."""

    max_loss: float
    confidence: float


def _log_pmf(k: int, n: int, p: float) -> float:
    comb = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return comb + k * math.log(p) + (n - k) * math.log1p(-p)


def _cdf(k: int, n: int, p: float) -> float:
    """Return P(X <= k) for X ~ Binomial(n, p), summed from its largest term, k <= n p, down."""
    term = math.exp(_log_pmf(k, n, p))
    total = term
    for i in range(k, 0, -1):
        term *= i / (n - i + 1) * (1 - p) / p
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, total)


def _tail(k: int, n: int, p: float) -> float:
    """Return P(X >= k) for X ~ Binomial(n, p)."""
    term = math.exp(_log_pmf(k, n, p))
    total = term
    for i in range(k, n):
        term *= (n - i) / (i + 1) * p / (1 - p)
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, total)


def tail(hits: int, trials: int, share: float) -> float:
    """Return the probability of at least *hits* in *trials* if each hits with that *share*.

    >>> round(tail(3, 3, 0.5), 3)
    0.125
    """
    if hits <= 0 or share >= 1:
        return 1.0
    return _tail(hits, trials, share) if share > 0 else 0.0


def upper_bound(lost: int, sent: int, confidence: float) -> float:
    """Return the largest loss that is still compatible with *lost* of *sent*.

    >>> round(upper_bound(0, 300, 0.95), 4)
    0.0099

    Args:
        lost: Number of lost probes, 0..sent.
        sent: Number of probes; with none the bound is 1.
        confidence: One-sided confidence, 0..1.

    Returns:
        The bound as a share, 0..1.
    """
    _check(lost, sent, confidence)
    if lost == sent:  # also without a single probe
        return 1.0
    if lost == 0:
        return 1.0 - float((1.0 - confidence) ** (1.0 / sent))
    low, high = lost / sent, 1.0
    while low < (middle := (low + high) / 2) < high:  # until no number lies between them
        if _cdf(lost, sent, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def lower_bound(lost: int, sent: int, confidence: float) -> float:
    """Return the smallest loss that is still compatible with *lost* of *sent*.

    Args:
        lost: Number of lost probes, 0..sent.
        sent: Number of probes; with none the bound is 0.
        confidence: One-sided confidence, 0..1.

    Returns:
        The bound as a share, 0..1.
    """
    _check(lost, sent, confidence)
    if sent == 0 or lost == 0:
        return 0.0
    return 1.0 - upper_bound(sent - lost, sent, confidence)


def probes_needed(max_loss: float, confidence: float) -> int:
    """Return how many probes without a loss prove *max_loss* at *confidence*.

    >>> probes_needed(0.01, 0.95)
    299

    A threshold of 0 cannot be proven by any number; it is taken as 0.1 %.
    """
    limit = max_loss or _NO_LOSS
    needed = max(1, math.ceil(math.log1p(-confidence) / math.log1p(-limit)) - 1)
    while upper_bound(0, needed, confidence) > limit:  # the logarithms are rounded
        needed += 1
    return needed


def flow_verdict(lost: int, sent: int, *, max_loss: float, confidence: float) -> Verdict:
    """Return the three-way verdict of one flow.

    ``healthy`` if the upper bound meets the threshold, ``unhealthy`` if the lower bound exceeds
    it, ``inconclusive`` in between and without a single probe. With a threshold of 0 a single
    loss is too much, and none is taken for none once at most 0.1 % is proven.
    """
    if sent == 0:
        return Verdict.INCONCLUSIVE
    if lower_bound(lost, sent, confidence) > max_loss:
        return Verdict.UNHEALTHY
    if upper_bound(lost, sent, confidence) <= (max_loss or _NO_LOSS):
        return Verdict.HEALTHY
    return Verdict.INCONCLUSIVE


def _check(lost: int, sent: int, confidence: float) -> None:
    if not 0 <= lost <= sent or not 0 < confidence < 1:
        raise ValueError(f"lost {lost} of {sent} at {confidence}: expected 0 <= lost <= sent")
