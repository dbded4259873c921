"""Do a flow's deaths have to do with the moves of the guest's MAC? Pure.

It is asked twice: against chance, by the share of the time that lies close to a move, and against
the packets that were answered. The sentence is said only if both answers leave no doubt.

A move is looked for on both sides of a death: the kernel does not stamp its FDB events, so they
are stamped when they are read, which is later than the move and often later than the death.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.outcome import Alignment
from pytest_vmnet.core.statistics import bounds
from pytest_vmnet.core.verdict.watched import Stay, Times, Watched

WINDOWS_MS = (1, 2, 5, 10, 20, 50)
"""Distances from a move that are tried, in ms; the one that chance explains least is taken."""

_DOUBT = 0.001
_FEWEST = 5
_MS = 1_000_000


def align(
    watched: Sequence[Watched], home: str, stays: Sequence[Stay], mac: str
) -> Alignment | None:
    """Return how the deaths lie at moves to a foreign port, or None if nothing is proven.

    Args:
        watched: The flow's ledgers.
        home: The guest's own port.
        stays: Where the entry was when.
        mac: The guest's MAC.
    """
    foreign = [stay for stay in stays if stay.ifname not in {None, home}]
    deaths = [each.deaths() for each in watched]
    when = np.concatenate([times for _, times in deaths])
    if not foreign or len(when) < _FEWEST:
        return None
    answered = np.concatenate(
        [each.answered_at(_mode(steps)) for each, (steps, _) in zip(watched, deaths, strict=True)]
    )
    tries = [(_window(window, foreign, when, answered, watched), window) for window in WINDOWS_MS]
    (p_value, within, answered_within, share), window = min(
        tries, key=lambda found: (found[0][0], -found[0][1], found[1])
    )
    p_value = min(1.0, p_value * len(WINDOWS_MS))
    if p_value > _DOUBT or 2 * within < len(when):
        return None
    names = [stay.ifname for stay in foreign if stay.ifname]
    port = max(sorted(set(names)), key=names.count)
    by_chance = share * len(when)
    return Alignment(
        port=port,
        mac=mac,
        window_ms=window,
        within=within,
        deaths=len(when),
        by_chance=round(by_chance, 1),
        answered_within=answered_within,
        answered=len(answered),
        p_value=p_value,
        sentence=(
            f"{within} of {len(when)} deaths within {window} ms of the FDB entry of {mac} moving "
            f"to {port} (by chance {by_chance:.0f}; of the answered packets "
            f"{answered_within} of {len(answered)})"
        ),
    )


def _window(
    window_ms: int,
    foreign: Sequence[Stay],
    when: Times,
    answered: Times,
    watched: Sequence[Watched],
) -> tuple[float, int, int, float]:
    """Return p-value, deaths and answered packets within, and the share of the time."""
    moves = np.array([stay.t_ns for stay in foreign], dtype=np.int64)
    within = _hits(moves, when, window_ms)
    others = _hits(moves, answered, window_ms)
    spans = [(int(each.sent.min()), int(each.sent.max())) for each in watched]
    share = covered(moves, spans, window_ms)
    expected = max(share, others / len(answered) if len(answered) else 0.0)
    return bounds.tail(within, len(when), expected), within, others, share


def _hits(moves: Times, when: Times, window_ms: int) -> int:
    """Return how many moments lie within the window around a move."""
    following = np.searchsorted(moves, when)
    before = np.abs(when - moves[np.maximum(following - 1, 0)])
    after = np.abs(moves[np.minimum(following, len(moves) - 1)] - when)
    return int((np.minimum(before, after) <= window_ms * _MS).sum())


def covered(moves: Times, spans: Iterable[tuple[int, int]], window_ms: int) -> float:
    """Return the share of the spans of time that lies within the window around a move."""
    inside = total = 0
    ends = moves + window_ms * _MS
    begins = np.maximum(moves - window_ms * _MS, np.append(0, ends[:-1]))
    for begin, end in spans:
        total += end - begin
        inside += int(np.maximum(np.minimum(ends, end) - np.maximum(begins, begin), 0).sum())
    return inside / total if total else 1.0


def _mode(steps: npt.NDArray[np.intp]) -> int:
    return int(np.bincount(steps).argmax()) if len(steps) else 0
