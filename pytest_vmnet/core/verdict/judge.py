"""From facts to a verdict for each guest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_vmnet.core.facts import Sweep
from pytest_vmnet.core.ledger.book import FlowLedger
from pytest_vmnet.core.outcome import Flow, NeighbourCheck
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.core.statistics.bounds import Threshold
from pytest_vmnet.core.statistics.bursts import CALM, OUTAGE
from pytest_vmnet.core.verdict.blame import Blame
from pytest_vmnet.core.verdict.flows import ORDER, FlowBuilder, Part, parts_of
from pytest_vmnet.core.verdict.neighbours import check_neighbours
from pytest_vmnet.core.verdict.timeline import timeline_of
from pytest_vmnet.core.words import IPV6_LANE, LARGE_LANE, MAIN_LANE, FlowKind, Verdict

__all__ = ["Judged", "Judgement", "Threshold", "judge"]


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
        """The flow that tells the story, of those that count against the guest.

        The first failing one; the first that proves nothing if none fails.
        """
        failing = [
            flow for flow in self.flows if flow.is_bad and flow.counted_against == self.guest.ident
        ]
        return min(failing, key=_rank, default=None)


def _rank(flow: Flow) -> tuple[bool, int, bool, str]:
    is_aside = flow.lane != MAIN_LANE
    return flow.verdict is not Verdict.UNHEALTHY, ORDER.index(flow.kind), is_aside, flow.target


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
    parts = parts_of(inventory, sweeps)
    build = FlowBuilder(parts, threshold)
    drafts = {ident: build.flows_of(ident) for ident in sorted(set(tested))}
    blame = Blame({ident: [flow for flow, _ in flows] for ident, flows in drafts.items()})
    guests = {}
    for ident, flows in drafts.items():
        guest = inventory.guest(ident)
        final = tuple(blame.settle(flow, own, ident) for flow, own in flows)
        checks = check_neighbours(guest, inventory, sweeps, final)
        verdict, reason = _verdict(guest, final, checks, sweeps)
        judged = Judged(guest, verdict, reason, final, checks)
        guests[ident] = _timed(judged, [own for _, own in flows], inventory, sweeps)
    ledgers = tuple(part.ledger for part in parts if part.ledger is not None)
    return Judgement(ledgers, guests, build.controls())


def _timed(
    judged: Judged, parts: Sequence[Sequence[Part]], inventory: Inventory, sweeps: Sequence[Sweep]
) -> Judged:
    """Give the flow that tells the guest's story its timeline."""
    telling = judged.telling
    if telling is None or not telling.deaths:
        return judged
    at = judged.flows.index(telling)
    ledgers = [part.ledger for part in parts[at] if part.ledger is not None]
    timeline = timeline_of(telling, ledgers, judged.guest, inventory, sweeps)
    timed = replace(telling, timeline=timeline)
    return replace(judged, flows=(*judged.flows[:at], timed, *judged.flows[at + 1 :]))


def _verdict(
    guest: Guest,
    flows: Sequence[Flow],
    checks: Sequence[NeighbourCheck],
    sweeps: Sequence[Sweep],
) -> tuple[Verdict, str]:
    if fault := _fault(guest, flows, checks):
        if flapping := _flapping(guest, flows, checks):
            return Verdict.FLAPPING, f"{fault}; {flapping}"
        return Verdict.UNHEALTHY, fault
    flows = [flow for flow in flows if flow.lane != LARGE_LANE]  # they can add a failure alone
    if doubt := _doubt(guest, flows, sweeps):
        return Verdict.INCONCLUSIVE, doubt
    clean = [flow for flow in flows if flow.verdict is Verdict.HEALTHY]
    others = sorted({f.counted_against for f in flows if f.counted_against})
    told = f"; the others count against {', '.join(others)}" if others else ""
    how_many = f"all {len(flows)}" if len(clean) == len(flows) else f"{len(clean)} of {len(flows)}"
    return Verdict.HEALTHY, f"{how_many} flows lose at most {clean[0].max_loss:.1%}{told}"


