"""The gateway loses packets, for everybody who talks to it.

Cause:
    The gateway is overloaded, limits or filters.
Evidence for:
    Requests leave by the uplink and no reply comes back; hosts that do not share the guest's
    path lose to the gateway as well; what does not pass the gateway is clean.
Evidence against:
    Another host reaches the gateway without loss in the same seconds.
Not proof:
    That several guests are affected: they also share the uplink.
Remedy:
    Look at the gateway: rate limits, CPU, its own firewall. A rebuild changes nothing.
"""

from __future__ import annotations

from pytest_vmnet.core.outcome import RuledOut
from pytest_vmnet.core.rules.case import Answer, Case, loss
from pytest_vmnet.core.words import Leg, Rebuild, Scope, Verdict

REASON = "GatewayLoss"


def examine(case: Case) -> Answer:
    """Ask the controls: do others lose to the gateway while the way to the guest is clean?"""
    death, flow, uplink = case.death, case.telling, case.outermost
    if death is None or flow is None or uplink is None:
        return None
    if death.leg is not Leg.UNKNOWN or death.last_seen != uplink:
        return RuledOut(
            reason=REASON,
            message=f"the packets did not die beyond {uplink}",
        )
    if clean := case.clean_controls():
        return RuledOut(
            reason=REASON,
            message=f"{loss(clean[0])} in the same seconds",
        )
    lossy = case.control_loss()
    inbound = case.over_uplink()
    if not lossy or inbound is None or inbound.verdict is not Verdict.HEALTHY:
        return None
    return case.finding(
        REASON,
        f"The gateway {case.guest.gateway} loses packets, whoever asks: {loss(flow)}, and in the "
        f"same seconds {'; '.join(loss(control) for control in lossy)}. {death.packets} of the "
        f"guest's requests left by {uplink} and no reply came back, while "
        f"{inbound.source} -> {inbound.target} over the same uplink lost {inbound.lost} of "
        f"{inbound.transmitted}. Look at the gateway: its load, its rate limits, its firewall.",
        scope=Scope.GATEWAY,
        rebuild=Rebuild.NO,
        why="the packets are lost at the gateway, for every host alike",
        evidence=(
            loss(flow),
            *(f"control: {loss(control)}" for control in lossy),
            f"control: {loss(inbound)}, without the gateway",
        ),
    )
