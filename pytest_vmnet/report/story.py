"""What there is to tell of one guest, in sentences; the faces only lay it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vmnet.core.outcome import (
    Attempt,
    Death,
    Finding,
    Flow,
    GuestOutcome,
    NeighbourCheck,
)
from pytest_vmnet.core.words import MAIN_LANE, Rebuild, Severity, Verdict
from pytest_vmnet.report.path import death_sentence
from pytest_vmnet.report.wording import (
    flow_name,
    loss_sentence,
    mac_text,
    percent,
    plain,
    seconds,
    severity,
)

_REBUILD = {
    Rebuild.CURES: "a rebuild cures it",
    Rebuild.MAY_CURE: "a rebuild may cure it",
    Rebuild.NO: "a rebuild does not help",
    Rebuild.DANGEROUS: "a rebuild is dangerous here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One flow before and after an act, in words.

    Attributes:
        name: Who talks to whom.
        before: What was lost before.
        after: What was lost afterwards.
        clean: Whether it was healthy both times.
    """

    name: str
    before: str
    after: str
    clean: bool


def title(outcome: GuestOutcome) -> str:
    """Return who it is: ``vm-1 (VMID 111, 192.0.2.11, node pve1)``."""
    guest = outcome.guest
    address = str(guest.address) if guest.address else "no address"
    return f"{plain(guest.ident, 80)} (VMID {guest.vmid}, {address}, node {plain(guest.node, 80)})"


def state(outcome: GuestOutcome) -> str:
    """Return the verdict in words: ``healthy, healed`` after a cure."""
    return f"{outcome.verdict.value}, healed" if outcome.healed else outcome.verdict.value


def seen_flows(outcome: GuestOutcome) -> tuple[Flow, ...]:
    """Return the flows that the findings speak of: those before the act if there was one."""
    return outcome.flows_before or outcome.flows


def telling_flow(outcome: GuestOutcome) -> Flow | None:
    """Return the flow that shows what is wrong: the gateway's, else the first failing one.

    One that fails comes before one that proves nothing, as in the diagnosis.
    """
    flows = seen_flows(outcome)
    own = [flow for flow in flows if flow.counted_against in {None, outcome.guest.ident}] or flows
    bad = [flow for flow in own if flow.is_bad]
    doubted = [flow for flow in own if any(point.doubt for point in flow.points)]
    return min(
        bad or doubted or own,
        key=lambda flow: (flow.verdict is not Verdict.UNHEALTHY, *_order(flow)),
        default=None,
    )


def symptoms(outcome: GuestOutcome) -> list[str]:
    """Return each flow that is not clean and each broken neighbour, and a count of the rest."""
    flows = sorted(seen_flows(outcome), key=_order)
    bad = [flow for flow in flows if flow.is_bad]
    lines = [symptom(flow, outcome) for flow in bad]
    if rest := len(flows) - len(bad):
        other = "further " if bad else ""
        lines.append(f"{rest} {other}{'flow is' if rest == 1 else 'flows are'} clean")
    lines += [neighbour_sentence(check) for check in outcome.neighbours if check.broken]
    return lines


def symptom(flow: Flow, outcome: GuestOutcome | None = None) -> str:
    """Return what was seen of one flow, and against whom it counts if that is another guest."""
    text = f"{flow_name(flow)}: {loss_sentence(flow)}, limit {percent(flow.max_loss)}"
    against = flow.counted_against
    if outcome and against and against != outcome.guest.ident:
        text += f"; counts against {plain(against, 80)}"
    return text + (f"; {plain(flow.note, 400)}" if flow.note else "")


def neighbour_sentence(check: NeighbourCheck) -> str:
    """Return what the neighbour table says of a host, and what it should say."""
    who = plain(check.target, 80)
    if check.target != check.address:
        who += f" ({plain(check.address, 60)})"
    if check.state is None:
        seen = "no entry"
    else:
        seen = f"{plain(check.state, 40)} {mac_text(check.lladdr) if check.lladdr else ''}".strip()
    expected = f", expected {mac_text(check.expected)}" if check.expected else ""
    return f"neighbour {who}: {seen}{expected}"


def place(finding: Finding) -> str | None:
    """Return where the finding's packets died, or None if it speaks of none."""
    if not finding.packets and not finding.last_seen and not finding.next_point:
        return None
    return death_sentence(
        Death(
            leg=finding.leg,
            last_seen=finding.last_seen,
            next_point=finding.next_point,
            packets=finding.packets,
        )
    )


def finding_head(finding: Finding) -> str:
    """Return a finding's name, weight and scope: ``MacReflected (error, scope uplink)``."""
    return f"{plain(finding.reason, 80)} ({finding.severity.value}, scope {finding.scope.value})"


def rebuild_sentence(finding: Finding) -> str:
    """Return whether a rebuild would help, and why."""
    why = f": {plain(finding.why_rebuild)}" if finding.why_rebuild else ""
    return _REBUILD[finding.rebuild] + why


def decision_sentence(outcome: GuestOutcome) -> str:
    """Return what was decided and why, with the rungs that were to be tried."""
    decision = outcome.decision
    ladder = ", then ".join(rung.value for rung in decision.ladder)
    rungs = f" (rungs: {ladder})" if ladder else ""
    return f"{decision.action.value}{rungs}: {plain(decision.reason)}"


def attempt_head(attempt: Attempt) -> str:
    """Return which rung was tried, how it ended and what became of the MAC address."""
    before, after = mac_text(attempt.mac_before), mac_text(attempt.mac_after)
    mac = f"MAC {before} kept" if before == after else f"MAC {before} -> {after}"
    return f"{attempt.rung.value}: {attempt.outcome.value} in {seconds(attempt.duration_s)}; {mac}"


def changes(outcome: GuestOutcome) -> list[Change]:
    """Return each flow before and after the act; empty if there was none."""
    if not outcome.flows_before:
        return []
    after = {(flow.source, flow.target, flow.kind, flow.lane): flow for flow in outcome.flows}
    pairs = [
        (flow, after.get((flow.source, flow.target, flow.kind, flow.lane)))
        for flow in sorted(outcome.flows_before, key=_order)
    ]
    return [
        Change(
            name=flow_name(old),
            before=loss_sentence(old),
            after=loss_sentence(new) if new else "not probed again",
            clean=not old.is_bad and bool(new and not new.is_bad),
        )
        for old, new in pairs
    ]


def remains(outcome: GuestOutcome) -> list[str]:
    """Return what a person still has to know or to do."""
    name = plain(outcome.guest.ident, 80)
    items = [f"{finding_head(item)}: {plain(item.message)}" for item in _open_findings(outcome)]
    items += [plain(attempt.caution) for attempt in outcome.attempts if attempt.caution]
    if outcome.verdict is Verdict.INCONCLUSIVE:
        items.append(f"{name} is neither cleared nor blamed: {plain(outcome.reason)}")
    elif outcome.verdict in {Verdict.UNHEALTHY, Verdict.FLAPPING}:
        rungs = ", ".join(attempt.rung.value for attempt in outcome.attempts)
        done = f"after: {rungs}" if rungs else "and nothing was done"
        helps = f"; {rebuild_sentence(outcome.findings[0])}" if outcome.findings else ""
        items.append(f"{name} is still {outcome.verdict.value} {done}{helps}")
    return items


def _open_findings(outcome: GuestOutcome) -> Sequence[Finding]:
    return [item for item in outcome.findings[1:] if item.severity is not Severity.NOTICE]


def _order(flow: Flow) -> tuple[int, bool, int, str]:
    rank, _, kind, target = severity(flow)
    return kind, flow.lane != MAIN_LANE, rank, target
