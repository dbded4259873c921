"""The network beyond the uplink loses the guest's packets.

Cause:
    The node's port, its cable, the switch port or something beyond them loses frames.
Evidence for:
    Requests leave by the uplink and no reply comes back, or packets for the guest never arrive
    at the uplink, on ways with and without the gateway.
Evidence against:
    The way from another host to the guest over the same uplink is clean.
Not proof:
    Error counters of the node's port at zero: the switch may be the one that drops.
Remedy:
    Look at the switch port and cable, its counters, MAC limits and storm control. A rebuild
    changes nothing, or makes it worse where a switch admits known MACs only.
"""

from __future__ import annotations

from pytest_vmnet.core.outcome import RuledOut
from pytest_vmnet.core.rules.case import Answer, Case, loss
from pytest_vmnet.core.words import FlowKind, Leg, Rebuild, Scope, Verdict

REASON = "UplinkLoss"


def examine(case: Case) -> Answer:
    """Ask the inbound flow: does the way over the uplink lose without the gateway as well?"""
    death, flow, uplink = case.death, case.telling, case.uplink
    if death is None or flow is None or uplink is None:
        return None
    beyond = death.last_seen == uplink and death.leg is Leg.UNKNOWN
    arriving = death.last_seen is None and death.next_point == uplink
    if not (beyond or arriving):
        return RuledOut(reason=REASON, message=f"the packets did not die beyond {uplink}")
    inbound = case.own_flow(FlowKind.INBOUND)
    if inbound is None:
        return None
    if inbound.verdict is Verdict.HEALTHY:
        return RuledOut(
            reason=REASON,
            message=f"{loss(inbound)} over {uplink} in the same seconds",
        )
    outside = sum(d.packets for d in inbound.deaths if d.last_seen in {None, uplink})
    if inbound.verdict is not Verdict.UNHEALTHY or not outside:
        return None
    others = sorted(
        ident
        for ident, judged in case.judgement.guests.items()
        if judged.verdict is Verdict.UNHEALTHY and ident != case.guest.ident
    )
    shared = f" {', '.join(others)} lose as well." if others else " No other guest does."
    spared = "".join(f" {loss(control)}." for control in case.clean_controls())
    return case.finding(
        REASON,
        f"The network beyond {uplink} loses {case.guest.ident}'s packets on every way: "
        f"{loss(flow)} and {loss(inbound)}. What is lost left {uplink} and was never answered, "
        f"or never arrived at {uplink}; between {uplink} and the guest nothing is lost."
        f"{shared}{spared} Look at the switch port of {uplink}: counters, cable, MAC limits, "
        f"storm control (`ip -s link show {uplink}` and `ethtool -S {uplink}` on the node).",
        scope=Scope.UPLINK,
        rebuild=Rebuild.NO,
        why="the packets are lost outside of the node",
        evidence=(
            loss(flow),
            f"control: {loss(inbound)}; {outside} of those packets died outside of the node",
            *(f"control: {loss(control)}" for control in case.clean_controls()),
        ),
    )
