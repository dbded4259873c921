"""Longer ways: packets that die at every stretch of a firewalled NIC's and of two nodes' path."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.facts import GATE
from pytest_vmnet.core.flow.route import path_of
from pytest_vmnet.core.words import FlowKind, Verdict

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
HEALTHY = Verdict.HEALTHY
OUT = ["guest:eth0", "tap111i0", "fwln111i0", "fwpr111p0", "enp4s0"]
ACROSS = [*OUT, "pve2:enp4s0", "fwpr115p0", "fwln115i0", "tap115i0", "vm-5:eth0"]


def world(**extra: object):
    """Return vm-1 (firewalled) and vm-2, vm-3 on pve1, vm-5 (firewalled) on pve2."""
    return W.World(
        guests=[*(W.guest(n) for n in (1, 2, 3)), W.guest(5, node="pve2")],
        nodes=(W.node(), W.node("pve2")),
        links={
            "pve1": W.links(firewalled=(111,), plain=(112, 113)),
            "pve2": W.links(firewalled=(115,)),
        },
        **extra,
    )


def telling(made, ident: str = "vm-1"):
    """Return a guest's verdict, and leg, place and scope of its diagnosis."""
    verdict, findings, _ = made.diagnose(ident)
    first = findings[0]
    return verdict, str(first.leg), first.last_seen, first.next_point, str(first.scope)


STRETCHES = [
    # leg, last point that sees the packet, next one, scope
    (0, "guest:eth0", "tap111i0", "vnic"),
    (0, "tap111i0", "fwln111i0", "host"),
    (0, "fwln111i0", "fwpr111p0", "host"),
    (0, "fwpr111p0", "enp4s0", "host"),
    (0, "enp4s0", "gateway", "uplink"),
    (1, "enp4s0", "fwpr111p0", "host"),
    (1, "fwpr111p0", "fwln111i0", "host"),
    (1, "fwln111i0", "tap111i0", "host"),
    (1, "tap111i0", "guest:eth0", "vnic"),
    (1, "guest:eth0", "guest:stack", "guest"),
]


@pytest.mark.parametrize("share", [0.1, 0.55, 1.0])
@pytest.mark.parametrize(("leg", "last", "following", "scope"), STRETCHES)
def test_each_stretch_of_a_firewalled_nics_way_is_named_with_its_scope(
    leg, last, following, scope, share
) -> None:
    made = W.lose(world(), leg, last, share=share, source="vm-1", kind=FlowKind.GATEWAY)
    said = "unknown" if (leg, last) == (0, "enp4s0") else ("request", "reply")[leg]
    assert telling(made) == (Verdict.UNHEALTHY, said, last, following, scope)
    others = [made.judge().guests[ident].verdict for ident in ("vm-2", "vm-3", "vm-5")]
    assert others == [Verdict.HEALTHY] * 3


def test_every_packet_is_accounted_for_at_every_stretch_between_two_nodes() -> None:
    journey = [(0, point) for point in ACROSS] + [(1, point) for point in reversed(ACROSS)]
    for leg, last in journey[:-1]:
        made = W.lose(world(), leg, last, share=0.4, source="vm-1", target="vm-5")
        made.tested = ["vm-1", "vm-5"]
        (ledger,) = [
            each for each in made.judge().ledgers
            if (each.flow.source, each.flow.target) == ("vm-1", "vm-5")
        ]  # fmt: skip
        assert [w.point for w in ledger.path.waypoints] == ACROSS
        (death,) = ledger.deaths()
        place = journey[journey.index((leg, last)) + 1]
        turned = (leg, last) == (0, "vm-5:eth0")
        assert death.last_seen == last
        assert death.next_point == ("vm-5:stack" if turned else place[1])
        assert death.packets == ledger.lost.sum() > 0
        if not turned:
            assert str(death.leg) == ("reply" if place[0] else "request")


@pytest.mark.parametrize(
    ("leg", "last", "against"),
    [
        (0, "guest:eth0", "vm-1"),
        (0, "tap111i0", "vm-1"),
        (0, "fwln111i0", "vm-1"),
        (0, "fwpr115p0", "vm-5"),
        (0, "fwln115i0", "vm-5"),
        (0, "tap115i0", "vm-5"),
        (1, "tap115i0", "vm-5"),
        (1, "fwpr111p0", "vm-1"),
    ],
)
def test_a_flow_counts_against_the_guest_at_whose_own_ports_the_packets_die(
    leg, last, against
) -> None:
    made = W.lose(world(), leg, last, source="vm-1", target="vm-5", kind=FlowKind.PEER)
    verdicts = {ident: judged.verdict for ident, judged in made.judge().guests.items()}
    assert {ident for ident, v in verdicts.items() if v is Verdict.UNHEALTHY} == {against}


