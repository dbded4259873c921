"""Which flows are planned: none twice, none forgotten, always in the same order."""

from __future__ import annotations

import runpy
from collections import Counter
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.flow import plan
from pytest_vmnet.core.flow.plan import Pace, Targets, peers_of, plan_flows
from pytest_vmnet.core.site.topology import Nic
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.errors import ConfigError

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
PACE = Pace(count=300, interval_s=0.02)


def targets(**more) -> Targets:
    usual = {
        "peers": "segment", "external": None, "inbound": True,
        "nodes_with_shell": frozenset({"pve1"}),
    }  # fmt: skip
    return Targets(**usual | more)


def rows(guests, tested=None, pace=PACE, **more) -> list[tuple[str, str, str, int]]:
    tested = tested or [g.ident for g in guests]
    flows = plan_flows(W.inventory(*guests), tested, targets(**more), pace)
    return [(f.source, f.target, str(f.kind), f.count) for f in flows]


GUESTS = [W.guest(n) for n in (1, 2, 3)]


def test_the_flows_of_two_guests() -> None:
    assert rows(GUESTS[:2], external=IPv4Address("198.51.100.8")) == [
        ("vm-1", "192.0.2.1", "gateway", 300),
        ("vm-1", "198.51.100.8", "external", 300),
        ("workstation", "vm-1", "inbound", 300),
        ("vm-2", "192.0.2.1", "gateway", 300),
        ("vm-2", "198.51.100.8", "external", 300),
        ("workstation", "vm-2", "inbound", 300),
        ("vm-2", "vm-1", "peer", 300),
        ("vm-1", "vm-2", "peer", 30),
        ("pve1", "192.0.2.1", "control", 300),
        ("workstation", "192.0.2.1", "control", 300),
    ]


def test_flows_are_numbered_and_know_their_address() -> None:
    flows = plan_flows(W.inventory(*GUESTS), ["vm-1"], targets(), PACE)
    assert [flow.number for flow in flows] == list(range(len(flows)))
    assert {str(f.address) for f in flows if f.target == "vm-1"} == {"192.0.2.11"}
    assert PACE.duration_s == 6.0


@pytest.mark.parametrize(("count", "few"), [(300, 30), (12, 12)])
def test_both_ends_of_a_pair_start_probes(count, few) -> None:
    found = Counter(
        (source, target, number)
        for source, target, kind, number in rows(GUESTS, pace=Pace(count=count, interval_s=1))
        if kind == "peer"
    )
    assert set(found.values()) == {1}
    pairs = {frozenset(key[:2]) for key in found}
    assert len(pairs) == 3
    for pair in pairs:
        assert sorted(n for *ends, n in found if set(ends) == pair) == sorted([few, count])


def test_each_guest_starts_about_half_of_its_pairs() -> None:
    guests = [W.guest(n) for n in range(1, 21)]
    full = Counter(source for source, _, kind, n in rows(guests) if kind == "peer" and n == 300)
    assert len(full) == 20
    assert all(abs(number - 9.5) <= 0.5 for number in full.values())


def test_a_guest_that_is_not_tested_takes_part_as_a_peer_only() -> None:
    found = rows(GUESTS, tested=["vm-1"])
    assert {row[:3] for row in found if row[0] == "vm-2"} == {("vm-2", "vm-1", "peer")}
    assert not [row for row in found if {"vm-2", "vm-3"} <= set(row)]


def test_without_a_gateway_there_is_no_gateway_flow() -> None:
    lonely = W.guest(1, gateway=None)
    found = rows([lonely, GUESTS[1]], tested=["vm-1"], external=IPv4Address("198.51.100.8"))
    assert {row[2] for row in found} == {"inbound", "peer"}


def test_without_an_address_there_is_nothing() -> None:
    assert rows([W.guest(1, interface=None), GUESTS[1]], tested=["vm-1"]) == []


def test_without_shells_and_inbound_there_is_no_control() -> None:
    found = rows(GUESTS, inbound=False, nodes_with_shell=frozenset())
    assert {row[2] for row in found} == {"gateway", "peer"}


NEAR = W.guest(2)
FAR = {
    "other-subnet": W.guest(2, interface=IPv4Interface("198.51.100.2/24")),
    "other-vlan": W.guest(
        2, nics=(Nic(index=0, model="virtio", mac=W.mac(2), bridge="vmbr0", tag=10),)
    ),
    "other-bridge": W.guest(2, nics=(Nic(index=0, model="virtio", mac=W.mac(2), bridge="vmbr1"),)),
    "other-node": W.guest(2, node="pve2"),
}


@pytest.mark.parametrize("other", FAR)
def test_peers_share_bridge_vlan_and_subnet_unless_all_are_wanted(other) -> None:
    site = W.inventory(GUESTS[0], FAR[other], W.guest(3))
    assert [g.ident for g in peers_of(GUESTS[0], site, "segment")] == ["vm-3"]
    assert [g.ident for g in peers_of(GUESTS[0], site, "all")] == ["vm-2", "vm-3"]
    assert [g.ident for g in peers_of(GUESTS[0], site, "5")] == ["vm-3"]


@pytest.mark.parametrize(("ports", "expected"), [(("enp4s0",), ["vm-2"]), ((), [])])
def test_guests_of_two_nodes_are_peers_if_both_bridges_lead_out(ports, expected) -> None:
    nodes = (W.node(), W.node("pve2", ports))
    for here, there in ((1, 2), (2, 1)):
        guests = [W.guest(1), W.guest(2, node="pve2")]
        found = peers_of(guests[here - 1], W.inventory(*guests, nodes=nodes), "segment")
        assert [g.ident for g in found] == [f"vm-{there}" for _ in expected]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1, ["vm-2", "vm-3"]), (2, ["vm-3", "vm-4"]), (3, ["vm-4", "vm-1"]), (4, ["vm-1", "vm-2"])],
)
def test_a_number_of_peers_wraps_around(number, expected) -> None:
    guests = [W.guest(n) for n in (1, 2, 3, 4)]
    found = peers_of(guests[number - 1], W.inventory(*guests), "2")
    assert [g.ident for g in found] == expected


@given(st.permutations(range(1, 8)), st.sampled_from(["segment", "2", "all"]))
def test_the_order_of_the_question_does_not_matter(order, wanted) -> None:
    guests = [W.guest(n) for n in range(1, 8)]
    tested = [f"vm-{n}" for n in order]
    assert rows(guests, tested=tested, peers=wanted) == rows(guests, peers=wanted)


def test_a_flow_has_no_more_probes_than_icmp_has_numbers() -> None:
    long = Pace(count=240_000, interval_s=0.002)
    assert max(row[3] for row in rows(GUESTS, pace=long)) == plan.MAX_PROBES < 2**16


def test_more_flows_than_a_sweep_can_tell_apart_are_refused() -> None:
    guests = [
        W.guest(n, interface=IPv4Interface(f"10.0.{n // 250}.{n % 250 + 1}/16"))
        for n in range(1, 258)
    ]
    with pytest.raises(ConfigError, match=r"\d+ flows for 257 guests, .* --vmnet-peers N"):
        rows(guests)
    assert len(rows(guests, peers="5")) < plan.MAX_FLOWS


def test_kinds_are_the_public_ones() -> None:
    kinds = {FlowKind(row[2]) for row in rows(GUESTS, external=IPv4Address("198.51.100.8"))}
    assert kinds == set(FlowKind) - {FlowKind.SERVICE}
