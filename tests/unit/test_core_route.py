"""Which points a flow's packets pass, by the kind of the flow and where its ends are."""

from __future__ import annotations

import runpy
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.facts import GATE, FlowSpec
from pytest_vmnet.core.flow.route import capture_points, odd_ways, path_of
from pytest_vmnet.core.site.link import Link
from pytest_vmnet.core.site.topology import Inventory, Nic
from pytest_vmnet.core.words import FlowKind

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
SITE = W.inventory(
    *(W.guest(n) for n in (1, 2)),
    W.guest(3, interface=IPv4Interface("198.51.100.3/24")),
    W.guest(4, node="pve2"),
    nodes=(W.node(), W.node("pve2")),
)


def flow(source: str, target: str, kind: FlowKind, number: int = 0) -> FlowSpec:
    return FlowSpec(
        number=number, source=source, target=target, kind=kind, address=W.GATEWAY, count=1,
        interval_s=1,
    )  # fmt: skip


GATEWAY = flow("vm-1", "192.0.2.1", FlowKind.GATEWAY)


@pytest.mark.parametrize(
    ("spec", "points", "ends"),
    [
        pytest.param(
            GATEWAY,
            "guest:eth0> tap111i0< enp4s0>",
            ("guest:stack", "gateway"),
            id="gateway",
        ),
        pytest.param(
            flow("vm-1", "198.51.100.8", FlowKind.EXTERNAL),
            "guest:eth0> tap111i0< enp4s0>",
            ("guest:stack", "external"),
            id="external",
        ),
        pytest.param(
            flow(GATE, "vm-1", FlowKind.INBOUND),
            "enp4s0< tap111i0> guest:eth0<",
            (GATE, "guest:stack"),
            id="inbound",
        ),
        pytest.param(
            flow("vm-1", "vm-2", FlowKind.PEER),
            "guest:eth0> tap111i0< tap112i0> vm-2:eth0<",
            ("guest:stack", "vm-2:stack"),
            id="peer",
        ),
        pytest.param(
            flow("vm-1", "vm-3", FlowKind.PEER),
            "guest:eth0> tap111i0< enp4s0> enp4s0< tap113i0> vm-3:eth0<",
            ("guest:stack", "vm-3:stack"),
            id="peer-behind-a-router",
        ),
        pytest.param(
            flow("vm-1", "vm-4", FlowKind.PEER),
            "guest:eth0> tap111i0< enp4s0> pve2:enp4s0< tap114i0> vm-4:eth0<",
            ("guest:stack", "vm-4:stack"),
            id="peer-on-another-node",
        ),
        pytest.param(
            flow("pve1", "192.0.2.1", FlowKind.CONTROL), "enp4s0>", ("pve1", "gateway"), id="node"
        ),
        pytest.param(flow(GATE, "192.0.2.1", FlowKind.CONTROL), "", (GATE, "gateway"), id="gate"),
    ],
)
def test_the_way_of_each_kind(spec, points, ends) -> None:
    path = path_of(spec, SITE, {})
    assert " ".join(f"{w.point}{'><'[not w.request_out]}" for w in path.waypoints) == points
    assert (path.start, path.end) == ends


def test_points_know_who_watches_them_and_whose_they_are() -> None:
    path = path_of(flow("vm-1", "vm-4", FlowKind.PEER), SITE, {"vm-4": "ens18"})
    assert [(w.host, w.ifname, w.guest) for w in path.waypoints] == [
        ("vm-1", "eth0", "vm-1"),
        ("pve1", "tap111i0", "vm-1"),
        ("pve1", "enp4s0", None),
        ("pve2", "enp4s0", None),
        ("pve2", "tap114i0", "vm-4"),
        ("vm-4", "ens18", "vm-4"),
    ]


@pytest.mark.parametrize("ports", [(), ("eno1", "eno2")])
def test_a_bridge_without_one_uplink_has_no_point_there(ports) -> None:
    site = W.inventory(W.guest(1), nodes=(W.node(ports=ports),))
    assert [w.point for w in path_of(GATEWAY, site, {}).waypoints] == ["guest:eth0", "tap111i0"]


