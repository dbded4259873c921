"""A flow between guests counts against the one at whose own port the packets die."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.words import FlowKind

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
ONE_TWO = {"source": "vm-1", "target": "vm-2"}
TWO_ONE = {"source": "vm-2", "target": "vm-1"}


def blamed(world) -> set[str | None]:
    """Return against whom the pair of vm-1 and vm-2 counts, as either end lists it."""
    judgement = world.judge()
    return {
        flow.counted_against
        for ident, judged in judgement.guests.items()
        for flow in judged.flows
        if flow.kind is FlowKind.PEER and {ident, flow.target} == {"vm-1", "vm-2"}
    }


def test_a_clean_flow_counts_against_nobody() -> None:
    assert blamed(W.World()) == {None}


@pytest.mark.parametrize(
    ("leg", "last", "flow", "expected"),
    [
        pytest.param(0, None, ONE_TWO, "vm-1", id="never-left-vm-1"),
        pytest.param(0, "guest:eth0", ONE_TWO, "vm-1", id="between-vm-1-and-its-tap"),
        pytest.param(1, "tap111i0", ONE_TWO, "vm-1", id="reply-between-tap-and-vm-1"),
        pytest.param(1, "guest:eth0", ONE_TWO, "vm-1", id="reply-behind-vm-1s-nic"),
        pytest.param(0, "tap112i0", ONE_TWO, "vm-2", id="between-vm-2s-tap-and-vm-2"),
        pytest.param(0, "vm-2:eth0", ONE_TWO, "vm-2", id="behind-vm-2s-nic"),
        pytest.param(1, "vm-2:eth0", ONE_TWO, "vm-2", id="reply-between-vm-2-and-its-tap"),
        pytest.param(0, "vm-1:eth0", TWO_ONE, "vm-1", id="the-other-way-round"),
        # Between the taps: the port where they were missed is the one that they died at.
        pytest.param(0, "tap111i0", ONE_TWO, "vm-2", id="missed-at-vm-2s-tap"),
        pytest.param(1, "tap112i0", ONE_TWO, "vm-1", id="reply-missed-at-vm-1s-tap"),
    ],
)
def test_the_place_of_the_deaths_decides(leg, last, flow, expected) -> None:
    world = W.lose(W.World(), leg, last, **flow)
    assert blamed(world) == {expected}
    verdicts = {k: str(v.verdict) for k, v in world.judge().guests.items()}
    assert verdicts == dict.fromkeys(("vm-1", "vm-2", "vm-3"), "healthy") | {expected: "unhealthy"}


@pytest.mark.parametrize("sick", ["vm-1", "vm-2"])
def test_between_the_taps_it_is_the_end_that_is_sick_anyway(sick) -> None:
    world = W.lose(W.World(), 0, "tap111i0", **ONE_TWO)
    W.lose(world, 1, "enp4s0", source=sick, kind=FlowKind.GATEWAY)
    assert blamed(world) == {sick}


@pytest.mark.parametrize("sick", ["vm-1", "vm-2"])
def test_else_the_end_with_more_failing_pairs(sick) -> None:
    world = W.lose(W.World(), 0, "tap111i0", **ONE_TWO)
    own, other = f"tap11{sick[-1]}i0", "tap113i0"
    W.lose(world, 0, own, source=sick, target="vm-3")
    W.lose(world, 0, other, source="vm-3", target=sick)
    assert blamed(world) == {sick}


def test_an_end_that_is_not_tested_is_not_innocent_for_that() -> None:
    world = W.lose(W.World(tested=["vm-1"]), 0, "tap111i0", **ONE_TWO)
    assert blamed(world) == {"vm-2"}
    assert str(world.judge().guests["vm-1"].verdict) == "healthy"


def test_most_deaths_decide() -> None:
    """vm-2 sends 300 probes, vm-1 sends 30; those of vm-2 die at vm-2."""
    world = W.lose(W.World(), 0, "tap112i0", **ONE_TWO)
    W.lose(world, 0, "guest:eth0", share=0.5, **TWO_ONE)
    assert blamed(world) == {"vm-2"}
    world = W.lose(W.World(), 0, "guest:eth0", **ONE_TWO)
    W.lose(world, 0, "guest:eth0", share=0.05, **TWO_ONE)
    assert blamed(world) == {"vm-1"}


@pytest.mark.parametrize("kind", [FlowKind.GATEWAY, FlowKind.INBOUND])
def test_other_flows_count_against_the_guest_itself(kind) -> None:
    world = W.lose(W.World(), 0, "enp4s0", kind=kind)
    for ident, judged in world.judge().guests.items():
        assert {f.counted_against for f in judged.flows if f.kind is kind} == {ident}


@pytest.mark.parametrize(
    ("silent", "expected"),
    [
        ({("vm-1", "vm-2")}, {"vm-1"}),
        ({("vm-2", "vm-1")}, {"vm-2"}),
        ({("vm-1", "vm-2"), ("vm-2", "vm-1")}, {"vm-1", "vm-2"}),
    ],
)
def test_what_nobody_could_say_stays_with_who_could_not(silent, expected) -> None:
    assert blamed(W.World(silent=silent)) == expected


TAPS = {"pve1": dict.fromkeys(("tap111i0", "tap112i0"), "the canary was not captured")}


@pytest.mark.parametrize(("leg", "last"), [(0, "tap111i0"), (1, "tap112i0"), (0, "guest:eth0")])
@pytest.mark.parametrize("flow", [ONE_TWO, TWO_ONE])
def test_whose_port_it_is_is_not_guessed_where_the_points_prove_nothing(leg, last, flow) -> None:
    swap = {"tap111i0": "tap112i0", "tap112i0": "tap111i0"}
    place = last if flow is ONE_TWO else swap.get(last, last)
    judgement = W.lose(W.World(doubts=TAPS), leg, place, **flow).judge()
    for ident, other in (("vm-1", "vm-2"), ("vm-2", "vm-1")):
        judged = judgement.guests[ident]
        assert str(judged.verdict) == "inconclusive"
        assert "at whose port is not known: tap11" in judged.reason
        assert "the canary was not captured" in judged.reason
        (pair,) = [f for f in judged.flows if f.target == other]
        assert (str(pair.verdict), pair.counted_against) == ("inconclusive", ident)
    assert str(judgement.guests["vm-3"].verdict) == "healthy"


@pytest.mark.parametrize(
    ("leg", "last", "expected"),
    [(0, None, "vm-1"), (1, "guest:eth0", "vm-1"), (0, "vm-2:eth0", "vm-2")],
)
def test_what_dies_inside_of_a_guest_needs_no_tap_to_tell_whose_it_is(leg, last, expected) -> None:
    assert blamed(W.lose(W.World(doubts=TAPS), leg, last, **ONE_TWO)) == {expected}


@pytest.mark.parametrize("sick", ["vm-1", "vm-2"])
def test_other_flows_tell_whose_it_is_where_the_points_do_not(sick) -> None:
    world = W.lose(W.World(doubts=TAPS), 0, "tap111i0", **ONE_TWO)
    W.lose(world, 1, "enp4s0", source=sick, kind=FlowKind.GATEWAY)
    assert blamed(world) == {sick}
    assert str(world.judge().guests[sick].verdict) == "unhealthy"


def test_one_doubted_tap_between_two_that_tell_is_enough_to_stay_open() -> None:
    doubts = {"pve1": {"tap112i0": "the interface changed during the sweep"}}
    world = W.lose(W.World(doubts=doubts), 0, "tap111i0", **ONE_TWO)
    assert str(world.judge().guests["vm-1"].verdict) == "inconclusive"
    world = W.lose(W.World(doubts=doubts), 0, "guest:eth0", **ONE_TWO)
    assert blamed(world) == {"vm-1"}