@pytest.mark.parametrize("ident", ["vm-1", "vm-5"])
@pytest.mark.parametrize(("leg", "last"), [(0, "enp4s0"), (1, "pve2:enp4s0")])
def test_deaths_between_two_nodes_are_the_uplinks_whoever_lists_the_flow(ident, leg, last) -> None:
    made = W.lose(world(), leg, last, source="vm-1", target="vm-5", kind=FlowKind.PEER)
    other = last.replace("pve2", "pve1")  # the same stretch, as a prober on the other node says
    W.lose(made, leg, other, source="vm-5", target="vm-1", kind=FlowKind.PEER)
    flows = {
        (flow.source, flow.target): flow
        for judged in made.judge().guests.values()
        for flow in judged.flows
    }
    flow = flows[ident, {"vm-1": "vm-5", "vm-5": "vm-1"}[ident]]
    foreign = "pve2:enp4s0" if ident == "vm-1" else "pve1:enp4s0"
    places = {(d.last_seen, d.next_point) for d in flow.deaths}
    # Each end starts probes of its own; all are told in the words of the guest that lists them.
    assert places == {("enp4s0", foreign), (foreign, "enp4s0")}
    sick = {i for i, judged in made.judge().guests.items() if judged.verdict is not HEALTHY}
    assert len(sick) == 1
    assert telling(made, sick.pop())[-1] == "uplink"


def test_a_reflected_mac_is_found_behind_a_firewall_bridge() -> None:
    made = world(reflected={"vm-1": 0.7}, moves=W.moved())
    W.lose(made, 1, "enp4s0", share=0.7, source="vm-1", kind=FlowKind.GATEWAY)
    _, findings, _ = made.diagnose()
    assert findings[0].reason == "MacReflection"
    assert (findings[0].last_seen, findings[0].next_point) == ("enp4s0", "fwpr111p0")
    assert "not passed to fwpr111p0" in findings[0].message


def test_a_rule_on_the_tap_is_found_behind_a_firewall_bridge() -> None:
    made = world()
    made.rules["pve1"] = (W.rule("drop", hook="egress", device="tap111i0"),)
    W.lose(made, 1, "fwln111i0", source="vm-1", kind=FlowKind.GATEWAY)
    _, findings, _ = made.diagnose()
    assert findings[0].reason == "TapEgressDrop"
    assert (findings[0].last_seen, findings[0].next_point) == ("fwln111i0", "tap111i0")


def test_an_unknown_death_in_a_firewall_bridge_says_where_to_look() -> None:
    made = W.lose(world(), 0, "tap111i0", source="vm-1", kind=FlowKind.GATEWAY)
    _, findings, _ = made.diagnose()
    assert "`iptables-save` (Proxmox's firewall" in findings[0].message
    assert "`tc -s qdisc show dev fwln111i0`" in findings[0].message
    plain = W.lose(world(), 1, "enp4s0", source="vm-2", kind=FlowKind.GATEWAY)
    _, findings, _ = plain.diagnose("vm-2")
    assert "iptables-save" not in findings[0].message
    assert "`tc -s qdisc show dev tap112i0`" in findings[0].message


def test_loss_on_the_uplink_of_a_firewalled_guest_is_the_uplinks() -> None:
    made = world()
    W.FAULTS["uplink-loss"](made)
    _, findings, _ = made.diagnose()
    assert findings[0].reason == "UplinkLoss"


def test_a_doubtful_firewall_port_leaves_the_stretch_around_it() -> None:
    made = world(doubts={"pve1": {"fwln111i0": "the interface changed during the sweep"}})
    W.lose(made, 0, "tap111i0", source="vm-1", kind=FlowKind.GATEWAY)
    assert telling(made) == (Verdict.UNHEALTHY, "request", "tap111i0", "fwpr111p0", "host")


def test_the_gates_own_probes_pass_the_ports_in_the_other_order() -> None:
    made = world()
    flow = next(f for f in made.sweep().flows if (f.source, f.target) == (GATE, "vm-1"))
    path = path_of(flow, made.inventory, {})
    assert [(w.point, w.request_out) for w in path.waypoints] == [
        ("enp4s0", False), ("fwpr111p0", True), ("fwln111i0", False), ("tap111i0", True),
        ("guest:eth0", False),
    ]  # fmt: skip
