"""Frames that do not fit their sender: told, and not taken for what they claim to be."""

from __future__ import annotations

import runpy
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_vmnet.core.facts import GATE, mac_text
from pytest_vmnet.core.ledger.book import FlowLedger, build_ledger
from pytest_vmnet.core.ledger.oddity import OddityKind
from pytest_vmnet.core.words import FlowKind, Leg

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
UPLINK, STRANGER = 2, int(IPv4Address("198.51.100.77"))
FLOOD = 1_500


def number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def world_of(*guests, **more):
    return W.World(guests=list(guests) or [W.guest(n) for n in (1, 2, 3)], count=40, **more)


def ledger_of(world, change, host="pve1", *, source="vm-1", kind=FlowKind.GATEWAY) -> FlowLedger:
    """Return a flow's ledger after a host's sightings were changed."""
    sweep = world.sweep()
    facts = sweep.hosts[host]
    (number,) = [f.number for f in sweep.flows if (f.source, f.kind) == (source, kind)][:1]
    rows = change(facts.capture.packets.sightings.copy(), number)
    packets = replace(facts.capture.packets, sightings=rows)
    hosts = {**sweep.hosts, host: replace(facts, capture=replace(facts.capture, packets=packets))}
    ledgers = build_ledger(replace(sweep, hosts=hosts), world.inventory)
    return next(ledger for ledger in ledgers if ledger.flow.number == number)


def changed(field, value, *, reply, ifindex, first=5):
    """Return a change of the first packets of one leg at one interface."""

    def change(rows, flow):
        which = (rows["flow"] == flow) & (rows["reply"] == reply) & (rows["ifindex"] == ifindex)
        rows[field][which & (rows["seq"] <= first)] = value
        return rows

    return change


def odd(ledger: FlowLedger) -> list[tuple[str, str, str, str, int]]:
    return [(str(o.kind), str(o.leg), o.point, o.value, o.frames) for o in ledger.oddities]


def test_a_clean_flow_has_nothing_odd() -> None:
    ledger = ledger_of(world_of(), lambda rows, _: rows)
    assert odd(ledger) == []
    assert not ledger.duplicates.any()
    assert ledger.forged is None
    assert ledger.reordered() == (0, 0)


def test_a_reply_from_somebody_else_is_no_sighting() -> None:
    ledger = ledger_of(world_of(), changed("src", STRANGER, reply=True, ifindex=UPLINK))
    assert odd(ledger) == [("foreign", "reply", "enp4s0", "198.51.100.77", 5)]
    assert np.flatnonzero(~ledger.seen[1, 2]).tolist() == [0, 1, 2, 3, 4]


def test_a_request_with_anothers_address_is_no_sighting_beyond_its_own_port() -> None:
    ledger = ledger_of(world_of(), changed("src", STRANGER, reply=False, ifindex=UPLINK))
    assert odd(ledger) == [("foreign", "request", "enp4s0", "198.51.100.77", 5)]
    assert ledger.seen[0].sum() == 115


def test_a_guest_that_sends_from_another_address_is_believed_by_its_own_port() -> None:
    """Its address is what discovery found; which one it pings from is its routes' business."""

    def move(rows, flow):
        rows["src"][(rows["flow"] == flow) & ~rows["reply"]] = STRANGER
        return rows

    ledger = ledger_of(world_of(), move)
    assert odd(ledger) == []
    assert ledger.seen.all()


def test_frames_of_a_guest_without_a_part_in_the_flow_do_not_count() -> None:
    mac = number(W.mac(3))
    ledger = ledger_of(world_of(), changed("mac", mac, reply=True, ifindex=UPLINK))
    assert odd(ledger) == [("impostor", "reply", "enp4s0", W.mac(3), 5)]
    assert ledger.seen[1, 2].sum() == 35


def test_a_guest_that_routes_may_send_on_the_frames_of_others() -> None:
    router = W.guest(3)
    guests = [replace(W.guest(1), gateway=router.address), W.guest(2), router]
    mac = number(W.mac(3))
    ledger = ledger_of(
        world_of(*guests), changed("mac", mac, reply=True, ifindex=UPLINK), kind=FlowKind.PEER
    )
    assert odd(ledger) == []
    assert ledger.seen.all()


def test_the_gate_may_be_a_guest_itself() -> None:
    mac = number(W.mac(3))
    ledger = ledger_of(
        world_of(), changed("mac", mac, reply=False, ifindex=UPLINK, first=40),
        source=GATE, kind=FlowKind.INBOUND,
    )  # fmt: skip
    assert odd(ledger) == []
    assert ledger.seen.all()


