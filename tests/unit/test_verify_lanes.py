"""What tests say of a guest's further lanes, and of a guest that nobody looked into."""

from __future__ import annotations

import runpy
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Interface
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.outcome import GuestOutcome, RunOutcome
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.verify import Ledger

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)


def ledger(world) -> Ledger:
    judged = world.judge().guests.values()
    outcomes = [GuestOutcome(guest=j.guest, verdict=j.verdict, reason=j.reason, flows=j.flows,
                             neighbours=j.neighbours) for j in judged]  # fmt: skip
    return Ledger(RunOutcome(run_id="1", started_at="", duration_s=1, nodes=("pve1",),
                             guests=tuple(outcomes)))  # fmt: skip


def world(**more):
    six = {"gateway6": IPv6Address("fe80::1")}
    guests = [W.guest(n, interface6=IPv6Interface(f"2001:db8::{n}/64"), **six) for n in (1, 2)]
    usual = W.World(guests=guests, **more)
    usual.targets = replace(usual.targets, large=True)
    return usual


@pytest.mark.parametrize("lane", ["ipv6", "large"])
def test_a_lane_that_fails_fails_the_test_of_its_kind(lane) -> None:
    sick = W.lose(world(), 0, "tap111i0", kind=FlowKind.GATEWAY, source="vm-1", lane=lane)
    with pytest.raises(pytest.fail.Exception):
        ledger(sick).assert_clean(sick.guests[0], FlowKind.GATEWAY)
    ledger(sick).assert_clean(sick.guests[1], FlowKind.GATEWAY)


def test_large_packets_that_lose_nothing_fail_nothing() -> None:
    well = world()
    ledger(well).assert_clean(well.guests[0], FlowKind.GATEWAY)
    ledger(well).assert_healthy(well.guests[0])


def test_the_neighbour_entry_of_either_family_counts() -> None:
    sick = world(neighbours={("vm-1", "2001:db8::2"): (None, "failed")})
    with pytest.raises(pytest.fail.Exception):
        ledger(sick).assert_neighbour(sick.guests[0], sick.guests[1])


def test_without_an_agent_nobody_read_the_table() -> None:
    blind = W.World(guests=[W.guest(1, agent=False), W.guest(2)])
    with pytest.raises(pytest.skip.Exception, match="vm-1 has no guest agent"):
        ledger(blind).assert_neighbour(blind.guests[0], blind.guests[1])
