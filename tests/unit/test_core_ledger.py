"""The ledger: each packet counts once, in its own cell, and dies where it was last seen."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.facts import GATE, Sweep
from pytest_vmnet.core.ledger.book import FlowLedger, build_ledger
from pytest_vmnet.core.words import FlowKind, Leg

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
TO_GATEWAY = {"source": "vm-1", "kind": FlowKind.GATEWAY}
TO_PEER = {"source": "vm-1", "target": "vm-2"}
INBOUND = {"source": GATE, "target": "vm-1"}
UNKNOWN = "unknown"


def ledger_of(sweep: Sweep, world, *, source: str, **wanted) -> FlowLedger:
    (found,) = [
        each
        for each in build_ledger(sweep, world.inventory)
        if each.flow.source == source
        and all(getattr(each.flow, key) == value for key, value in wanted.items())
    ]
    return found


def two_guests(**more):
    return W.World(guests=[W.guest(1), W.guest(2)], count=40, **more)


def deaths(world, **wanted) -> list[tuple[str, str | None, str | None, int]]:
    found = ledger_of(world.sweep(), world, **wanted).deaths()
    return [(str(d.leg), d.last_seen, d.next_point, d.packets) for d in found]


def test_a_clean_flow_is_seen_everywhere_and_nothing_dies() -> None:
    world = two_guests()
    ledger = ledger_of(world.sweep(), world, **TO_GATEWAY)
    assert ledger.deaths() == ()
    assert [(c.point, c.requests, c.replies, c.doubt) for c in ledger.counts()] == [
        ("guest:eth0", 40, 40, None),
        ("tap111i0", 40, 40, None),
        ("enp4s0", 40, 40, None),
    ]
    assert ledger.strays == {}


GATEWAY_WAY = [
    (0, None, ("request", None, "guest:eth0")),
    (0, "guest:eth0", ("request", "guest:eth0", "tap111i0")),
    (0, "tap111i0", ("request", "tap111i0", "enp4s0")),
    (0, "enp4s0", (UNKNOWN, "enp4s0", "gateway")),
    (1, "enp4s0", ("reply", "enp4s0", "tap111i0")),
    (1, "tap111i0", ("reply", "tap111i0", "guest:eth0")),
    (1, "guest:eth0", ("reply", "guest:eth0", "guest:stack")),
]
PEER_WAY = [
    (0, "tap111i0", ("request", "tap111i0", "tap112i0")),
    (0, "tap112i0", ("request", "tap112i0", "vm-2:eth0")),
    (0, "vm-2:eth0", ("request", "vm-2:eth0", "vm-2:stack")),
    (1, "vm-2:eth0", ("reply", "vm-2:eth0", "tap112i0")),
    (1, "tap112i0", ("reply", "tap112i0", "tap111i0")),
    (1, "guest:eth0", ("reply", "guest:eth0", "guest:stack")),
]
INBOUND_WAY = [
    (0, None, ("request", None, "enp4s0")),
    (0, "enp4s0", ("request", "enp4s0", "tap111i0")),
    (0, "tap111i0", ("request", "tap111i0", "guest:eth0")),
    (0, "guest:eth0", ("request", "guest:eth0", "guest:stack")),
    (1, "guest:eth0", ("reply", "guest:eth0", "tap111i0")),
    (1, "tap111i0", ("reply", "tap111i0", "enp4s0")),
    (1, "enp4s0", ("reply", "enp4s0", "workstation")),
]


@pytest.mark.parametrize(
    ("wanted", "leg", "last", "expected"),
    [
        pytest.param(wanted, leg, last, place, id=f"{name}-{place[0]}-{last}")
        for name, wanted, way in (
            ("gateway", TO_GATEWAY, GATEWAY_WAY),
            ("peer", TO_PEER, PEER_WAY),
            ("inbound", INBOUND, INBOUND_WAY),
        )
        for leg, last, place in way
    ],
)
def test_packets_die_on_each_segment_of_each_leg(wanted, leg, last, expected) -> None:
    world = W.lose(two_guests(), leg, last, share=0.25, **wanted)
    sent = 30 if wanted is TO_PEER else 40
    lost = min(25, sent)
    assert deaths(world, **wanted) == [(*expected, lost)]
    assert ledger_of(world.sweep(), world, **wanted).lost.sum() == lost


def test_groups_of_deaths_are_told_apart_the_largest_first() -> None:
    world = W.lose(two_guests(), 0, "tap111i0", first=10, **TO_GATEWAY)
    W.lose(world, 1, "enp4s0", first=30, **TO_GATEWAY)
    assert deaths(world, **TO_GATEWAY) == [
        ("reply", "enp4s0", "tap111i0", 20),
        ("request", "tap111i0", "enp4s0", 10),
    ]


@pytest.mark.parametrize(
    ("doubted", "expected"),
    [
        pytest.param(["enp4s0"], (UNKNOWN, "tap111i0", "gateway"), id="the-last-point"),
        pytest.param(["tap111i0"], ("reply", "enp4s0", "guest:eth0"), id="the-next-point"),
        pytest.param(["enp4s0", "tap111i0"], (UNKNOWN, "guest:eth0", "gateway"), id="both"),
    ],
)
def test_a_point_in_doubt_is_passed_over(doubted, expected) -> None:
    world = W.lose(two_guests(), 1, "enp4s0", **TO_GATEWAY)
    world.doubts["pve1"] = dict.fromkeys(doubted, "the canary was not captured")
    assert deaths(world, **TO_GATEWAY) == [(*expected, 40)]
    counts = ledger_of(world.sweep(), world, **TO_GATEWAY).counts()
    for cell in counts:
        unknown = cell.point in doubted
        assert (cell.requests is None) == (cell.replies is None) == unknown
        assert cell.doubt == ("the canary was not captured" if unknown else None)


def test_with_nobody_watching_nothing_is_located() -> None:
    world = W.lose(two_guests(), 1, "enp4s0", **TO_GATEWAY)
    world.blind = {"vm-1", "pve1"}
    assert deaths(world, **TO_GATEWAY) == [(UNKNOWN, None, "gateway", 40)]
    doubts = ledger_of(world.sweep(), world, **TO_GATEWAY).doubts
    assert doubts == ("no capture there",) * 3


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        (lambda hosts: hosts.pop("pve1"), "nobody looked there"),
        (lambda hosts: hosts.update(pve1=replace(hosts["pve1"], problem="no shell")), "no shell"),
        (
            lambda hosts: hosts.update(
                pve1=replace(hosts["pve1"], capture=replace(hosts["pve1"].capture, points={}))
            ),
            "tap111i0 was not among the captured interfaces",
        ),
    ],
)
def test_why_a_point_is_in_doubt_is_told(change, doubt) -> None:
    world = two_guests()
    sweep = world.sweep()
    hosts = dict(sweep.hosts)
    change(hosts)
    ledger = ledger_of(replace(sweep, hosts=hosts), world, **TO_GATEWAY)
    assert (ledger.doubts[0], ledger.doubts[1]) == (None, doubt)


def with_rows(sweep: Sweep, host: str, change) -> Sweep:
    """Return the sweep with the sightings of a host changed."""
    facts = sweep.hosts[host]
    packets = replace(facts.capture.packets, sightings=change(facts.capture.packets.sightings))
    facts = replace(facts, capture=replace(facts.capture, packets=packets))
    return replace(sweep, hosts={**sweep.hosts, host: facts})


@given(st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(random) -> None:
    world = W.lose(two_guests(), 1, "enp4s0", share=0.1, **TO_GATEWAY)
    sweep = world.sweep()

    def shuffle(rows):
        order = [*range(len(rows)), *random.choices(range(len(rows)), k=50)]
        random.shuffle(order)
        return rows[order]

    mixed = with_rows(sweep, "pve1", shuffle)
    for before, after in zip(*(build_ledger(s, world.inventory) for s in (sweep, mixed)),
                             strict=True):  # fmt: skip
        assert before.counts() == after.counts()
        assert before.deaths() == after.deaths()


def test_packets_of_another_flow_or_number_are_not_counted() -> None:
    world = two_guests()

    def spoil(rows):
        wrong = rows[:60].copy()
        wrong["seq"][:20] = 0
        wrong["seq"][20:40] = 41
        wrong["flow"][40:] = 999
        return np.concatenate([rows, wrong])

    sweep = world.sweep()
    spoilt = with_rows(sweep, "pve1", spoil)
    for before, after in zip(*(build_ledger(s, world.inventory) for s in (sweep, spoilt)),
                             strict=True):  # fmt: skip
        assert before.counts() == after.counts()


def test_a_reflected_request_is_a_stray_and_no_sighting() -> None:
    world = two_guests(reflected={"vm-1": 0.5})
    ledger = ledger_of(world.sweep(), world, **TO_GATEWAY)
    assert ledger.strays == {(2, Leg.REQUEST): 20}
    assert ledger.counts()[2].requests == 40


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda rows: np.concatenate([rows] * 9), 20, id="again-and-again"),
        pytest.param(
            lambda rows: (rows["mac"].__setitem__(~rows["out"], 0x020000000001), rows)[1],
            None,
            id="sent-on-by-a-router",
        ),
    ],
)
def test_a_stray_counts_once_and_has_the_guests_own_mac(change, expected) -> None:
    world = two_guests(reflected={"vm-1": 0.5})
    sweep = with_rows(world.sweep(), "pve1", lambda rows: change(rows.copy()))
    strays = ledger_of(sweep, world, **TO_GATEWAY).strays
    assert strays.get((2, Leg.REQUEST)) == expected


def test_the_first_of_several_sightings_gives_the_time() -> None:
    world = two_guests()

    def again(rows):
        late = rows.copy()
        late["t_ns"] += 5_000_000
        return np.concatenate([late, rows])

    ledger = ledger_of(with_rows(world.sweep(), "pve1", again), world, **TO_GATEWAY)
    sent = np.arange(1, 41) * 20_000_000
    assert ledger.times.shape == (2, 3, 40)
    assert (ledger.times[0, 1] == sent).all()
    assert (ledger.times[1, 2] == sent + 1).all()
    assert ledger.seen.all()


def test_a_sighting_without_a_time_is_one_all_the_same() -> None:
    world = two_guests()
    sweep = with_rows(world.sweep(), "pve1", lambda rows: (rows["t_ns"].fill(0), rows)[1])
    assert ledger_of(sweep, world, **TO_GATEWAY).seen.all()


def test_every_point_of_a_damaged_capture_is_in_doubt() -> None:
    world = W.lose(two_guests(), 1, "enp4s0", **TO_GATEWAY)
    sweep = world.sweep()
    facts = sweep.hosts["pve1"]
    packets = replace(facts.capture.packets, damage="byte 99: the last record is cut off")
    facts = replace(facts, capture=replace(facts.capture, packets=packets))
    sweep = replace(sweep, hosts={**sweep.hosts, "pve1": facts})
    told = "its capture is damaged: byte 99: the last record is cut off"
    assert ledger_of(sweep, world, **TO_GATEWAY).doubts == (None, told, told)
