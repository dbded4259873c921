"""Another host claims the guest's address.

Cause:
    A second host on the same L2 uses the guest's IPv4 address and says so by ARP. Whoever
    believes it sends to the wrong MAC.
Evidence for:
    ARP frames with the guest's address as sender and another MAC; neighbour tables with it.
Evidence against:
    Every ARP frame for the address carried the guest's own MAC.
Not proof:
    A single reply from a host that answers by proxy ARP.
Remedy:
    Find the other host by its MAC and take the address from it. A rebuild is dangerous: it gives
    the guest a new MAC and the same address, and costs its disk for nothing.

References:
    RFC 5227, IPv4 Address Conflict Detection.
"""

from __future__ import annotations

from pytest_vmnet.core.outcome import RuledOut
from pytest_vmnet.core.rules.case import Answer, Case, loss
from pytest_vmnet.core.words import Rebuild, Scope

REASON = "DuplicateAddress"
_FEW = 2
"""Frames that are more than one stray answer."""


def examine(case: Case) -> Answer:
    """Look for other MACs that claim the guest's address."""
    facts = case.facts(case.guest.node)
    if facts is None or facts.capture is None:
        return None
    claims = case.claims()
    own = {nic.mac for nic in case.guest.nics}
    others = {mac: frames for mac, frames in claims.items() if mac not in own}
    if not others:
        heard = claims.get(case.guest.nic.mac, 0)
        if not heard:
            return None
        return RuledOut(
            reason=REASON,
            message=f"all {heard} ARP frames from {case.guest.address} carried "
            f"{case.guest.nic.mac}",
        )
    mac, frames = max(others.items(), key=lambda item: (item[1], item[0]))
    believers = _believers(case, mac)
    if frames < _FEW and not believers:
        return None
    flow = case.telling
    told = f" {', '.join(believers)} believe it." if believers else ""
    return case.finding(
        REASON,
        f"{mac} also claims {case.guest.ident}'s address {case.guest.address}: {frames} ARP "
        f"frames said so during the probes, while {case.guest.ident} has {case.guest.nic.mac}."
        f"{told} Whatever is sent to the address goes to whoever spoke last. Find the host with "
        f"{mac} (`bridge fdb show | grep {mac}` on the node, the switch's MAC table beyond it) "
        f"and take the address from it; rebuilding {case.guest.ident} changes nothing.",
        scope=Scope.UPLINK if _from_outside(case, mac) else Scope.BRIDGE,
        rebuild=Rebuild.DANGEROUS,
        why="the new VM would have the same address and the other host would still claim it",
        evidence=(
            *((loss(flow),) if flow else ()),
            f"{frames} ARP frames with {case.guest.address} as sender came from {mac}",
            *((f"neighbour tables with {mac}: {', '.join(believers)}",) if believers else ()),
        ),
    )


def _believers(case: Case, mac: str) -> list[str]:
    """Return the hosts whose neighbour table gives the guest's address to that MAC."""
    hosts = sorted({host for sweep in case.sweeps for host in sweep.hosts})
    said = ((host, case.facts(host)) for host in hosts)
    return [
        host
        for host, facts in said
        if facts
        and any(n.address == case.guest.address and n.lladdr == mac for n in facts.neighbours)
    ]


def _from_outside(case: Case, mac: str) -> bool:
    facts = case.facts(case.guest.node)
    if facts is None or facts.capture is None:
        return True
    ports = {
        facts.capture.points.get(arp.ifindex)
        for arp in case.arps()
        if arp.sha == mac and not arp.out
    }
    return not ports or case.uplink in ports
