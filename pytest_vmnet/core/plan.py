"""Which probes to send, and which way their packets should take. Pure; sorted; no surprises."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from pytest_vmnet.core.facts import GATE, FlowSpec, Waypoint
from pytest_vmnet.core.topology import GUEST_POINT, Guest, Inventory
from pytest_vmnet.core.words import FlowKind

SECOND_END_COUNT = 30
"""Probes that the second end of a pair starts: stateful filters make a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many probes, how fast.

    Attributes:
        count: Probes of a flow at full count.
        interval_s: Seconds between two probes of a flow.
    """

    count: int
    interval_s: float

    @property
    def duration_s(self) -> float:
        """Nominal time from the first probe of a flow to its last, in seconds."""
        return self.count * self.interval_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What is probed beside the guests themselves.

    Attributes:
        peers: ``segment``, ``all`` or a number of peers per guest.
        external: Address beyond the gateway, or None.
        inbound: Whether the gate's own host probes the guests.
        nodes_with_shell: Nodes that can send control probes.
    """

    peers: str
    external: IPv4Address | None
    inbound: bool
    nodes_with_shell: frozenset[str]


def same_segment(one: Guest, other: Guest) -> bool:
    """Tell whether two guests share bridge, VLAN and subnet."""
    if one.interface is None or other.interface is None or not (one.nics and other.nics):
        return False
    return (
        one.node == other.node
        and one.nic.bridge == other.nic.bridge
        and one.nic.tag == other.nic.tag
        and one.interface.network == other.interface.network
    )


def peers_of(guest: Guest, inventory: Inventory, peers: str) -> tuple[Guest, ...]:
    """Return the guests that *guest* exchanges probes with, in the inventory's order.

    With a number, that many are taken, starting behind the guest itself and wrapping around, so
    that a large site's pairs spread evenly.
    """
    others = [g for g in inventory.guests if g.vmid != guest.vmid and g.address]
    if peers != "all":
        others = [other for other in others if same_segment(guest, other)]
    if not peers.isdecimal():
        return tuple(others)
    later = [other for other in others if other.vmid > guest.vmid]
    earlier = [other for other in others if other.vmid < guest.vmid]
    return tuple((later + earlier)[: int(peers)])


def plan_flows(
    inventory: Inventory, tested: Collection[str], targets: Targets, pace: Pace
) -> tuple[FlowSpec, ...]:
    """Return every flow of a sweep.

    Args:
        inventory: The site.
        tested: Ids of the guests under test; others take part only as their peers.
        targets: What is probed beside the guests.
        pace: How many probes, how fast.
    """
    rows: list[tuple[str, str, FlowKind, IPv4Address, int]] = []
    chosen = [g for g in inventory.guests if g.ident in tested and g.address is not None]
    pairs: set[tuple[int, int]] = set()
    for guest in chosen:
        if guest.gateway:
            full = pace.count
            rows.append((guest.ident, str(guest.gateway), FlowKind.GATEWAY, guest.gateway, full))
            if targets.external:
                external = targets.external
                rows.append((guest.ident, str(external), FlowKind.EXTERNAL, external, full))
        if targets.inbound and guest.address:
            rows.append((GATE, guest.ident, FlowKind.INBOUND, guest.address, pace.count))
        for peer in peers_of(guest, inventory, targets.peers):
            pairs.add((min(guest.vmid, peer.vmid), max(guest.vmid, peer.vmid)))
    rows += _pair_rows(inventory, pairs, pace)
    rows += _control_rows(chosen, targets, pace)
    return tuple(
        FlowSpec(
            number=number,
            source=source,
            target=target,
            kind=kind,
            address=address,
            count=count,
            interval_s=pace.interval_s,
        )
        for number, (source, target, kind, address, count) in enumerate(rows)
    )


def _pair_rows(
    inventory: Inventory, pairs: set[tuple[int, int]], pace: Pace
) -> list[tuple[str, str, FlowKind, IPv4Address, int]]:
    by_vmid = {guest.vmid: guest for guest in inventory.guests}
    rows = []
    for low, high in sorted(pairs):
        first, second = by_vmid[low], by_vmid[high]
        if (low + high) % 2:  # so that each guest starts about half of its pairs
            first, second = second, first
        few = min(SECOND_END_COUNT, pace.count)
        for source, target, count in ((first, second, pace.count), (second, first, few)):
            if target.address is not None:
                rows.append((source.ident, target.ident, FlowKind.PEER, target.address, count))
    return rows


