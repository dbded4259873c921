"""What a flow says beside its loss: errors, comparisons, odd frames, times."""

from __future__ import annotations

import runpy
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pytest

from pytest_vmnet.core.facts import GATE, IcmpError, Quoted
from pytest_vmnet.core.verdict.complaint import complaints
from pytest_vmnet.core.words import FlowKind, LossPattern

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
GATEWAY, VM1, VM2 = (IPv4Address(f"192.0.2.{last}") for last in (1, 11, 12))
ROUTER = IPv4Address("192.0.2.254")


def world_of(**more):
    return W.World(guests=[W.guest(n) for n in (1, 2)], **more)


def error(seq, *, flow=None, source=ROUTER, near=VM1, far=GATEWAY, size=84, reply=False, code=1):
    ends = {"source": far, "destination": near} if reply else {"source": near, "destination": far}
    return IcmpError(
        t_ns=1, ifindex=2, out=False, source=source, destination=near, type=3, code=code,
        quoted=Quoted(size=size, seq=seq, reply=reply, flow=flow, **ends),
    )  # fmt: skip


def with_errors(sweep, *errors, host="pve1"):
    facts = sweep.hosts[host]
    packets = replace(facts.capture.packets, errors=errors)
    facts = replace(facts, capture=replace(facts.capture, packets=packets))
    return replace(sweep, hosts={**sweep.hosts, host: facts})


def number_of(sweep, source, kind, target=None) -> int:
    return next(
        f.number for f in sweep.flows
        if (f.source, f.kind) == (source, kind) and target in {None, f.target}
    )  # fmt: skip


def told(sweep, inventory) -> dict[int, list[tuple[str, int, int, int]]]:
    found = complaints(sweep, inventory)
    return {n: [(e.source, e.type, e.code, e.packets) for e in row] for n, row in found.items()}


def test_errors_are_counted_by_source_and_once_for_each_packet() -> None:
    world = world_of()
    sweep = world.sweep()
    sweep = with_errors(sweep, *[error(seq) for seq in (1, 2, 2, 3)], error(4, source=GATEWAY))
    sweep = with_errors(sweep, error(1), error(2), host="vm-1")
    flow = number_of(sweep, "vm-1", FlowKind.GATEWAY)
    assert told(sweep, world.inventory) == {
        flow: [("192.0.2.254", 3, 1, 3), ("192.0.2.1", 3, 1, 1)]
    }


@pytest.mark.parametrize(
    "stray",
    [
        pytest.param(error(None), id="no-echo"),
        pytest.param(error(0), id="number-too-small"),
        pytest.param(error(301), id="number-too-large"),
        pytest.param(error(1, size=85), id="other-size"),
        pytest.param(error(1, near=VM2), id="not-from-this-guest"),
        pytest.param(error(1, far=ROUTER), id="other-destination"),
        pytest.param(error(1, flow=60_000), id="unknown-flow"),
        pytest.param(replace(error(1), quoted=None), id="nothing-quoted"),
    ],
)
def test_an_error_about_something_else_is_nobodys(stray) -> None:
    world = world_of()
    sweep = with_errors(world.sweep(), stray)
    flow = number_of(sweep, "vm-1", FlowKind.GATEWAY)
    assert flow not in told(sweep, world.inventory)


def test_a_quoted_mark_names_the_flow_whatever_else_is_quoted() -> None:
    world = world_of()
    sweep = world.sweep()
    flow = number_of(sweep, "vm-2", FlowKind.GATEWAY)
    sweep = with_errors(sweep, error(7, flow=flow, near=ROUTER, far=ROUTER, size=1))
    assert told(sweep, world.inventory) == {flow: [("192.0.2.254", 3, 1, 1)]}


def test_an_error_about_a_reply_is_the_flows_too() -> None:
    world = world_of()
    sweep = world.sweep()
    flow = number_of(sweep, "vm-1", FlowKind.PEER, "vm-2")
    sweep = with_errors(sweep, error(3, far=VM2, source=VM1, reply=True))
    assert told(sweep, world.inventory) == {flow: [("192.0.2.11", 3, 1, 1)]}


def test_of_two_flows_that_fit_neither_is_named() -> None:
    """The gate's and the node's probes go to the gateway alike."""
    world = world_of()
    sweep = with_errors(world.sweep(), error(1, near=IPv4Address("192.0.2.50")))
    assert told(sweep, world.inventory) == {}


