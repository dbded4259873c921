"""A guest's NICs on its node, wired the way Proxmox's ``pve-bridge`` does it.

QEMU creates the taps, not persistent: the kernel removes a tap the moment its QEMU ends, however
it ends. They are wired here before the guest's CPU runs. A NIC with ``firewall=1`` gets a bridge
of its own between tap and bridge, as on a node whose firewall works with iptables::

    tap111i0 - fwbr111i0 - fwln111i0 <veth> fwpr111p0 - vmbr0

References:
    ``tap_plug``, ``create_firewall_bridge_linux`` and ``tap_unplug`` in pve-common's
    ``src/PVE/Network.pm``.
"""

from __future__ import annotations

from pytest_vmnet.lab.pve.place import Place
from pytest_vmnet.lab.pve.props import Nic

_NO_IPV6 = 'for name; do echo 1 >"/proc/sys/net/ipv6/conf/$name/disable_ipv6" || :; done'


def firewall_devices(vmid: int, index: int) -> tuple[str, str, str]:
    """Return the names of a NIC's firewall bridge, the port in it and the port in the bridge.

    >>> firewall_devices(111, 0)
    ('fwbr111i0', 'fwln111i0', 'fwpr111p0')
    """
    return f"fwbr{vmid}i{index}", f"fwln{vmid}i{index}", f"fwpr{vmid}p{index}"


async def plug(place: Place, vmid: int, nic: Nic) -> None:
    """Bring the tap of *nic* up and connect it with its bridge, whose MTU it gets.

    Raises:
        LabError: There is no such bridge.
        CommandError: ``ip`` failed.
    """
    tap = nic.tap(vmid)
    if nic.bridge is None:
        await _hush(place, tap)
        await place.ip([f"link set dev {tap} promisc on up"])
        return
    mtu = await place.mtu_of(nic.bridge)
    wired = [f"link set dev {tap} mtu {mtu}", f"link set dev {tap} promisc on up"]
    cables, master = [tap], nic.bridge
    if nic.firewall:
        fwbr, fwln, fwpr = firewall_devices(vmid, nic.index)
        await place.ip(
            [
                f"link add {fwbr} mtu {mtu} type bridge stp_state 0 forward_delay 0",
                f"link add {fwln} mtu {mtu} type veth peer name {fwpr} mtu {mtu}",
            ]
        )
        cables, master = [tap, fwbr, fwln, fwpr], fwbr
        wired += [f"link set dev {each} up" for each in (fwbr, fwln, fwpr)]
        wired += [f"link set dev {fwpr} master {nic.bridge}", f"link set dev {fwln} master {fwbr}"]
    await _hush(place, *cables)
    await place.ip([*wired, f"link set dev {tap} master {master}"])


async def unplug(place: Place, vmid: int, index: int) -> None:
    """Remove the firewall bridge of a NIC and its cable to the bridge.

    Raises:
        CommandError: ``ip`` failed, for example because there is none.
    """
    fwbr, fwln, _ = firewall_devices(vmid, index)
    await place.ip([f"link delete dev {fwln}", f"link delete dev {fwbr}"])


async def _hush(place: Place, *ifnames: str) -> None:
    """Take IPv6 from cables: they are no hosts, and say nothing of their own."""
    await place.run(["sh", "-c", _NO_IPV6, "sh", *ifnames])
