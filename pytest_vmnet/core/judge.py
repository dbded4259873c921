"""From the ledger to flows, neighbour checks and a verdict for each guest. Pure.

A flow between two guests counts only against the one at whose own port the packets die; the
other end stays healthy and lists the flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pytest_vmnet.core import stats
from pytest_vmnet.core.facts import GATE, FlowSpec, Sweep
from pytest_vmnet.core.ledger import FlowLedger, build_ledger
from pytest_vmnet.core.outcome import Death, Flow, NeighbourCheck, PointCount
from pytest_vmnet.core.topology import Guest, Inventory
from pytest_vmnet.core.words import FlowKind, Leg, Verdict

BROKEN_STATES = frozenset({"failed", "incomplete", "none"})
_ORDER = (FlowKind.GATEWAY, FlowKind.EXTERNAL, FlowKind.PEER, FlowKind.INBOUND)
"""Which failing flow tells a guest's story, the first one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What a healthy flow has to prove: at most this loss, at this confidence; both 0..1."""

    max_loss: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One guest as the sweep showed it, before diagnosis.

    Attributes:
        guest: The guest.
        verdict: Its verdict.
        reason: Why, in one sentence.
        flows: Its flows, in the order that tells its story.
        neighbours: What its neighbour table says of gateway and peers.
    """

    guest: Guest
    verdict: Verdict
    reason: str
    flows: tuple[Flow, ...]
    neighbours: tuple[NeighbourCheck, ...]

    @property
    def telling(self) -> Flow | None:
        """The flow that tells the story: the first failing one that counts against it."""
        failing = [
            flow
            for flow in self.flows
            if flow.verdict is not Verdict.HEALTHY and flow.counted_against == self.guest.ident
        ]
        return min(failing, key=lambda flow: (_ORDER.index(flow.kind), flow.target), default=None)


@dataclass(frozen=True, slots=True)
class Judgement:
    """All guests of one gate run.

    Attributes:
        ledgers: Every flow's ledger, of all stages.
        guests: Judged guests by id.
        controls: Flows that belong to no guest.
    """

    ledgers: tuple[FlowLedger, ...]
    guests: Mapping[str, Judged]
    controls: tuple[Flow, ...]


def judge(
    inventory: Inventory, tested: Iterable[str], sweeps: Sequence[Sweep], threshold: Threshold
) -> Judgement:
    """Judge the tested guests on everything that the sweeps saw, pooled.

    Args:
        inventory: The site.
        tested: Ids of the guests under test.
        sweeps: One sweep, or two where a larger stage followed; the probes of both count.
        threshold: What has to be proven.
    """
    ledgers = tuple(ledger for sweep in sweeps for ledger in build_ledger(sweep, inventory))
    specs = [spec for sweep in sweeps for spec in sweep.flows]
    build = _FlowBuilder(ledgers, specs, sweeps, threshold)
    drafts = {ident: build.flows_of(ident) for ident in sorted(set(tested))}
    blame = _Blame(drafts, ledgers)
    guests = {}
    for ident, flows in drafts.items():
        guest = inventory.guest(ident)
        final = tuple(replace(f, counted_against=blame.of(f, ident)) for f in flows)
        checks = _neighbours(guest, inventory, sweeps, final)
        verdict, reason = _verdict(guest, final, checks, sweeps)
        guests[ident] = Judged(guest, verdict, reason, final, checks)
    return Judgement(ledgers, guests, build.controls())


class _FlowBuilder:
    """Pools the stages and both ends' probes into the flows that reports show."""

    def __init__(
        self,
        ledgers: Sequence[FlowLedger],
        specs: Sequence[FlowSpec],
        sweeps: Sequence[Sweep],
        threshold: Threshold,
    ) -> None:
        self._ledgers, self._specs = ledgers, specs
        self._sweeps, self._threshold = sweeps, threshold

    def flows_of(self, ident: str) -> list[Flow]:
        wanted: dict[tuple[FlowKind, str], list[FlowSpec]] = {}
        for spec in self._specs:
            if spec.kind is FlowKind.INBOUND and spec.target == ident:
                wanted.setdefault((spec.kind, ident), []).append(spec)
            elif spec.kind is FlowKind.PEER and ident in {spec.source, spec.target}:
                other = spec.target if spec.source == ident else spec.source
                wanted.setdefault((spec.kind, other), []).append(spec)
            elif spec.source == ident:
                wanted.setdefault((spec.kind, spec.target), []).append(spec)
        order = sorted(wanted, key=lambda key: (_ORDER.index(key[0]), key[1]))
        return [self._flow(wanted[key], target=key[1], owner=ident) for key in order]

    def controls(self) -> tuple[Flow, ...]:
        groups: dict[tuple[str, str], list[FlowSpec]] = {}
        for spec in self._specs:
            if spec.kind is FlowKind.CONTROL:
                groups.setdefault((spec.source, spec.target), []).append(spec)
        return tuple(
            self._flow(specs, target=target, owner=source)
            for (source, target), specs in sorted(groups.items())
        )

    def _flow(self, specs: Sequence[FlowSpec], *, target: str, owner: str) -> Flow:
        mine = [ledger for ledger in self._ledgers if ledger.flow in specs]
        source = GATE if specs[0].kind is FlowKind.INBOUND else owner
        sent = sum(int(ledger.sent.sum()) for ledger in mine)
        lost = sum(int(ledger.lost.sum()) for ledger in mine)
        rtts = [
            rtt
            for ledger in mine
            for sweep in self._sweeps
            if ledger.flow in sweep.flows and (ping := sweep.ping(ledger.flow))
            for rtt in ping.rtt_ms.values()
        ]
        limit = self._threshold
        silent = [spec for spec in specs if spec not in {ledger.flow for ledger in mine}]
        return Flow(
            source=source,
            target=target,
            kind=specs[0].kind,
            transmitted=sent,
            received=sent - lost,
            loss_lower_bound=stats.lower_bound(lost, sent, limit.confidence),
            loss_upper_bound=stats.upper_bound(lost, sent, limit.confidence),
            confidence=limit.confidence,
            max_loss=limit.max_loss,
            verdict=self._verdict(mine, silent, sent, lost),
            points=_pooled_points(_from(mine, source) or mine),
            deaths=_pooled_deaths(mine),
            rtt_avg_ms=sum(rtts) / len(rtts) if rtts else None,
            rtt_max_ms=max(rtts, default=None),
            note=self._note(silent),
        )

    def _verdict(
        self, mine: Sequence[FlowLedger], silent: Sequence[FlowSpec], sent: int, lost: int
    ) -> Verdict:
        limit = self._threshold
        for ledger in mine:  # an end of its own can add a failure, never a pass
            own_sent, own_lost = int(ledger.sent.sum()), int(ledger.lost.sum())
            if stats.lower_bound(own_lost, own_sent, limit.confidence) > limit.max_loss:
                return Verdict.UNHEALTHY
        pooled = stats.flow_verdict(
            lost, sent, max_loss=limit.max_loss, confidence=limit.confidence
        )
        if silent and pooled is Verdict.HEALTHY:
            return Verdict.INCONCLUSIVE
        return pooled

    def _note(self, silent: Sequence[FlowSpec]) -> str | None:
        for spec in silent:
            for sweep in self._sweeps:
                facts = sweep.hosts.get(spec.source)
                if facts and facts.problem:
                    return facts.problem
            return f"{spec.source} could not say what it sent to {spec.target}"
        return None