def test_the_gates_address_is_none_of_the_guests() -> None:
    world = world_of()
    sweep = world.sweep()
    flow = number_of(sweep, GATE, FlowKind.INBOUND, "vm-1")
    sweep = with_errors(sweep, error(1, near=IPv4Address("192.0.2.50"), far=VM1))
    assert told(sweep, world.inventory) == {flow: [("192.0.2.254", 3, 1, 1)]}
    assert told(with_errors(sweep, error(1, near=VM2, far=VM1)), world.inventory).keys() == {
        number_of(sweep, "vm-2", FlowKind.PEER, "vm-1")
    }


def test_an_ipv6_probe_is_told_by_its_own_length() -> None:
    world = world_of()
    sweep = world.sweep()
    far = IPv6Address("2001:db8::1")
    flow = next(f for f in sweep.flows if (f.source, f.kind) == ("vm-1", FlowKind.GATEWAY))
    flows = tuple(replace(f, address=far) if f is flow else f for f in sweep.flows)
    near = IPv6Address("2001:db8::b")
    sweep = with_errors(replace(sweep, flows=flows), error(1, near=near, far=far, size=104))
    assert told(sweep, world.inventory) == {flow.number: [("192.0.2.254", 3, 1, 1)]}


def flow_of(world, *sweeps, ident="vm-1", kind=FlowKind.GATEWAY):
    judged = world.judge(*sweeps).guests[ident]
    return next(flow for flow in judged.flows if flow.kind is kind)


def test_a_flow_has_its_errors_of_both_stages() -> None:
    world = world_of()
    sweep = world.sweep()
    one = with_errors(sweep, error(1), error(2), error(3, code=13))
    flow = flow_of(world, one, with_errors(sweep, error(1)))
    assert [(e.code, e.packets) for e in flow.icmp_errors] == [(1, 3), (13, 1)]


def test_a_clean_flow_has_times_and_no_bursts() -> None:
    flow = flow_of(world_of())
    assert flow.rtt_quantiles_ms == {"p50": 0.5, "p90": 0.5, "p99": 0.5, "max": 0.5}
    assert (flow.jitter_ms, flow.bursts.pattern) == (0.0, LossPattern.NONE)
    assert (flow.duplicates, flow.reordered, flow.foreign) == (0, 0, 0)
    assert (flow.icmp_errors, flow.comparisons) == ((), ())


def test_a_flow_that_nobody_could_tell_of_has_nothing() -> None:
    world = world_of(silent={("vm-1", str(W.GATEWAY))})
    flow = flow_of(world)
    assert (flow.bursts, flow.jitter_ms, flow.rtt_quantiles_ms) == (None, None, {})


def test_what_was_odd_is_counted_at_the_point_that_saw_most_of_it() -> None:
    world = world_of()
    sweep = world.sweep()
    flow = number_of(sweep, "vm-1", FlowKind.GATEWAY)
    facts = sweep.hosts["pve1"]
    rows = facts.capture.packets.sightings.copy()
    mine = (rows["flow"] == flow) & rows["reply"]
    rows["src"][mine & (rows["ifindex"] == 2) & (rows["seq"] <= 3)] = 7
    rows["src"][mine & (rows["ifindex"] == 111) & (rows["seq"] <= 2)] = 7
    rows["ttl"][mine & (rows["seq"] == 9)] = 3
    again = rows[mine & (rows["ifindex"] == 2) & (rows["seq"] > 290)]
    rows = np.concatenate([rows, again])
    packets = replace(facts.capture.packets, sightings=rows)
    hosts = {
        **sweep.hosts,
        "pve1": replace(facts, capture=replace(facts.capture, packets=packets)),
    }
    nic = hosts["vm-1"]
    late = nic.capture.packets.sightings.copy()
    late["t_ns"][(late["flow"] == flow) & late["reply"] & (late["seq"] == 5)] += 70_000_000
    packets = replace(nic.capture.packets, sightings=late)
    hosts["vm-1"] = replace(nic, capture=replace(nic.capture, packets=packets))
    flow = flow_of(world, replace(sweep, hosts=hosts))
    assert (flow.foreign, flow.duplicates, flow.reordered) == (3, 10, 1)


