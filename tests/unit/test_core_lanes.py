"""IPv6 and full-sized packets beside the main lane: what they add, and what they cannot."""

from __future__ import annotations

import runpy
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Interface
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.flow.external import External, parse_external
from pytest_vmnet.core.flow.plan import Pace, Targets, plan_flows
from pytest_vmnet.core.site.topology import Bridge, Nic
from pytest_vmnet.core.words import FlowKind, PingKind, Verdict

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
ROUTER, ROUTER_MAC = IPv6Address("fe80::1"), "dc:62:79:5f:4a:92"
PACE = Pace(count=300, interval_s=0.02)
TARGETS = Targets(
    peers="segment", external=None, inbound=True, nodes_with_shell=frozenset({"pve1"})
)


def dual(number: int, **more):
    usual = {
        "interface6": IPv6Interface(f"2001:db8::{10 + number}/64"),
        "gateway6": ROUTER,
        "inbound6": True,
    }
    return W.guest(number, **usual | more)


def planned(*guests, targets=TARGETS, pace=PACE):
    flows = plan_flows(W.inventory(*guests), [g.ident for g in guests], targets, pace)
    return [(f.source, f.target, str(f.kind), str(f.address), f.count) for f in flows
            if f.lane == "ipv6"], flows  # fmt: skip


def test_what_two_guests_with_both_families_send_by_ipv6() -> None:
    external = IPv6Address("2001:db8:8::8")
    six, flows = planned(dual(1), dual(2), targets=replace(TARGETS, external6=external))
    assert six == [
        ("vm-1", "fe80::1", "gateway", "fe80::1", 300),
        ("vm-1", "2001:db8:8::8", "external", "2001:db8:8::8", 300),
        ("workstation", "vm-1", "inbound", "2001:db8::11", 300),
        ("vm-2", "fe80::1", "gateway", "fe80::1", 300),
        ("vm-2", "2001:db8:8::8", "external", "2001:db8:8::8", 300),
        ("workstation", "vm-2", "inbound", "2001:db8::12", 300),
        ("vm-2", "vm-1", "peer", "2001:db8::11", 300),
        ("vm-1", "vm-2", "peer", "2001:db8::12", 30),
    ]
    assert [flow.number for flow in flows] == list(range(len(flows)))


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [
        pytest.param({"interface6": None}, {}, {"gateway", "inbound"}, id="one-end-alone"),
        pytest.param({"inbound6": False}, {"inbound6": False}, {"gateway", "peer"}, id="no-way"),
        pytest.param({"gateway6": None}, {"gateway6": None}, {"inbound", "peer"}, id="no-router"),
    ],
)
def test_only_what_is_there_is_probed(first, second, kinds) -> None:
    six, _ = planned(dual(1, **first), dual(2, **second))
    assert {kind for _, _, kind, _, _ in six} == kinds


def test_without_an_address_nothing_changes() -> None:
    guests = [W.guest(1), W.guest(2)]
    routed = [replace(guest, gateway6=ROUTER) for guest in guests]
    targets = replace(TARGETS, external6=IPv6Address("2001:db8::8"))
    assert planned(*routed, targets=targets)[1] == planned(*guests)[1]


def test_guests_with_ipv6_alone_are_tested() -> None:
    alone = {"interface": None, "gateway": None}
    six, flows = planned(dual(1, **alone), dual(2, **alone))
    assert len(six) == len(flows) == 6
    world = W.World(guests=[dual(n, **alone) for n in (1, 2)])
    assert {str(judged.verdict) for judged in world.judge().guests.values()} == {"healthy"}


def test_a_lossy_ipv6_alone_makes_a_guest_sick_and_says_which() -> None:
    world = W.World(guests=[dual(n) for n in (1, 2, 3)])
    world = W.lose(world, 0, "tap111i0", kind=FlowKind.GATEWAY, source="vm-1", lane="ipv6")
    judged = world.judge().guests["vm-1"]
    assert judged.verdict is Verdict.UNHEALTHY
    assert judged.reason == (
        "1 of 8 flows lose more than 1.0%; worst vm-1 -> fe80::1 (IPv6): 300 of 300 lost"
    )
    assert (judged.telling.lane, judged.telling.kind) == ("ipv6", FlowKind.GATEWAY)
    assert world.judge().guests["vm-2"].verdict is Verdict.HEALTHY


