"""Which devices a guest's frames pass on their node, worked out from facts. Pure.

A frame enters the node by the guest's tap, goes from bridge to bridge by veth pairs (Proxmox's
firewall puts one in between), and leaves by an uplink of the last bridge. Bridges themselves are
no points of the chain: a capture on a bridge shows what one of its ports took in and nothing of
what it sends on (see ``docs/paths.md``).

References:
    pve-common ``src/PVE/Network.pm``: ``compute_fwbr_names``, ``activate_bridge_vlan``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pytest_vmnet.core.site.link import Chain, Link, Port

_GUESTS_PORT = re.compile(r"(tap|veth)\d+i\d+")
_OVS_DATAPATH = "ovs-system"
_KNOWN_BRIDGE = re.compile(r"fwbr\d+i\d+|vmbr\d+v\d+")
_KNOWN_PAIR = re.compile(r"fwln\d+[io]\d+|fwpr\d+p\d+|(ln|pr)_.+")
_KNOWN_KINDS = frozenset({None, "tun", "veth", "bond", "vlan", "openvswitch", "vxlan"})


class Wiring:
    """A node's devices and how they hang together.

    Args:
        links: Its devices; empty if they could not be read.
        configured: Ports by bridge, as the node's configuration names them.
    """

    def __init__(self, links: Sequence[Link], configured: Mapping[str, tuple[str, ...]]) -> None:
        self._configured = configured
        self._links = {link.ifname: link for link in links}
        self._slaves: dict[str, list[Link]] = {}
        for link in links:
            if link.master:
                self._slaves.setdefault(link.master, []).append(link)
        self._chains: dict[tuple[object, ...], Chain] = {}
        self._found_ways: dict[str, list[tuple[Port, ...]]] = {}

    def chain(self, tap: str, bridge: str, tag: int | None = None) -> Chain:
        """Return the way of a guest's frames.

        Args:
            tap: Name of the guest's tap.
            bridge: Bridge that the guest's configuration names.
            tag: VLAN that it names, or None.
        """
        key = (tap, bridge, tag)
        if key not in self._chains:
            self._chains[key] = self._chain(tap, bridge, tag)
        return self._chains[key]

    def outward(self, bridge: str) -> Chain:
        """Return the way of the node's own frames from one of its bridges."""
        if not self._links:
            return self._as_configured((), bridge)
        return self._with_uplink(Chain((), bridge, devices=(bridge,)), frozenset())

    def _chain(self, tap: str, bridge: str, tag: int | None) -> Chain:
        start = (Port(tap, out=False),)
        if not self._links:
            return self._as_configured(start, bridge)
        if tap not in self._links:
            chain = self._as_configured(start, bridge)
            return replace(chain, notes=(f"{tap} is no device of the node",))
        goal = self._goal(bridge, tag)
        inward = self._inward(tap, goal)
        if inward is None:
            return self._astray(tap, goal)
        ports, devices = inward
        passed = frozenset(devices[1:-1])
        notes = tuple(self._oddities(devices[1:-1]))
        chain = Chain(ports, goal, devices=devices, notes=notes)
        return self._with_uplink(chain, passed)

    def _goal(self, bridge: str, tag: int | None) -> str:
        """Return the bridge that a NIC belongs on: with a tag a bridge may have a twin for it."""
        twin = f"{bridge}v{tag}"
        return twin if tag is not None and twin in self._links else bridge

    def _astray(self, tap: str, goal: str) -> Chain:
        """Return the chain of a tap that does not lead to where it belongs."""
        start = (Port(tap, out=False),)
        found = self._bridge_of(self._links[tap], goal)
        if found is None:
            return Chain(start, None, devices=(tap,), notes=(f"{tap} is no port of any bridge",))
        note = f"{tap} is a port of {found} and does not lead to {goal}, as configured"
        chain = Chain(start, found, devices=(tap, found), notes=(note,))
        return self._with_uplink(chain, frozenset())

    def _bridge_of(self, link: Link, goal: str) -> str | None:
        """Return the bridge that a device is a port of.

        Open vSwitch enslaves the ports of all of its bridges to one datapath, so there the
        configuration says which bridge it is.
        """
        if link.slave_kind == "openvswitch" or link.master == _OVS_DATAPATH:
            return goal if self._is_ovs(goal) else None
        master = self._links.get(link.master or "")
        return master.ifname if master and master.kind == "bridge" else None

    def _is_ovs(self, bridge: str) -> bool:
        link = self._links.get(bridge)
        return link is not None and link.kind == "openvswitch"

    def _inward(self, tap: str, goal: str) -> tuple[tuple[Port, ...], tuple[str, ...]] | None:
        """Return ports and devices of the shortest way from a tap to *goal*, or None."""
        queue: deque[tuple[str, tuple[Port, ...], tuple[str, ...]]] = deque(
            [(tap, (Port(tap, out=False),), (tap,))]
        )
        passed: set[str] = set()
        while queue:
            name, ports, devices = queue.popleft()
            bridge = self._bridge_of(self._links[name], goal)
            if bridge is None or bridge in passed:
                continue
            passed.add(bridge)
            devices = (*devices, bridge)
            if bridge == goal:
                return ports, devices
            for port in self._slaves.get(bridge, ()):
                leaving = (*ports, Port(port.ifname, out=True))
                if port.ifname == name:
                    continue
                if port.kind == "openvswitch" and self._is_ovs(goal):
                    return leaving, (*devices, port.ifname, goal)
                if port.kind == "veth" and port.peer in self._links:
                    arriving = (*leaving, Port(port.peer, out=False))
                    queue.append((port.peer, arriving, (*devices, port.ifname, port.peer)))
        return None

    def _with_uplink(self, chain: Chain, passed: frozenset[str]) -> Chain:
        """Return the chain with the one way out of its bridge, or with a note why not."""
        bridge = chain.bridge or ""
        configured = self._configured.get(bridge, ())
        ways = [way for way in self._ways(bridge) if not self._passes(way, passed)]
        notes = list(chain.notes)
        names = [way[0].ifname for way in ways]
        chain = replace(chain, ways=tuple(names))
        if len(ways) > 1:
            expected = [way for way in ways if way[0].ifname in configured]
            if len(expected) != 1:
                told = f"{bridge} has several ways out: {', '.join(names)}: none is watched"
                return replace(chain, notes=(*notes, told))
            more = ", ".join(name for name in names if name not in configured)
            notes.append(f"{bridge} has a port that its configuration does not name: {more}")
            ways = expected
        if not ways:
            notes += [self._missing(name, bridge) for name in configured]
            if len(configured) != 1:
                return replace(chain, notes=tuple(notes))
            # Watched all the same: that nothing passes it is evidence.
            ways = [(Port(configured[0], out=True),)]
        ports, below, told_below = self._below(ways[0])
        names = [port.ifname for port in ways[0]]
        return replace(
            chain,
            uplink=ports,
            devices=(*chain.devices, *names, *below),
            notes=(*notes, *self._oddities(names), *told_below),
        )

    def _ways(self, bridge: str) -> list[tuple[Port, ...]]:
        if bridge not in self._found_ways:
            self._found_ways[bridge] = list(self._ways_out(bridge, frozenset({bridge})))
        return self._found_ways[bridge]

    def _passes(self, way: tuple[Port, ...], passed: frozenset[str]) -> bool:
        """Tell whether a way leads through one of those bridges."""
        entered = (self._links[port.ifname] for port in way if not port.out)
        return any(self._bridge_of(link, "") in passed for link in entered)

    def _ways_out(self, bridge: str, passed: frozenset[str]) -> Iterator[tuple[Port, ...]]:
        """Yield every way from a bridge to a device that is no guest's and no bridge's."""
        configured = self._configured.get(bridge, ())
        for port in self._ports_of(bridge):
            way = (Port(port.ifname, out=True),)
            peer = self._links.get(port.peer or "") if port.kind == "veth" else None
            if peer is not None:
                beyond = self._bridge_of(peer, "")
                if beyond is not None and beyond not in passed:
                    for rest in self._ways_out(beyond, passed | {beyond}):
                        yield (*way, Port(peer.ifname, out=False), *rest)
            elif port.ifname in configured or not _GUESTS_PORT.fullmatch(port.ifname):
                yield way

    def _ports_of(self, bridge: str) -> list[Link]:
        if self._is_ovs(bridge):
            configured = self._configured.get(bridge, ())
            named = [self._links[name] for name in configured if name in self._links]
            return [link for link in named if link.kind != "openvswitch"]
        return self._slaves.get(bridge, [])

    def _below(self, way: tuple[Port, ...]) -> tuple[tuple[Port, ...], list[str], list[str]]:
        """Return the way with the active slave of a bond, what it stands on, and notes."""
        last = self._links.get(way[-1].ifname)
        if last is None:
            return way, [], []
        if last.lower:
            told = f"frames carry a VLAN tag on {last.lower}, below {last.ifname}: not watched"
            return way, [last.lower], [told] if last.kind == "vlan" else []
        if last.kind != "bond":
            return way, [], []
        slaves = self._slaves.get(last.ifname, [])
        names = [slave.ifname for slave in slaves]
        active = [slave for slave in slaves if slave.is_active]
        if last.mode == "active-backup" and len(active) == 1:
            return (*way, Port(active[0].ifname, out=True)), names, []
        told = (
            f"{last.ifname} ({last.mode or 'mode not known'}) spreads frames over "
            f"{', '.join(names) or 'no slave'}: which one a frame takes is not told"
        )
        return way, names, [told]

    def _missing(self, name: str, bridge: str) -> str:
        link = self._links.get(name)
        if link is None:
            return f"{name}, configured as a port of {bridge}, is no device of the node"
        where = f"a port of {link.master}" if link.master else "no port of any bridge"
        return f"{name}, configured as a port of {bridge}, is {where}"

    def _oddities(self, devices: Sequence[str]) -> Iterator[str]:
        """Yield a note for each device that Proxmox would not have put there."""
        for link in (self._links[name] for name in devices if name in self._links):
            name = link.ifname
            if link.kind == "bridge" and not _KNOWN_BRIDGE.fullmatch(name):
                yield f"{name}, a bridge that is not Proxmox's, is on the way"
            elif link.kind == "veth" and link.peer and not _KNOWN_PAIR.fullmatch(name):
                yield f"{name}, a veth that is not Proxmox's, is on the way"
            elif link.kind not in _KNOWN_KINDS | {"bridge"}:
                yield f"{name}, a device of kind {link.kind}, is on the way"

    def _as_configured(self, start: tuple[Port, ...], bridge: str) -> Chain:
        """Return the chain as the configuration alone tells it."""
        configured = self._configured.get(bridge, ())
        uplink = (Port(configured[0], out=True),) if len(configured) == 1 else ()
        names = [[port.ifname for port in ports] for ports in (start, uplink)]
        return Chain(start, bridge, uplink, configured, devices=(*names[0], bridge, *names[1]))
