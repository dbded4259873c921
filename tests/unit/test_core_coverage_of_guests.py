"""What a guest's own capture did not see counts only for the time that it listened."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pytest_vmnet.core.facts import GATE, SIGHTING, Capture, Packets
from pytest_vmnet.core.ledger.book import build_ledger
from pytest_vmnet.core.ledger.coverage import Pair, listening
from pytest_vmnet.core.outcome import Death
from pytest_vmnet.core.words import FlowKind, Leg

WORLD = runpy.run_path(str(Path(__file__).parents[1] / "data/core/world.py"))
World, lose = WORLD["World"], WORLD["lose"]
INTERVAL = 20_000_000


def capture(*stamps: int, **known: int) -> Capture:
    rows = np.zeros(len(stamps), dtype=SIGHTING)
    rows["t_ns"] = stamps
    return Capture(host="vm-1", points={0: "eth0"}, packets=Packets(len(rows), rows), **known)


def pair(tap: list[int], nic: list[int]) -> Pair:
    return Pair(np.array([tap]), np.array([nic]))


def test_the_clocks_are_tied_by_frames_that_both_saw() -> None:
    both = pair([1_000, 1_100, 1_201, 0, 1_900], [9_000, 9_100, 9_200, 9_300, 0])
    heard = listening(capture(9_000, 9_300, since_ns=8_950, until_ns=9_500), [both])
    assert heard is not None
    assert (heard.since_ns, heard.until_ns) == (950, 1_500)
    assert heard.misses(both).tolist() == [[False, False, False, False, True]]


def test_without_its_word_its_frames_bound_it() -> None:
    heard = listening(capture(500, 900), [pair([500, 900], [500, 900])])
    assert heard is not None
    assert (heard.since_ns, heard.until_ns) == (500, 900)


def test_what_the_clocks_may_be_apart_is_taken_off() -> None:
    times = list(range(10_000, 20_000, 1_000))
    late = [time - 40 * (number % 2) for number, time in enumerate(times)]
    heard = listening(capture(*late, since_ns=5_000, until_ns=30_000), [pair(times, late)])
    assert heard is not None
    assert heard.since_ns > 5_000
    assert heard.until_ns < 30_000 + 40


@pytest.mark.parametrize("pairs", [[], [pair([1, 0], [0, 2])]])
def test_without_a_common_frame_nothing_is_known(pairs: list[Pair]) -> None:
    assert listening(capture(1), pairs) is None


@pytest.mark.parametrize("deaf", [0, 14])
def test_packets_that_came_before_it_listened_are_not_its_loss(deaf: int) -> None:
    world = lose(World(), 0, "guest:eth0", source=GATE, target="vm-1", kind=FlowKind.INBOUND)
    sweep = world.sweep()
    facts = sweep.hosts["vm-1"]
    rows = facts.capture.packets.sightings
    late = rows[rows["t_ns"] > deaf * INTERVAL + 1]
    heard = replace(
        facts.capture,
        packets=Packets(len(late), late),
        since_ns=deaf * INTERVAL + 2,
        until_ns=400 * INTERVAL,
    )
    sweep = replace(sweep, hosts={**sweep.hosts, "vm-1": replace(facts, capture=heard)})
    (ledger,) = (
        each for each in build_ledger(sweep, world.inventory) if each.flow.target == "vm-1"
        and each.flow.kind is FlowKind.INBOUND
    )  # fmt: skip
    inside = Death(
        leg=Leg.REQUEST, last_seen="guest:eth0", next_point="guest:stack", packets=300 - deaf
    )
    before = Death(leg=Leg.REQUEST, last_seen="tap111i0", next_point="guest:stack", packets=deaf)
    assert ledger.deaths() == ((inside, before) if deaf else (inside,))