def intrusion(rows, flow, *, ifindex=112, reply=False):
    """vm-2 sends the first five packets of another's flow, MAC and address and all."""
    which = (rows["flow"] == flow) & (rows["reply"] == reply) & (rows["ifindex"] == UPLINK)
    forged = rows[which & (rows["seq"] <= 5)].copy()
    forged["ifindex"], forged["out"] = ifindex, False
    return np.concatenate([rows, forged])


@pytest.mark.parametrize("reply", [False, True])
def test_what_comes_in_by_another_guests_port_makes_its_packets_unknown(reply) -> None:
    world = W.lose(world_of(), 1, "enp4s0", first=10, source="vm-1", kind=FlowKind.GATEWAY)
    ledger = ledger_of(world, lambda rows, flow: intrusion(rows, flow, reply=reply))
    leg = "reply" if reply else "request"
    assert odd(ledger) == [("intruder", leg, "tap112i0", "vm-2", 5)]
    told = "5 of 40 probes came in by another guest's port too"
    own = None if not reply else told
    assert [cell.doubt for cell in ledger.counts()] == [own, own, told]
    found = {(str(d.leg), d.last_seen, d.next_point): d.packets for d in ledger.deaths()}
    behind = ("unknown", "tap111i0", "gateway") if not reply else ("unknown", None, "gateway")
    assert found == {("reply", "enp4s0", "tap111i0"): 5, behind: 5}


def test_a_peer_that_sends_back_requests_is_an_intruder_too() -> None:
    """Its port is on the flow's path, and a request passes it the other way."""

    def change(rows, flow):
        which = (rows["flow"] == flow) & ~rows["reply"] & (rows["ifindex"] == 112)
        back = rows[which & (rows["seq"] <= 5)].copy()
        back["out"] = False
        return np.concatenate([rows, back])

    ledger = ledger_of(world_of(), change, kind=FlowKind.PEER)
    assert ledger.flow.target == "vm-2"
    assert odd(ledger) == [("intruder", "request", "tap112i0", "vm-2", 5)]
    assert ledger.strays == {(2, Leg.REQUEST): 5}


def test_a_reply_astray_may_have_any_mac() -> None:
    def change(rows, flow):
        which = (rows["flow"] == flow) & rows["reply"] & (rows["ifindex"] == UPLINK)
        rows["mac"][which] = number(W.GATEWAY_MAC)
        back = rows[which & (rows["seq"] <= 5)].copy()
        back["out"] = True
        return np.concatenate([rows, back])

    assert ledger_of(world_of(), change).strays == {(2, Leg.REPLY): 5}


def test_what_a_router_swallows_dies_at_the_gateway() -> None:
    far = W.guest(2, interface=IPv4Interface("198.51.100.12/24"))
    world = world_of(W.guest(1), far, targets=replace(W.World().targets, peers="all"))
    W.lose(world, 0, "enp4s0", source="vm-1", kind=FlowKind.PEER)
    ledger = ledger_of(world, lambda rows, _: rows, kind=FlowKind.PEER)
    assert [w.point for w in ledger.path.waypoints].count("enp4s0") == 2
    (death,) = ledger.deaths()
    assert (str(death.leg), death.last_seen, death.next_point) == ("request", "enp4s0", "gateway")


def test_what_a_guest_sends_itself_is_no_intrusion() -> None:
    ledger = ledger_of(world_of(), lambda rows, flow: intrusion(rows, flow, ifindex=111))
    assert odd(ledger) == []
    assert ledger.duplicates.tolist() == [[0, 5, 0], [0, 0, 0]]


def test_the_gates_own_frames_may_come_in_by_a_guests_port() -> None:
    ledger = ledger_of(
        world_of(), lambda rows, flow: intrusion(rows, flow, ifindex=113),
        source=GATE, kind=FlowKind.INBOUND,
    )  # fmt: skip
    assert odd(ledger) == []


def test_repeated_frames_are_duplicates() -> None:
    ledger = ledger_of(world_of(), lambda rows, _: np.concatenate([rows, rows, rows]))
    assert ledger.duplicates.tolist() == [[0, 80, 80], [0, 80, 80]]
    assert ledger.counts()[2].requests == 40


@pytest.mark.parametrize("first", [5, 40])
def test_another_mac_than_the_senders_is_told_and_counts(first) -> None:
    """Its own port, or the way to its uplink, tells whose it is."""
    change = changed("mac", 0x0200_0000_0001, reply=False, ifindex=111, first=first)
    ledger = ledger_of(world_of(), change)
    assert odd(ledger) == [("wrong-mac", "request", "tap111i0", "02:00:00:00:00:01", first)]
    assert ledger.seen.all()