def _from(ledgers: Sequence[FlowLedger], source: str) -> list[FlowLedger]:
    return [ledger for ledger in ledgers if ledger.flow.source == source]


def _pooled_points(ledgers: Sequence[FlowLedger]) -> tuple[PointCount, ...]:
    """Add up the counts of ledgers that share a path; of the first path if they do not."""
    if not ledgers:
        return ()
    same = [ledger for ledger in ledgers if ledger.flow.source == ledgers[0].flow.source]
    rows = []
    for columns in zip(*(ledger.counts() for ledger in same), strict=True):
        doubt = next((cell.doubt for cell in columns if cell.doubt), None)
        rows.append(
            PointCount(
                point=columns[0].point,
                requests=None if doubt else sum(cell.requests or 0 for cell in columns),
                replies=None if doubt else sum(cell.replies or 0 for cell in columns),
                doubt=doubt,
            )
        )
    return tuple(rows)


def _pooled_deaths(ledgers: Sequence[FlowLedger]) -> tuple[Death, ...]:
    pooled: Counter[tuple[Leg, str | None, str | None]] = Counter()
    for ledger in ledgers:
        for death in ledger.deaths():
            pooled[death.leg, death.last_seen, death.next_point] += death.packets
    ranked = sorted(pooled.items(), key=lambda item: (-item[1], str(item[0])))
    return tuple(
        Death(leg=leg, last_seen=last, next_point=following, packets=packets)
        for (leg, last, following), packets in ranked
    )


