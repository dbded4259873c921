"""Neighbour entries: what is broken, and whose fault it is."""

from __future__ import annotations

import runpy
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.facts import GATE
from pytest_vmnet.core.words import FlowKind, Verdict

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
TWIN = "02:76:6d:00:02:6f"
PEER, GATEWAY = "192.0.2.12", "192.0.2.1"


def check(world, target: str = "vm-2", ident: str = "vm-1"):
    (found,) = [c for c in world.judge().guests[ident].neighbours if c.target == target]
    return found


def verdicts(world) -> list[str]:
    return [str(judged.verdict) for judged in world.judge().guests.values()]


def test_a_healthy_table() -> None:
    world = W.World()
    found = [
        (c.address, c.target, c.state, c.lladdr, c.expected, c.broken, c.counted_against)
        for c in world.judge().guests["vm-1"].neighbours
    ]
    gateway = W.GATEWAY_MAC
    assert found == [
        (GATEWAY, GATEWAY, "reachable", gateway, gateway, False, None),
        (PEER, "vm-2", "reachable", W.mac(2), W.mac(2), False, None),
        ("192.0.2.13", "vm-3", "reachable", W.mac(3), W.mac(3), False, None),
    ]


@pytest.mark.parametrize("state", ["stale", "delay", "probe", "permanent", "noarp"])
def test_a_state_that_works_is_not_broken(state) -> None:
    world = W.World(neighbours={("vm-1", PEER): (W.mac(2), state)})
    assert not check(world).broken
    assert verdicts(world) == ["healthy"] * 3


@pytest.mark.parametrize("state", ["failed", "incomplete", "none"])
@pytest.mark.parametrize("address", [PEER, GATEWAY])
def test_a_state_without_an_answer_is_broken(state, address) -> None:
    world = W.World(neighbours={("vm-1", address): (None, state)})
    found = check(world, "vm-2" if address == PEER else GATEWAY)
    assert (found.broken, found.state, found.counted_against) == (True, state, "vm-1")
    assert verdicts(world) == ["unhealthy", "healthy", "healthy"]
    assert f"is {state} with no MAC" in world.judge().guests["vm-1"].reason


def test_a_missing_entry_is_broken_where_the_probes_fail() -> None:
    world = W.lose(W.World(), 0, None, source="vm-1", target="vm-2")
    world.neighbours["vm-1", PEER] = None
    found = check(world)
    assert (found.state, found.broken, found.counted_against) == (None, True, "vm-1")


def test_a_missing_entry_is_not_broken_where_the_probes_came_through() -> None:
    world = W.World(neighbours={("vm-1", PEER): None})
    assert not check(world).broken
    assert verdicts(world) == ["healthy"] * 3


def test_a_broken_entry_counts_against_whom_the_flow_counts_against() -> None:
    world = W.World(neighbours={("vm-1", PEER): (None, "failed")})
    W.lose(world, 0, "vm-2:eth0", source="vm-1", target="vm-2")
    assert check(world).counted_against == "vm-2"
    assert verdicts(world) == ["healthy", "unhealthy", "healthy"]


def test_a_wrong_mac_that_somebody_announced_counts_against_the_peer() -> None:
    world = W.World(neighbours={("vm-1", PEER): (TWIN, "reachable")}, arps=[W.arp(TWIN, PEER)])
    found = check(world)
    assert (found.broken, found.expected, found.counted_against) == (True, W.mac(2), "vm-2")
    assert str(world.judge().guests["vm-1"].verdict) == "healthy"


@pytest.mark.parametrize(
    "arps",
    [
        pytest.param([], id="silence"),
        pytest.param([W.arp(TWIN, "192.0.2.13")], id="another-address"),
        pytest.param([W.arp("02:00:00:00:00:01", PEER)], id="another-mac"),
    ],
)
def test_a_wrong_mac_that_nobody_announced_is_the_owners_own(arps) -> None:
    world = W.World(neighbours={("vm-1", PEER): (TWIN, "permanent")}, arps=arps)
    assert check(world).counted_against == "vm-1"
    assert verdicts(world) == ["unhealthy", "healthy", "healthy"]
    assert world.judge().guests["vm-1"].reason == (
        f"its neighbour entry for vm-2 is permanent with {TWIN}, expected {W.mac(2)}"
    )


@pytest.mark.parametrize(
    ("others", "broken"),
    [
        pytest.param({}, True, id="most-hosts-agree-on-another"),
        pytest.param({"vm-2": None, "vm-3": None, "pve1": None, GATE: None}, False, id="alone"),
        pytest.param({"vm-2": None, "vm-3": None, "pve1": None}, False, id="one-against-one"),
        pytest.param({"vm-2": TWIN, "vm-3": TWIN, "pve1": TWIN, GATE: TWIN}, False, id="all"),
    ],
)
def test_the_gateways_mac_is_the_one_that_most_hosts_know(others, broken) -> None:
    world = W.World(neighbours={("vm-1", GATEWAY): (TWIN, "reachable")})
    for host, lladdr in others.items():
        world.neighbours[host, GATEWAY] = (lladdr, "reachable") if lladdr else None
    found = check(world, GATEWAY)
    assert (found.broken, found.counted_against) == (broken, "vm-1" if broken else None)


def test_a_peer_beyond_a_router_needs_no_entry() -> None:
    far = W.guest(2, interface=IPv4Interface("198.51.100.2/24"))
    world = W.World(guests=[W.guest(1), far])
    world.targets = type(world.targets)(
        peers="all", external=None, inbound=True, nodes_with_shell=frozenset({"pve1"})
    )
    judged = world.judge().guests["vm-1"]
    assert FlowKind.PEER in {flow.kind for flow in judged.flows}
    assert [c.target for c in judged.neighbours] == [GATEWAY]


def test_a_gateway_outside_of_its_subnet_is_checked_all_the_same() -> None:
    world = W.World(guests=[W.guest(1, interface=IPv4Interface("203.0.113.5/32")), W.guest(2)])
    world.neighbours["vm-1", GATEWAY] = (None, "failed")
    assert check(world, GATEWAY).broken


def test_a_guest_that_said_nothing_has_no_checks() -> None:
    judged = W.World(problems={"vm-1": "no answer"}).judge().guests["vm-1"]
    assert judged.neighbours == ()
    assert judged.verdict is Verdict.INCONCLUSIVE
