"""What the lab's site looks like: names, addresses and wiring, and nothing that acts.

::

    external 198.51.100.8 --- gateway 192.0.2.1 ---.
                     workstation 192.0.2.50 ------ switch --- enp4s0 [vmbr0 on node pve1]
                                                                  |--- tap111i0 ... tap115i0
                                                                       vm-1 .11 ... vm-5 .15

The addresses are documentation networks (RFC 5737); they live in private namespaces only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

NODE = "pve1"
NODE_ADDRESS = "192.0.2.2"
GATEWAY_ADDRESS = "192.0.2.1"
WORKSTATION_ADDRESS = "192.0.2.50"
EXTERNAL_ADDRESS = "198.51.100.8"
EXTERNAL_ROUTER_ADDRESS = "198.51.100.1"
PREFIX_LENGTH = 24
BRIDGE = "vmbr0"
UPLINK = "enp4s0"
API_PORT = 8006
TEMPLATE_VMID = 9000
STORAGE = "local-lvm"
TAG = "vmnet-rebuild"

TOKEN_ID = "root@pam!vmnet"  # noqa: S105 - the token's name, not its secret
PROBE_INTERVAL_S = 0.06
"""Seconds between two probes of a flow: an emulated CPU, not the network, sets this pace."""

RUN_DIR = Path("/run/vmnet")
"""Where a lab keeps its files. /run is a private tmpfs in the lab's mount namespace."""


@dataclass(frozen=True)
class GuestSpec:
    """One guest of the lab.

    Attributes:
        name: Its name in Proxmox and in Terraform.
        vmid: Its VMID.
        address: Its IPv4 address.
    """

    name: str
    vmid: int
    address: str

    @property
    def tap(self) -> str:
        """The tap device of the guest's first NIC, as Proxmox names it."""
        return f"tap{self.vmid}i0"


GUESTS = tuple(GuestSpec(f"vm-{n}", 110 + n, f"192.0.2.{10 + n}") for n in range(1, 6))

HOSTS = ("node", "switch", "gateway", "external", "workstation")
"""Hosts of the lab that are network namespaces, by the names `vmnet lab exec` takes."""


def cache_dir() -> Path:
    """Return the folder for what is built once and used by every lab.

    ``VMNET_CACHE`` names it; else ``$XDG_CACHE_HOME/pytest-vmnet``, else
    ``~/.cache/pytest-vmnet``.
    """
    if named := os.environ.get("VMNET_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "pytest-vmnet"