class _Blame:
    """Says against which guest a failing flow counts."""

    def __init__(
        self, drafts: Mapping[str, Sequence[Flow]], ledgers: Sequence[FlowLedger]
    ) -> None:
        self._sick = {
            ident
            for ident, flows in drafts.items()
            if any(f.verdict is Verdict.UNHEALTHY and f.kind is not FlowKind.PEER for f in flows)
        }
        self._failing_peers = Counter(
            ident
            for ident, flows in drafts.items()
            for flow in flows
            if flow.kind is FlowKind.PEER and flow.verdict is Verdict.UNHEALTHY
        )
        self._ledgers = ledgers

    def of(self, flow: Flow, owner: str) -> str | None:
        if flow.verdict is Verdict.HEALTHY:
            return None
        if flow.kind is not FlowKind.PEER:
            return owner
        pair = {owner, flow.target}
        votes: Counter[str] = Counter()
        for ledger in self._ledgers:
            if {ledger.flow.source, ledger.flow.target} == pair:
                for seq in np.flatnonzero(ledger.lost):
                    votes[self._side(ledger, int(seq))] += 1
        if not votes:  # nobody could say what was lost: it stays with the one that asked
            return owner if flow.note and flow.note.startswith(owner) else None
        return min(votes, key=lambda ident: (-votes[ident], ident))

    def _side(self, ledger: FlowLedger, seq: int) -> str:
        source, target = ledger.flow.source, ledger.flow.target
        leg, last, following = ledger.death_of(seq)
        owners = {w.point: w.guest for w in ledger.path.waypoints}
        owners |= {ledger.path.start: source, ledger.path.end: target}
        here = owners.get(last) if last else source
        there = owners.get(following)
        if here == there and here:
            return here
        sick = self._sick & {source, target}
        if len(sick) == 1:
            return sick.pop()
        failing = [self._failing_peers[source], self._failing_peers[target]]
        if failing[0] != failing[1]:
            return source if failing[0] > failing[1] else target
        return source if leg is Leg.REPLY else target


