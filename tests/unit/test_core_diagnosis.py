"""From the packets' fates to the finding: the lab's faults, look-alikes, and honest ignorance."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.facts import GATE, FdbMove
from pytest_vmnet.core.site.topology import Nic
from pytest_vmnet.core.words import FlowKind, Verdict
from pytest_vmnet.lab.faults import FAULTS

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
TO_GATEWAY = {"source": "vm-1", "kind": FlowKind.GATEWAY}
KEYS = ("scope", "leg", "last_seen", "next_point", "reason", "rebuild")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_gives_the_finding_that_it_names(fault) -> None:
    world = W.World()
    W.FAULTS[fault.name](world)
    sweep = world.sweep()
    truth = fault.truth()
    verdict, findings, _ = world.diagnose("vm-1", sweep)
    assert str(verdict) == truth["verdicts"]["vm-1"]
    assert [{key: getattr(found, key) for key in KEYS} for found in findings] == [
        {key: truth[key] for key in KEYS}
    ]
    assert findings[0].packets > 0
    sick = {k for k, v in world.judge(sweep).guests.items() if v.verdict is Verdict.UNHEALTHY}
    assert sick == {ident for ident in truth["verdicts"] if ident in {"vm-1", "vm-2", "vm-3"}}
    for ident in {"vm-1", "vm-2", "vm-3"} - sick:
        assert world.diagnose(ident, sweep) == (Verdict.HEALTHY, (), {})


def test_a_message_names_the_numbers_and_what_to_do() -> None:
    world = W.World()
    W.FAULTS["reflected-mac"](world)
    _, (found,), _ = world.diagnose()
    assert "210 of the 300 requests that left by enp4s0 came back in by it" in found.message
    assert "(5 such FDB moves)" in found.message
    assert "`tcpdump -Q in -i enp4s0 ether src bc:24:11:00:01:0b` must stay empty" in found.message
    assert found.evidence[0] == "vm-1 -> 192.0.2.1 lost 210 of 300"


def test_look_alikes_die_at_the_same_place_and_are_told_apart() -> None:
    places, reasons, against = [], [], []
    for fault in ("reflected-mac", "tap-egress-drop"):
        world = W.World()
        W.FAULTS[fault](world)
        _, (found,), out = world.diagnose()
        places.append((found.leg, found.last_seen, found.next_point))
        reasons.append(found.reason)
        against.append(set(out))
    assert places[0] == places[1]
    assert reasons == ["MacReflection", "TapEgressDrop"]
    assert "TapEgressDrop" in against[0]
    assert "MacReflection" in against[1]


@pytest.mark.parametrize(
    ("ifindex", "out", "scope"),
    [(2, False, "uplink"), (112, False, "bridge"), (112, True, "uplink")],
)
def test_a_twin_is_where_its_frames_come_from(ifindex, out, scope) -> None:
    world = W.lose(W.World(), 0, "enp4s0", **TO_GATEWAY)
    twin = "02:76:6d:00:02:6f"
    world.arps = [W.arp(twin, "192.0.2.11", ifindex=ifindex, out=out)] * 3
    _, (found,), _ = world.diagnose()
    assert (found.reason, str(found.scope)) == ("DuplicateAddress", scope)
    assert "3 ARP frames" in found.message


def test_two_causes_at_once_are_both_told_the_worse_first() -> None:
    world = W.World()
    W.FAULTS["reflected-mac"](world)
    W.FAULTS["tap-egress-drop"](world)
    _, findings, _ = world.diagnose()
    told = [(found.reason, str(found.rebuild)) for found in findings]
    assert told == [("TapEgressDrop", "no"), ("MacReflection", "cures")]


OTHERS_SICK = {"source": "vm-2", "kind": FlowKind.GATEWAY}
UNKNOWN = [
    # id, fates, changes of the world, (scope, rebuild)
    ("request-never-left", [(0, None, TO_GATEWAY)], {}, ("guest", "may-cure")),
    ("reply-behind-its-nic", [(1, "guest:eth0", TO_GATEWAY)], {}, ("guest", "may-cure")),
    ("request-between-nic-and-tap", [(0, "guest:eth0", TO_GATEWAY)], {}, ("vnic", "may-cure")),
    ("reply-between-tap-and-nic", [(1, "tap111i0", TO_GATEWAY)], {}, ("vnic", "may-cure")),
    ("request-between-tap-and-uplink", [(0, "tap111i0", TO_GATEWAY)], {}, ("host", "may-cure")),
    ("reply-between-uplink-and-tap", [(1, "enp4s0", TO_GATEWAY)], {}, ("host", "may-cure")),
    ("there-and-another-guest-is-sick",
     [(1, "enp4s0", TO_GATEWAY), (1, "enp4s0", OTHERS_SICK)], {}, ("bridge", "no")),
    ("there-and-no-other-guest-is-proven",
     [(1, "enp4s0", TO_GATEWAY)], {"problems": {"vm-2": "no answer", "vm-3": "no answer"}},
     ("unknown", "no")),
    ("there-and-it-is-alone", [(1, "enp4s0", TO_GATEWAY)], {"guests": [W.guest(1)]},
     ("unknown", "no")),
    ("there-and-the-bridge-thinks-it-is-outside",
     [(1, "enp4s0", TO_GATEWAY)], {"moves": W.moved()}, ("uplink", "no")),
    ("request-with-a-moving-entry-is-not-that",
     [(0, "tap111i0", TO_GATEWAY)], {"moves": W.moved()}, ("host", "may-cure")),
    ("beyond-the-uplink-with-a-clean-control", [(0, "enp4s0", TO_GATEWAY)], {}, ("uplink", "no")),
    ("beyond-the-uplink-and-the-gate-loses-as-well",
     [(0, "enp4s0", {"kind": FlowKind.GATEWAY}), (0, None, {"kind": FlowKind.CONTROL}),
      (0, None, {"kind": FlowKind.INBOUND})], {}, ("unknown", "no")),
    ("between-two-taps",
     [(0, "tap112i0", {"source": "vm-2", "target": "vm-1"}),
      (0, "tap113i0", {"source": "vm-3", "target": "vm-1"})], {}, ("host", "may-cure")),
    ("behind-the-tap-without-a-capture-inside",
     [(1, "tap111i0", TO_GATEWAY)], {"blind": {"vm-1"}}, ("unknown", "no")),
    ("before-the-tap-without-a-capture-inside",
     [(0, "guest:eth0", TO_GATEWAY)], {"blind": {"vm-1"}}, ("unknown", "no")),
    ("nobody-watched-the-node", [(1, "enp4s0", TO_GATEWAY)], {"blind": {"pve1"}},
     ("unknown", "no")),
    ("nobody-watched-the-uplink", [(1, "enp4s0", TO_GATEWAY)],
     {"doubts": {"pve1": {"enp4s0": "dropped by kernel"}}}, ("unknown", "no")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fates", "changes", "expected"),
    [pytest.param(*row, id=f"unhealthy-{name}") for name, *row in UNKNOWN],
)
def test_without_a_cause_the_place_and_the_controls_give_the_scope(
    fates, changes, expected
) -> None:
    world = W.World(**changes)
    for leg, last, wanted in fates:
        W.lose(world, leg, last, **wanted)
    verdict, findings, _ = world.diagnose()
    assert verdict is Verdict.UNHEALTHY
    (found,) = findings
    assert (found.reason, str(found.scope), str(found.rebuild)) == ("Unknown", *expected)
    assert "no known cause fits" in found.message


def test_only_one_destination_beyond_a_clean_gateway_is_scope_peer() -> None:
    world = W.World()
    world.targets = replace(world.targets, external=W.IPv4Address("198.51.100.8"))
    W.lose(world, 0, "enp4s0", kind=FlowKind.EXTERNAL, source="vm-1")
    _, (found,), _ = world.diagnose()
    assert (str(found.scope), found.next_point, str(found.rebuild)) == ("peer", "external", "no")


def test_an_unknown_cause_says_where_and_what_to_look_at() -> None:
    world = W.lose(W.World(moves=W.moved(7)), 1, "enp4s0", share=0.5, **TO_GATEWAY)
    _, (found,), out = world.diagnose()
    assert (
        "vm-1 -> 192.0.2.1 lost 150 of 300; 150 reply packets were last seen at enp4s0 and never "
        "at tap111i0; the bridge's entry of bc:24:11:00:01:0b moved to enp4s0 7 times"
    ) in found.message
    assert "`bridge monitor fdb` on pve1" in found.message
    assert (found.leg, found.packets) == ("reply", 150)
    assert out["VnicDrop"] == (
        "the packets died behind enp4s0; what QEMU or its virtual NIC loses is seen on tap111i0 "
        "first"
    )


@pytest.mark.parametrize(
    ("leg", "last", "blind", "cleared"),
    [
        (1, "enp4s0", False, True),
        (1, "guest:eth0", False, True),
        (1, "tap111i0", False, False),
        (0, "guest:eth0", False, False),
        (0, None, False, False),
        (1, "tap111i0", True, False),
    ],
)
def test_qemu_is_cleared_only_where_the_packets_passed_it(leg, last, blind, cleared) -> None:
    world = W.lose(W.World(blind={"vm-1"} if blind else set()), leg, last, **TO_GATEWAY)
    assert ("VnicDrop" in world.diagnose()[2]) is cleared


def test_a_broken_neighbour_entry_alone_is_unknown_without_a_place() -> None:
    world = W.World(neighbours={("vm-1", "192.0.2.12"): (None, "failed")})
    verdict, (found,), _ = world.diagnose()
    assert verdict is Verdict.UNHEALTHY
    assert (found.reason, found.last_seen, found.next_point, found.packets) == (
        "Unknown", None, None, 0,
    )  # fmt: skip
    assert (str(found.scope), str(found.leg), str(found.rebuild)) == ("unknown", "unknown", "no")
    assert "`ip neigh` in vm-1" in found.message


def test_what_could_not_be_proven_is_the_observers() -> None:
    world = W.World(problems={"vm-1": "vm-1 could not be asked: no answer"})
    verdict, (found,), out = world.diagnose()
    assert verdict is Verdict.INCONCLUSIVE
    assert (found.reason, str(found.scope), str(found.rebuild)) == ("Unknown", "observer", "no")
    assert "vm-1 could not be asked: no answer" in found.message
    assert out == {}


@pytest.mark.parametrize("fault", sorted(W.FAULTS))
def test_no_finding_is_built_on_a_capture_that_is_not_proven(fault) -> None:
    """With every point of the node in doubt, nothing is said of what it did not see."""
    world = W.World()
    W.FAULTS[fault](world)
    world.arps, world.moves = [], []
    world.neighbours = {}
    why = "the canary sent before the probes was not captured"
    world.doubts["pve1"] = dict.fromkeys(("enp4s0", "tap111i0", "tap112i0", "tap113i0"), why)
    _, (found,), _ = world.diagnose()
    taps = ("enp4s0", "tap")
    assert not (found.last_seen or "").startswith(taps)
    assert not (found.next_point or "").startswith(taps)
    assert found.reason in {"Unknown", "GuestFirewallDrop"}
    assert str(found.scope) in {"unknown", "guest"}


def test_deaths_at_the_moves_to_a_twin_are_evidence_even_without_a_cause() -> None:
    world = W.lose(W.World(), 1, "enp4s0", share=0.4, **TO_GATEWAY)
    for at in range(300):
        if at * 37 % 100 < 40:
            t_ns = (at + 1) * 20_000_000
            for ifname, when in (("enp4s0", t_ns), ("tap111i0", t_ns + 3_000_000)):
                move = FdbMove(t_ns=when, mac=W.mac(1), ifname=ifname, deleted=False)
                world.moves.append(move)
    _, (found,), _ = world.diagnose()

    assert (found.reason, str(found.scope)) == ("Unknown", "uplink")
    assert found.evidence[1].startswith("120 of 120 deaths within 1 ms of the FDB entry of")


def test_a_guest_of_another_bridge_is_no_control() -> None:
    other = W.guest(2, nics=(Nic(index=0, model="virtio", mac=W.mac(2), bridge="vmbr1"),))
    world = W.lose(W.World(guests=[W.guest(1), other]), 1, "enp4s0", **TO_GATEWAY)
    assert str(world.diagnose()[1][0].scope) == "unknown"


def test_the_rules_of_a_guest_that_the_second_stage_did_not_ask_still_count() -> None:
    world = W.World()
    W.FAULTS["guest-firewall"](world)
    sweeps = world.sweep(), world.sweep(tested=["vm-2"], count=1200)
    hosts = {k: v for k, v in sweeps[1].hosts.items() if k != "vm-1"}
    second = replace(sweeps[1], hosts=hosts)
    assert world.diagnose("vm-1", sweeps[0], second)[1][0].reason == "GuestFirewallDrop"


def test_inbound_loss_alone_is_told_with_its_own_leg() -> None:
    world = W.lose(W.World(), 0, "tap111i0", kind=FlowKind.INBOUND, target="vm-1")
    _, (found,), _ = world.diagnose()
    assert (str(found.leg), found.last_seen, found.next_point) == (
        "request", "tap111i0", "guest:eth0",
    )  # fmt: skip
    assert found.evidence[0].startswith(f"{GATE} -> vm-1 lost 300 of 300")
