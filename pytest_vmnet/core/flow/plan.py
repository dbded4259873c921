"""Which probes to send. Pure; sorted; no surprises."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from pytest_vmnet.core.facts import GATE, Address, FlowSpec
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.core.words import IPV6_LANE, LARGE_LANE, MAIN_LANE, FlowKind, PingKind
from pytest_vmnet.errors import ConfigError

SECOND_END_COUNT = 30
"""Probes that the second end of a pair starts: stateful filters make a difference."""

MAX_PROBES = 60_000
"""Most probes of one flow: ICMP's sequence number has 16 bits."""

MAX_FLOWS = 65_000
"""Most flows of one sweep: a flow's number has 16 bits as well."""

LARGE_INTERVAL_S = 1.0
"""Seconds between two full-sized packets: they may add a failure, and load nothing."""

BUSYBOX_INTERVAL_S = 1.0
"""Seconds between two packets of a busybox that cannot be told."""

_HEADERS = 20 + 8
_USUAL_MTU = 1500


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
        external6: IPv6 address beyond the IPv6 gateway, or None.
        large: Whether each guest sends full-sized packets to its gateway as well.
    """

    peers: str
    external: IPv4Address | None
    inbound: bool
    nodes_with_shell: frozenset[str]
    external6: IPv6Address | None = None
    large: bool = False


def same_segment(one: Guest, other: Guest, inventory: Inventory) -> bool:
    """Tell whether two guests share bridge, VLAN and subnet.

    On two nodes, bridges of the same name are one segment if both lead out of their node.
    """
    alike = bool(_segment(one)) and _segment(one) == _segment(other)
    if not alike or one.node == other.node:
        return alike
    return all(inventory.chain(guest).ways for guest in (one, other))


class Peers:
    """Whom each guest exchanges probes with.

    With a number, that many are taken, starting behind the guest itself and wrapping around, so
    that a large site's pairs spread evenly.

    Args:
        inventory: The site.
        wanted: ``segment``, ``all`` or a number of peers per guest.
    """

    def __init__(self, inventory: Inventory, wanted: str) -> None:
        self._inventory = inventory
        self._wanted = wanted
        self._addressed = [g for g in inventory.guests if g.address or g.address6]
        self._alike: dict[tuple[object, ...], list[Guest]] = {}
        for guest in self._addressed:
            self._alike.setdefault(_segment(guest), []).append(guest)

    def of(self, guest: Guest) -> tuple[Guest, ...]:
        """Return a guest's peers, in the inventory's order."""
        others = [other for other in self._candidates(guest) if other.vmid != guest.vmid]
        if not self._wanted.isdecimal():
            return tuple(others)
        later = [other for other in others if other.vmid > guest.vmid]
        earlier = [other for other in others if other.vmid < guest.vmid]
        return tuple((later + earlier)[: int(self._wanted)])

    def _candidates(self, guest: Guest) -> list[Guest]:
        if self._wanted == "all":
            return self._addressed
        alike = self._alike.get(_segment(guest), [])
        if not _segment(guest):
            return []
        return [
            other
            for other in alike
            if other.node == guest.node or same_segment(guest, other, self._inventory)
        ]


def _segment(guest: Guest) -> tuple[object, ...]:
    """Return what guests of one segment share, whatever node they are on.

    The subnet is that of IPv4; that of IPv6 where there is no IPv4.
    """
    subnet = guest.interface or guest.interface6
    if subnet is None or not guest.nics:
        return ()
    return guest.nic.bridge, guest.nic.tag, subnet.network


def peers_of(guest: Guest, inventory: Inventory, peers: str) -> tuple[Guest, ...]:
    """Return the guests that *guest* exchanges probes with; `Peers` is quicker for many."""
    return Peers(inventory, peers).of(guest)


def plan_flows(
    inventory: Inventory, tested: Collection[str], targets: Targets, pace: Pace
) -> tuple[FlowSpec, ...]:
    """Return every flow of a sweep.

    Args:
        inventory: The site.
        tested: Ids of the guests under test; others take part only as their peers.
        targets: What is probed beside the guests.
        pace: How many probes, how fast; a flow gets at most `MAX_PROBES`.

    Raises:
        ConfigError: These are more flows than one sweep can tell apart.
    """
    chosen = [g for g in inventory.guests if g.ident in tested and (g.address or g.address6)]
    flows: list[FlowSpec] = []
    pairs: set[tuple[int, int]] = set()
    peers = Peers(inventory, targets.peers)
    for guest in chosen:
        flows += _own_flows(guest, targets, pace)
        pairs |= {
            (min(guest.vmid, peer.vmid), max(guest.vmid, peer.vmid)) for peer in peers.of(guest)
        }
    flows += _pair_flows(inventory, pairs, pace)
    flows += _control_flows(chosen, targets, pace)
    if targets.large:
        flows += _large_flows(chosen, inventory, pace)
    if len(flows) > MAX_FLOWS:
        raise ConfigError(
            f"{len(flows)} flows for {len(chosen)} guests, and at most {MAX_FLOWS} fit into one "
            "sweep: choose fewer peers with --vmnet-peers N, or fewer guests with --vmnet-guest"
        )
    by_ident = {guest.ident: guest for guest in inventory.guests}
    return tuple(
        replace(_paced(flow, by_ident[flow.source]) if flow.source in by_ident else flow, number=n)
        for n, flow in enumerate(flows)
    )


def _flow(source: str, target: str, kind: FlowKind, address: Address, pace: Pace) -> FlowSpec:
    """Return a flow at full count that has no number yet; IPv6 is a lane of its own."""
    return FlowSpec(
        number=0,
        source=source,
        target=target,
        kind=kind,
        address=address,
        count=min(pace.count, MAX_PROBES),
        interval_s=pace.interval_s,
        lane=IPV6_LANE if address.version == 6 else MAIN_LANE,
    )


def _paced(flow: FlowSpec, prober: Guest) -> FlowSpec:
    """Return a flow as its prober's ping can send it: an old busybox sends once per second."""
    if prober.ping is not PingKind.BUSYBOX_SLOW:
        return replace(flow, ping=prober.ping)
    pace = _slowed(flow.count, flow.interval_s, BUSYBOX_INTERVAL_S)
    return replace(flow, ping=prober.ping, interval_s=pace.interval_s, count=pace.count)


