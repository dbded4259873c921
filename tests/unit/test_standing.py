"""What stands between a guest and an act beyond its outcome: who it is, who needs it, who asks."""

from __future__ import annotations

import runpy
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.outcome import GuestOutcome
from pytest_vmnet.core.words import Verdict
from pytest_vmnet.gate.standing import Own, measured_macs, prober_sick, subject_of

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)


def subject(world, *, own=Own(), trouble=None, guests=None):  # noqa: B008 - frozen
    sweep = world.sweep()
    population = [
        GuestOutcome(guest=guest, verdict=Verdict.HEALTHY, reason="")
        for guest in guests or world.guests
    ]
    return subject_of(
        population[0],
        population,
        judgement=world.judge(sweep),
        sweeps=[sweep],
        own=own,
        resource_problem=None,
        trouble=trouble,
    )


def test_the_gates_own_guest_is_known_by_its_address_and_by_its_uuid() -> None:
    world = W.World()
    first = world.guests[0]
    assert not subject(world).is_gate
    assert subject(world, own=Own(frozenset({str(first.address)}))).is_gate
    named = [replace(first, smbios_uuid="ab"), *world.guests[1:]]
    assert subject(world, own=Own(frozenset(), "ab"), guests=named).is_gate
    assert not subject(world, own=Own(frozenset(), "cd"), guests=named).is_gate


def test_who_has_it_as_gateway_or_dns_server_is_named() -> None:
    world = W.World()
    first, second, third = world.guests
    guests = [
        first,
        replace(second, gateway=IPv4Address(str(first.address))),
        replace(third, nameservers=(str(first.address),)),
    ]
    assert subject(world, guests=guests).serves == ("gateway of vm-2", "DNS server of vm-3")


def test_a_guest_without_a_configured_address_and_a_bad_journal_are_obstacles() -> None:
    world = W.World()
    guests = [replace(world.guests[0], dhcp=True), *world.guests[1:]]
    obstacles = subject(world, guests=guests, trouble="line 3 is no entry").obstacles
    assert obstacles[0] == "line 3 is no entry"
    assert "its address is not set by cloud-init" in obstacles[1]


def test_macs_are_measured_on_the_guests_own_tap() -> None:
    world = W.World()
    sweep = world.sweep()
    assert measured_macs(world.guests[0], [sweep]) == (world.guests[0].nic.mac,)
    world.blind.add(W.NODE)
    assert measured_macs(world.guests[0], [world.sweep()]) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda _: None, None, id="healthy"),
        pytest.param(
            lambda world: world.problems.update(pve1="the capture was lost"),
            "the capture was lost",
            id="the-watch-failed",
        ),
        pytest.param(
            lambda world: world.doubts.update(pve1={"tap111i0": "dropped by kernel"}),
            "tap111i0: dropped by kernel",
            id="the-tap-is-not-trusted",
        ),
        pytest.param(
            lambda world: W.lose(world, 0, None, source="workstation", target=str(W.GATEWAY)),
            "the gate's own host loses packets to the gateway, pve1 does not",
            id="only-the-gate-loses",
        ),
    ],
)
def test_a_sick_prober_is_told(change, expected) -> None:
    world = W.World()
    change(world)
    sweep = world.sweep()
    assert prober_sick(world.guests[0], world.judge(sweep), [sweep]) == expected
