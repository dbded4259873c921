"""Each rule alone: what it finds, what it rules out, and when it keeps quiet."""

from __future__ import annotations

import inspect
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.core.facts import GATE, FdbMove, NftRule
from pytest_vmnet.core.outcome import Finding, RuledOut
from pytest_vmnet.core.rules import RULES
from pytest_vmnet.core.rules.case import Case, can_take_probe, most_likely
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.lab.faults import FAULTS

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
TO_GATEWAY = {"source": "vm-1", "kind": FlowKind.GATEWAY}
TWIN = "02:76:6d:00:02:6f"
FOUND, OUT, OPEN = Finding, RuledOut, type(None)


def ask(reason: str, world):
    sweeps = (world.sweep(),)
    judgement = world.judge(*sweeps)
    return RULES[reason](
        Case(
            judged=judgement.guests["vm-1"],
            judgement=judgement,
            inventory=world.inventory,
            sweeps=sweeps,
        )
    )


def planted(fault: str, **more):
    """Return a world with a fault of the lab, and with some of its attributes set."""
    world = W.World()
    W.FAULTS[fault](world)
    for key, value in more.items():
        setattr(world, key, value)
    return world


def dead(leg, last, **more):
    """Return a world where all packets of vm-1 to its gateway die there."""
    world = W.lose(W.World(), leg, last, **TO_GATEWAY)
    for key, value in more.items():
        setattr(world, key, value)
    return world


def egress(text="drop", device="tap111i0") -> dict[str, tuple[NftRule, ...]]:
    return {"pve1": (W.rule(text, hook="egress", device=device),)}


def inside(text="icmp type echo-reply drop", **more) -> dict[str, tuple[NftRule, ...]]:
    return {"vm-1": (W.rule(text, **more),)}