def test_only_the_paths_ports_are_captured() -> None:
    flows = [GATEWAY, flow("vm-1", "vm-4", FlowKind.PEER), flow(GATE, "1", FlowKind.CONTROL)]
    assert capture_points(flows, SITE) == {
        "pve1": ("enp4s0", "tap111i0"),
        "pve2": ("enp4s0", "tap114i0"),
    }
    assert capture_points([flow("vm-1", "vm-2", FlowKind.PEER)], SITE) == {
        "pve1": ("tap111i0", "tap112i0")
    }


def wired(**extra: object) -> Inventory:
    """Return two nodes: vm-1 (firewalled) and vm-2 on pve1, vm-4 and vm-5 (firewalled) on pve2."""
    site = W.inventory(
        *(W.guest(n) for n in (1, 2)),
        *(W.guest(n, node="pve2") for n in (4, 5)),
        nodes=(W.node(), W.node("pve2")),
    )
    devices = {
        "pve1": W.links(firewalled=(111,), plain=(112,)),
        "pve2": W.links(firewalled=(115,), plain=(114,)),
    }
    return replace(site, links=devices, **extra)


FW1 = "guest:eth0> tap111i0< fwln111i0> fwpr111p0<"
TO_FW5 = "fwpr115p0> fwln115i0< tap115i0> vm-5:eth0<"


@pytest.mark.parametrize(
    ("spec", "points"),
    [
        pytest.param(GATEWAY, f"{FW1} enp4s0>", id="gateway"),
        pytest.param(
            flow(GATE, "vm-1", FlowKind.INBOUND),
            "enp4s0< fwpr111p0> fwln111i0< tap111i0> guest:eth0<",
            id="inbound",
        ),
        pytest.param(
            flow("vm-1", "vm-2", FlowKind.PEER), f"{FW1} tap112i0> vm-2:eth0<", id="to-plain"
        ),
        pytest.param(
            flow("vm-2", "vm-1", FlowKind.PEER),
            "guest:eth0> tap112i0< fwpr111p0> fwln111i0< tap111i0> vm-1:eth0<",
            id="to-firewalled",
        ),
        pytest.param(
            flow("vm-1", "vm-4", FlowKind.PEER),
            f"{FW1} enp4s0> pve2:enp4s0< tap114i0> vm-4:eth0<",
            id="across-nodes",
        ),
        pytest.param(
            flow("vm-1", "vm-5", FlowKind.PEER),
            f"{FW1} enp4s0> pve2:enp4s0< {TO_FW5}",
            id="across-nodes-both-firewalled",
        ),
        pytest.param(
            flow("vm-5", "vm-1", FlowKind.PEER),
            "guest:eth0> tap115i0< fwln115i0> fwpr115p0< enp4s0> pve1:enp4s0< "
            "fwpr111p0> fwln111i0< tap111i0> vm-1:eth0<",
            id="across-nodes-back",
        ),
        pytest.param(
            flow("vm-4", "vm-5", FlowKind.PEER),
            f"guest:eth0> tap114i0< {TO_FW5}",
            id="within-the-other-node",
        ),
        pytest.param(flow("pve2", "192.0.2.1", FlowKind.CONTROL), "enp4s0>", id="node"),
    ],
)
def test_the_way_over_firewall_bridges_and_two_nodes(spec, points) -> None:
    path = path_of(spec, wired(), {})
    assert " ".join(f"{w.point}{'><'[not w.request_out]}" for w in path.waypoints) == points


