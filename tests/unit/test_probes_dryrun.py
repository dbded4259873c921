"""A dry run shows every command that a run would execute, and none of it twice."""

from __future__ import annotations

import runpy
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace

from pytest_vmnet.core.flow.budget import Budget
from pytest_vmnet.core.flow.plan import Pace, Targets, plan_flows
from pytest_vmnet.probes import dryrun
from pytest_vmnet.probes.guest import guest_script

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
BUDGET = Budget(guest=2000, target=4000, node=20_000)


def planned(guests, *, shells=("pve1",), inbound: bool = True):
    site = W.inventory(*guests)
    targets = Targets(
        peers="segment",
        external=IPv4Address("198.51.100.8"),
        inbound=inbound,
        nodes_with_shell=frozenset(shells),
    )
    pace = Pace(count=300, interval_s=0.02)
    return site, plan_flows(site, [g.ident for g in guests], targets, pace)


def told(guests, *, shells=("pve1",), inbound: bool = True) -> list[str]:
    return dryrun.describe(*planned(guests, shells=shells, inbound=inbound), shells, BUDGET)


def section(lines: list[str], head: str) -> list[str]:
    start = lines.index(head) + 1
    end = next((n for n in range(start, len(lines)) if not lines[n].startswith("  ")), len(lines))
    return [line[2:] for line in lines[start:end]]


def test_a_guest_runs_exactly_what_is_shown_for_it() -> None:
    guests = [W.guest(1), W.guest(2), W.guest(3)]
    lines = told(guests)
    common = section(lines, "vm-1, vm-2, vm-3, by their agents, in one command of /bin/sh each:")
    for guest in guests:
        shown = {*common, *section(lines, f"{guest.ident}, in the same command:")}
        script = guest_script(
            [flow for flow in planned(guests)[1] if flow.source == guest.ident],
            mark="MARKMARKMARK",
            token="TOKENTOKENTO",
            mac=guest.nic.mac,
            hold_s=6,
        )
        assert {line for line in script.splitlines() if line.strip()} == shown
        own = section(lines, f"{guest.ident}, in the same command:")
        assert any(guest.nic.mac in line for line in own)
        pings = [line for line in own if " ping -n " in line]
        assert len(pings) == 4, "gateway, external and two peers"


def test_the_node_shows_capture_monitor_canaries_and_its_own_pings() -> None:
    lines = told([W.guest(1), W.guest(2)])
    start = "\n".join(section(lines, "pve1, over SSH, to start its capture:"))
    assert "tcpdump -i any" in start
    assert "bridge -t monitor fdb" in start
    assert "for p in enp4s0 tap111i0 tap112i0; do" in start
    assert start.count("255.255.255.255") == 2  # the canary before, and the one that beats
    assert "ip -o monitor link" in start
    assert " enp4s0 tap111i0 tap112i0 vmbr0 >samples" in start  # what is sampled
    assert " 192.0.2.1 >ping." in start
    assert "255.255.255.255" in "\n".join(section(lines, "pve1, over SSH, to fetch what it saw:"))
    assert section(lines, "pve1, over SSH, before everything:") == ["id -u"]
    assert "flock -n 9" in "\n".join(section(lines, "pve1, over SSH, to keep other gates away:"))


def test_rates_and_duration_of_a_flow() -> None:
    line = next(line for line in told([W.guest(1), W.guest(2)]) if line.startswith("vm-1 -> 192"))
    assert line.startswith("vm-1 -> 192.0.2.1 (gateway): ping -n -c 300 -i 0.02 ")
    assert line.endswith("  # 300 probes, 50.0/s, 100.0 packets/s, 6.0 s")


def test_who_is_not_asked_is_not_shown() -> None:
    lines = told([W.guest(1), W.guest(2, agent=False)], shells=(), inbound=False)
    assert not [line for line in lines if "over SSH" in line or line.startswith("workstation")]
    assert any(line.startswith("vm-1, by its agent, in one command") for line in lines)
    assert not [line for line in lines if line.startswith("vm-2, in")]