DROP = {"leg": 1, "last": "enp4s0"}
STACK = {"leg": 1, "last": "guest:eth0"}
TABLE = [
    # MacReflection
    ("MacReflection", "unhealthy-fault", lambda: planted("reflected-mac"), FOUND),
    ("MacReflection", "unhealthy-without-fdb-events",
     lambda: planted("reflected-mac", moves=[]), FOUND),
    ("MacReflection", "unhealthy-look-alike", lambda: planted("tap-egress-drop"), OUT),
    ("MacReflection", "unhealthy-moves-alone", lambda: dead(**DROP, moves=W.moved()), OUT),
    ("MacReflection", "unhealthy-reflected-but-died-elsewhere",
     lambda: dead(1, "guest:eth0", reflected={"vm-1": 0.7}), OPEN),
    ("MacReflection", "unhealthy-another-guest-is-reflected",
     lambda: dead(**DROP, reflected={"vm-2": 0.7}), OUT),
    ("MacReflection", "inconclusive-nobody-watched-the-uplink",
     lambda: planted("reflected-mac", doubts={"pve1": {"enp4s0": "dropped by kernel"}}), OPEN),
    ("MacReflection", "inconclusive-no-single-uplink",
     lambda: planted("reflected-mac", nodes=(W.node(ports=("enp4s0", "enp5s0")),), fates=[]),
     OPEN),
    # DuplicateAddress
    ("DuplicateAddress", "unhealthy-fault", lambda: planted("duplicate-ip"), FOUND),
    ("DuplicateAddress", "unhealthy-believed-after-one-frame",
     lambda: planted("duplicate-ip", arps=[W.arp(TWIN, "192.0.2.11")]), FOUND),
    ("DuplicateAddress", "unhealthy-one-frame-that-nobody-believes",
     lambda: planted("duplicate-ip", arps=[W.arp(TWIN, "192.0.2.11")], neighbours={}), OPEN),
    ("DuplicateAddress", "unhealthy-one-broadcast-at-many-ports",
     lambda: dead(**DROP, arps=[W.arp(TWIN, "192.0.2.11", ifindex=i, out=i > 2)
                                for i in (2, 111, 112, 113)]), OPEN),
    ("DuplicateAddress", "unhealthy-only-its-own-mac",
     lambda: dead(**DROP, arps=[W.arp(W.mac(1), "192.0.2.11")] * 3), OUT),
    ("DuplicateAddress", "unhealthy-somebody-elses-address",
     lambda: dead(**DROP, arps=[W.arp(TWIN, "192.0.2.12")] * 3), OPEN),
    ("DuplicateAddress", "inconclusive-silence", lambda: dead(**DROP), OPEN),
    ("DuplicateAddress", "inconclusive-no-capture",
     lambda: planted("duplicate-ip", blind={"pve1"}), OPEN),
    # GuestFirewallDrop
    ("GuestFirewallDrop", "unhealthy-fault", lambda: planted("guest-firewall"), FOUND),
    ("GuestFirewallDrop", "unhealthy-jumped-to",
     lambda: dead(**STACK, rules=inside("drop", hook=None)), FOUND),
    ("GuestFirewallDrop", "unhealthy-never-left",
     lambda: dead(0, None, rules=inside("drop", hook="output")), FOUND),
    ("GuestFirewallDrop", "unhealthy-its-echo-replies-are-dropped",
     lambda: W.lose(W.World(rules=inside(hook="output")), 0, "guest:eth0",
                    kind=FlowKind.INBOUND, target="vm-1"), FOUND),
    ("GuestFirewallDrop", "unhealthy-wrong-way",
     lambda: dead(**STACK, rules=inside(hook="output")), OUT),
    ("GuestFirewallDrop", "unhealthy-another-protocol",
     lambda: dead(**STACK, rules=inside("tcp dport 23 drop")), OUT),
    ("GuestFirewallDrop", "unhealthy-another-nic",
     lambda: dead(**STACK, rules=inside('iifname "docker0" drop')), OUT),
    ("GuestFirewallDrop", "unhealthy-no-rules", lambda: dead(**STACK), OUT),
    ("GuestFirewallDrop", "unhealthy-died-outside", lambda: dead(**DROP, rules=inside()), OUT),
    ("GuestFirewallDrop", "unhealthy-died-in-qemu",
     lambda: dead(1, "tap111i0", rules=inside()), OUT),
    ("GuestFirewallDrop", "inconclusive-rules-not-read",
     lambda: dead(**STACK, rules={"vm-1": None}), OPEN),
    # TapEgressDrop
    ("TapEgressDrop", "unhealthy-fault", lambda: planted("tap-egress-drop"), FOUND),
    ("TapEgressDrop", "unhealthy-one-of-several-devices",
     lambda: dead(**DROP, rules=egress(device="tap112i0, tap111i0")), FOUND),
    ("TapEgressDrop", "unhealthy-a-wildcard",
     lambda: dead(**DROP, rules=egress(device="tap11*")), FOUND),
    ("TapEgressDrop", "unhealthy-look-alike", lambda: planted("reflected-mac"), OUT),
    ("TapEgressDrop", "unhealthy-another-tap",
     lambda: dead(**DROP, rules=egress(device="tap112i0")), OUT),
    ("TapEgressDrop", "unhealthy-a-tap-that-begins-alike",
     lambda: dead(**DROP, rules=egress(device="tap111i01")), OUT),
    ("TapEgressDrop", "unhealthy-another-protocol",
     lambda: dead(**DROP, rules=egress("arp operation request drop")), OUT),
    ("TapEgressDrop", "unhealthy-ingress-of-the-tap",
     lambda: dead(**DROP, rules={"pve1": (W.rule("drop", hook="ingress", device="tap111i0"),)}),
     OUT),
    ("TapEgressDrop", "unhealthy-died-elsewhere", lambda: dead(**STACK, rules=egress()), OUT),
    ("TapEgressDrop", "unhealthy-died-inside-on-the-way-out",
     lambda: dead(0, "guest:eth0", rules=egress()), OUT),
    ("TapEgressDrop", "inconclusive-rules-not-read",
     lambda: dead(**DROP, rules={"pve1": None}), OPEN),
    # GatewayLoss
    ("GatewayLoss", "unhealthy-fault", lambda: planted("gateway-loss"), FOUND),
    ("GatewayLoss", "unhealthy-others-are-clean", lambda: planted("uplink-loss"), OUT),
    ("GatewayLoss", "unhealthy-died-on-the-node", lambda: dead(**DROP), OUT),
    ("GatewayLoss", "inconclusive-the-uplink-loses-as-well",
     lambda: W.lose(planted("gateway-loss"), 0, None, kind=FlowKind.INBOUND), OPEN),
    ("GatewayLoss", "inconclusive-no-controls", lambda: _quiet(planted("gateway-loss")), OPEN),
    # UplinkLoss
    ("UplinkLoss", "unhealthy-fault", lambda: planted("uplink-loss"), FOUND),
    ("UplinkLoss", "unhealthy-inbound-is-clean", lambda: planted("gateway-loss"), OUT),
    ("UplinkLoss", "unhealthy-died-on-the-node", lambda: dead(**DROP), OUT),
    ("UplinkLoss", "inconclusive-both-may-be-the-gateway",
     lambda: W.lose(planted("uplink-loss"), 0, None, kind=FlowKind.CONTROL, source=GATE), OPEN),
    ("UplinkLoss", "inconclusive-inbound-dies-on-the-node",
     lambda: W.lose(dead(0, "enp4s0"), 0, "enp4s0", kind=FlowKind.INBOUND), OPEN),
    ("UplinkLoss", "inconclusive-a-twin-answers-instead",
     lambda: W.lose(dead(0, "enp4s0"), 0, None, kind=FlowKind.INBOUND, answered=True), OPEN),
    ("UplinkLoss", "inconclusive-no-inbound", lambda: _quiet(planted("uplink-loss")), OPEN),
]  # fmt: skip


def _quiet(world):
    world.targets = replace(world.targets, inbound=False, nodes_with_shell=frozenset())
    world.fates = [fate for fate in world.fates if fate.kind is FlowKind.GATEWAY]
    return world


