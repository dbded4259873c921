"""The network beyond the uplink sends the guest's own frames back to the node.

Cause:
    A switch, bond or loop beyond the uplink reflects frames with the guest's MAC as source.
    The bridge learns that MAC on the uplink; a bridge never sends a frame back out of the port
    it came in by, so replies are dropped until the guest speaks again.
Evidence for:
    Requests of the guest's own, with the run's mark, come back in through the uplink; the FDB
    entry of its MAC moves to the uplink, and shortly after that packets die; replies arrive at
    the uplink and never leave by the tap.
Evidence against:
    No frame with the guest's MAC as source came in through the uplink.
Not proof:
    That the FDB holds the MAC, looked at once: the question is on which port at the moment of
    the loss.
Remedy:
    Find the loop or mirror beyond the uplink. A rebuild cures the guest, since it gets a new
    MAC (with a pinned MAC it does not); the reflection itself stays.

References:
    ``br_handle_frame_finish`` and ``should_deliver`` in Linux ``net/bridge``.
"""

from __future__ import annotations

from pytest_vmnet.core.outcome import RuledOut
from pytest_vmnet.core.rules.case import Answer, Case, loss
from pytest_vmnet.core.words import Leg, Rebuild, Scope

REASON = "MacReflection"
_FEW = 3


def examine(case: Case) -> Answer:
    """Look for the guest's own frames coming back in through the uplink."""
    flow, death, uplink = case.telling, case.death, case.uplink
    back, left = case.reflected()
    if uplink is None or left == 0:
        return None
    if back < _FEW:
        return RuledOut(
            reason=REASON,
            message=f"{back} of the {left} requests that left by {uplink} came back in by it",
        )
    died = case.died(Leg.REPLY, uplink, case.port)
    if flow is None or death is None or not died:
        return None
    moves = case.moves_to_uplink()
    mac = case.guest.nic.mac
    return case.finding(
        REASON,
        f"The network beyond {uplink} sends {case.guest.ident}'s own frames back to "
        f"{case.guest.node}: {back} of the {left} requests that left by {uplink} came back in "
        f"by it with {mac} as source. Each of them makes {case.chain.bridge} believe that "
        f"{mac} is behind {uplink} ({moves} such FDB moves), and a bridge never sends a frame "
        f"back out of the port it came in by, so {died} replies arrived at {uplink} and were "
        f"not passed to {case.port}. QEMU and the guest are innocent: look for a loop, a "
        f"mirror port or a bond without LACP at the switch port of {uplink}. To see it: "
        f"`tcpdump -Q in -i {uplink} ether src {mac}` must stay empty.",
        scope=Scope.UPLINK,
        rebuild=Rebuild.CURES,
        why="the new VM gets a new MAC, and what is reflected is bound to the old one",
        evidence=(
            loss(flow),
            f"{back} of {left} own requests came back in by {uplink}",
            f"{moves} FDB moves of {mac} to {uplink} during the probes",
            f"{died} replies were seen on {uplink} and not on {case.port}",
            *case.alignment(),
        ),
    )
