"""At random, in bursts, or coming and going: by definitions that can be checked by hand."""

from __future__ import annotations

import runpy
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vmnet.core.statistics.bursts import (
    CALM,
    OUTAGE,
    bursts_of,
    outages,
    runs_test,
    stretches,
)
from pytest_vmnet.core.words import FlowKind, LossPattern, Verdict

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)


def series(text: str) -> np.ndarray:
    """Return which probes were lost: ``x`` was, ``.`` was not; ``10x`` is ten of them."""
    parts, number = [], ""
    for letter in text.replace(" ", ""):
        if letter.isdigit():
            number += letter
        else:
            parts += [letter == "x"] * int(number or 1)
            number = ""
    return np.array(parts, dtype=np.bool_)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 11).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))))
def test_the_runs_test_is_what_counting_all_orders_gives(sample) -> None:
    sent, lost = sample
    counts = []
    for places in combinations(range(sent), lost):
        marks = np.zeros(sent, dtype=np.bool_)
        marks[list(places)] = True
        counts.append(len(stretches(marks)))
    for found in range(1, min(lost, sent - lost + 1) + 1):
        few, many = runs_test(lost, sent, found)
        assert few == pytest.approx(sum(c <= found for c in counts) / len(counts), abs=1e-9)
        assert many == pytest.approx(sum(c >= found for c in counts) / len(counts), abs=1e-9)


def test_the_runs_test_has_a_published_value() -> None:
    """Swed and Eisenhart 1943, n1 = n2 = 10: 6 runs or fewer come with 0.019, so 3 stretches
    of either kind; of one kind alone 3 or fewer are C(9,k-1) C(11,k) / C(20,10)."""
    few, _ = runs_test(10, 20, 3)
    assert few == pytest.approx((1 * 11 + 9 * 55 + 36 * 165) / 184756)


@pytest.mark.parametrize(
    ("text", "pattern", "found", "longest", "mean"),
    [
        ("300.", LossPattern.NONE, 0, 0, 0.0),
        ("300x", LossPattern.ALL, 1, 300, 300.0),
        ("100. x 199.", LossPattern.RANDOM, 1, 1, 1.0),
        ("100. 20x 180.", LossPattern.BURSTS, 1, 20, 20.0),
        ("40. 8x 70. 6x 90. 4x 82.", LossPattern.BURSTS, 3, 8, 6.0),
        ("x." * 150, LossPattern.REGULAR, 150, 1, 1.0),
    ],
)
def test_how_losses_lie_is_named(text, pattern, found, longest, mean) -> None:
    bursts = bursts_of([series(text)])
    assert (bursts.pattern, bursts.stretches, bursts.longest, bursts.mean) == (
        pattern, found, longest, mean,
    )  # fmt: skip
    assert (bursts.p_value is None) == (pattern in {LossPattern.NONE, LossPattern.ALL})


def test_independent_losses_are_called_random_but_for_one_in_fifty() -> None:
    random = np.random.default_rng(1)
    names = [bursts_of([random.random(300) < 0.3]).pattern for _ in range(1000)]
    assert names.count(LossPattern.RANDOM) >= 980


def test_of_several_series_the_one_with_most_losses_is_described() -> None:
    bursts = bursts_of([series("2x 298."), series("10x 20."), series("300.")])
    assert (bursts.pattern, bursts.longest) == (LossPattern.BURSTS, 10)
    assert bursts_of([series("30x"), series("15. 30x 255.")]).pattern is LossPattern.BURSTS
    assert bursts_of([]) is None
    assert bursts_of([series("")]) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("100. 10x 40. 10x 140.", 2),
        ("100. 10x 39. 10x 141.", 1),
        ("100. 9x 40. 10x 141.", 1),
        ("10x 40. 10x 40. 10x 190.", 3),
        ("10x 20. x 30. 10x 40. 10x", 2),
        ("10x 30. 10x 40. 10x", 2),
        ("10x 40. 3x 5. 10x", 2),
        ("300x", 1),
        ("300.", 0),
        ("", 0),
    ],
)
def test_an_outage_counts_after_a_calm(text, found) -> None:
    assert (OUTAGE, CALM) == (10, 40)
    assert outages(series(text)) == found
    if text:
        assert bursts_of([series(text)]).flaps == (found >= 2)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.2, 0.3, 0.55, 0.74, 0.9])
