"""Which probes to send. Pure; sorted; no surprises."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from pytest_vmnet.core.facts import GATE, FlowSpec
from pytest_vmnet.core.topology import Guest, Inventory
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.errors import ConfigError

SECOND_END_COUNT = 30
"""Probes that the second end of a pair starts: stateful filters make a difference."""

MAX_PROBES = 60_000
"""Most probes of one flow: ICMP's sequence number has 16 bits."""

MAX_FLOWS = 65_000
"""Most flows of one sweep: a flow's number has 16 bits as well."""


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


def same_segment(one: Guest, other: Guest, inventory: Inventory) -> bool:
    """Tell whether two guests share bridge, VLAN and subnet.

    On two nodes, bridges of the same name are one segment if both lead out of their node.
    """
    if one.interface is None or other.interface is None or not (one.nics and other.nics):
        return False
    alike = (
        one.nic.bridge == other.nic.bridge
        and one.nic.tag == other.nic.tag
        and one.interface.network == other.interface.network
    )
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
        self._addressed = [guest for guest in inventory.guests if guest.address]
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
        if guest.interface is None or not guest.nics:
            return []
        return [
            other
            for other in alike
            if other.node == guest.node or same_segment(guest, other, self._inventory)
        ]


def _segment(guest: Guest) -> tuple[object, ...]:
    """Return what guests of one segment share, whatever node they are on."""
    if guest.interface is None or not guest.nics:
        return ()
    return guest.nic.bridge, guest.nic.tag, guest.interface.network


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
    full = min(pace.count, MAX_PROBES)
    rows: list[tuple[str, str, FlowKind, IPv4Address, int]] = []
    chosen = [g for g in inventory.guests if g.ident in tested and g.address is not None]
    pairs: set[tuple[int, int]] = set()
    peers = Peers(inventory, targets.peers)
    for guest in chosen:
        if guest.gateway and guest.agent:
            rows.append((guest.ident, str(guest.gateway), FlowKind.GATEWAY, guest.gateway, full))
            if targets.external:
                external = targets.external
                rows.append((guest.ident, str(external), FlowKind.EXTERNAL, external, full))
        if targets.inbound and guest.address:
            rows.append((GATE, guest.ident, FlowKind.INBOUND, guest.address, full))
        for peer in peers.of(guest):
            pairs.add((min(guest.vmid, peer.vmid), max(guest.vmid, peer.vmid)))
    rows += _pair_rows(inventory, pairs, full)
    rows += _control_rows(chosen, targets, full)
    if len(rows) > MAX_FLOWS:
        raise ConfigError(
            f"{len(rows)} flows for {len(chosen)} guests, and at most {MAX_FLOWS} fit into one "
            "sweep: choose fewer peers with --vmnet-peers N, or fewer guests with --vmnet-guest"
        )
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
    inventory: Inventory, pairs: set[tuple[int, int]], full: int
) -> list[tuple[str, str, FlowKind, IPv4Address, int]]:
    by_vmid = {guest.vmid: guest for guest in inventory.guests}
    rows = []
    for low, high in sorted(pairs):
        first, second = by_vmid[low], by_vmid[high]
        if (low + high) % 2:  # so that each guest starts about half of its pairs
            first, second = second, first
        if not first.agent:  # it cannot send, so the other end's probes have to be enough
            first, second = second, first
        few = min(SECOND_END_COUNT, full)
        for source, target, count in ((first, second, full), (second, first, few)):
            if source.agent and target.address is not None:
                rows.append((source.ident, target.ident, FlowKind.PEER, target.address, count))
    return rows


def _control_rows(
    chosen: Sequence[Guest], targets: Targets, full: int
) -> list[tuple[str, str, FlowKind, IPv4Address, int]]:
    rows = []
    for gateway in sorted({guest.gateway for guest in chosen if guest.gateway}):
        nodes = {guest.node for guest in chosen if guest.gateway == gateway}
        probers = sorted(nodes & targets.nodes_with_shell)
        if targets.inbound:
            probers.append(GATE)
        rows += [(prober, str(gateway), FlowKind.CONTROL, gateway, full) for prober in probers]
    return rows
