"""Flows as reports show them: both ends' probes and both stages pooled. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_vmnet.core.facts import GATE, FlowSpec, Sweep
from pytest_vmnet.core.ledger.book import FlowLedger, build_ledger
from pytest_vmnet.core.outcome import Death, ErrorCount, Flow, PointCount, Side
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.core.statistics import bounds
from pytest_vmnet.core.statistics.bounds import Threshold
from pytest_vmnet.core.verdict.compare import compared
from pytest_vmnet.core.verdict.complaint import complaints
from pytest_vmnet.core.verdict.detail import with_details
from pytest_vmnet.core.words import MAIN_LANE, FlowKind, Leg, PingKind, Verdict

ORDER = (
    FlowKind.GATEWAY,
    FlowKind.EXTERNAL,
    FlowKind.PEER,
    FlowKind.SERVICE,
    FlowKind.INBOUND,
    FlowKind.CONTROL,
)
"""Which failing flow tells a guest's story, the first one first."""

_Key = tuple[FlowKind, str, str]
"""What the parts of one flow share: kind, other end, lane."""


@dataclass(frozen=True, slots=True)
class Part:
    """One flow of one sweep.

    Attributes:
        spec: What was planned.
        ledger: What became of its packets, or None if its prober could not say.
        rtts: Round-trip times in ms by sequence number.
        errors: ICMP errors for its packets.
        size: Payload bytes that were sent, or None for as planned.
        problem: Why its prober could not say, or None.
    """

    spec: FlowSpec
    ledger: FlowLedger | None
    rtts: Mapping[int, float] = field(default_factory=dict)
    errors: tuple[ErrorCount, ...] = ()
    size: int | None = None
    problem: str | None = None


def parts_of(inventory: Inventory, sweeps: Sequence[Sweep]) -> tuple[Part, ...]:
    """Return every flow of every sweep, in their order."""
    return tuple(part for sweep in sweeps for part in _parts(inventory, sweep))


def _parts(inventory: Inventory, sweep: Sweep) -> Iterator[Part]:
    ledgers = {ledger.flow.number: ledger for ledger in build_ledger(sweep, inventory)}
    errors = complaints(sweep, inventory)
    for spec in sweep.flows:
        ledger = ledgers.get(spec.number)
        ping = sweep.ping(spec)
        if ledger is None or ping is None:
            facts = sweep.hosts.get(spec.source)
            problem = facts.problem if facts else None
            silent = f"{spec.source} could not say what it sent to {spec.target}"
            yield Part(spec, None, problem=problem or silent)
        else:
            told = errors.get(spec.number, ())
            yield Part(spec, ledger, rtts=ping.rtt_ms, errors=told, size=ping.size)


class FlowBuilder:
    """Makes a guest's flows of the parts that it has a share in.

    Args:
        parts: Every flow of every sweep.
        threshold: What has to be proven.
    """

    def __init__(self, parts: Sequence[Part], threshold: Threshold) -> None:
        self._threshold = threshold
        self._by_owner: dict[str, dict[_Key, list[Part]]] = {}
        self._controls: dict[tuple[str, str, str], list[Part]] = {}
        for part in parts:
            spec = part.spec
            if spec.kind is FlowKind.CONTROL:
                self._controls.setdefault((spec.source, spec.target, spec.lane), []).append(part)
            elif spec.kind is FlowKind.INBOUND:
                self._own(spec.target, spec.target, part)
            else:
                self._own(spec.source, spec.target, part)
                if spec.kind is FlowKind.PEER:
                    self._own(spec.target, spec.source, part)

    def _own(self, owner: str, other: str, part: Part) -> None:
        groups = self._by_owner.setdefault(owner, {})
        groups.setdefault((part.spec.kind, other, part.spec.lane), []).append(part)

    def flows_of(self, ident: str) -> list[tuple[Flow, Sequence[Part]]]:
        """Return a guest's flows in the order that tells its story, each with its parts."""
        groups = self._by_owner.get(ident, {})
        order = sorted(groups, key=_order)
        flows = [self._flow(groups[key], target=key[1], owner=ident) for key in order]
        mine = [[part.ledger for part in groups[key] if part.ledger] for key in order]
        found = compared(list(zip(flows, mine, strict=True)))
        return list(zip(found, (groups[key] for key in order), strict=True))

    def controls(self) -> tuple[Flow, ...]:
        """Return the flows that belong to no guest."""
        return tuple(
            self._flow(parts, target=target, owner=source)
            for (source, target, _lane), parts in sorted(self._controls.items())
        )

    def _flow(self, parts: Sequence[Part], *, target: str, owner: str) -> Flow:
        kind = parts[0].spec.kind
        source = GATE if kind is FlowKind.INBOUND else owner
        mine = [part.ledger for part in parts if part.ledger is not None]
        sent = sum(int(ledger.sent.sum()) for ledger in mine)
        lost = sum(int(ledger.lost.sum()) for ledger in mine)
        limit = self._threshold
        notes = [part.problem for part in parts if part.problem]
        verdict = self._verdict(mine, sent, lost, complete=not notes)
        flow = Flow(
            source=source,
            target=target,
            kind=kind,
            transmitted=sent,
            received=sent - lost,
            loss_lower_bound=bounds.lower_bound(lost, sent, limit.confidence),
            loss_upper_bound=bounds.upper_bound(lost, sent, limit.confidence),
            confidence=limit.confidence,
            max_loss=limit.max_loss,
            verdict=verdict,
            points=_pooled_points(mine, source, owner),
            deaths=_pooled_deaths(mine, owner),
            note=next(iter([*notes, *filter(None, map(_remark, parts))]), None),
            size=parts[0].size or parts[0].spec.size,
            lane=parts[0].spec.lane,
            sides=() if verdict is Verdict.HEALTHY else _sides(mine, source, owner),
        )
        rtts, errors = [part.rtts for part in parts], [part.errors for part in parts]
        return with_details(flow, mine, rtts, errors)

    def _verdict(
        self, mine: Sequence[FlowLedger], sent: int, lost: int, *, complete: bool
    ) -> Verdict:
        limit = self._threshold
        for ledger in mine:  # an end of its own can add a failure, never a pass
            own_sent, own_lost = int(ledger.sent.sum()), int(ledger.lost.sum())
            if bounds.lower_bound(own_lost, own_sent, limit.confidence) > limit.max_loss:
                return Verdict.UNHEALTHY
        pooled = bounds.flow_verdict(
            lost, sent, max_loss=limit.max_loss, confidence=limit.confidence
        )
        if pooled is Verdict.HEALTHY and not complete:
            return Verdict.INCONCLUSIVE
        return pooled


