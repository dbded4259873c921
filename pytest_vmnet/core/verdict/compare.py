"""Compare a flow's losses in time, by direction, prober and size, and with others'. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.ledger.book import FlowLedger
from pytest_vmnet.core.outcome import Comparison, Flow
from pytest_vmnet.core.statistics.association import fisher, overlap, trend
from pytest_vmnet.core.words import Leg

Drafts = Sequence[tuple[Flow, Sequence[FlowLedger]]]
"""A guest's flows, each with its ledgers."""

_MOST_OTHERS = 5
"""Flows that one is compared with moment by moment."""


def compared(drafts: Drafts) -> list[Flow]:
    """Return a guest's flows, those that lost some probes and not all with their comparisons."""
    return [
        replace(flow, comparisons=tuple(_comparisons(flow, ledgers, drafts)))
        if 0 < flow.lost < flow.transmitted
        else flow
        for flow, ledgers in drafts
    ]


def _comparisons(
    flow: Flow, ledgers: Sequence[FlowLedger], drafts: Drafts
) -> Iterator[Comparison]:
    main = max(ledgers, key=lambda ledger: (int(ledger.lost.sum()), ledger.flow.count))
    early, late, p_value = trend(main.lost[main.sent])
    sent = int(main.sent.sum())
    told = (
        f"{early} of {sent // 2} lost in the early half, {late} of {sent - sent // 2} in the late"
    )
    yield Comparison(subject="time", sentence=told, p_value=p_value)
    yield from _directions(flow)
    yield from _probers(ledgers)
    yield from _sizes(flow, drafts)
    yield from _events(main, drafts)


def _directions(flow: Flow) -> Iterator[Comparison]:
    """Compare the losses on the way out with those on the way back, where they are located."""
    died = {leg: sum(d.packets for d in flow.deaths if d.leg is leg) for leg in Leg}
    out, back = died[Leg.REQUEST], died[Leg.REPLY]
    if out + back < flow.lost:
        return
    turned = flow.transmitted - out
    told = f"{out} of {flow.transmitted} requests died, {back} of {turned} replies"
    p_value = fisher((out, back), (flow.transmitted, turned))
    yield Comparison(subject="direction", sentence=told, p_value=p_value)


def _probers(ledgers: Sequence[FlowLedger]) -> Iterator[Comparison]:
    """Compare what either end's own probes lost."""
    sums: dict[str, tuple[int, int]] = {}
    for ledger in ledgers:
        lost, sent = sums.get(ledger.flow.source, (0, 0))
        own = lost + int(ledger.lost.sum()), sent + int(ledger.sent.sum())
        sums[ledger.flow.source] = own
    if len(sums) == 2:
        (one, first), (other, second) = sorted(sums.items())
        told = f"{_loss(first)} that {one} sent, {_loss(second)} that {other} sent"
        p_value = fisher((first[0], second[0]), (first[1], second[1]))
        yield Comparison(subject="prober", sentence=told, p_value=p_value)


def _sizes(flow: Flow, drafts: Drafts) -> Iterator[Comparison]:
    """Compare with probes of another size between the same ends."""
    for other, _ in drafts:
        same = (other.source, other.target, other.kind) == (flow.source, flow.target, flow.kind)
        if same and other.size != flow.size and other.transmitted:
            mine, theirs = (flow.lost, flow.transmitted), (other.lost, other.transmitted)
            told = f"{_loss(mine)} of {flow.size} bytes, {_loss(theirs)} of {other.size} bytes"
            p_value = fisher((mine[0], theirs[0]), (mine[1], theirs[1]))
            yield Comparison(subject="size", sentence=told, p_value=p_value)


def _events(main: FlowLedger, drafts: Drafts) -> Iterator[Comparison]:
    """Compare moment by moment with the other flows that lost some of their probes."""
    compared = 0
    for other, ledgers in drafts:
        others = [led for led in ledgers if led.flow.interval_s == main.flow.interval_s]
        if main in others or not 0 < other.lost < other.transmitted or compared == _MOST_OTHERS:
            continue
        for ledger in others[:1]:
            if (pair := _aligned(main, ledger)) is not None:
                both, p_value = overlap(*pair)
                told = (
                    f"{both} of {int(pair[0].sum())} probes were lost when {other.source} -> "
                    f"{other.target} lost its own ({int(pair[1].sum())} of {len(pair[1])})"
                )
                compared += 1
                yield Comparison(subject="event", sentence=told, p_value=p_value)


def _aligned(
    one: FlowLedger, other: FlowLedger
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None:
    """Return the losses of two flows at the same moments, or None if nothing ties their times.

    A host that saw packets of both gives the time between their first probes; the probes of
    one interval are taken for one moment.
    """
    starts, others = _starts(one), _starts(other)
    common = sorted(starts.keys() & others.keys())
    if not common:
        return None
    ahead = (others[common[0]] - starts[common[0]]) / (one.flow.interval_s * 1e9)
    shift = round(ahead)
    first, last = max(0, shift), min(one.flow.count, other.flow.count + shift)
    if last <= first:
        return None
    mine, theirs = one.lost[first:last], other.lost[first - shift : last - shift]
    if not mine.any() or not theirs.any():
        return None
    return mine, theirs


def _starts(ledger: FlowLedger) -> Mapping[str, float]:
    """Return when a flow's first probe passed each host, by what that host saw of all of them."""
    starts: dict[str, float] = {}
    steps = np.arange(ledger.flow.count) * (ledger.flow.interval_s * 1e9)
    for index, waypoint in enumerate(ledger.path.waypoints):
        times = ledger.times[0, index]
        seen = times != 0
        if waypoint.host not in starts and seen.any():
            base = int(times[seen][0])
            starts[waypoint.host] = base + float(np.median(times[seen] - base - steps[seen]))
    return starts


def _loss(pair: tuple[int, int]) -> str:
    return f"{pair[0]} of {pair[1]} lost"
