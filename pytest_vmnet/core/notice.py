"""Things worth saying of a guest that are no fault of its. Pure."""

from __future__ import annotations

from dataclasses import replace

from pytest_vmnet.core.outcome import Finding
from pytest_vmnet.core.rules.case import Case
from pytest_vmnet.core.words import FlowKind, Leg, Rebuild, Scope, Severity, Verdict

TESTED_FROM_OUTSIDE = "TestedFromOutside"


def notices(case: Case) -> tuple[Finding, ...]:
    """Return what is worth saying of a guest whose verdict is proven."""
    found = (_tested_from_outside(case),)
    return tuple(finding for finding in found if finding is not None)


def _tested_from_outside(case: Case) -> Finding | None:
    """Say what was not looked at in a guest that nobody could look into."""
    guest = case.guest
    if guest.agent:
        return None
    clean = [flow for flow in case.judged.flows if flow.verdict is Verdict.HEALTHY]
    probers = [flow.source if flow.kind is FlowKind.INBOUND else flow.target for flow in clean]
    by = f"by {', '.join(dict.fromkeys(probers))}" if probers else "and no flow to it is clean"
    found = case.finding(
        TESTED_FROM_OUTSIDE,
        f"{guest.ident} has no guest agent, so it was tested from outside only, {by}. Not looked "
        "at: whether its own probes reach its gateway, its peers and beyond, its neighbour table, "
        f"its firewall, and its NIC ({guest.tap} is the last point that was watched). Install "
        f"qemu-guest-agent in it and `qm set {guest.vmid} --agent 1` to have all of that tested.",
        scope=Scope.OBSERVER,
        rebuild=Rebuild.NO,
        why="this is no fault",
        evidence=("no guest agent is configured",),
    )
    return replace(
        found,
        severity=Severity.NOTICE,
        leg=Leg.UNKNOWN,
        last_seen=None,
        next_point=None,
        packets=0,
    )
