"""Verdicts: three ways, pooled over both ends and both stages, and never greener than proven."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.facts import GATE
from pytest_vmnet.core.words import FlowKind, Leg, Verdict

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
TO_GATEWAY = {"source": "vm-1", "kind": FlowKind.GATEWAY}


def verdicts(judgement) -> dict[str, str]:
    return {ident: str(judged.verdict) for ident, judged in judgement.guests.items()}


def flow(judgement, ident: str, kind: FlowKind, target: str | None = None):
    (found,) = [
        each for each in judgement.guests[ident].flows
        if each.kind is kind and target in {None, each.target}
    ]  # fmt: skip
    return found


def test_a_clean_site_is_healthy_and_says_why() -> None:
    judgement = W.World().judge()
    assert set(verdicts(judgement).values()) == {"healthy"}
    assert judgement.guests["vm-1"].reason == "all 4 flows lose at most 1.0%"
    assert judgement.guests["vm-1"].telling is None
    assert [(f.source, f.target) for f in judgement.controls] == [
        ("pve1", "192.0.2.1"),
        (GATE, "192.0.2.1"),
    ]
    assert len(judgement.ledgers) == 3 + 3 + 6 + 2


@pytest.mark.parametrize(
    ("lost", "verdict", "reason"),
    [
        pytest.param(0, "healthy", "all 4 flows lose at most 1.0%", id="healthy"),
        pytest.param(
            3, "inconclusive",
            "vm-1 -> 192.0.2.1: 3 of 300 lost, which proves neither more nor less than 1.0%",
            id="inconclusive",
        ),
        pytest.param(
            7, "unhealthy",
            "1 of 4 flows lose more than 1.0%; worst vm-1 -> 192.0.2.1: 7 of 300 lost",
            id="unhealthy",
        ),
    ],
)  # fmt: skip
def test_the_three_verdicts(lost, verdict, reason) -> None:
    judgement = W.lose(W.World(), 1, "enp4s0", first=lost, **TO_GATEWAY).judge()
    assert verdicts(judgement) == {"vm-1": verdict, "vm-2": "healthy", "vm-3": "healthy"}
    judged = judgement.guests["vm-1"]
    assert judged.reason == reason
    assert (judged.telling is None) == (verdict == "healthy")


def test_the_bounds_of_a_flow_are_those_of_its_counts() -> None:
    judgement = W.lose(W.World(), 1, "enp4s0", first=165, **TO_GATEWAY).judge()
    found = flow(judgement, "vm-1", FlowKind.GATEWAY)
    assert (found.transmitted, found.received, found.lost) == (300, 135, 165)
    assert found.loss_lower_bound == pytest.approx(0.500875, abs=1e-6)
    assert found.loss_upper_bound == pytest.approx(0.598384, abs=1e-6)
    assert (found.rtt_avg_ms, found.rtt_max_ms) == (0.5, 0.5)


def test_both_ends_of_a_pair_are_pooled_and_each_lists_it() -> None:
    judgement = W.World().judge()
    for ident, target, own in (("vm-1", "vm-2", 30), ("vm-2", "vm-1", 300)):
        found = flow(judgement, ident, FlowKind.PEER, target)
        assert (found.source, found.transmitted) == (ident, 330)
        assert [cell.requests for cell in found.points] == [own] * 4
        assert found.points[0].point == "guest:eth0"


def test_a_lossy_second_end_is_not_diluted_by_the_first() -> None:
    world = W.lose(W.World(), 0, "vm-2:eth0", first=2, source="vm-1", target="vm-2")
    found = flow(world.judge(), "vm-1", FlowKind.PEER, "vm-2")
    assert (found.lost, found.transmitted, found.verdict) == (2, 330, Verdict.UNHEALTHY)


def test_a_peers_points_are_not_taken_for_the_guests_own() -> None:
    """vm-2 starts the 300 probes of the pair; it drops the replies behind its own NIC."""
    world = W.lose(W.World(), 1, "guest:eth0", source="vm-2", target="vm-1")
    judgement = world.judge()
    place = [(d.leg, d.last_seen, d.next_point)
             for ident in ("vm-1", "vm-2")
             for d in flow(judgement, ident, FlowKind.PEER,
                           {"vm-1": "vm-2", "vm-2": "vm-1"}[ident]).deaths]  # fmt: skip
    assert place == [
        (Leg.REPLY, "vm-2:eth0", "vm-2:stack"),
        (Leg.REPLY, "guest:eth0", "guest:stack"),
    ]
    world = W.lose(W.World(), 0, "vm-1:eth0", source="vm-2", target="vm-1")
    (death,) = flow(world.judge(), "vm-1", FlowKind.PEER, "vm-2").deaths
    assert (death.last_seen, death.next_point) == ("guest:eth0", "guest:stack")


def test_each_ends_probes_are_told_apart_in_the_names_of_the_report() -> None:
    world = W.lose(W.World(), 0, "tap112i0", source="vm-2", target="vm-1", share=0.5)
    found = flow(world.judge(), "vm-1", FlowKind.PEER, "vm-2")

    own, other = found.sides
    assert (own.source, own.target, own.received) == ("vm-1", "vm-2", own.transmitted)
    assert (other.source, other.target) == ("vm-2", "vm-1")
    assert other.received == other.transmitted - found.lost
    assert [p.point for p in own.points] == ["guest:eth0", "tap111i0", "tap112i0", "vm-2:eth0"]
    assert [p.point for p in other.points] == ["vm-2:eth0", "tap112i0", "tap111i0", "guest:eth0"]
    assert [p.requests for p in other.points][1:3] == [other.transmitted, other.received]
    assert own.deaths == ()
    assert other.deaths == found.deaths


def test_a_clean_flow_and_one_with_one_prober_have_no_sides() -> None:
    judgement = W.lose(W.World(), 0, "guest:eth0", source="vm-1", kind=FlowKind.GATEWAY).judge()
    for judged in judgement.guests.values():
        assert [f.kind for f in judged.flows if f.sides] == []


def test_two_stages_are_pooled() -> None:
    world = W.World()
    W.lose(world, 1, "enp4s0", first=3, **TO_GATEWAY)
    first, second = world.sweep(), world.sweep(tested=["vm-1"], count=1200)
    assert world.judge(first).guests["vm-1"].verdict is Verdict.INCONCLUSIVE
    judgement = world.judge(first, second)
    found = flow(judgement, "vm-1", FlowKind.GATEWAY)
    assert (found.transmitted, found.lost, found.verdict) == (1500, 6, Verdict.HEALTHY)
    assert found.points[0].requests == 1500
    assert verdicts(judgement) == {"vm-1": "healthy", "vm-2": "healthy", "vm-3": "healthy"}


def test_a_second_stage_does_not_forget_whom_it_does_not_ask() -> None:
    world = W.World()
    world.neighbours["vm-2", "192.0.2.1"] = (None, "failed")
    sweeps = world.sweep(), world.sweep(tested=["vm-1"], count=1200)
    hosts = {k: v for k, v in sweeps[1].hosts.items() if k != "vm-2"}
    second = type(sweeps[1])(flows=sweeps[1].flows, hosts=hosts, duration_s=1.0)
    assert world.judge(sweeps[0], second).guests["vm-2"].verdict is Verdict.UNHEALTHY


@pytest.mark.parametrize("stage", [0, 1])
def test_a_guest_that_could_not_be_asked_is_inconclusive(stage) -> None:
    world = W.World()
    healthy = world.sweep()
    world.problems["vm-1"] = "vm-1 could not be asked: no answer"
    sweeps = [healthy, world.sweep()] if stage else [world.sweep()]
    judged = world.judge(*sweeps).guests["vm-1"]
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason == "vm-1 could not be asked: no answer"


def test_a_silent_peer_does_not_make_the_others_inconclusive() -> None:
    world = W.World(guests=[W.guest(n) for n in (1, 2, 10)])
    world.problems["vm-10"] = "vm-10 could not be asked: no answer"
    judgement = world.judge()
    assert verdicts(judgement) == {"vm-1": "healthy", "vm-2": "healthy", "vm-10": "inconclusive"}
    found = flow(judgement, "vm-1", FlowKind.PEER, "vm-10")
    assert (found.verdict, found.counted_against) == (Verdict.INCONCLUSIVE, "vm-10")
    assert found.note == "vm-10 could not be asked: no answer"
    assert judgement.guests["vm-1"].reason == (
        "3 of 4 flows lose at most 1.0%; the others count against vm-10"
    )


def test_proven_loss_counts_even_if_nobody_could_look_inside() -> None:
    world = W.lose(W.World(), 0, "tap111i0", kind=FlowKind.INBOUND, target="vm-1")
    world.problems["vm-1"] = "vm-1 could not be asked: no answer"
    assert world.judge().guests["vm-1"].verdict is Verdict.UNHEALTHY


def test_a_guest_without_an_address_is_inconclusive() -> None:
    world = W.World(guests=[W.guest(1, interface=None), W.guest(2), W.guest(3)])
    judged = world.judge().guests["vm-1"]
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason.startswith("its address is not known")


def without_agent(*numbers: int, **more):
    guests = [W.guest(n, agent=n not in numbers) for n in (1, 2, 3)]
    return W.World(guests=guests, **more)


def test_a_guest_without_an_agent_is_tested_from_outside_and_that_is_said() -> None:
    world = without_agent(1)
    judged = world.judge().guests["vm-1"]
    assert (judged.verdict, judged.reason) == (
        Verdict.HEALTHY, "all 3 flows lose at most 1.0%",
    )  # fmt: skip
    assert [(str(f.kind), f.source, f.target, f.transmitted) for f in judged.flows] == [
        ("peer", "vm-1", "vm-2", 300), ("peer", "vm-1", "vm-3", 300),
        ("inbound", GATE, "vm-1", 300),
    ]  # fmt: skip
    assert {ledger.flow.source for ledger in world.judge().ledgers} == {
        "vm-2", "vm-3", GATE, "pve1",
    }  # fmt: skip
    verdict, (notice,), _ = world.diagnose()
    assert (verdict, notice.reason, str(notice.severity)) == (
        Verdict.HEALTHY, "TestedFromOutside", "notice",
    )  # fmt: skip
    assert "tested from outside only, by vm-2, vm-3, workstation. Not looked at:" in notice.message
    assert world.diagnose("vm-2")[:2] == (Verdict.HEALTHY, ())


def test_what_dies_at_its_own_port_makes_a_guest_without_an_agent_sick() -> None:
    world = without_agent(1)
    W.lose(world, 0, "enp4s0", kind=FlowKind.INBOUND, target="vm-1")
    verdict, findings, _ = world.diagnose()
    assert verdict is Verdict.UNHEALTHY
    assert [found.reason for found in findings] == ["Unknown", "TestedFromOutside"]
    assert (findings[0].last_seen, findings[1].last_seen) == ("enp4s0", None)


@pytest.mark.parametrize(
    ("world", "said"),
    [
        (without_agent(1, count=60), "vm-1 -> vm-2: 0 of 60 lost, which proves neither"),
        (
            without_agent(1, 2, 3, targets=replace(W.World().targets, inbound=False)),
            "no guest agent is configured, so nobody could look from inside of it, and nobody else"
            " sends probes to it",
        ),
    ],
)
def test_from_outside_nothing_is_healthy_that_is_not_proven(world, said) -> None:
    verdict, (finding,), _ = world.diagnose()
    assert verdict is Verdict.INCONCLUSIVE
    assert said in finding.message


def test_an_agent_that_does_not_help_is_no_agent_that_is_not_there() -> None:
    world = W.World(problems={"vm-1": "vm-1 could not be asked: no answer within 10 s"})
    judged = world.judge().guests["vm-1"]
    assert (judged.verdict, judged.reason) == (
        Verdict.INCONCLUSIVE, "vm-1 could not be asked: no answer within 10 s",
    )  # fmt: skip


def test_with_nothing_to_probe_nothing_is_proven() -> None:
    world = W.World(guests=[W.guest(1, gateway=None)])
    judged = world.judge().guests["vm-1"]
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason == "it has neither a gateway nor a peer to probe"


def test_too_few_probes_without_a_loss_are_no_proof_for_either_end() -> None:
    world = W.World(guests=[W.guest(n, gateway=None) for n in (1, 2)], count=60)
    judgement = world.judge()
    assert verdicts(judgement) == {"vm-1": "inconclusive", "vm-2": "inconclusive"}
    assert "vm-1 -> vm-2: 0 of 90 lost" in judgement.guests["vm-1"].reason


def test_a_guest_whose_only_peer_is_sick_is_not_proven_healthy() -> None:
    world = W.World(guests=[W.guest(1, gateway=None), W.guest(2, gateway=None)])
    W.lose(world, 0, "vm-2:eth0", source="vm-1", target="vm-2")
    W.lose(world, 1, "guest:eth0", source="vm-2", target="vm-1")
    judgement = world.judge()
    assert verdicts(judgement) == {"vm-1": "inconclusive", "vm-2": "unhealthy"}
    assert judgement.guests["vm-1"].reason == (
        "none of its 1 flows to others could be proven to work"
    )


def test_a_proven_failure_tells_the_story_before_one_that_is_open() -> None:
    world = W.lose(W.World(), 1, "enp4s0", first=3, **TO_GATEWAY)
    W.lose(world, 1, "guest:eth0", source="vm-1", target="vm-3")
    telling = world.judge().guests["vm-1"].telling
    assert (telling.kind, telling.target) == (FlowKind.PEER, "vm-3")


def test_the_gateway_tells_the_story_before_peers_and_inbound() -> None:
    world = W.World()
    for wanted in ({"source": "vm-1"}, {"source": GATE, "target": "vm-1"}):
        W.lose(world, 0, None, **wanted)
    judged = world.judge().guests["vm-1"]
    assert judged.telling.kind is FlowKind.GATEWAY
    assert [f.kind for f in judged.flows] == [
        FlowKind.GATEWAY, FlowKind.PEER, FlowKind.PEER, FlowKind.INBOUND
    ]  # fmt: skip
