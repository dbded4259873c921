"""The site as its API and Terraform's state describe it: nodes, bridges, guests, NICs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from pytest_vmnet.core.site.link import Chain, Link
from pytest_vmnet.core.site.wiring import Wiring
from pytest_vmnet.core.words import PingKind

CapturePoint = str
"""An interface on a host: ``guest:eth0``, ``tap111i0``, ``enp4s0``; unique on its node."""

GUEST_POINT = "guest:eth0"
GUEST_STACK = "guest:stack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """One ``netN`` of a guest's configuration (qemu-server, ``QemuServer/Network.pm``).

    Attributes:
        index: N of ``netN``.
        model: Device model, for example ``virtio``.
        mac: MAC address, lower case.
        bridge: Bridge that the tap is a port of; None means QEMU user networking.
        tag: VLAN tag, or None.
        firewall: Whether Proxmox's firewall is on for this NIC.
        link_down: Whether the configuration keeps its link down.
        queues: Multiqueue count, or None.
        mtu: Configured MTU in bytes, or None.
    """

    index: int
    model: str
    mac: str
    bridge: str | None
    tag: int | None = None
    firewall: bool = False
    link_down: bool = False
    queues: int | None = None
    mtu: int | None = None

    def tap(self, vmid: int) -> CapturePoint:
        """Return the name of this NIC's tap on the node (pve-common, ``Network.pm``)."""
        return f"tap{vmid}i{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceAddress:
    """Where Terraform keeps a guest.

    Attributes:
        address: Address in the state, for example ``module.k8s.proxmox_vm_qemu.vm["a"]``.
        type: Resource type.
        vmid: VMID that the state gives it.
        name: Guest's name in the state, or None.
        node: Node in the state, or None.
        macs: MAC addresses in the state, lower case.
        tainted: Whether the instance is marked as tainted.
    """

    address: str
    type: str
    vmid: int
    name: str | None
    node: str | None
    macs: tuple[str, ...] = ()
    tainted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One VM as the API describes it.

    Attributes:
        vmid: VMID.
        name: Name; not always unique in a cluster.
        ident: Stable id for tests: the name, or ``name.VMID`` where the name is not unique.
        node: Node that it runs on.
        tags: Proxmox tags.
        pool: Pool, or None.
        lock: PVE's configuration lock, or None.
        protection: Whether the configuration forbids removal.
        agent: Whether the guest agent is configured.
        nics: Its NICs, by index.
        interface: IPv4 address and prefix of the NIC under test, or None.
        address_source: Where the address comes from: ``agent`` or ``ipconfig0``.
        gateway: Its default gateway, or None.
        gateway_source: Where the gateway comes from: ``route``, ``ipconfig0``,
            ``vmnet_gateway``; None if it has none.
        interface6: Global IPv6 address and prefix of the NIC under test, or None.
        address6_source: Where that comes from, like ``address_source``; or None.
        gateway6: Its IPv6 default gateway, often a link-local address; or None.
        gateway6_source: Where that comes from; or None.
        inbound6: Whether the gate's own host has a way to its IPv6 address.
        ping: Which ping it has.
        resource: Its place in Terraform's state, or None.
        smbios_uuid: UUID of the virtual machine, new with each clone; or None.
        pid: QEMU's process id on the node, or None.
        dhcp: Whether its address is not set by its configuration (cloud-init).
        nameservers: DNS servers that its configuration names.
    """

    vmid: int
    name: str
    ident: str
    node: str
    tags: tuple[str, ...] = ()
    pool: str | None = None
    lock: str | None = None
    protection: bool = False
    agent: bool = False
    nics: tuple[Nic, ...] = ()
    interface: IPv4Interface | None = None
    address_source: str | None = None
    gateway: IPv4Address | None = None
    gateway_source: str | None = None
    interface6: IPv6Interface | None = None
    address6_source: str | None = None
    gateway6: IPv6Address | None = None
    gateway6_source: str | None = None
    inbound6: bool = False
    ping: PingKind = PingKind.IPUTILS
    resource: ResourceAddress | None = None
    smbios_uuid: str | None = None
    pid: int | None = None
    dhcp: bool = False
    nameservers: tuple[str, ...] = ()

    @property
    def nic(self) -> Nic:
        """The NIC under test: the first one with a bridge."""
        return next(nic for nic in self.nics if nic.bridge)

    @property
    def tap(self) -> CapturePoint:
        """The tap of the NIC under test."""
        return self.nic.tap(self.vmid)

    @property
    def address(self) -> IPv4Address | None:
        """The address under test, without its prefix."""
        return self.interface.ip if self.interface else None

    @property
    def address6(self) -> IPv6Address | None:
        """The IPv6 address under test, without its prefix."""
        return self.interface6.ip if self.interface6 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A Linux bridge of a node.

    Attributes:
        name: For example ``vmbr0``.
        node: Node that it is on.
        ports: Configured ports: the uplinks.
        interface: The node's own address on it, or None.
        vlan_aware: Whether VLAN filtering is on.
        mtu: Configured MTU in bytes, or None.
    """

    name: str
    node: str
    ports: tuple[str, ...] = ()
    interface: IPv4Interface | None = None
    vlan_aware: bool = False
    mtu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A Proxmox node.

    Attributes:
        name: Its name in the cluster.
        address: Its address in the cluster, or None.
        bridges: Its bridges, by name.
    """

    name: str
    address: IPv4Address | None
    bridges: tuple[Bridge, ...] = ()

    def bridge(self, name: str | None) -> Bridge | None:
        """Return the bridge called *name*, or None."""
        return next((bridge for bridge in self.bridges if bridge.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A guest that is not tested, and why."""

    vmid: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What discovery found, sorted by VMID.

    Attributes:
        nodes: The nodes that were asked for.
        guests: Every running guest that can be probed; those that are not under test take part
            as peers and controls only.
        skipped: Guests that are not tested, with the reason.
        notes: Things worth saying.
        chosen: Ids of the guests under test; None for all.
        links: Devices by node name; a node without a shell is not in it.
    """

    nodes: tuple[Node, ...]
    guests: tuple[Guest, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = field(default=())
    chosen: frozenset[str] | None = None
    links: Mapping[str, tuple[Link, ...]] = field(default_factory=dict)
    _wirings: dict[str, Wiring] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _by_ident: dict[str, Guest] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Remember the guests by id: paths are worked out for each of many flows."""
        self._by_ident.update({guest.ident: guest for guest in self.guests})

    @property
    def tested(self) -> tuple[Guest, ...]:
        """The guests under test."""
        if self.chosen is None:
            return self.guests
        return tuple(guest for guest in self.guests if guest.ident in self.chosen)

    def node(self, name: str) -> Node:
        """Return the node called *name*; KeyError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def guest(self, ident: str) -> Guest:
        """Return the guest with that id; KeyError if there is none."""
        return self._by_ident[ident]

    def find(self, ident: str) -> Guest | None:
        """Return the guest with that id, or None: a flow's end may be something else."""
        return self._by_ident.get(ident)

    def wiring(self, node: str) -> Wiring:
        """Return how a node's devices hang together; of a node that was not asked, nothing."""
        if node not in self._wirings:
            bridges = [b for each in self.nodes if each.name == node for b in each.bridges]
            ports = {bridge.name: bridge.ports for bridge in bridges}
            self._wirings[node] = Wiring(self.links.get(node, ()), ports)
        return self._wirings[node]

    def chain(self, guest: Guest, nic: Nic | None = None) -> Chain:
        """Return the way of a guest's frames through its node, from the tap to the uplink.

        Args:
            guest: The guest.
            nic: One of its NICs with a bridge; None for the one under test.
        """
        which = nic or guest.nic
        bridge = which.bridge or ""
        return self.wiring(guest.node).chain(which.tap(guest.vmid), bridge, which.tag)