def test_whose_the_ports_of_a_firewalled_nic_are() -> None:
    path = path_of(flow("vm-1", "vm-5", FlowKind.PEER), wired(), {})
    owners = {w.point: (w.host, w.guest) for w in path.waypoints}
    assert {owners[p] for p in ("tap111i0", "fwln111i0", "fwpr111p0")} == {("pve1", "vm-1")}
    assert {owners[p] for p in ("tap115i0", "fwln115i0", "fwpr115p0")} == {("pve2", "vm-5")}
    assert owners["enp4s0"] == ("pve1", None)
    assert owners["pve2:enp4s0"] == ("pve2", None)


def test_both_nodes_capture_their_own_part_of_the_way() -> None:
    assert capture_points([flow("vm-1", "vm-5", FlowKind.PEER)], wired()) == {
        "pve1": ("enp4s0", "fwln111i0", "fwpr111p0", "tap111i0"),
        "pve2": ("enp4s0", "fwln115i0", "fwpr115p0", "tap115i0"),
    }


def test_a_guests_port_of_the_same_name_on_both_nodes_is_told_apart() -> None:
    site = wired()
    odd = {
        node: tuple(
            replace(link, ifname=link.ifname.replace(f"fwln{vmid}i0", "odd0"), peer=link.peer)
            if link.ifname == f"fwln{vmid}i0"
            else replace(link, peer="odd0" if link.ifname == f"fwpr{vmid}p0" else link.peer)
            for link in site.links[node]
        )
        for node, vmid in (("pve1", 111), ("pve2", 115))
    }
    site = replace(site, links=odd)
    path = path_of(flow("vm-1", "vm-5", FlowKind.PEER), site, {})
    names = [w.point for w in path.waypoints]
    assert len(set(names)) == len(names)
    assert {"odd0", "pve2:odd0"} <= set(names)
    assert odd_ways(site) == [
        "pve1: odd0, a veth that is not Proxmox's, is on the way (vm-1)",
        "pve2: odd0, a veth that is not Proxmox's, is on the way (vm-5)",
    ]


def test_guests_whose_taps_are_in_fact_on_two_bridges_do_not_meet_in_one() -> None:
    site = wired()
    strayed = (
        *(replace(x, master="vmbr9") if x.ifname == "tap112i0" else x for x in site.links["pve1"]),
        Link(ifname="vmbr9", ifindex=90, kind="bridge"),
    )
    site = replace(site, links={**site.links, "pve1": strayed})
    path = path_of(flow("vm-1", "vm-2", FlowKind.PEER), site, {})
    assert [w.point for w in path.waypoints][-3:] == ["enp4s0", "tap112i0", "vm-2:eth0"]
    assert odd_ways(site) == [
        "pve1: tap112i0 is a port of vmbr9 and does not lead to vmbr0, as configured (vm-2)"
    ]
    assert odd_ways(replace(site, chosen=frozenset({"vm-1"}))) == []


def test_a_nodes_own_probes_leave_by_the_bridge_in_that_subnet() -> None:
    node = W.node()
    other = replace(
        node.bridges[0], name="vmbr1", ports=("enp5s0",), interface=IPv4Interface("10.0.0.2/24")
    )
    site = W.inventory(W.guest(1), nodes=(replace(node, bridges=(other, *node.bridges)),))
    to = flow("pve1", "192.0.2.1", FlowKind.CONTROL)
    assert [w.point for w in path_of(to, site, {}).waypoints] == ["enp4s0"]
    away = replace(to, address=IPv4Interface("10.0.0.1/24").ip)
    assert [w.point for w in path_of(away, site, {}).waypoints] == ["enp5s0"]


def test_the_second_nic_has_a_chain_of_its_own() -> None:
    guest = W.guest(2)
    second = Nic(index=1, model="virtio", mac="02:00:00:00:00:01", bridge="vmbr1")
    node = W.node()
    bridges = (*node.bridges, replace(node.bridges[0], name="vmbr1", ports=("enp5s0",)))
    site = W.inventory(guest, nodes=(replace(node, bridges=bridges),))
    assert site.chain(guest).devices == ("tap112i0", "vmbr0", "enp4s0")
    assert site.chain(guest, second).devices == ("tap112i1", "vmbr1", "enp5s0")