def test_flows_of_both_families_to_one_peer_stay_apart() -> None:
    judged = W.World(guests=[dual(n) for n in (1, 2)]).judge().guests["vm-1"]
    assert [(str(f.kind), f.target, f.lane, f.transmitted) for f in judged.flows] == [
        ("gateway", "192.0.2.1", "main", 300), ("gateway", "fe80::1", "ipv6", 300),
        ("peer", "vm-2", "main", 330), ("peer", "vm-2", "ipv6", 330),
        ("inbound", "vm-1", "main", 300), ("inbound", "vm-1", "ipv6", 300),
    ]  # fmt: skip


def test_neighbour_discovery_is_checked_like_arp() -> None:
    world = W.World(guests=[dual(n) for n in (1, 2, 3)])
    six = [c for c in world.judge().guests["vm-1"].neighbours if ":" in c.address]
    assert [(c.address, c.target, c.expected, c.broken) for c in six] == [
        ("fe80::1", "fe80::1", ROUTER_MAC, False),
        ("2001:db8::12", "vm-2", W.mac(2), False),
        ("2001:db8::13", "vm-3", W.mac(3), False),
    ]
    world.neighbours["vm-1", "fe80::1"] = (None, "failed")
    judged = world.judge().guests["vm-1"]
    assert judged.verdict is Verdict.UNHEALTHY
    assert "its neighbour entry for fe80::1 is failed" in judged.reason


def test_a_link_local_router_of_another_wire_has_no_say() -> None:
    world = W.World(guests=[dual(n) for n in (1, 2, 3)])
    far = (Nic(index=0, model="virtio", mac=W.mac(3), bridge="vmbr0", tag=7),)
    world.guests = [dual(1), dual(2, nics=(replace(far[0], mac=W.mac(2)),)), dual(3, nics=far)]
    for ident in ("vm-2", "vm-3"):
        world.neighbours[ident, "fe80::1"] = ("02:00:00:00:00:07", "reachable")
    (mine,) = [c for c in world.judge().guests["vm-1"].neighbours if c.address == "fe80::1"]
    assert (mine.expected, mine.broken) == (None, False)


@pytest.mark.parametrize(
    ("nic_mtu", "bridge_mtu", "size"),
    [(None, None, 1472), (1400, 9000, 1372), (1, 1450, 1422), (None, 9000, 1472)],
)
def test_large_packets_fill_the_mtu_and_are_no_jumbo_frames(nic_mtu, bridge_mtu, size) -> None:
    node = replace(W.node(), bridges=(
        Bridge(name="vmbr0", node="pve1", ports=("enp4s0",), mtu=bridge_mtu),))  # fmt: skip
    guest = W.guest(1)
    guest = replace(guest, nics=(replace(guest.nic, mtu=nic_mtu),))
    site = W.inventory(guest, nodes=(node,))
    flows = plan_flows(site, ["vm-1"], replace(TARGETS, large=True), PACE)
    assert [(f.target, str(f.kind), f.size, f.count, f.interval_s) for f in flows
            if f.lane == "large"] == [("192.0.2.1", "gateway", size, 6, 1.0)]  # fmt: skip


@pytest.mark.parametrize(("count", "interval_s"), [(5, 0.01), (300, 0.02), (300, 0.25), (20, 3)])
def test_the_slow_lane_keeps_to_the_sweeps_time(count, interval_s) -> None:
    pace = Pace(count=count, interval_s=interval_s)
    (large,) = [f for f in planned(W.guest(1), targets=replace(TARGETS, large=True), pace=pace)[1]
                if f.lane == "large"]  # fmt: skip
    assert large.count * large.interval_s <= pace.duration_s
    assert large.interval_s >= min(1.0, pace.duration_s)


def large_world(**more):
    return W.World(targets=replace(TARGETS, large=True), **more)


