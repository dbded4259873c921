"""What a hand-made site is put together from: guests, nodes, rules, ARP frames."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from pytest_vmnet.core.facts import ArpFrame, FdbMove, NftRule
from pytest_vmnet.core.site.link import Link
from pytest_vmnet.core.site.topology import Bridge, Guest, Inventory, Nic, Node
from pytest_vmnet.core.verdict.judge import Threshold

NODE, UPLINK, GATEWAY = "pve1", "enp4s0", IPv4Address("192.0.2.1")
GATEWAY_MAC = "dc:62:79:5f:4a:92"
THRESHOLD = Threshold(max_loss=0.01, confidence=0.95)


def mac(number: int) -> str:
    return f"bc:24:11:00:01:{10 + number:02x}"


def guest(number: int, **extra: Any) -> Guest:
    """Return vm-*number* with VMID 110 + *number*."""
    values: dict[str, Any] = {
        "vmid": 110 + number,
        "name": f"vm-{number}",
        "ident": f"vm-{number}",
        "node": NODE,
        "agent": True,
        "nics": (Nic(index=0, model="virtio", mac=mac(number), bridge="vmbr0"),),
        "interface": IPv4Interface(f"192.0.2.{(10 + number) % 256}/24"),
        "gateway": GATEWAY,
    }
    return Guest(**values | extra)


def node(name: str = NODE, ports: tuple[str, ...] = (UPLINK,)) -> Node:
    own = IPv4Interface("192.0.2.2/24")
    return Node(
        name=name,
        address=own.ip,
        bridges=(Bridge(name="vmbr0", node=name, ports=ports, interface=own),),
    )


def inventory(*guests: Guest, nodes: tuple[Node, ...] | None = None) -> Inventory:
    return Inventory(nodes=nodes or (node(),), guests=guests)


def rule(text: str, *, hook: str | None = "input", device: str | None = None) -> NftRule:
    family = "netdev" if device else "inet"
    return NftRule(
        family=family, table="t", chain="c", hook=hook, device=device, text=text, handle=3
    )


def arp(sha: str, spa: str, *, ifindex: int = 2, out: bool = False) -> ArpFrame:
    tpa = IPv4Address("192.0.2.99")
    return ArpFrame(
        t_ns=1, ifindex=ifindex, out=out, oper=1, sha=sha, spa=IPv4Address(spa), tpa=tpa
    )


def moved(times: int = 5, number: int = 1) -> list[FdbMove]:
    """Return FDB events: vm-*number*'s MAC is learnt at the uplink, again and again."""
    return [FdbMove(t_ns=t, mac=mac(number), ifname=UPLINK, deleted=False) for t in range(times)]


def links(*, firewalled: tuple[int, ...] = (), plain: tuple[int, ...] = ()) -> tuple[Link, ...]:
    """Return the devices of a node with those guests; ``enp4s0`` is its uplink."""
    made = [
        Link(ifname="vmbr0", ifindex=1, kind="bridge"),
        Link(ifname="enp4s0", ifindex=2, master="vmbr0"),
    ]
    made += [Link(ifname=f"tap{n}i0", ifindex=n, kind="tun", master="vmbr0") for n in plain]
    for vmid in firewalled:
        bridge, near, far = f"fwbr{vmid}i0", f"fwln{vmid}i0", f"fwpr{vmid}p0"
        made += [
            Link(ifname=bridge, ifindex=vmid * 10, kind="bridge"),
            Link(ifname=f"tap{vmid}i0", ifindex=vmid, kind="tun", master=bridge),
            Link(ifname=near, ifindex=vmid * 10 + 1, kind="veth", master=bridge, peer=far),
            Link(ifname=far, ifindex=vmid * 10 + 2, kind="veth", master="vmbr0", peer=near),
        ]
    return tuple(made)