def _control_rows(
    chosen: Sequence[Guest], targets: Targets, pace: Pace
) -> list[tuple[str, str, FlowKind, IPv4Address, int]]:
    rows = []
    for gateway in sorted({guest.gateway for guest in chosen if guest.gateway}):
        nodes = {guest.node for guest in chosen if guest.gateway == gateway}
        probers = sorted(nodes & targets.nodes_with_shell)
        if targets.inbound:
            probers.append(GATE)
        rows += [
            (prober, str(gateway), FlowKind.CONTROL, gateway, pace.count) for prober in probers
        ]
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The way of a flow's requests; replies take it back.

    Attributes:
        waypoints: Capture points from the prober to the far end.
        start: Name of the prober's end: ``guest:stack``, ``workstation`` or a node's name.
        end: Name of the far end: ``gateway``, ``external``, ``workstation``, ``guest:stack``.
    """

    waypoints: tuple[Waypoint, ...]
    start: str
    end: str


def path_of(flow: FlowSpec, inventory: Inventory, names: Mapping[str, str]) -> Path:
    """Return the capture points that a flow's packets pass.

    Args:
        flow: The flow.
        inventory: The site.
        names: The guest's own name of its NIC, by guest id, where it is known.
    """
    guests = {guest.ident: guest for guest in inventory.guests}
    source, target = guests.get(flow.source), guests.get(flow.target)
    points: list[Waypoint] = []
    if source:
        points += _guest_points(source, names, leaving=True, own=True)
    uplink_node = source or target
    if not (source and target and source.node == target.node):
        if source is None and target is None:
            points += _uplink(inventory, flow.source, None, out=True)
        elif uplink_node:
            bridge = uplink_node.nic.bridge
            points += _uplink(inventory, uplink_node.node, bridge, out=source is not None)
    if target:
        points += _guest_points(target, names, leaving=False, own=source is None)
    start = "guest:stack" if source else flow.source
    end = "guest:stack" if target else str(flow.kind)
    if target and source:
        end = f"{target.ident}:stack"
    if flow.kind is FlowKind.CONTROL:
        end = "gateway"
    return Path(waypoints=tuple(points), start=start, end=end)


def _guest_points(
    guest: Guest, names: Mapping[str, str], *, leaving: bool, own: bool
) -> list[Waypoint]:
    """Return the NIC and the tap of a guest in the order that a request meets them."""
    ifname = names.get(guest.ident, GUEST_POINT.partition(":")[2])
    inside = Waypoint(
        host=guest.ident,
        ifname=ifname,
        point=f"{'guest' if own else guest.ident}:{ifname}",
        request_out=leaving,
        guest=guest.ident,
    )
    tap = Waypoint(
        host=guest.node,
        ifname=guest.tap,
        point=guest.tap,
        request_out=not leaving,
        guest=guest.ident,
    )
    return [inside, tap] if leaving else [tap, inside]


def _uplink(inventory: Inventory, node: str, bridge: str | None, *, out: bool) -> list[Waypoint]:
    """Return the uplink of a bridge; of the node's first bridge with an address if None."""
    try:
        bridges = inventory.node(node).bridges
    except KeyError:
        return []  # the gate's own host has no capture
    for candidate in bridges:
        wanted = candidate.name == bridge if bridge else candidate.interface is not None
        if wanted and len(candidate.ports) == 1:
            port = candidate.ports[0]
            return [Waypoint(host=node, ifname=port, point=port, request_out=out, guest=None)]
    return []


def capture_points(flows: Sequence[FlowSpec], inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Return the interfaces that have to be captured, by node: the paths' ports, no others."""
    nodes = {node.name for node in inventory.nodes}
    wanted: dict[str, set[str]] = {}
    for flow in flows:
        for waypoint in path_of(flow, inventory, {}).waypoints:
            if waypoint.host in nodes:
                wanted.setdefault(waypoint.host, set()).add(waypoint.ifname)
    return {node: tuple(sorted(names)) for node, names in sorted(wanted.items())}
