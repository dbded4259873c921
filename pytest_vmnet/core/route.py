"""Which way the packets of a flow take, and where that has to be watched. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_vmnet.core.facts import FlowSpec, Waypoint
from pytest_vmnet.core.plan import same_segment
from pytest_vmnet.core.topology import GUEST_POINT, GUEST_STACK, Guest, Inventory
from pytest_vmnet.core.words import FlowKind


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
    points += _between(flow, source, target, inventory)
    if target:
        points += _guest_points(target, names, leaving=False, own=source is None)
    end = "gateway" if flow.kind is FlowKind.CONTROL else str(flow.kind)
    if target:
        end = f"{target.ident}:stack" if source else GUEST_STACK
    start = GUEST_STACK if source else flow.source
    return Path(waypoints=tuple(points), start=start, end=end)


def _between(
    flow: FlowSpec, source: Guest | None, target: Guest | None, inventory: Inventory
) -> list[Waypoint]:
    """Return the uplinks on the way; guests of one segment have none between them."""
    if source is None and target is None:
        return _uplink(inventory, flow.source, None, out=True)
    points: list[Waypoint] = []
    if source and target and same_segment(source, target):
        return points
    if source:
        points += _uplink(inventory, source.node, source.nic.bridge, out=True)
    if target:
        arriving = _uplink(inventory, target.node, target.nic.bridge, out=False)
        if source and source.node != target.node:  # their ports may have the same name
            arriving = [replace(point, point=f"{point.host}:{point.point}") for point in arriving]
        points += arriving
    return points


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
