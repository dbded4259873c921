"""A sweep keeps to its budgets: slower, or with fewer peers, never with fewer probes."""

from __future__ import annotations

import math
import runpy
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.flow import budget
from pytest_vmnet.core.flow.budget import Budget, affordable_peers, fit, loads
from pytest_vmnet.core.flow.plan import Pace, Targets, plan_flows
from pytest_vmnet.options.option import BUDGET

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
EXTERNAL = IPv4Address("198.51.100.8")
PACE = Pace(count=300, interval_s=0.02)
DEFAULT = Budget.parse(BUDGET)


def targets(peers: str = "segment", *, external: bool = True) -> Targets:
    return Targets(
        peers=peers,
        external=EXTERNAL if external else None,
        inbound=True,
        nodes_with_shell=frozenset({"pve1"}),
    )


def site(count: int):
    guests = [
        W.guest(n, interface=IPv4Interface(f"10.0.{n // 250}.{n % 250 + 1}/16"))
        for n in range(1, count + 1)
    ]
    return W.inventory(*guests)


def flows(inventory, wanted: Targets, pace: Pace = PACE):
    return plan_flows(inventory, [guest.ident for guest in inventory.guests], wanted, pace)


def pps(inventory, planned, allowed: Budget = DEFAULT) -> dict[tuple[str, str], float]:
    return {load.place: load.pps for load in loads(planned, inventory, allowed)}


def test_what_two_guests_put_on_each_place() -> None:
    """Each flow is 50 probes/s, thus 100 packets/s; two ends make a pair two flows."""
    two = site(2)
    assert pps(two, flows(two, targets())) == {
        ("guest", "vm-1"): 500,  # gateway, external, inbound, pair x 2
        ("guest", "vm-2"): 500,
        ("target", "192.0.2.1"): 600,  # 2 gateway, 2 external through it, 2 controls
        ("target", "198.51.100.8"): 200,
        ("node", "pve1"): 900,  # the pair counts once; with the node's own control
    }


def test_a_usual_site_is_not_slowed_down() -> None:
    five = site(5)
    planned = flows(five, targets())
    fitted = fit(planned, five, DEFAULT)
    assert fitted.flows == planned
    assert fitted.told() is None
    assert affordable_peers(five, targets(), PACE, DEFAULT).peers == "segment"


def test_a_large_site_does_not_flood_its_gateway() -> None:
    many = site(200)
    planned = flows(many, targets("2"))
    assert pps(many, planned)["target", "192.0.2.1"] == 40_200
    fitted = fit(planned, many, DEFAULT)
    after = pps(many, fitted.flows)
    assert after["target", "192.0.2.1"] == pytest.approx(4000, rel=0.01)
    assert after["node", "pve1"] <= 20_000
    assert [flow.count for flow in fitted.flows] == [flow.count for flow in planned]
    assert fitted.told() == (
        "slowed down 10.1 times, to one probe per 201.0 ms of each flow: target 192.0.2.1 would "
        "get 40200 packets/s, its budget is 4000 (--vmnet-budget)"
    )


@given(
    st.integers(1, 12),
    st.sampled_from(["segment", "0", "1", "3"]),
    st.tuples(*[st.integers(10, 3000)] * 3),
)
def test_nothing_exceeds_its_budget_and_no_probe_is_left_out(count, peers, limits) -> None:
    some = site(count)
    allowed = Budget(**dict(zip(("guest", "target", "node"), map(float, limits), strict=True)))
    planned = flows(some, targets(peers))
    fitted = fit(planned, some, allowed)
    assert all(load.share <= 1 + 1e-9 for load in loads(fitted.flows, some, allowed))
    assert len({flow.interval_s for flow in fitted.flows}) == 1, "all in the same seconds"
    kept = [replace(flow, interval_s=0.02) for flow in fitted.flows]
    assert kept == list(planned)


def test_without_a_budget_nothing_is_slowed_down() -> None:
    many = site(40)
    planned = flows(many, targets())
    assert fit(planned, many, Budget.parse(("none",))).flows == planned
    assert affordable_peers(many, targets(), PACE, Budget()).peers == "segment"


def test_peers_are_sampled_where_they_are_what_makes_it_slow() -> None:
    many = site(60)
    narrow = Budget(node=20_000)
    found = affordable_peers(many, targets(), PACE, narrow)
    assert found.peers.isdecimal()
    share = loads(flows(many, targets(found.peers)), many, narrow)[0].share
    more = loads(flows(many, targets(str(int(found.peers) + 1))), many, narrow)[0].share
    assert share <= budget.MAX_STRETCH < more
    assert found.note == (
        f"peers: {found.peers} of each guest are sampled; all of its segment would slow the sweep "
        "down 19 times (--vmnet-budget); --vmnet-peers N or all overrules"
    )


def test_more_flows_than_a_sweep_can_tell_apart_are_sampled() -> None:
    found = affordable_peers(site(260), targets(), PACE, DEFAULT)
    assert int(found.peers) >= 1
    assert "would be too many flows" in str(found.note)


def test_every_guest_keeps_a_peer_however_narrow_the_budget() -> None:
    found = affordable_peers(site(30), targets(), PACE, Budget(guest=10))
    assert found.peers == "1"


@pytest.mark.parametrize("asked", ["all", "7", "0"])
def test_what_was_asked_for_is_kept_however_slow(asked) -> None:
    assert affordable_peers(site(60), targets(asked), PACE, DEFAULT) == budget.Sampling(
        peers=asked
    )


def test_a_dry_run_lists_every_place_with_its_budget() -> None:
    two = site(2)
    lines = budget.described(loads(flows(two, targets()), two, replace(DEFAULT, node=math.inf)))
    assert lines == [
        "guest vm-1: 500 packets/s, budget 2000",
        "guest vm-2: 500 packets/s, budget 2000",
        "target 192.0.2.1: 600 packets/s, budget 4000",
        "target 198.51.100.8: 200 packets/s, budget 4000",
        "node pve1: 900 packets/s, no budget",
    ]
    assert Counter(line.split()[0] for line in lines)["guest"] == 2
