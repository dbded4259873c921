"""What a guest's neighbour table says of its gateway and its peers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pytest_vmnet.core.facts import (
    GATE,
    Address,
    Neighbour,
    Sweep,
    latest_facts,
)
from pytest_vmnet.core.outcome import Flow, NeighbourCheck
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.core.words import IPV6_LANE, LARGE_LANE, FlowKind, Verdict

BROKEN_STATES = frozenset({"failed", "incomplete", "none"})


def check_neighbours(
    guest: Guest, inventory: Inventory, sweeps: Sequence[Sweep], flows: Sequence[Flow]
) -> tuple[NeighbourCheck, ...]:
    """Return a check for the gateway and each peer on the guest's own subnet.

    Args:
        guest: The guest.
        inventory: The site.
        sweeps: The facts; the guest's latest answer counts.
        flows: The guest's flows, with the guest that each one counts against.
    """
    facts = latest_facts(sweeps, guest.ident)
    if facts is None:
        return ()
    table = {entry.address: entry for entry in facts.neighbours}
    checks = [_check(guest, flow, inventory, table, sweeps) for flow in flows]
    return tuple(check for check in checks if check is not None)


def _check(
    guest: Guest,
    flow: Flow,
    inventory: Inventory,
    table: Mapping[Address, Neighbour],
    sweeps: Sequence[Sweep],
) -> NeighbourCheck | None:
    address, expected = _expected(guest, flow, inventory, sweeps)
    if address is None:
        return None
    entry = table.get(address)
    state = entry.state if entry else None
    lladdr = entry.lladdr if entry else None
    is_wrong = bool(expected and lladdr and lladdr != expected)
    # Where the probes came through, an entry that is not there is kept for another interface.
    is_missing = state is None and flow.verdict is not Verdict.HEALTHY
    is_broken = is_wrong or is_missing or state in BROKEN_STATES
    against = None
    if is_broken:
        # A peer's address that somebody else claims is the peer's trouble, not the asker's.
        claimed = flow.kind is FlowKind.PEER and is_wrong and _announced(address, lladdr, sweeps)
        against = flow.counted_against or (flow.target if claimed else guest.ident)
    return NeighbourCheck(
        address=str(address),
        target=flow.target,
        state=state,
        lladdr=lladdr,
        expected=expected,
        broken=is_broken,
        counted_against=against,
    )


def _expected(
    guest: Guest, flow: Flow, inventory: Inventory, sweeps: Sequence[Sweep]
) -> tuple[Address | None, str | None]:
    """Return the address that a flow needs a neighbour entry for, and the MAC to be in it."""
    if flow.lane == LARGE_LANE:
        return None, None  # the main lane's entry is the same
    is_6 = flow.lane == IPV6_LANE
    if flow.kind is FlowKind.PEER:
        peer = inventory.guest(flow.target)
        interface = guest.interface6 if is_6 else guest.interface
        address = peer.address6 if is_6 else peer.address
        network = interface.network if interface else ()
        return (address if address in network else None), peer.nic.mac
    if flow.kind is FlowKind.GATEWAY:
        gateway = guest.gateway6 if is_6 else guest.gateway
        return gateway, _common_lladdr(guest, gateway, inventory, sweeps)
    return None, None


def _common_lladdr(
    guest: Guest, gateway: Address | None, inventory: Inventory, sweeps: Sequence[Sweep]
) -> str | None:
    """Return the gateway's MAC that most hosts of the same segment agree on, if more than one.

    A link-local gateway may be another host on another segment, so only guests of the same
    bridge and VLAN have a say on it.
    """
    votes: Counter[str] = Counter()
    segment = {g.ident for g in inventory.guests if gateway in {g.gateway, g.gateway6}}
    if gateway is not None and gateway.is_link_local:
        segment = {ident for ident in segment if _on_one_wire(inventory.guest(ident), guest)}
    else:
        segment |= {GATE} | {node.name for node in inventory.nodes}
    for host in sorted(segment):
        if facts := latest_facts(sweeps, host):
            votes.update(
                entry.lladdr
                for entry in facts.neighbours
                if entry.address == gateway and entry.lladdr
            )
    ranked = votes.most_common(2)
    if not ranked or ranked[0][1] < 2 or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _on_one_wire(one: Guest, other: Guest) -> bool:
    places = {(g.node, g.nic.bridge, g.nic.tag) for g in (one, other)}
    return len(places) == 1


def _announced(address: Address, lladdr: str | None, sweeps: Sequence[Sweep]) -> bool:
    """Tell whether somebody with that MAC said by ARP that the address is his."""
    return any(
        arp.spa == address and arp.sha == lladdr
        for sweep in sweeps
        for facts in sweep.hosts.values()
        if facts.capture
        for arp in facts.capture.packets.arps
    )
