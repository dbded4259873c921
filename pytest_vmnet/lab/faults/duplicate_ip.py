"""Another host in the guest's network uses the guest's address."""

from __future__ import annotations

import sys

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.core.words import Leg, Rebuild, Scope
from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.faults.base import Fault, Ground, Target
from pytest_vmnet.lab.site.wiring import ip

_IN_FORCE_S = 10.0


class DuplicateIp(Fault):
    """A twin on a switch port of its own, with its own MAC; it answers ARP and echo requests.

    It announces itself about once a second, so the neighbours' entries change hands and the
    guest's replies go to the twin. A rebuild changes nothing about the twin, and would take down
    a guest that works.
    """

    name = "duplicate-ip"
    summary = "another host on the switch has the guest's address and announces it"
    scope = Scope.UPLINK
    leg = Leg.UNKNOWN
    last_seen = "enp4s0"
    next_point = "gateway"
    reason = "DuplicateAddress"
    rebuild = Rebuild.DANGEROUS

    def inject(self, ground: Ground, target: Target) -> None:
        """Add the twin; return when it has taken the address at the gateway."""
        number = target.vmid % 256
        name, port = f"twin-{target.vmid}", f"sw-twin{target.vmid}"
        mac = f"02:76:6d:00:02:{number:02x}"
        twin = ground.add_host(name)
        ip(
            ground.hosts["switch"],
            f"""
            link add {port} type veth peer name eth0 netns {twin.pid}
            link set {port} master sw0
            link set {port} up
            """,
        )
        ip(
            twin,
            f"""
            link set eth0 address {mac}
            link set eth0 up
            address add {target.address}/{spec.PREFIX_LENGTH} dev eth0
            """,
        )
        announce = [sys.executable, "-m", "pytest_vmnet.lab.faults.announce", "eth0"]
        ground.hire(name, twin, [*announce, target.address])
        gateway = ground.hosts["gateway"]
        gateway.run(["ping", "-c", "1", "-W", "1", target.address], check=False)

        def taken() -> bool:
            entry = gateway.run(["ip", "neigh", "show", target.address], check=False)
            return mac in entry.stdout

        if not SYSTEM.wait_for(taken, timeout_s=_IN_FORCE_S, interval_s=0.05):
            raise LabError(f"{name} announced {target.address}, but the gateway took no notice")

    def remove(self, ground: Ground, target: Target) -> None:
        """Remove the twin with its port."""
        name = f"twin-{target.vmid}"
        ground.dismiss(name)
        ground.remove_host(name)
