"""Deaths and FDB moves are put beside each other; a link is claimed where it is proven."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.core.facts import FdbMove, Sweep
from pytest_vmnet.core.outcome import Death, Timeline
from pytest_vmnet.core.site.link import Link
from pytest_vmnet.core.verdict.alignment import covered
from pytest_vmnet.core.verdict.timeline import MOST, timeline_of
from pytest_vmnet.core.verdict.watched import Stay, stays_of
from pytest_vmnet.core.words import Leg

W = runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
World, lose, guest, MAC = W["World"], W["lose"], W["guest"], W["mac"](1)
UPLINK, TAP = W["UPLINK"], "tap111i0"
STEP, MS = 20_000_000, 1_000_000


def move(t_ns: int, ifname: str = UPLINK, *, mac: str = MAC, deleted: bool = False) -> FdbMove:
    return FdbMove(t_ns=t_ns, mac=mac, ifname=ifname, deleted=deleted)


def there_and_back(*t_ns: int, stay: int = 3 * MS) -> list[FdbMove]:
    return [event for t in t_ns for event in (move(t), move(t + stay, TAP))]


def dying(share: float = 0.4, last: str = UPLINK, leg: int = 1) -> Any:
    """Return a world in which replies of vm-1's gateway flow die, and its dead packets' times."""
    world = lose(World(), leg, last, share=share, source="vm-1", kind=W["FlowKind"].GATEWAY)
    return world, [(at + 1) * STEP for at in range(300) if at * 37 % 100 < share * 100]


def timeline(world: Any, *sweeps: Sweep) -> Timeline:
    found = world.judge(*sweeps).guests["vm-1"].telling.timeline
    assert isinstance(found, Timeline)
    return found


def test_each_packet_has_its_time_and_its_fate() -> None:
    world, _ = dying(0.02)
    lose(world, 0, "guest:eth0", first=3, source="vm-1")

    found = timeline(world)

    assert found.started_ns == STEP
    assert found.sent_us[:3] == (0, 20_000, 40_000)
    assert found.fates[:4] == "abb."
    assert (len(found.fates), found.packets) == (300, 300)
    assert found.fates.count("a") == 6
    assert found.ports == (TAP,)
    assert found.moved_us == ()


def test_a_packet_that_the_node_did_not_see_gets_its_time_from_its_neighbours() -> None:
    world = lose(World(), 0, "guest:eth0", share=0.5, source="vm-1")
    lose(world, 0, "guest:eth0", share=1, source="vm-1").fates[-1].victims = lambda count: (
        W["np"].arange(count) >= count - 5
    )
    found = timeline(world)

    assert found.sent_us == tuple(20_000 * at for at in range(300))


def test_the_sentence_of_the_incident() -> None:
    world, dead = dying()
    world.moves = there_and_back(*(t - MS // 2 for t in dead))

    found = timeline(world)

    assert found.ports == (TAP, UPLINK)
    assert found.moved_to[:3] == "bab"
    assert found.moved_us[:2] == (-500, 2_500)
    assert found.alignment is not None
    assert found.alignment.sentence == (
        f"120 of 120 deaths within 1 ms of the FDB entry of {MAC} moving to {UPLINK} "
        "(by chance 5; of the answered packets 0 of 180)"
    )
    assert found.alignment.p_value < 1e-100


def test_an_event_that_was_stamped_after_the_death_counts_as_well() -> None:
    world, dead = dying()
    world.moves = there_and_back(*(t + 60_000 for t in dead))

    alignment = timeline(world).alignment

    assert alignment is not None
    assert (alignment.window_ms, alignment.within, alignment.answered_within) == (1, 120, 0)


def test_the_window_is_no_wider_than_the_data_ask_for() -> None:
    world, dead = dying()
    world.moves = there_and_back(*(t - 4 * MS for t in dead), stay=10 * MS)

    alignment = timeline(world).alignment

    assert alignment is not None
    assert (alignment.window_ms, alignment.within) == (5, 120)


def every_packet() -> list[int]:
    return [(at + 1) * STEP - MS // 2 for at in range(300)]


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param([], id="no-moves"),
        pytest.param(every_packet(), id="answered-packets-follow-a-move-as-well"),
        pytest.param([t + 10 * MS for t in every_packet()], id="moves-lie-between-the-packets"),
        pytest.param([2 * STEP - MS], id="too-few-deaths-follow"),
    ],
)
def test_no_sentence_without_proof(moments: list[int]) -> None:
    world, _ = dying()
    world.moves = there_and_back(*moments)

    assert timeline(world).alignment is None


def test_random_moves_are_not_taken_for_a_cause() -> None:
    generator = W["np"].random.default_rng(7)
    for _ in range(200):
        world, _ = dying(0.3)
        world.count = 60
        world.moves = there_and_back(*sorted(generator.integers(STEP, 60 * STEP, 40).tolist()))
        assert timeline(world).alignment is None


def test_a_link_of_less_than_half_of_the_deaths_is_not_said() -> None:
    world, dead = dying()
    world.moves = there_and_back(*(t - MS for t in dead[:50]))

    assert timeline(world).alignment is None


def test_a_point_that_is_not_trusted_gives_no_times() -> None:
    world, _ = dying()
    world.doubts = {W["NODE"]: {TAP: "dropped packets"}}
    assert timeline(world).started_ns == STEP

    world.doubts = {W["NODE"]: {TAP: "dropped packets", UPLINK: "dropped packets"}}
    assert world.judge().guests["vm-1"].telling.timeline is None


def test_few_deaths_prove_nothing() -> None:
    world, dead = dying(0.01)
    world.fates[0].first = 4
    world.moves = there_and_back(*(t - MS for t in dead[:4]))

    assert timeline(world).alignment is None


def test_both_stages_are_in_it() -> None:
    world, _ = dying()
    later = world.sweep(["vm-1"])
    node = later.hosts[W["NODE"]]
    rows = node.capture.packets.sightings.copy()
    rows["t_ns"] += 3_600 * 1_000_000_000
    packets = replace(node.capture.packets, sightings=rows)
    shifted = replace(node, capture=replace(node.capture, packets=packets))
    later = replace(later, hosts={**later.hosts, W["NODE"]: shifted})

    found = timeline(world, world.sweep(), later)

    assert found.packets == 600
    assert found.sent_us[300] == 3_600_000_000
    assert found.fates[:300] == found.fates[300:]


def test_many_packets_and_moves_are_thinned_and_counted() -> None:
    world, _ = dying()
    world.count = 5_000
    world.moves = there_and_back(*(at * STEP for at in range(1, 1_200)))
    world.moves += there_and_back(1_300 * STEP, stay=100)

    found = timeline(world)

    assert (found.packets, len(found.sent_us)) == (5_000, 1_667)
    assert found.sent_us[1] == 60_000
    assert (found.moves, len(found.moved_us)) == (2_400, len(found.moved_to))
    assert len(found.moved_us) <= MOST
    assert not [pair for pair in ("aa", "bb") if pair in found.moved_to]


def test_a_clean_flow_has_none() -> None:
    assert all(
        flow.timeline is None
        for judged in World().judge().guests.values()
        for flow in judged.flows
    )


def stays(*moves: FdbMove, links: tuple[Link, ...] = ()) -> Any:
    world = World()
    world.moves = list(moves)
    site = replace(world.inventory, links={W["NODE"]: links})
    return stays_of(world.guests[0], site, [world.sweep()])


def test_only_changes_of_the_own_mac_are_moves() -> None:
    home, found = stays(
        move(3, TAP), move(1), move(2), move(4, TAP, deleted=True), move(5), move(6, deleted=True),
        move(7, "tap112i0", mac="bc:24:11:00:00:99"),
    )  # fmt: skip

    assert home == TAP
    assert found == (Stay(1, UPLINK), Stay(3, TAP), Stay(4, None), Stay(5, UPLINK), Stay(6, None))


def test_an_old_entry_that_goes_after_the_new_one_came_is_no_move() -> None:
    _, found = stays(move(1, TAP), move(2), move(3, TAP, deleted=True))

    assert found == (Stay(1, TAP), Stay(2, UPLINK))


def test_the_bridge_of_the_firewall_is_not_the_guests_bridge() -> None:
    links = (
        Link(ifname="vmbr0", ifindex=1, kind="bridge"),
        Link(ifname="fwbr111i0", ifindex=2, kind="bridge"),
        Link(ifname=TAP, ifindex=3, kind="tun", master="fwbr111i0", slave_kind="bridge"),
        Link(ifname="fwln111i0", ifindex=4, kind="veth", peer="fwpr111p0", master="fwbr111i0",
             slave_kind="bridge"),
        Link(ifname="fwpr111p0", ifindex=5, kind="veth", peer="fwln111i0", master="vmbr0",
             slave_kind="bridge"),
        Link(ifname=UPLINK, ifindex=6, master="vmbr0", slave_kind="bridge"),
    )  # fmt: skip
    home, found = stays(
        move(1, TAP), move(2, "fwpr111p0"), move(3), move(4, "fwln111i0"), move(5, "fwpr111p0"),
        links=links,
    )  # fmt: skip

    assert home == "fwpr111p0"
    assert found == (Stay(2, "fwpr111p0"), Stay(3, UPLINK), Stay(5, "fwpr111p0"))


def test_overlapping_windows_are_counted_once() -> None:
    moves = W["np"].array([10 * MS, 11 * MS, 95 * MS])

    assert covered(moves, [(0, 100 * MS)], 5) == pytest.approx((11 + 10) / 100)
    assert covered(moves, [(12 * MS, 22 * MS)], 5) == pytest.approx(4 / 10)
    assert covered(moves, [(0, 8 * MS)], 5) == pytest.approx(3 / 8)
    assert covered(moves, [], 5) == 1.0


def test_more_ports_than_letters_and_more_places_of_death() -> None:
    world, dead = dying()
    world.moves = [move(t, f"eth{at}") for at, t in enumerate(dead[:40])]
    groups = [Death(leg=Leg.REPLY, last_seen=f"p{at}", next_point="q", packets=1)
              for at in range(30)]  # fmt: skip
    judged = world.judge()
    telling = judged.guests["vm-1"].telling
    ledgers = [led for led in judged.ledgers if led.flow.target == telling.target
               and led.flow.source == "vm-1"]  # fmt: skip
    many = replace(telling, deaths=(*groups, *telling.deaths))

    found = timeline_of(many, ledgers, world.guests[0], world.inventory, [world.sweep()])

    assert found is not None
    assert found.moved_to == "bcdefghijklmnopqrstuvwxyz" + "?" * 15
    assert set(found.fates) == {".", "?"}