def _slowed(count: int, interval_s: float, least_s: float) -> Pace:
    """Return a pace that fills the same time with an interval of at least *least_s*."""
    duration_s = count * interval_s
    fewer = max(int(duration_s / max(least_s, interval_s)), 1)
    return Pace(
        count=fewer, interval_s=duration_s / fewer if fewer == 1 else max(least_s, interval_s)
    )


def _own_flows(guest: Guest, targets: Targets, pace: Pace) -> Iterator[FlowSpec]:
    """Yield a guest's flows to its gateways and beyond, and the gate's to it."""
    ways = (
        (guest.gateway, targets.external, guest.address, targets.inbound),
        (
            guest.gateway6 if guest.address6 else None,
            targets.external6,
            guest.address6,
            targets.inbound and guest.inbound6,
        ),
    )
    for gateway, external, address, inbound in ways:
        if gateway and guest.agent:
            yield _flow(guest.ident, str(gateway), FlowKind.GATEWAY, gateway, pace)
            if external:
                yield _flow(guest.ident, str(external), FlowKind.EXTERNAL, external, pace)
        if inbound and address:
            yield _flow(GATE, guest.ident, FlowKind.INBOUND, address, pace)


def _pair_flows(
    inventory: Inventory, pairs: set[tuple[int, int]], pace: Pace
) -> Iterator[FlowSpec]:
    by_vmid = {guest.vmid: guest for guest in inventory.guests}
    few = min(SECOND_END_COUNT, pace.count)
    for low, high in sorted(pairs):
        first, second = by_vmid[low], by_vmid[high]
        if (low + high) % 2:  # so that each guest starts about half of its pairs
            first, second = second, first
        if not first.agent:  # it cannot send, so the other end's probes have to be enough
            first, second = second, first
        for source, target, end in ((first, second, pace), (second, first, None)):
            if source.agent:
                for address in _shared_addresses(source, target):
                    flow = _flow(source.ident, target.ident, FlowKind.PEER, address, pace)
                    yield flow if end else replace(flow, count=few)


def _shared_addresses(source: Guest, target: Guest) -> Iterator[Address]:
    """Yield the target's address of each family that both ends have."""
    if source.address and target.address:
        yield target.address
    if source.address6 and target.address6:
        yield target.address6


def _control_flows(chosen: Sequence[Guest], targets: Targets, pace: Pace) -> Iterator[FlowSpec]:
    for gateway in sorted({guest.gateway for guest in chosen if guest.gateway}):
        nodes = {guest.node for guest in chosen if guest.gateway == gateway}
        probers = sorted(nodes & targets.nodes_with_shell)
        if targets.inbound:
            probers.append(GATE)
        for prober in probers:
            yield _flow(prober, str(gateway), FlowKind.CONTROL, gateway, pace)


def _large_flows(chosen: Sequence[Guest], inventory: Inventory, pace: Pace) -> Iterator[FlowSpec]:
    """Yield a slow flow of full-sized packets to each guest's gateway, within the same time.

    It is too small to prove anything good; what it loses proves that large packets are lost. A
    gateway need not take jumbo frames, so nothing larger than usual is sent.
    """
    slow = _slowed(pace.count, pace.interval_s, LARGE_INTERVAL_S)
    for guest in chosen:
        if guest.agent and guest.gateway and guest.nics:
            flow = _flow(guest.ident, str(guest.gateway), FlowKind.GATEWAY, guest.gateway, slow)
            size = min(mtu_of(guest, inventory), _USUAL_MTU) - _HEADERS
            yield replace(flow, size=size, lane=LARGE_LANE)


def mtu_of(guest: Guest, inventory: Inventory) -> int:
    """Return the MTU of a guest's NIC: its own, else its bridge's (which 1 stands for as well)."""
    own = guest.nic.mtu
    if own is not None and own > 1:
        return own
    bridge = next(
        (n.bridge(guest.nic.bridge) for n in inventory.nodes if n.name == guest.node), None
    )
    return (bridge.mtu if bridge else None) or _USUAL_MTU
