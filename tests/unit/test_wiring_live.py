"""From the devices of a real node to the ledger: each point of a NIC's way sees each frame.

The devices are the kernel's own, in namespaces: the direction of every point is what it says.
"""

from __future__ import annotations

import runpy
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.facts import FlowSpec, HostFacts, Sweep
from pytest_vmnet.core.flow.route import capture_points, path_of
from pytest_vmnet.core.ledger.book import build_ledger
from pytest_vmnet.core.parse.ping import parse_ping
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.probes import script
from pytest_vmnet.probes.node import NodeWatch
from pytest_vmnet.probes.wiring import with_links

HERE = Path(__file__).parent
LIVE = SimpleNamespace(**runpy.run_path(str(HERE / "test_probes_node_live.py")))
W = SimpleNamespace(**runpy.run_path(str(HERE.parent / "data" / "core" / "world.py")))
site = LIVE.site
FAR = IPv4Address("192.0.2.99")
UPLINK = """\
unshare -n sleep 60 >/dev/null 2>&1 </dev/null & far=$!
while [ "$(readlink /proc/$far/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link add enp4s0 type veth peer name eth0
ip link set eth0 netns $far
ip link set enp4s0 master vmbr0
ip link set enp4s0 up
nsenter -t $far -n ip address add 192.0.2.99/24 dev eth0
nsenter -t $far -n ip link set eth0 up
"""
FIREWALL = """\
ip link add fwbr111i0 type bridge
ip link set fwbr111i0 up
ip link add fwln111i0 type veth peer name fwpr111p0
ip link set fwln111i0 master fwbr111i0
ip link set fwln111i0 up
ip link set fwpr111p0 master vmbr0
ip link set fwpr111p0 up
ip link set tap111i0 nomaster
ip link set tap111i0 master fwbr111i0
"""
FLOW = FlowSpec(
    number=7, source="vm-1", target=str(FAR), kind=FlowKind.GATEWAY, address=FAR, count=10,
    interval_s=0.01,
)  # fmt: skip


@pytest.mark.parametrize(
    ("more", "points"),
    [
        ("", ["tap111i0", "enp4s0"]),
        (FIREWALL, ["tap111i0", "fwln111i0", "fwpr111p0", "enp4s0"]),
    ],
)
def test_every_point_sees_every_frame_in_the_direction_that_the_path_says(
    site, more, points
) -> None:
    assert site.run(UPLINK + more).stderr == b""
    inventory, notes = with_links(W.inventory(W.guest(1)), {"pve1": site})
    assert notes == []
    watched = [w for w in path_of(FLOW, inventory, {}).waypoints if w.host == "pve1"]
    assert [w.point for w in watched] == points
    assert capture_points([FLOW], inventory) == {"pve1": tuple(sorted(points))}
    made = NodeWatch(
        node="pve1", points=tuple(points), flows=(), mark=LIVE.MARK, token=LIVE.TOKEN, limit_s=20
    )
    made.start(site)
    said = site.in_guest(script.ping_argv(FLOW, LIVE.MARK))
    facts = made.read(made.fetch(site))
    ping = parse_ping(said, "vm-1", count=FLOW.count)
    assert len(ping.rtt_ms) == FLOW.count
    hosts = {"vm-1": HostFacts(host="vm-1", pings={7: ping}), "pve1": facts}
    (ledger,) = build_ledger(Sweep(flows=(FLOW,), hosts=hosts, duration_s=1), inventory)
    cells = {cell.point: (cell.requests, cell.replies) for cell in ledger.counts()}
    assert {name: cells[name] for name in points} == dict.fromkeys(points, (10, 10))
    assert not ledger.strays
    where = [w.point for w in ledger.path.waypoints]
    order = [where.index(name) for name in points]
    times = ledger.times[:, order, 0]
    assert (times[0][1:] >= times[0][:-1]).all()
    assert (times[1][1:] <= times[1][:-1]).all()
    other_way = replace(FLOW, source="workstation", target="vm-1", kind=FlowKind.INBOUND)
    back = [w.point for w in path_of(other_way, inventory, {}).waypoints if w.host == "pve1"]
    assert back == points[::-1]