def _remark(part: Part) -> str | None:
    """Return what has to be said of a flow whose prober has a weaker ping."""
    spec = part.spec
    if spec.ping is PingKind.IPUTILS:
        return None
    slow = (
        f", and sends one per second: {spec.count} probes"
        if (spec.ping is PingKind.BUSYBOX_SLOW)
        else ""
    )
    return f"{spec.source}'s ping is busybox's: it marks its probes with one byte only{slow}"


def _order(key: _Key) -> tuple[int, bool, str, str]:
    """Sort by kind, the main lane before the others."""
    kind, other, lane = key
    return ORDER.index(kind), lane != MAIN_LANE, lane, other


def _sides(ledgers: Sequence[FlowLedger], source: str, owner: str) -> tuple[Side, ...]:
    """Return what each end's probes show; nothing if only *source* has sent any."""
    probers = sorted({led.flow.source for led in ledgers}, key=lambda who: (who != source, who))
    if probers in ([], [source]):
        return ()
    sides = []
    for prober in probers:
        own = [ledger for ledger in ledgers if ledger.flow.source == prober]
        sides.append(
            Side(
                source=prober,
                target=own[0].flow.target,
                transmitted=sum(int(ledger.sent.sum()) for ledger in own),
                received=sum(int((ledger.sent & ledger.answered).sum()) for ledger in own),
                points=_pooled_points(own, prober, owner),
                deaths=_pooled_deaths(own, owner),
            )
        )
    return tuple(sides)


def _pooled_points(
    ledgers: Sequence[FlowLedger], source: str, owner: str
) -> tuple[PointCount, ...]:
    """Add up the counts of the ledgers that *source* started; of the first prober else."""
    if not ledgers:
        return ()
    own = [ledger for ledger in ledgers if ledger.flow.source == source]
    same = own or [led for led in ledgers if led.flow.source == ledgers[0].flow.source]
    rows = []
    for columns in zip(*(ledger.counts() for ledger in same), strict=True):
        doubt = next((cell.doubt for cell in columns if cell.doubt), None)
        rows.append(
            PointCount(
                point=seen_from(owner, same[0], columns[0].point) or columns[0].point,
                requests=None if doubt else sum(cell.requests or 0 for cell in columns),
                replies=None if doubt else sum(cell.replies or 0 for cell in columns),
                doubt=doubt,
            )
        )
    return tuple(rows)


def _pooled_deaths(ledgers: Sequence[FlowLedger], owner: str) -> tuple[Death, ...]:
    pooled: Counter[tuple[Leg, str | None, str | None]] = Counter()
    for ledger in ledgers:
        for death in ledger.deaths():
            last = seen_from(owner, ledger, death.last_seen)
            following = seen_from(owner, ledger, death.next_point)
            pooled[death.leg, last, following] += death.packets
    ranked = sorted(pooled.items(), key=lambda item: (-item[1], str(item[0])))
    return tuple(
        Death(leg=leg, last_seen=last, next_point=following, packets=packets)
        for (leg, last, following), packets in ranked
    )


def seen_from(owner: str, ledger: FlowLedger, point: str | None) -> str | None:
    """Return a point's name in *owner*'s report: what a peer calls ``guest:eth0`` is the peer's.

    A ledger names the points inside of its prober ``guest:...`` and those inside of a guest at
    the far end by its id, and the prober's own node without its name.
    """
    source, target = ledger.flow.source, ledger.flow.target
    if point is None or ledger.flow.kind is not FlowKind.PEER or owner != target:
        return point
    if point.startswith("guest:"):
        return point.replace("guest", source, 1)
    if point.startswith(f"{target}:"):
        return point.replace(target, "guest", 1)
    return ledger.path.from_far_end.get(point, point)
