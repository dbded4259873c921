"""What the lab's site looks like: names, addresses and wiring, and nothing that acts.

::

    external 198.51.100.8 --- gateway 192.0.2.1 ---.
                     workstation 192.0.2.50 ------ switch --- enp4s0 [vmbr0 on node pve1]
                                                                  |--- tap111i0 ... tap115i0
                                                                       vm-1 .11 ... vm-5 .15

`TWO_NODES` is the larger variant: a second node ``pve2`` (192.0.2.3) on the switch holds vm-4 and
vm-5; the NICs of vm-2 and vm-4 have Proxmox's firewall bridge; a second bridge without uplink
connects second NICs of vm-1, vm-2 and vm-3; there is IPv6 beside IPv4, the last digits alike.

The addresses are documentation networks (RFC 5737, RFC 3849); they live in private namespaces.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

NODE = "pve1"
NODE_ADDRESS = "192.0.2.2"
GATEWAY_ADDRESS = "192.0.2.1"
WORKSTATION_ADDRESS = "192.0.2.50"
EXTERNAL_ADDRESS = "198.51.100.8"
EXTERNAL_ROUTER_ADDRESS = "198.51.100.1"
PREFIX_LENGTH = 24
GATEWAY_ADDRESS6 = "2001:db8:0:2::1"
WORKSTATION_ADDRESS6 = "2001:db8:0:2::32"
EXTERNAL_ADDRESS6 = "2001:db8:0:8::8"
EXTERNAL_ROUTER_ADDRESS6 = "2001:db8:0:8::1"
PREFIX_LENGTH6 = 64
BRIDGE = "vmbr0"
INNER_BRIDGE = "vmbr1"
"""A bridge without uplink, for the guests' second NICs."""
UPLINK = "enp4s0"
API_PORT = 8006
TEMPLATE_VMID = 9000
STORAGE = "local-lvm"
SHARED_STORAGE = "ceph-vm"
"""Storage of the guests where there are several nodes: a clone's disk may be on another node."""
TAG = "vmnet-rebuild"

TOKEN_ID = "root@pam!vmnet"  # noqa: S105 - the token's name, not its secret
PROBE_INTERVAL_S = 0.06
"""Seconds between two probes of a flow: an emulated CPU, not the network, sets this pace."""

RUN_DIR = Path("/run/vmnet")
"""Where a lab keeps its files. /run is a private tmpfs in the lab's mount namespace."""


@dataclass(frozen=True)
class NodeSpec:
    """One Proxmox node of the lab.

    Attributes:
        name: Its name in Proxmox, and its host name.
        host: Its name among the hosts of the lab.
        address: Its IPv4 address, on its first bridge.
        address6: Its IPv6 address there, where the site has IPv6.
        port: The port of the switch that its uplink is plugged into.
    """

    name: str
    host: str
    address: str
    address6: str
    port: str


@dataclass(frozen=True)
class GuestSpec:
    """One guest of the lab.

    Attributes:
        name: Its name in Proxmox and in Terraform.
        vmid: Its VMID.
        address: Its IPv4 address.
        node: The Proxmox node that it lives on.
        address6: Its IPv6 address, or None.
        inner_address: IPv4 address of its second NIC, on `INNER_BRIDGE`; None without one.
        firewall: Whether its first NIC has ``firewall=1``.
    """

    name: str
    vmid: int
    address: str
    node: str = NODE
    address6: str | None = None
    inner_address: str | None = None
    firewall: bool = False

    @property
    def tap(self) -> str:
        """The tap device of the guest's first NIC, as Proxmox names it."""
        return f"tap{self.vmid}i0"

    @property
    def port(self) -> str:
        """The port of the node's bridge by which the first NIC is connected with it."""
        return f"fwpr{self.vmid}p0" if self.firewall else self.tap

    @property
    def before_tap(self) -> str:
        """The capture point that a frame from the uplink to the guest passes before the tap."""
        return f"fwln{self.vmid}i0" if self.firewall else UPLINK


GUESTS = tuple(GuestSpec(f"vm-{n}", 110 + n, f"192.0.2.{10 + n}") for n in range(1, 6))
NODES = (
    NodeSpec(NODE, "node", NODE_ADDRESS, "2001:db8:0:2::2", "sw-node"),
    NodeSpec("pve2", "node2", "192.0.2.3", "2001:db8:0:2::3", "sw-node2"),
)
_OTHER_HOSTS = ("switch", "gateway", "external", "workstation")


@dataclass(frozen=True)
class SiteSpec:
    """A variant of the lab.

    Attributes:
        nodes: Its Proxmox nodes; the first one serves the API and has the template.
        guests: Its guests.
        bridges: The bridges of each node; the first has the uplink and the node's address.
        storage: Where the guests' disks are.
        ipv6: Whether it has IPv6 beside IPv4.
    """

    nodes: tuple[NodeSpec, ...]
    guests: tuple[GuestSpec, ...]
    bridges: tuple[str, ...] = (BRIDGE,)
    storage: str = STORAGE
    ipv6: bool = False

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that are network namespaces, by the names `vmnet lab exec` takes."""
        return (*(node.host for node in self.nodes), *_OTHER_HOSTS)

    @property
    def external(self) -> tuple[str, ...]:
        """Addresses beyond the gateway."""
        return (EXTERNAL_ADDRESS, EXTERNAL_ADDRESS6) if self.ipv6 else (EXTERNAL_ADDRESS,)

    def node(self, name: str) -> NodeSpec:
        """Return the Proxmox node *name*.

        Raises:
            KeyError: There is none.
        """
        return {node.name: node for node in self.nodes}[name]


def _enlarged(number: int, guest: GuestSpec) -> GuestSpec:
    """Return guest *number* as it is in the larger variant."""
    return replace(
        guest,
        node="pve2" if number in {4, 5} else NODE,
        address6=f"2001:db8:0:2::{10 + number}",
        inner_address=f"203.0.113.{10 + number}" if number in {1, 2, 3} else None,
        firewall=number in {2, 4},
    )


ONE_NODE = SiteSpec(NODES[:1], GUESTS)
TWO_NODES = SiteSpec(
    NODES,
    tuple(_enlarged(number, guest) for number, guest in enumerate(GUESTS, 1)),
    bridges=(BRIDGE, INNER_BRIDGE),
    storage=SHARED_STORAGE,
    ipv6=True,
)
SITES = {1: ONE_NODE, 2: TWO_NODES}
"""The variants, by their number of nodes."""

HOSTS = TWO_NODES.hosts
"""Every name of a host that is a network namespace, in any variant."""


def cache_dir() -> Path:
    """Return the folder for what is built once and used by every lab.

    ``VMNET_CACHE`` names it; else ``$XDG_CACHE_HOME/pytest-vmnet``, else
    ``~/.cache/pytest-vmnet``.
    """
    if named := os.environ.get("VMNET_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "pytest-vmnet"
