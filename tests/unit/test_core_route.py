"""Which points a flow's packets pass, by the kind of the flow and where its ends are."""

from __future__ import annotations

import runpy
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.facts import GATE, FlowSpec
from pytest_vmnet.core.route import capture_points, path_of
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