def comparisons(flow) -> dict[str, tuple[str, float]]:
    return {c.subject: (c.sentence, c.p_value) for c in flow.comparisons}


def test_a_loss_in_one_direction_is_told_with_its_chance() -> None:
    world = W.lose(world_of(), 1, "enp4s0", share=0.3, source="vm-1", kind=FlowKind.GATEWAY)
    found = comparisons(flow_of(world))
    sentence, p_value = found["direction"]
    assert sentence == "0 of 300 requests died, 90 of 300 replies"
    assert p_value < 1e-25
    assert found["time"] == ("46 of 150 lost in the early half, 44 of 150 in the late", ANY)
    assert found.keys() == {"direction", "time"}


def test_a_loss_that_is_not_located_is_not_compared_by_direction() -> None:
    world = W.lose(world_of(), 0, "enp4s0", share=0.3, source="vm-1", kind=FlowKind.GATEWAY)
    assert comparisons(flow_of(world)).keys() == {"time"}


def test_what_either_end_lost_is_compared() -> None:
    world = W.lose(world_of(), 1, "tap111i0", share=0.3, source="vm-2", target="vm-1")
    sentence, p_value = comparisons(flow_of(world, kind=FlowKind.PEER))["prober"]
    assert sentence == "0 of 30 lost that vm-1 sent, 90 of 300 lost that vm-2 sent"
    assert p_value < 0.001


def test_probes_of_two_sizes_are_compared() -> None:
    world = W.lose(world_of(), 1, "enp4s0", share=0.3, source="vm-1", kind=FlowKind.GATEWAY)
    sweep = world.sweep()
    flow = next(f for f in sweep.flows if (f.source, f.kind) == ("vm-1", FlowKind.GATEWAY))
    large = replace(flow, number=900, size=1400, lane="large")
    nic = sweep.hosts["vm-1"]
    clean = replace(nic.pings[flow.number], rtt_ms=dict.fromkeys(range(1, 301), 0.5))
    hosts = {**sweep.hosts, "vm-1": replace(nic, pings={**nic.pings, 900: clean})}
    sweep = replace(sweep, flows=(*sweep.flows, large), hosts=hosts)
    sentence, p_value = comparisons(flow_of(world, sweep))["size"]
    assert sentence == "90 of 300 lost of 56 bytes, 0 of 300 lost of 1400 bytes"
    assert p_value < 1e-25


def outward():
    """A site where each guest probes an address beyond the gateway too."""
    external = IPv4Address("198.51.100.8")
    return world_of(targets=replace(W.World().targets, external=external))


def test_losses_of_two_flows_at_the_same_moments_are_one_event() -> None:
    world = W.lose(outward(), 1, "guest:eth0", share=0.3, source="vm-1")
    sentence, p_value = comparisons(flow_of(world))["event"]
    assert sentence == (
        "90 of 90 probes were lost when vm-1 -> 198.51.100.8 lost its own (90 of 300)"
    )
    assert p_value < 1e-20


@pytest.mark.parametrize(
    ("later", "both"), [(0, 90), (5, 85), (400, None)], ids=["at-once", "later", "afterwards"]
)
def test_the_moments_are_those_of_the_packets(later, both) -> None:
    """The probes beyond the gateway start some intervals after those to it."""
    world = W.lose(outward(), 1, "guest:eth0", first=90, source="vm-1")
    sweep = world.sweep()
    flow = number_of(sweep, "vm-1", FlowKind.EXTERNAL)
    hosts = dict(sweep.hosts)
    for host in ("pve1", "vm-1"):
        rows = hosts[host].capture.packets.sightings.copy()
        rows["t_ns"][rows["flow"] == flow] += later * 20_000_000
        packets = replace(hosts[host].capture.packets, sightings=rows)
        capture = replace(hosts[host].capture, packets=packets)
        hosts[host] = replace(hosts[host], capture=capture)
    found = comparisons(flow_of(world, replace(sweep, hosts=hosts)))
    if both is None:
        assert "event" not in found
    else:
        assert found["event"][0].startswith(f"{both} of {both} probes were lost when")


def test_without_a_common_host_no_moments_are_compared() -> None:
    world = W.lose(outward(), 1, "guest:eth0", share=0.3, source="vm-1")
    world.blind = {"vm-1", "vm-2", "pve1"}
    assert "event" not in comparisons(flow_of(world))
