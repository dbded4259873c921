"""Which way the packets of a flow take, and where that has to be watched. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_vmnet.core.facts import FlowSpec, Waypoint
from pytest_vmnet.core.flow.plan import same_segment
from pytest_vmnet.core.site.link import Port
from pytest_vmnet.core.site.topology import GUEST_POINT, GUEST_STACK, Guest, Inventory
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

    @property
    def from_far_end(self) -> Mapping[str, str]:
        """How a prober at the far end names the nodes' points; empty if that is the same."""
        watched = [waypoint for waypoint in self.waypoints if waypoint.host != waypoint.guest]
        if not watched or watched[0].host == watched[-1].host:
            return {}
        node = watched[0].host
        bare = {each.ifname for each in watched if each.host != node}
        return {
            each.point: _told_apart(replace(each, point=each.ifname), node, bare).point
            for each in watched
        }


def path_of(flow: FlowSpec, inventory: Inventory, names: Mapping[str, str]) -> Path:
    """Return the capture points that a flow's packets pass.

    Points of another node than the prober's are told apart by its name, ``pve2:enp4s0``, where
    they are shared or have the name of a point on the prober's node.

    Args:
        flow: The flow.
        inventory: The site.
        names: The guest's own name of its NIC, by guest id, where it is known.
    """
    source, target = inventory.find(flow.source), inventory.find(flow.target)
    near: list[Waypoint] = []
    far: list[Waypoint] = []
    if source:
        near = _from_guest(source, inventory, names, own=True)
    if target:
        far = _reversed(_from_guest(target, inventory, names, own=source is None))
    if source is None and target is None:
        near = _from_node(flow, inventory)
    elif not (source and target and _meet(source, target, inventory)):
        near += _uplink(source, inventory) if source else []
        far = _reversed(_uplink(target, inventory) if target else []) + far
    if source and target and source.node != target.node:
        taken = {waypoint.point for waypoint in near}
        far = [_told_apart(waypoint, target.node, taken) for waypoint in far]
    end = "gateway" if flow.kind is FlowKind.CONTROL else str(flow.kind)
    if target:
        end = f"{target.ident}:stack" if source else GUEST_STACK
    start = GUEST_STACK if source else flow.source
    return Path(waypoints=(*near, *far), start=start, end=end)


def _meet(one: Guest, other: Guest, inventory: Inventory) -> bool:
    """Tell whether frames between two guests stay inside of one bridge."""
    if one.node != other.node or not same_segment(one, other, inventory):
        return False
    bridges = {inventory.chain(guest).bridge for guest in (one, other)}
    return len(bridges) == 1 and None not in bridges


def _told_apart(waypoint: Waypoint, node: str, taken: set[str]) -> Waypoint:
    if waypoint.host != node or (waypoint.guest and waypoint.point not in taken):
        return waypoint
    return replace(waypoint, point=f"{node}:{waypoint.point}")


def _from_guest(
    guest: Guest, inventory: Inventory, names: Mapping[str, str], *, own: bool
) -> list[Waypoint]:
    """Return a guest's NIC and the ports of its own on the node, for a request that it sends."""
    ifname = names.get(guest.ident, GUEST_POINT.partition(":")[2])
    inside = Waypoint(
        host=guest.ident,
        ifname=ifname,
        point=f"{'guest' if own else guest.ident}:{ifname}",
        request_out=True,
        guest=guest.ident,
    )
    ports = inventory.chain(guest).ports
    return [inside, *_waypoints(ports, guest.node, guest.ident)]


def _uplink(guest: Guest, inventory: Inventory) -> list[Waypoint]:
    """Return the way out of the guest's bridge, for a request that it sends."""
    return _waypoints(inventory.chain(guest).uplink, guest.node, None)


def _from_node(flow: FlowSpec, inventory: Inventory) -> list[Waypoint]:
    """Return the way of a node's own probes: by its bridge in that subnet, else its first one."""
    try:
        bridges = [each for each in inventory.node(flow.source).bridges if each.interface]
    except KeyError:
        return []  # the gate's own host has no capture
    bridges.sort(
        key=lambda each: each.interface is None or flow.address not in each.interface.network
    )
    for bridge in bridges:
        if uplink := inventory.wiring(flow.source).outward(bridge.name).uplink:
            return _waypoints(uplink, flow.source, None)
    return []


def _waypoints(ports: Sequence[Port], node: str, guest: str | None) -> list[Waypoint]:
    return [
        Waypoint(
            host=node,
            ifname=port.ifname,
            point=port.ifname,
            request_out=port.out,
            guest=guest,
        )
        for port in ports
    ]


def _reversed(waypoints: Sequence[Waypoint]) -> list[Waypoint]:
    """Return the same way taken in the other direction."""
    return [replace(each, request_out=not each.request_out) for each in reversed(waypoints)]


def odd_ways(inventory: Inventory) -> list[str]:
    """Return what is worth saying of the tested guests' ways, once each, with whose it is."""
    told: dict[str, list[str]] = {}
    for guest in inventory.tested:
        for note in inventory.chain(guest).notes:
            told.setdefault(f"{guest.node}: {note}", []).append(guest.ident)
    return [f"{note} ({', '.join(idents)})" for note, idents in told.items()]


def capture_points(flows: Sequence[FlowSpec], inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Return the interfaces that have to be captured, by node: the paths' ports, no others."""
    nodes = {node.name for node in inventory.nodes}
    wanted: dict[str, set[str]] = {}
    for flow in flows:
        for waypoint in path_of(flow, inventory, {}).waypoints:
            if waypoint.host in nodes:
                wanted.setdefault(waypoint.host, set()).add(waypoint.ifname)
    return {node: tuple(sorted(names)) for node, names in sorted(wanted.items())}


def path_devices(flows: Sequence[FlowSpec], inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Return every device on the flows' ways, by node: captured or not, bridges too."""
    wanted = {node: set(names) for node, names in capture_points(flows, inventory).items()}
    ends = {end for flow in flows for end in (flow.source, flow.target)}
    for guest in inventory.guests:
        if guest.ident in ends:
            wanted.setdefault(guest.node, set()).update(inventory.chain(guest).devices)
    return {node: tuple(sorted(names)) for node, names in sorted(wanted.items())}
