"""What is said of a flow beside its loss: times, bursts, and what was odd. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_vmnet.core.ledger.book import FlowLedger
from pytest_vmnet.core.ledger.oddity import OddityKind
from pytest_vmnet.core.outcome import ErrorCount, Flow
from pytest_vmnet.core.statistics.bursts import bursts_of
from pytest_vmnet.core.statistics.latency import jitter, quantiles
from pytest_vmnet.core.verdict.complaint import pooled
from pytest_vmnet.core.words import Leg


def with_details(
    flow: Flow,
    ledgers: Sequence[FlowLedger],
    rtts: Sequence[Mapping[int, float]],
    errors: Sequence[tuple[ErrorCount, ...]],
) -> Flow:
    """Return the flow with what its series of probes show beside their loss.

    Args:
        flow: The flow.
        ledgers: What became of each series' packets.
        rtts: Each series' round-trip times in ms, by sequence number.
        errors: ICMP errors for each series.
    """
    every = [rtt for series in rtts for rtt in series.values()]
    return replace(
        flow,
        rtt_avg_ms=sum(every) / len(every) if every else None,
        rtt_max_ms=max(every, default=None),
        rtt_quantiles_ms=quantiles(every),
        jitter_ms=jitter(rtts),
        bursts=bursts_of([ledger.lost[ledger.sent] for ledger in ledgers]),
        duplicates=sum(int(ledger.duplicates.max(initial=0)) for ledger in ledgers),
        reordered=sum(ledger.reordered()[1] or 0 for ledger in ledgers),
        foreign=sum(_foreign(ledger) for ledger in ledgers),
        icmp_errors=pooled(errors),
    )


def _foreign(ledger: FlowLedger) -> int:
    """Return how many replies came from somebody else, at the point that saw most of them."""
    points: Counter[str] = Counter()
    for odd in ledger.oddities:
        if odd.kind is OddityKind.FOREIGN and odd.leg is Leg.REPLY:
            points[odd.point] += odd.frames
    return max(points.values(), default=0)
