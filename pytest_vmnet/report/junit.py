"""Properties for JUnit's XML: what a CI system can show beside a test."""

from __future__ import annotations

from pytest_vmnet.core.outcome import Flow, GuestOutcome
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.report.story import seen_flows
from pytest_vmnet.report.wording import plain, severity


def properties(outcome: GuestOutcome) -> list[tuple[str, str]]:
    """Return names and values for the ``user_properties`` of a guest's tests.

    Numbers are fractions as in the JSON report. The diagnosis is that of before the act, the
    flows are the final ones. Every character is one that XML 1.0 allows.
    """
    guest = outcome.guest
    items: list[tuple[str, object]] = [
        ("vmid", guest.vmid),
        ("node", guest.node),
        ("address", guest.address or ""),
        ("verdict", outcome.verdict.value),
        ("reason", outcome.reason),
        ("healed", str(outcome.healed).lower()),
        ("decision", outcome.decision.action.value),
        ("decision_reason", outcome.decision.reason),
    ]
    gateway = [flow for flow in outcome.flows if flow.kind is FlowKind.GATEWAY]
    for prefix, flows in (("gateway_", gateway), ("worst_", list(outcome.flows))):
        if flows:
            items += _numbers(prefix, min(flows, key=severity))
    if outcome.flows_before:
        items += _numbers("before_", min(seen_flows(outcome), key=severity))
    if outcome.findings:
        first = outcome.findings[0]
        items += [
            ("finding", first.reason),
            ("scope", first.scope.value),
            ("leg", first.leg.value),
            ("last_seen", first.last_seen or ""),
            ("next_point", first.next_point or ""),
            ("rebuild", first.rebuild.value),
        ]
    items += [
        ("attempt", f"{attempt.rung.value} {attempt.outcome.value}")
        for attempt in outcome.attempts
    ]
    return [(f"vmnet_{name}", plain(value)) for name, value in items]


def _numbers(prefix: str, flow: Flow) -> list[tuple[str, object]]:
    return [
        (f"{prefix}target", flow.target),
        (f"{prefix}loss", f"{flow.loss:.6g}"),
        (f"{prefix}loss_upper_bound", f"{flow.loss_upper_bound:.6g}"),
        (f"{prefix}confidence", f"{flow.confidence:.6g}"),
        (f"{prefix}transmitted", flow.transmitted),
        (f"{prefix}received", flow.received),
    ]
