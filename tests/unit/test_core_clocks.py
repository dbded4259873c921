"""Steps of one clock, and the distance of two from the packets that passed between them."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.ledger.book import build_ledger
from pytest_vmnet.core.ledger.clocks import (
    Offset,
    Reading,
    clock_notes,
    node_offsets,
    offset_between,
    parse_reading,
    step_ns,
)

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
MS = 1_000_000


@pytest.mark.parametrize(
    "text", ["", "1 2", "a 2 3", "1 2 3 4", "1 9" + "9" * 30 + " 3", "1 -2 3"]
)
def test_what_is_no_reading_is_none(text) -> None:
    assert parse_reading(text) is None


@given(st.text())
def test_any_text_gives_a_reading_or_none(text) -> None:
    found = parse_reading(text)
    assert found is None or found.real_ns >= 0


@pytest.mark.parametrize(
    ("gained_ms", "step_ms"),
    [(0, 0), (39, 0), (-39, 0), (41, 41), (-41, -41), (3_600_000, 3_600_000)],
)
def test_a_step_is_told_once_it_exceeds_what_the_readings_can_hide(gained_ms, step_ms) -> None:
    before = Reading(1_000_000 * MS, 50_000 * MS, 10 * MS)
    after = Reading((1_006_000 + gained_ms) * MS, 56_000 * MS, 10 * MS)
    assert step_ns(before, after) == step_ms * MS


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.integers(1, 10**8), min_size=1, max_size=30),
    st.lists(st.integers(1, 10**8), min_size=1, max_size=30),
)
def test_the_true_offset_is_within_the_error_bound(offset, forth, back) -> None:
    found = offset_between(np.array(forth) + offset, np.array(back) - offset)
    assert found is not None
    assert abs(found.ns - offset) <= found.error_ns
    assert found.error_ns <= -(-(min(forth) + min(back)) // 2)
    assert found.packets == len(forth) + len(back)


def test_one_way_alone_and_a_clock_that_stepped_give_no_offset() -> None:
    some, none = np.array([5 * MS]), np.zeros(0, dtype=np.int64)
    assert offset_between(some, none) is None
    assert offset_between(none, some) is None
    assert offset_between(np.array([-9 * MS]), np.array([2 * MS])) is None


def ledgers(ahead_ns: int, **fates):
    """Return the ledgers of vm-1 on pve1 and vm-5 on pve2, whose clock is ahead."""
    world = W.World(
        guests=[W.guest(1), W.guest(5, node="pve2")], nodes=(W.node(), W.node("pve2")), **fates
    )
    sweep = world.sweep()
    facts = sweep.hosts["pve2"]
    rows = facts.capture.packets.sightings.copy()
    rows["t_ns"] += ahead_ns
    # A frame takes 0.2 ms from pve1 to pve2 and 0.4 ms back.
    mine = [flow.number for flow in sweep.flows if flow.source == "vm-1"]
    forward = np.isin(rows["flow"], mine) != rows["reply"]
    rows["t_ns"] += np.where(forward, 200_000, -400_000)
    capture = replace(facts.capture, packets=replace(facts.capture.packets, sightings=rows))
    hosts = {**sweep.hosts, "pve2": replace(facts, capture=capture)}
    return world, build_ledger(replace(sweep, hosts=hosts), world.inventory)


def test_two_nodes_clocks_are_compared_by_the_packets_between_them() -> None:
    _, made = ledgers(7 * MS)
    (pair,) = node_offsets(made).items()
    assert pair[0] == ("pve1", "pve2")
    assert isinstance(pair[1], Offset)
    assert pair[1].packets > 600
    assert abs(pair[1].ns - 7 * MS) <= pair[1].error_ns
    assert pair[1].error_ns <= MS


def test_one_node_or_lost_frames_give_no_offset() -> None:
    lonely = W.World(guests=[W.guest(1), W.guest(2)])
    assert node_offsets(build_ledger(lonely.sweep(), lonely.inventory)) == {}
    world, _ = ledgers(0)
    W.lose(world, 0, "enp4s0", source="vm-1", target="vm-5")
    W.lose(world, 0, "enp4s0", source="vm-5", target="vm-1")
    assert node_offsets(build_ledger(world.sweep(), world.inventory)) == {("pve1", "pve2"): None}


def test_what_the_notes_say_of_clocks() -> None:
    world, made = ledgers(7 * MS)
    sweep = world.sweep()
    (note,) = clock_notes([sweep], made)
    assert note.startswith(
        "pve2: its clock is +6.9 ms from pve1's, give or take 0.3 ms, by 660 pac"
    )
    assert clock_notes([sweep], ledgers(0)[1]) == []
    facts = sweep.hosts["pve2"]
    stepped = replace(facts, capture=replace(facts.capture, time_doubt="its clock stepped"))
    hosts = {**sweep.hosts, "pve2": stepped}
    (note,) = clock_notes([replace(sweep, hosts=hosts)], [])
    assert note == (
        "pve2: its clock stepped: when packets were seen there is not known; whether they were "
        "seen is"
    )
    W.lose(world, 0, "enp4s0", source="vm-1", target="vm-5")
    W.lose(world, 0, "enp4s0", source="vm-5", target="vm-1")
    silent = build_ledger(world.sweep(), world.inventory)
    assert clock_notes([], silent) == ["pve2: its clock could not be compared with pve1's"]
