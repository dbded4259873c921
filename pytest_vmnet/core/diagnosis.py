"""From facts to findings: which causes are found, which are ruled out, which stay open. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vmnet.core.facts import GATE, Sweep
from pytest_vmnet.core.notice import notices
from pytest_vmnet.core.outcome import Death, Finding, Flow, RuledOut
from pytest_vmnet.core.rules import RULES
from pytest_vmnet.core.rules.case import Case, loss
from pytest_vmnet.core.site.topology import GUEST_STACK, Inventory
from pytest_vmnet.core.timelapse import counters_told
from pytest_vmnet.core.verdict.judge import Judged, Judgement
from pytest_vmnet.core.words import FlowKind, Leg, Rebuild, Scope, Verdict

UNKNOWN = "Unknown"
_CAUTION = (Rebuild.DANGEROUS, Rebuild.NO, Rebuild.MAY_CURE, Rebuild.CURES)


def diagnose(
    judged: Judged, judgement: Judgement, inventory: Inventory, sweeps: Sequence[Sweep]
) -> tuple[tuple[Finding, ...], tuple[RuledOut, ...]]:
    """Return the findings for a guest, the diagnosis first, and the causes ruled out.

    A healthy guest has notices at most. A sick one has at least one finding: ``Unknown``, with
    the place where its packets die and the scope that the controls allow, if no rule names a
    cause; notices come last.
    """
    case = Case(judged=judged, judgement=judgement, inventory=inventory, sweeps=sweeps)
    if judged.verdict is Verdict.HEALTHY:
        return notices(case), ()
    if judged.verdict is Verdict.INCONCLUSIVE:
        return (_could_not_look(case),), ()
    findings: list[Finding] = []
    against: list[RuledOut] = []
    for rule in RULES.values():
        answer = rule(case)
        if isinstance(answer, Finding):
            findings.append(answer)
        elif isinstance(answer, RuledOut):
            against.append(answer)
    against += _backend(case)
    # Where several causes come together, an act is worth no more than for the worst of them.
    findings.sort(key=lambda found: _CAUTION.index(found.rebuild))
    return (*(findings or [_unknown(case)]), *notices(case)), tuple(against)


def _could_not_look(case: Case) -> Finding:
    reason = case.judged.reason
    return case.finding(
        UNKNOWN,
        f"It could not be proven whether {case.guest.ident}'s network works: {reason}. Nothing is "
        "claimed and nothing is done; run the gate again once that is out of the way.",
        scope=Scope.OBSERVER,
        rebuild=Rebuild.NO,
        why="nothing is proven",
        evidence=(reason,),
    )


def _unknown(case: Case) -> Finding:
    death, flow = case.death, case.telling
    scope = scope_of(case, death)
    if flow is None or death is None:
        told = case.judged.reason
        by_hand = f"`ip neigh` in {case.guest.ident} and `tcpdump -ni {case.guest.tap} arp`"
    else:
        behind = death.last_seen or f"{flow.source} itself"
        leg = "packets" if death.leg is Leg.UNKNOWN else f"{death.leg} packets"
        told = (
            f"{loss(flow)}; {death.packets} {leg} were last seen at {behind} and never at "
            f"{death.next_point}"
        )
        if death.next_point == case.port and (moves := case.moves_to_uplink()):
            told += f"; the bridge's entry of {case.guest.nic.mac} moved to {case.uplink} "
            told += f"{moves} times: another host seems to use that MAC"
        by_hand = _next_check(case, death)
    return case.finding(
        UNKNOWN,
        f"{case.guest.ident} is sick and no known cause fits: {told}. What to look at next: "
        f"{by_hand}.",
        scope=scope,
        rebuild=Rebuild.NO if scope not in _REBUILT else Rebuild.MAY_CURE,
        why="the cause is not known",
        evidence=(
            told,
            *case.alignment(),
            *counters_told(case.sweeps, case.guest.node, case.chain.devices),
        ),
    )


_REBUILT = frozenset({Scope.GUEST, Scope.VNIC, Scope.HOST})
_OUTSIDE = frozenset({"gateway", "external", GATE})
"""Ends beyond the uplink."""


def scope_of(case: Case, death: Death | None) -> Scope:
    """Return the scope that the place of the deaths and the controls allow.

    Args:
        case: The sick guest.
        death: Where its packets die, or None if no flow fails.
    """
    if death is None or case.telling is None:
        return Scope.UNKNOWN
    place = (death.last_seen, death.next_point)
    inside = [p for p in place if p and p.startswith("guest:")]
    if case.guest.tap in place and inside:  # without a capture inside: the guest or its NIC
        return Scope.UNKNOWN if GUEST_STACK in place else Scope.VNIC
    own = {point for point in place if point in case.own_ports}
    if len(own) == 2:
        return Scope.HOST  # in what Proxmox made for this guest alone
    if own:
        return _scope_at_bridge(case, death)
    if inside and (GUEST_STACK in place or death.last_seen is None):
        return Scope.GUEST
    return _scope_outside(case, case.telling, death)


def _scope_outside(case: Case, flow: Flow, death: Death) -> Scope:
    """Return the scope of deaths that none of the guest's own points has a part in."""
    outwards = {port.ifname for port in case.chain.uplink}
    nodes = tuple(f"{node.name}:" for node in case.inventory.nodes)
    ends = (death.last_seen, death.next_point)
    if all(point and (point in outwards or point.startswith(nodes)) for point in ends):
        return Scope.UPLINK  # between two nodes' uplinks, or in the uplink itself
    arriving = death.last_seen is None and death.next_point == case.outermost
    leaving = death.last_seen == case.outermost and death.next_point in _OUTSIDE
    return _scope_beyond_uplink(case, flow) if arriving or leaving else Scope.UNKNOWN