@pytest.mark.parametrize(
    ("reason", "make", "expected"),
    [pytest.param(r, make, kind, id=f"{r}-{name}") for r, name, make, kind in TABLE],
)
def test_what_a_rule_answers(reason, make, expected) -> None:
    answer = ask(reason, make())
    assert type(answer) is expected
    assert answer is None or answer.reason == reason


@pytest.mark.parametrize(("back", "kind"), [(0, OUT), (2, OUT), (3, FOUND)])
def test_a_stray_frame_or_two_are_no_reflection(back, kind) -> None:
    world = planted("reflected-mac", reflected={"vm-1": 1.0})
    sweep = world.sweep()
    facts = sweep.hosts["pve1"]
    rows = facts.capture.packets.sightings
    strays = (rows["ifindex"] == 2) & ~rows["out"] & ~rows["reply"]
    packets = replace(facts.capture.packets, sightings=rows[~strays | (rows["seq"] <= back)])
    facts = replace(facts, capture=replace(facts.capture, packets=packets))
    changed = replace(sweep, hosts={**sweep.hosts, "pve1": facts})
    world.sweep = lambda: changed
    assert type(ask("MacReflection", world)) is kind


def test_each_rule_has_a_case_of_each_kind() -> None:
    assert {row[0] for row in TABLE} == set(RULES)
    for reason in RULES:
        assert {row[3] for row in TABLE if row[0] == reason} == {FOUND, OUT, OPEN}


def test_each_rule_has_a_fault_and_each_fault_a_rule() -> None:
    assert {fault.reason for fault in FAULTS} == set(RULES)
    assert {fault.name for fault in FAULTS} == set(W.FAULTS)


@pytest.mark.parametrize("reason", RULES)
def test_a_rules_docstring_has_its_parts(reason) -> None:
    text = inspect.getdoc(sys.modules[RULES[reason].__module__])
    parts = [line[:-1] for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    wanted = ["Cause", "Evidence for", "Evidence against", "Not proof", "Remedy"]
    assert [part for part in parts if part != "References"] == wanted
    assert text.splitlines()[0].endswith(".")


@pytest.mark.parametrize(
    ("text", "family", "expected"),
    [
        ("drop", "inet", True),
        ("icmp type echo-reply drop", "inet", True),
        ("meta l4proto { icmp, ipv6-icmp } drop", "inet", True),
        ("-p icmp -m icmp --icmp-type 0 -j DROP", "ip", True),
        ("ct state invalid drop", "inet", True),
        ("tcp dport 22 drop", "inet", False),
        ("-p tcp -m tcp --dport 25 -j REJECT", "ip", False),
        ("icmpv6 type echo-request drop", "inet", False),
        ("ip6 saddr ::1 drop", "inet", False),
        ("drop", "ip6", False),
        ('iifname "eth0" drop', "inet", True),
        ('iifname "eth1" drop', "inet", False),
        ('iifname "eth*" drop', "inet", True),
        ("-i eth1 -j DROP", "ip", False),
        ("-i eth+ -j DROP", "ip", True),
        ('counter drop comment "tcp only"', "inet", True),
    ],
)
def test_which_rule_can_take_a_probe(text, family, expected) -> None:
    rule = NftRule(
        family=family, table="t", chain="c", hook="input", device=None, text=text, handle=None
    )
    assert can_take_probe(rule, "eth0") is expected


def test_the_rule_that_names_icmp_is_the_likeliest() -> None:
    texts = ["ct state invalid drop", "policy drop", "icmp type echo-reply drop"]
    assert most_likely([W.rule(text) for text in texts]).text == texts[2]
    assert most_likely([W.rule(text) for text in texts[:2]]).text == texts[1]


def test_the_deaths_at_a_move_are_evidence_of_a_reflection() -> None:
    world = planted("reflected-mac")
    dead_at = [(at + 1) * 20_000_000 for at in range(300) if at * 37 % 100 < 70]
    moves = [(at - 500_000, "enp4s0") for at in dead_at]
    moves += [(at + 3_000_000, "tap111i0") for at in dead_at]
    world.moves = [
        FdbMove(t_ns=at, mac=W.mac(1), ifname=ifname, deleted=False) for at, ifname in moves
    ]
    found = ask("MacReflection", world)

    assert found.evidence[-1].startswith("210 of 210 deaths within 1 ms of the FDB entry of")


@pytest.mark.parametrize(
    ("text", "family", "expected"),
    [
        ("icmpv6 type echo-request drop", "inet", True),
        ("-p ipv6-icmp -j DROP", "ip6", True),
        ("drop", "ip6", True),
        ("drop", "inet", True),
        ("drop", "ip", False),
        ("icmp type echo-request drop", "inet", False),
        ("ip saddr 192.0.2.1 drop", "inet", False),
        ("tcp dport 22 drop", "ip6", False),
        ('iifname "eth1" drop', "ip6", False),
    ],
)
def test_which_rule_can_take_a_probe_of_ipv6(text, family, expected) -> None:
    rule = NftRule(
        family=family, table="t", chain="c", hook="input", device=None, text=text, handle=None
    )
    assert can_take_probe(rule, "eth0", is_ipv6=True) is expected