def _neighbours(
    guest: Guest, inventory: Inventory, sweeps: Sequence[Sweep], flows: Sequence[Flow]
) -> tuple[NeighbourCheck, ...]:
    sweep = sweeps[-1]
    facts = sweep.hosts.get(guest.ident)
    if facts is None or facts.problem:
        return ()
    table = {entry.address: entry for entry in facts.neighbours}
    expected_gateway = _common_lladdr(guest, inventory, sweep)
    checks = []
    for flow in flows:
        if flow.kind is FlowKind.PEER:
            peer = inventory.guest(flow.target)
            address, expected = peer.address, peer.nic.mac
            if guest.interface is None or address not in guest.interface.network:
                continue
        elif flow.kind is FlowKind.GATEWAY:
            address, expected = guest.gateway, expected_gateway
        else:
            continue
        if address is None:
            continue
        entry = table.get(address)
        state = entry.state if entry else None
        lladdr = entry.lladdr if entry else None
        wrong = bool(expected and lladdr and lladdr != expected)
        broken = wrong or state is None or state in BROKEN_STATES
        against = None
        if broken:
            announced = wrong and _announced(str(address), lladdr, sweeps)
            against = flow.counted_against or (
                flow.target if announced and flow.kind is FlowKind.PEER else guest.ident
            )
        checks.append(
            NeighbourCheck(
                address=str(address),
                target=flow.target,
                state=state,
                lladdr=lladdr,
                expected=expected,
                broken=broken,
                counted_against=against,
            )
        )
    return tuple(checks)


def _common_lladdr(guest: Guest, inventory: Inventory, sweep: Sweep) -> str | None:
    """Return the gateway's MAC that most hosts of the same segment agree on, if more than one."""
    votes: Counter[str] = Counter()
    segment = {g.ident for g in inventory.guests if g.gateway == guest.gateway} | {GATE}
    segment |= {node.name for node in inventory.nodes}
    for host, facts in sweep.hosts.items():
        if host in segment:
            votes.update(
                entry.lladdr
                for entry in facts.neighbours
                if entry.address == guest.gateway and entry.lladdr
            )
    ranked = votes.most_common(2)
    if not ranked or ranked[0][1] < 2 or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _announced(address: str, lladdr: str | None, sweeps: Sequence[Sweep]) -> bool:
    """Tell whether somebody with that MAC said by ARP that the address is his."""
    return any(
        str(arp.spa) == address and arp.sha == lladdr
        for sweep in sweeps
        for facts in sweep.hosts.values()
        if facts.capture
        for arp in facts.capture.packets.arps
    )


def _verdict(
    guest: Guest,
    flows: Sequence[Flow],
    checks: Sequence[NeighbourCheck],
    sweeps: Sequence[Sweep],
) -> tuple[Verdict, str]:
    mine = [flow for flow in flows if flow.counted_against == guest.ident]
    if bad := [flow for flow in mine if flow.verdict is Verdict.UNHEALTHY]:
        worst = max(bad, key=lambda flow: flow.loss)
        return Verdict.UNHEALTHY, (
            f"{len(bad)} of {len(flows)} flows lose more than {worst.max_loss:.1%}; "
            f"worst {worst.source} -> {worst.target}: {worst.lost} of {worst.transmitted} lost"
        )
    if broken := [c for c in checks if c.broken and c.counted_against == guest.ident]:
        first = broken[0]
        return Verdict.UNHEALTHY, (
            f"its neighbour entry for {first.target} is {first.state or 'missing'}"
            f" with {first.lladdr or 'no MAC'}, expected {first.expected or 'any MAC'}"
        )
    problem = next((s.hosts[guest.ident].problem for s in sweeps if guest.ident in s.hosts), None)
    if problem or not guest.agent:
        return Verdict.INCONCLUSIVE, problem or (
            "no guest agent is configured, so nobody could look from inside of it"
        )
    if open_ := [flow for flow in mine if flow.verdict is Verdict.INCONCLUSIVE]:
        first_open = open_[0]
        return Verdict.INCONCLUSIVE, first_open.note or (
            f"{first_open.source} -> {first_open.target}: {first_open.lost} of "
            f"{first_open.transmitted} lost, which proves neither more nor less than "
            f"{first_open.max_loss:.1%}"
        )
    if not [flow for flow in flows if flow.kind is not FlowKind.INBOUND]:
        return Verdict.INCONCLUSIVE, "it has neither a gateway nor a peer to probe"
    return Verdict.HEALTHY, f"all {len(flows)} flows lose at most {flows[0].max_loss:.1%}"