def _fault(guest: Guest, flows: Sequence[Flow], checks: Sequence[NeighbourCheck]) -> str | None:
    """Return what proves that the guest is sick, or None."""
    mine = [flow for flow in flows if flow.counted_against == guest.ident]
    if bad := [flow for flow in mine if flow.verdict is Verdict.UNHEALTHY]:
        worst = max(bad, key=lambda flow: flow.loss)
        return (
            f"{len(bad)} of {len(flows)} flows lose more than {worst.max_loss:.1%}; "
            f"worst {worst.source} -> {worst.target}{_which(worst)}: {worst.lost} of "
            f"{worst.transmitted} lost"
        )
    if broken := [c for c in checks if c.broken and c.counted_against == guest.ident]:
        first = broken[0]
        return (
            f"its neighbour entry for {first.target} is {first.state or 'missing'}"
            f" with {first.lladdr or 'no MAC'}, expected {first.expected or 'any MAC'}"
        )
    return None


_SHORT = 200
"""Probes below which a flow is too short to tell a loss that comes and goes from a steady one."""


def _flapping(guest: Guest, flows: Sequence[Flow], checks: Sequence[NeighbourCheck]) -> str | None:
    """Return what shows that a sick guest's loss comes and goes, or None.

    Each failing flow has to show it that is long enough; a short one may not have lost everything.
    """
    if any(check.broken and check.counted_against == guest.ident for check in checks):
        return None
    failing = [
        flow
        for flow in flows
        if flow.counted_against == guest.ident and flow.verdict is Verdict.UNHEALTHY
    ]
    flapping = [flow for flow in failing if flow.bursts and flow.bursts.flaps]
    steady = [
        flow
        for flow in failing
        if flow not in flapping and (flow.transmitted >= _SHORT or not flow.received)
    ]
    if not flapping or steady:
        return None
    first = flapping[0]
    outages = first.bursts.outages if first.bursts else 0
    return (
        f"the loss comes and goes: {outages} outages of {OUTAGE} probes or more in a row, with "
        f"{CALM} answered in a row between them ({first.source} -> {first.target})"
    )


def _doubt(guest: Guest, flows: Sequence[Flow], sweeps: Sequence[Sweep]) -> str | None:
    """Return why the guest cannot be called healthy, or None."""
    if problem := _blind(guest, sweeps):
        return problem
    for flow in flows:
        if flow.counted_against == guest.ident and flow.verdict is Verdict.INCONCLUSIVE:
            if flow.note and (not flow.transmitted or flow.loss_upper_bound <= flow.max_loss):
                return flow.note  # its prober could not say all
            return (
                f"{flow.source} -> {flow.target}{_which(flow)}: {flow.lost} of "
                f"{flow.transmitted} lost, which proves neither more nor less than "
                f"{flow.max_loss:.1%}{f'; {flow.note}' if flow.note else ''}"
            )
    outgoing = [flow for flow in flows if flow.kind is not FlowKind.INBOUND or not guest.agent]
    if any(flow.verdict is Verdict.HEALTHY for flow in outgoing):
        return None
    if not guest.agent:
        return _unseen(len(flows))
    if outgoing:
        return f"none of its {len(outgoing)} flows to others could be proven to work"
    return "it has neither a gateway nor a peer to probe"


def _which(flow: Flow) -> str:
    """Return what tells a flow apart from the main one between the same two ends."""
    if flow.lane == LARGE_LANE:
        return f" ({flow.size} bytes)"
    return " (IPv6)" if flow.lane == IPV6_LANE else ""


def _unseen(probed: int) -> str:
    tried = (
        f"none of the {probed} flows to it could be proven to work"
        if probed
        else ("nobody else sends probes to it")
    )
    return f"no guest agent is configured, so nobody could look from inside of it, and {tried}"


def _blind(guest: Guest, sweeps: Sequence[Sweep]) -> str | None:
    """Return why the guest could not be probed as it should be, or None.

    A guest that has no agent is tested from outside, by what others send to it; one whose agent
    is configured and does not help is not.
    """
    if guest.address is None and guest.address6 is None:
        return "its address is not known, so nothing could be probed"
    said = (sweep.hosts.get(guest.ident) for sweep in sweeps)
    return next((facts.problem for facts in said if facts and facts.problem), None)
