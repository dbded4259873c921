"""A capture that ran during a part of the probes proves nothing for the others."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.facts import GATE, Sweep
from pytest_vmnet.core.ledger.book import FlowLedger, build_ledger

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
INBOUND = {"source": GATE, "target": "vm-1"}


def ledger(world, keep) -> FlowLedger:
    """Return the inbound flow's ledger; vm-1's capture has only the rows that *keep* takes."""
    sweep: Sweep = world.sweep()
    facts = sweep.hosts["vm-1"]
    rows = facts.capture.packets.sightings
    packets = replace(facts.capture.packets, sightings=rows[keep(rows["seq"])])
    facts = replace(facts, capture=replace(facts.capture, packets=packets))
    sweep = replace(sweep, hosts={**sweep.hosts, "vm-1": facts})
    (found,) = [
        each for each in build_ledger(sweep, world.inventory) if each.flow.source == GATE
        and each.flow.target == "vm-1"
    ]  # fmt: skip
    return found


def places(found: FlowLedger) -> dict[tuple[str | None, str | None], int]:
    return {(d.last_seen, d.next_point): d.packets for d in found.deaths()}


def world(*, share: float):
    made = W.World(guests=[W.guest(1), W.guest(2)], count=100)
    return W.lose(made, 0, "tap111i0", share=share, **INBOUND)


@pytest.mark.parametrize(
    ("keep", "within", "behind"),
    [
        pytest.param(lambda seq: seq > 40, 60, "guest:stack", id="started-late"),
        pytest.param(lambda seq: seq <= 70, 70, "guest:eth0", id="ended-early"),
        pytest.param(lambda seq: (seq > 40) & (seq <= 70), 30, "guest:stack", id="late-and-early"),
    ],
)
def test_beyond_its_edges_a_capture_says_nothing(keep, within, behind) -> None:
    """The first 20 probes die behind the tap: whether the NIC missed them may not be known."""
    found = ledger(world(share=0.2), keep)
    assert found.doubts == (None, None, None)
    assert places(found) == {("tap111i0", behind): 20}
    cell = found.counts()[2]
    assert (cell.requests, cell.replies) == (None, None)
    assert cell.doubt == f"its capture is known to have run during {within} of 100 probes"


def test_what_dies_inside_of_its_edges_is_located() -> None:
    made = W.World(guests=[W.guest(1), W.guest(2)], count=100)
    W.lose(made, 0, "tap111i0", share=0.5, **INBOUND)
    found = ledger(made, lambda seq: seq <= 90)
    assert places(found) == {("tap111i0", "guest:eth0"): 50}


def test_a_gap_in_the_middle_is_a_doubt() -> None:
    found = ledger(world(share=0.2), lambda seq: (seq < 50) | (seq > 60))
    assert found.doubts == (None, None, "probes that were answered passed it unseen")
    assert places(found) == {("tap111i0", "guest:stack"): 20}


def test_answers_without_a_sighting_are_a_doubt() -> None:
    found = ledger(world(share=0.2), lambda seq: seq < 0)
    assert found.doubts[2] == "probes that were answered passed it unseen"


def test_no_sighting_and_no_answer_is_evidence() -> None:
    found = ledger(world(share=1.0), lambda seq: seq < 0)
    assert found.doubts == (None, None, None)
    assert places(found) == {("tap111i0", "guest:eth0"): 100}


def test_a_twin_that_answers_from_outside_leaves_the_whole_path_in_doubt() -> None:
    made = W.World(guests=[W.guest(1), W.guest(2)], count=100)
    W.lose(made, 0, None, answered=True, **INBOUND)
    assert set(ledger(made, lambda seq: seq > 0).doubts) == {
        "probes that were answered passed it unseen"
    }