@pytest.mark.parametrize("sent", [300, 1200])
def test_independent_loss_is_never_called_flapping(rate, sent) -> None:
    """2 000 flows for each: none flaps, whatever the rate."""
    random = np.random.default_rng(20261124)
    called = sum(outages(row) >= 2 for row in random.random((2000, sent)) < rate)
    assert called == 0


def test_every_hundredth_packet_is_no_flapping() -> None:
    marks = np.arange(1200) % 100 == 99
    assert not bursts_of([marks]).flaps
    assert bursts_of([marks]).pattern is not LossPattern.BURSTS


def test_half_a_second_of_outage_in_every_two_is_flapping() -> None:
    marks = np.arange(300) % 100 < 25  # at 20 ms
    assert bursts_of([marks]).flaps


def flapping_world(**more):
    """vm-1's gateway flow loses 30 probes at the start of each hundred."""
    world = W.World(guests=[W.guest(n) for n in (1, 2)], **more)
    for start in (0, 100, 200):
        fate = W.Fate(1, "enp4s0", source="vm-1", kind=FlowKind.GATEWAY)
        fate.victims = lambda count, start=start: (
            (np.arange(count) >= start) & (np.arange(count) < start + 30)
        )
        world.fates.append(fate)
    return world


def test_a_guest_whose_loss_comes_and_goes_flaps() -> None:
    judged = flapping_world().judge().guests["vm-1"]
    assert judged.verdict is Verdict.FLAPPING
    assert judged.reason == (
        "1 of 3 flows lose more than 1.0%; worst vm-1 -> 192.0.2.1: 90 of 300 lost; the loss "
        "comes and goes: 3 outages of 10 probes or more in a row, with 40 answered in a row "
        "between them (vm-1 -> 192.0.2.1)"
    )
    assert judged.telling.target == "192.0.2.1"


def test_a_flapping_guest_is_diagnosed_all_the_same() -> None:
    verdict, findings, _ = flapping_world().diagnose()
    assert verdict is Verdict.FLAPPING
    assert (findings[0].last_seen, findings[0].next_point) == ("enp4s0", "tap111i0")


def test_a_steady_loss_beside_it_makes_a_guest_unhealthy() -> None:
    world = W.lose(flapping_world(), 1, "tap112i0", share=0.5, source="vm-1", target="vm-2")
    W.lose(world, 1, "guest:eth0", share=0.3, source=W.GATE, target="vm-1")
    assert world.judge().guests["vm-1"].verdict is Verdict.UNHEALTHY


def test_a_neighbour_entry_that_is_broken_as_well_makes_a_guest_unhealthy() -> None:
    world = flapping_world()
    world.neighbours["vm-1", "192.0.2.1"] = (None, "failed")
    assert world.judge().guests["vm-1"].verdict is Verdict.UNHEALTHY


def test_a_single_outage_is_no_flapping() -> None:
    world = W.World(guests=[W.guest(n) for n in (1, 2)])
    W.lose(world, 1, "enp4s0", first=60, source="vm-1", kind=FlowKind.GATEWAY)
    assert world.judge().guests["vm-1"].verdict is Verdict.UNHEALTHY


def test_the_incident_stays_unhealthy() -> None:
    random = np.random.default_rng(7)
    world = W.World(guests=[W.guest(n) for n in (1, 2)])
    fate = W.Fate(1, "enp4s0", source="vm-1", kind=FlowKind.GATEWAY)
    fate.victims = lambda count: random.random(count) < 0.7
    world.fates.append(fate)
    assert world.judge().guests["vm-1"].verdict is Verdict.UNHEALTHY