def test_large_packets_prove_nothing_good_and_spoil_nothing() -> None:
    judged = large_world().judge().guests["vm-1"]
    (large,) = [flow for flow in judged.flows if flow.lane == "large"]
    assert (large.verdict, large.is_bad, large.size) == (Verdict.INCONCLUSIVE, False, 1472)
    assert (judged.verdict, judged.reason) == (
        Verdict.HEALTHY, "all 4 flows lose at most 1.0%",
    )  # fmt: skip


def test_what_large_packets_lose_is_a_failure() -> None:
    world = W.lose(large_world(), 0, "tap111i0", source="vm-1", lane="large")
    judged = world.judge().guests["vm-1"]
    assert judged.verdict is Verdict.UNHEALTHY
    assert judged.reason.endswith("worst vm-1 -> 192.0.2.1 (1472 bytes): 6 of 6 lost")
    assert judged.telling.lane == "large"


def test_clean_large_packets_do_not_make_up_for_too_few_small_ones() -> None:
    guests = [W.guest(1)]
    judged = large_world(guests=guests, count=60).judge().guests["vm-1"]
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.telling.lane == "main"


def test_an_old_busybox_sends_once_per_second_and_no_more() -> None:
    slow, quick = W.guest(1, ping=PingKind.BUSYBOX_SLOW), W.guest(2, ping=PingKind.BUSYBOX)
    _, flows = planned(slow, quick)
    own = {(f.source, f.count, f.interval_s) for f in flows if f.kind is FlowKind.GATEWAY}
    assert own == {("vm-1", 6, 1.0), ("vm-2", 300, 0.02)}
    assert {f.source: str(f.ping) for f in flows} == {
        "vm-1": "busybox-slow", "vm-2": "busybox", "workstation": "iputils", "pve1": "iputils",
    }  # fmt: skip


def test_what_busybox_lost_has_no_place() -> None:
    guests = [W.guest(1, ping=PingKind.BUSYBOX), W.guest(2)]
    world = W.lose(W.World(guests=guests), 0, "enp4s0", source="vm-1", kind=FlowKind.GATEWAY)
    telling = world.judge().guests["vm-1"].telling
    assert telling.verdict is Verdict.UNHEALTHY
    assert {point.doubt for point in telling.points} == {
        "the prober's ping is busybox's, whose packets cannot carry this run's mark"
    }
    assert [(str(d.leg), d.last_seen, d.next_point) for d in telling.deaths] == [
        ("unknown", None, "gateway")
    ]


def test_an_inconclusive_busybox_says_why_it_sent_so_few() -> None:
    judged = W.World(guests=[W.guest(1, ping=PingKind.BUSYBOX_SLOW)]).judge().guests["vm-1"]
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason == (
        "vm-1 -> 192.0.2.1: 0 of 6 lost, which proves neither more nor less than 1.0%; vm-1's "
        "ping is busybox's: it marks its probes with one byte only, and sends one per second: "
        "6 probes"
    )


def test_a_guests_rule_is_blamed_for_its_own_family_only() -> None:
    world = W.World(guests=[dual(n) for n in (1, 2)])
    W.lose(world, 0, None, kind=FlowKind.GATEWAY, source="vm-1", lane="ipv6")
    world.rules["vm-1"] = (W.rule("icmp type echo-request drop", hook="output"),)
    assert [found.reason for found in world.diagnose()[1]] == ["Unknown"]
    world.rules["vm-1"] += (W.rule("icmpv6 type echo-request drop", hook="output"),)
    (found,) = world.diagnose()[1]
    assert found.reason == "GuestFirewallDrop"
    assert "icmpv6 type echo-request drop" in found.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, External()), ("none", External()),
        ("198.51.100.8", External(v4=IPv4Address("198.51.100.8"))),
        ("2001:db8::8", External(v6=IPv6Address("2001:db8::8"))),
        ("2001:db8::8, 198.51.100.8",
         External(IPv4Address("198.51.100.8"), IPv6Address("2001:db8::8"))),
    ],
)  # fmt: skip
def test_one_external_address_of_each_family(text, expected) -> None:
    assert parse_external(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [("::1,::2", "two IPv6 addresses"), ("1.2.3.4,", "''"), ("example.org", "'example.org'")],
)
def test_an_external_address_that_is_none(text, said) -> None:
    with pytest.raises(ValueError, match=said):
        parse_external(text)
