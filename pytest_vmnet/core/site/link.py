"""A node's devices as ``ip -d -j link`` and ``bridge -d -j link`` say it, and chains of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanRange:
    """VLANs of a bridge port, from ``bridge -j vlan``; *last* equals *first* for a single one."""

    first: int
    last: int
    pvid: bool = False
    untagged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One network device of a node.

    Attributes:
        ifname: Name.
        ifindex: Index in the node's network namespace.
        kind: Kind of device, as ``ip link add type`` spells it (``bridge``, ``veth``, ``tun``,
            ``bond``, ``vlan``, ``openvswitch``, ...); None for a network card.
        master: Device that it is enslaved to, or None.
        slave_kind: As what it is enslaved (``bridge``, ``bond``, ``openvswitch``, ...), or None.
        peer: The other end of a veth on the same node, or None.
        lower: The device that it stands on (``vlan``, ``macvlan``, ...), or None.
        vid: VLAN id of a ``vlan`` device, or None.
        mode: How a bond spreads its frames (``active-backup``, ``802.3ad``, ...), or None.
        is_active: As a bond's slave: whether it is in use, or None.
        vlan_filtering: Whether a bridge tells VLANs apart; None for anything else.
        mac: Its own MAC address, lower case, or None.
        mtu: MTU in bytes, or None if not told.
        operstate: As ``ip`` says it, in lower case.
        is_up: Whether it is set up and has its carrier (flags UP and LOWER_UP).
        state: As a bridge's port: its state (``forwarding``, ``blocking``, ...), or None.
        learning: As a bridge's port: whether source MACs are learnt, or None.
        flood: As a bridge's port: whether unknown unicast is sent to it, or None.
        isolated: As a bridge's port: whether it is cut off from other isolated ones, or None.
        hairpin: As a bridge's port: whether a frame may leave by the port it came in by, or None.
        vlans: As a port of a VLAN-aware bridge: what it lets through.
    """

    ifname: str
    ifindex: int
    kind: str | None = None
    master: str | None = None
    slave_kind: str | None = None
    peer: str | None = None
    lower: str | None = None
    vid: int | None = None
    mode: str | None = None
    is_active: bool | None = None
    vlan_filtering: bool | None = None
    mac: str | None = None
    mtu: int | None = None
    operstate: str = "unknown"
    is_up: bool = True
    state: str | None = None
    learning: bool | None = None
    flood: bool | None = None
    isolated: bool | None = None
    hairpin: bool | None = None
    vlans: tuple[VlanRange, ...] = ()

    def carries(self, vid: int) -> bool:
        """Tell whether this port of a VLAN-aware bridge lets a VLAN through."""
        return any(vlans.first <= vid <= vlans.last for vlans in self.vlans)


@dataclass(frozen=True, slots=True)
class Port:
    """A device that frames pass.

    Attributes:
        ifname: Its name.
        out: Whether a frame from the guest to the wire leaves through it; else it enters by it.
    """

    ifname: str
    out: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """The way of a guest's frames through its node.

    Attributes:
        ports: From the tap to the port of the bridge where guests meet; the guest's own.
        bridge: That bridge, or None if the tap leads to none.
        uplink: From that bridge's port outwards; shared. Empty without a single way out.
        ways: Ports of the bridge that lead out of the node; with one of them there is an uplink.
        devices: Everything passed, in order, with the bridges and what an uplink stands on.
        notes: What is not as configured, not known, or not watched; for people.
    """

    ports: tuple[Port, ...]
    bridge: str | None
    uplink: tuple[Port, ...] = ()
    ways: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
