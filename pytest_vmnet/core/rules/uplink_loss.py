"""The network beyond the uplink loses the guest's packets.

Cause:
    The node's port, its cable, the switch port or something beyond them loses frames.
Evidence for:
    Requests leave by the uplink and no reply comes back, or packets for the guest never arrive
    at the uplink, on ways with and without the gateway.
Evidence against:
    The way from another host to the guest over the same uplink is clean; or that host, which
    does not use the uplink, loses to the gateway as well.
Not proof:
    Error counters of the node's port at zero: the switch may be the one that drops.
Remedy:
    Look at the switch port and cable, its counters, MAC limits and storm control. A rebuild
    changes nothing, or makes it worse where a switch admits known MACs only.
"""

from __future__ import annotations

from pytest_vmnet.core.outcome import Death, Flow, RuledOut
from pytest_vmnet.core.rules.case import Answer, Case, loss
from pytest_vmnet.core.words import Leg, Rebuild, Scope, Verdict

REASON = "UplinkLoss"


def examine(case: Case) -> Answer:
    """Ask the inbound flow: does the way over the uplink lose without the gateway as well?"""
    death, flow, uplink = case.death, case.telling, case.outermost
    if death is None or flow is None or uplink is None:
        return None
    beyond = death.last_seen == uplink and death.leg is Leg.UNKNOWN
    arriving = death.last_seen is None and death.next_point == uplink
    if not (beyond or arriving):
        return RuledOut(reason=REASON, message=f"the packets did not die beyond {uplink}")
    inbound = case.over_uplink()
    if inbound is not None and inbound.verdict is Verdict.HEALTHY:
        return RuledOut(
            reason=REASON,
            message=f"{loss(inbound)} over {uplink} in the same seconds",
        )
    if inbound is None or inbound.verdict is not Verdict.UNHEALTHY:
        return None
    outside = sum(d.packets for d in inbound.deaths if _is_outside(d, uplink, inbound.source))
    if any(control.source == inbound.source for control in case.control_loss()):
        return None  # both may be the gateway's doing
    return _finding(case, flow, inbound, outside) if outside * 2 > inbound.lost else None


def _finding(case: Case, flow: Flow, inbound: Flow, outside: int) -> Answer:
    uplink = case.outermost
    others = sorted(
        ident
        for ident, judged in case.judgement.guests.items()
        if judged.verdict in {Verdict.UNHEALTHY, Verdict.FLAPPING} and ident != case.guest.ident
    )
    shared = f" {', '.join(others)} lose as well." if others else " No other guest does."
    spared = "".join(f" {loss(control)}." for control in case.clean_controls())
    return case.finding(
        REASON,
        f"The network beyond {uplink} loses {case.guest.ident}'s packets on every way: "
        f"{loss(flow)} and {loss(inbound)}. What is lost left {uplink} and was never answered, "
        f"or never arrived at {uplink}.{shared}{spared} Look at the switch port of {uplink}: "
        f"counters, cable, MAC limits, storm control (`ip -s link show {uplink}` and "
        f"`ethtool -S {uplink}` on the node).",
        scope=Scope.UPLINK,
        rebuild=Rebuild.NO,
        why="the packets are lost outside of the node",
        evidence=(
            loss(flow),
            f"control: {loss(inbound)}; {outside} of those packets died outside of the node",
            *(f"control: {loss(control)}" for control in case.clean_controls()),
        ),
    )


def _is_outside(death: Death, uplink: str, prober: str) -> bool:
    """Tell whether packets died between the prober and the uplink, on either leg."""
    arriving = death.last_seen is None and death.next_point == uplink
    return arriving or (death.last_seen == uplink and death.next_point == prober)