def test_behind_a_router_the_usual_mac_is_the_measure() -> None:
    def change(rows, flow):
        which = (rows["flow"] == flow) & rows["reply"]
        rows["mac"][which] = number(W.GATEWAY_MAC)
        rows["mac"][which & (rows["ifindex"] == UPLINK) & (rows["seq"] == 3)] = 0x0200_0000_0001
        return rows

    ledger = ledger_of(world_of(), change)
    assert odd(ledger) == [("wrong-mac", "reply", "enp4s0", "02:00:00:00:00:01", 1)]


def test_another_ttl_than_the_usual_is_told() -> None:
    ledger = ledger_of(world_of(), changed("ttl", 63, reply=True, ifindex=UPLINK, first=3))
    assert odd(ledger) == [("wrong-ttl", "reply", "enp4s0", "63", 3)]
    most = ledger_of(world_of(), changed("ttl", 63, reply=True, ifindex=UPLINK, first=37))
    assert odd(most) == [("wrong-ttl", "reply", "enp4s0", "64", 3)]


def flood(field, values):
    """vm-3 or whoever repeats a reply at the uplink, each with another value."""

    def change(rows, flow):
        which = (rows["flow"] == flow) & rows["reply"] & (rows["ifindex"] == UPLINK)
        more = np.repeat(rows[which][:1], len(values))
        more[field] = values
        return np.concatenate([rows, more])

    return change


def test_a_flood_of_different_sources_does_not_eat_the_memory() -> None:
    ledger = ledger_of(world_of(), flood("src", np.arange(FLOOD) + 1))
    assert len(ledger.oddities) == 1001
    assert sum(o.frames for o in ledger.oddities) == FLOOD
    assert max(ledger.oddities, key=lambda o: o.frames).value == "others"
    assert ledger.counts()[2].replies == 40


def test_a_flood_of_different_macs_does_not_eat_the_memory() -> None:
    ledger = ledger_of(world_of(), flood("mac", np.arange(12_000) + 1))
    assert len(ledger.oddities) <= 1001
    assert {o.kind for o in ledger.oddities} == {OddityKind.WRONG_MAC}
    assert ledger.duplicates[1, 2] == 12_000


def test_of_an_ipv6_source_the_last_64_bits_are_told() -> None:
    world = world_of()
    sweep = world.sweep()
    flow = next(f for f in sweep.flows if (f.source, f.kind) == ("vm-1", FlowKind.GATEWAY))
    six = replace(flow, address=IPv6Address("2001:db8::1"))
    flows = tuple(six if each is flow else each for each in sweep.flows)
    facts = sweep.hosts["pve1"]
    rows = facts.capture.packets.sightings.copy()
    mine = rows["flow"] == flow.number
    rows["src"][mine & rows["reply"]] = 1
    rows["src"][mine & ~rows["reply"]] = 0xB
    rows["src"][mine & rows["reply"] & (rows["seq"] == 4) & (rows["ifindex"] == 2)] = 0xC
    packets = replace(facts.capture.packets, sightings=rows)
    hosts = {
        **sweep.hosts,
        "pve1": replace(facts, capture=replace(facts.capture, packets=packets)),
    }
    ledgers = build_ledger(replace(sweep, flows=flows, hosts=hosts), world.inventory)
    (ledger,) = [each for each in ledgers if each.flow is six]
    assert ("foreign", "reply", "enp4s0", "...c", 1) in odd(ledger)
    assert ledger.counts()[1].requests == 40


def test_a_capture_without_a_flow_of_ours_is_no_trouble() -> None:
    world = world_of()
    sweep = replace(world.sweep(), flows=())
    assert build_ledger(sweep, world.inventory) == ()


def test_a_mac_is_written_as_everywhere() -> None:
    assert mac_text(number(W.mac(3))) == W.mac(3)


def test_where_nobody_looks_nothing_is_out_of_order() -> None:
    world = world_of()
    world.blind = {"vm-1"}
    assert ledger_of(world, lambda rows, _: rows).reordered() == (0, None)
    ledgers = build_ledger(world.sweep(), world.inventory)
    control = next(each for each in ledgers if each.flow.source == GATE
                   and each.flow.kind is FlowKind.CONTROL)  # fmt: skip
    assert control.reordered() == (None, None)
    assert Leg.REQUEST not in {d.leg for d in control.deaths()}