def _scope_at_bridge(case: Case, death: Death) -> Scope:
    """Return the scope of deaths between the guest's own ports and another port of the node."""
    others = {
        each.ifname
        for guest in case.inventory.guests
        if guest.node == case.guest.node and guest.vmid != case.guest.vmid
        for each in case.inventory.chain(guest).ports
    }
    ports = {death.last_seen, death.next_point}.difference(case.own_ports)
    if not ports & (others | {case.uplink}):
        return Scope.UNKNOWN  # the next point that was watched is not on the node
    if death.next_point in case.own_ports and case.moves_to_uplink():
        return Scope.UPLINK  # the bridge was told that the guest is outside
    verdicts = [
        judged.verdict
        for ident, judged in case.judgement.guests.items()
        if ident != case.guest.ident
        and (judged.guest.node, judged.guest.nic.bridge)
        == (case.guest.node, case.guest.nic.bridge)
    ]
    if {Verdict.UNHEALTHY, Verdict.FLAPPING} & set(verdicts):
        return Scope.BRIDGE
    return Scope.HOST if Verdict.HEALTHY in verdicts else Scope.UNKNOWN


def _scope_beyond_uplink(case: Case, flow: Flow) -> Scope:
    """Return the scope of deaths beyond the uplink, as far as the controls can tell."""
    to_gateway = case.own_flow(FlowKind.GATEWAY)
    if flow.kind is FlowKind.EXTERNAL and to_gateway and to_gateway.verdict is Verdict.HEALTHY:
        return Scope.PEER  # the way to the gateway is clean: that destination, or the way to it
    return Scope.UPLINK if case.clean_controls() else Scope.UNKNOWN


def _next_check(case: Case, death: Death) -> str:
    guest = case.guest
    place = {death.last_seen, death.next_point}
    own = [name for name in case.own_ports if name in place]
    if own:
        port = own[-1]
        tables = "`nft list ruleset`, `ebtables-save`"
        if len(case.own_ports) > 1:
            tables += ", `iptables-save` (Proxmox's firewall: chains PVEFW-FORWARD, tap...)"
        return (
            f"{tables}, `tc -s qdisc show dev {port}`, "
            f"`bridge -d link show dev {port}` and `bridge monitor fdb` on {guest.node}"
        )
    if death.last_seen == case.outermost:
        return f"the switch port of {case.outermost} and the gateway, with a capture beyond it"
    return f"`nft list ruleset`, `ip route` and `sysctl net.ipv4` in {guest.ident}"


def _backend(case: Case) -> list[RuledOut]:
    """Say so where the place of the deaths clears QEMU and the virtual NIC."""
    death = case.death
    if death is None:
        return []
    inside = [p for p in (death.last_seen, death.next_point) if p and p.startswith("guest:")]
    if inside and case.guest.tap in {death.last_seen, death.next_point}:
        return []
    if death.last_seen is None:
        return []
    return [
        RuledOut(
            reason="VnicDrop",
            message=f"the packets died behind {death.last_seen}; what QEMU or its virtual NIC "
            f"loses is seen on {case.guest.tap} first",
        )
    ]
