"""Guard rails, one table for each, and how they become a decision."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pytest_vmnet.core.guardrails.case import Limit, Mode, PolicySettings, Subject
from pytest_vmnet.core.guardrails.journal import JournalEntry, Phase, Signature, Step
from pytest_vmnet.core.guardrails.ladder import cured_by
from pytest_vmnet.core.outcome import Attempt, Finding, GuestOutcome
from pytest_vmnet.core.policy import decide, refused_plan
from pytest_vmnet.core.site.topology import Guest, Nic, ResourceAddress
from pytest_vmnet.core.words import (
    Action,
    AttemptOutcome,
    Leg,
    Rebuild,
    Scope,
    Severity,
    Verdict,
)
from pytest_vmnet.errors import ConfigError

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MAC = "bc:24:11:74:5a:6d"
SIGNATURE = Signature(reason="MacReflection", last_seen="enp4s0", next_point="tap111i0")


def guest(vmid: Any = 111, *, bridge: Any = "vmbr0", node: Any = "pve1", **more: Any) -> Any:
    name = f"vm-{vmid - 110}"
    mac = f"bc:24:11:00:00:{vmid % 100:02x}" if vmid != 111 else MAC
    resource = ResourceAddress(
        address=f"proxmox_vm_qemu.{name}",
        type="proxmox_vm_qemu",
        vmid=vmid,
        name=name,
        node=node,
        macs=(mac,),
    )
    settings = {
        "vmid": vmid,
        "name": name,
        "ident": name,
        "node": node,
        "tags": ("vmnet-rebuild",),
        "nics": (Nic(index=0, model="virtio", mac=mac, bridge=bridge),),
        "resource": resource,
    }
    return Guest(**(settings | more))


def finding(
    reason: Any = "MacReflection",
    rebuild: Any = Rebuild.CURES,
    scope: Any = Scope.UPLINK,
    **more: Any,
) -> Any:
    settings = {
        "reason": reason,
        "severity": Severity.ERROR,
        "message": "the message",
        "scope": scope,
        "leg": Leg.REPLY,
        "last_seen": "enp4s0",
        "next_point": "tap111i0",
        "packets": 7,
        "evidence": (),
        "rebuild": rebuild,
    }
    return Finding(**(settings | more))


def outcome(
    vmid: Any = 111,
    *,
    verdict: Any = Verdict.UNHEALTHY,
    findings: Any = None,
    reason: Any = "",
    **more: Any,
) -> Any:
    found = (finding(),) if findings is None else findings
    facts = {key: more.pop(key) for key in ("attempts", "healed") if key in more}
    return GuestOutcome(
        guest=guest(vmid, **more), verdict=verdict, reason=reason, findings=tuple(found), **facts
    )


HEALTHY = tuple(outcome(vmid, verdict=Verdict.HEALTHY, findings=()) for vmid in range(112, 116))
SETTINGS = PolicySettings(
    mode=Mode.UNHEALTHY, mode_source="command line", journal="pve1:/var/lib/j"
)


def subject(
    findings: Any = None,
    verdict: Any = Verdict.UNHEALTHY,
    guest_facts: Any = None,
    reason: Any = "",
    **facts: Any,
) -> Any:
    out = outcome(findings=findings, verdict=verdict, reason=reason, **(guest_facts or {}))
    return Subject(outcome=out, **({"measured_macs": (MAC,)} | facts))


def ask(who: Any = None, others: Any = HEALTHY, history: Any = (), **settings: Any) -> Any:
    who = who or subject()
    chosen = dataclasses.replace(SETTINGS, **settings)
    return decide(who, (who.outcome, *others), chosen, history, NOW)


def entry(**more: Any) -> Any:
    settings: dict[str, Any] = {
        "time": NOW - timedelta(hours=30),
        "run_id": "0123456789abcdef",
        "vmid": 111,
        "name": "vm-1",
        "node": "pve1",
        "rung": Action.REBUILD,
        "step": Step.APPLY,
        "phase": Phase.BEFORE,
        "signature": Signature(reason="Other", last_seen=None, next_point=None),
    }
    return JournalEntry(**(settings | more))


def done(**more: Any) -> Any:
    """An act that was finished."""
    ends = Step.START if more.get("step") is Step.STOP else more.get("step", Step.APPLY)
    return entry(**more), entry(**(more | {"phase": Phase.AFTER, "outcome": "ok", "step": ends}))


def test_the_incident_is_rebuilt() -> None:
    found = ask()
    assert found.action is Action.REBUILD
    assert found.ladder == (Action.REBUILD,)
    assert "MacReflection enp4s0 -> tap111i0" in found.reason
    assert "1 of 5 guests in vmbr0 on pve1 unhealthy (vm-1), limit 1" in found.reason
    assert "restart leaves what MacReflection needs renewed" in found.reason
    assert "remac is not available in this version" in found.reason


def test_a_healthy_or_skipped_guest_needs_nothing() -> None:
    assert ask(subject(verdict=Verdict.HEALTHY)).action is Action.NONE
    assert ask(subject(verdict=Verdict.HEALTHY)).reason == "healthy"
    found = ask(subject(verdict=Verdict.SKIPPED, reason="locked: backup"))
    assert (found.action, found.reason) == (Action.NONE, "skipped: locked: backup")


@pytest.mark.parametrize(
    ("rebuild", "opinion"),
    [
        (Rebuild.CURES, "would cure it"),
        (Rebuild.MAY_CURE, "may cure it"),
        (Rebuild.NO, "would not cure it"),
        (Rebuild.DANGEROUS, "would be dangerous"),
    ],
)
def test_never_is_the_default_and_says_so(rebuild: Any, opinion: Any) -> None:
    who = subject([finding(rebuild=rebuild)])
    found = decide(who, (who.outcome,), PolicySettings(), (), NOW)
    assert found.action is Action.REFUSE
    assert found.reason == (
        f"--vmnet-rebuild is never (default): no act is allowed; "
        f"MacReflection: a rebuild {opinion}"
    )
    assert found.ladder == ()


def test_never_without_a_finding() -> None:
    assert "no act is allowed" in ask(subject([]), mode=Mode.NEVER).reason


CURE, MAY, NO, BAD = Rebuild.CURES, Rebuild.MAY_CURE, Rebuild.NO, Rebuild.DANGEROUS


@pytest.mark.parametrize(
    ("mode", "reason", "rebuild", "scope", "action"),
    [
        (Mode.DIAGNOSED, "A", CURE, Scope.UPLINK, "restart"),
        (Mode.DIAGNOSED, "A", MAY, Scope.VNIC, "refuse"),
        (Mode.DIAGNOSED, "A", NO, Scope.VNIC, "refuse"),
        (Mode.DIAGNOSED, "A", BAD, Scope.VNIC, "refuse"),
        (Mode.DIAGNOSED, "Unknown", MAY, Scope.GUEST, "refuse"),
        (Mode.DIAGNOSED, "Unknown", CURE, Scope.GUEST, "refuse"),
        (Mode.UNHEALTHY, "A", CURE, Scope.UPLINK, "restart"),
        (Mode.UNHEALTHY, "A", MAY, Scope.UPLINK, "restart"),
        (Mode.UNHEALTHY, "A", NO, Scope.GUEST, "refuse"),
        (Mode.UNHEALTHY, "A", BAD, Scope.GUEST, "refuse"),
        (Mode.UNHEALTHY, "Unknown", MAY, Scope.GUEST, "restart"),
        (Mode.UNHEALTHY, "Unknown", MAY, Scope.VNIC, "restart"),
        (Mode.UNHEALTHY, "Unknown", MAY, Scope.HOST, "restart"),
        (Mode.UNHEALTHY, "Unknown", NO, Scope.HOST, "refuse"),
        *[(Mode.UNHEALTHY, "Unknown", MAY, scope, "refuse") for scope in
          (Scope.BRIDGE, Scope.NODE, Scope.UPLINK, Scope.GATEWAY, Scope.PEER, Scope.UNKNOWN)],
        (Mode.PLAN, "A", CURE, Scope.UPLINK, "hold"),
        (Mode.PLAN, "A", MAY, Scope.UPLINK, "hold"),
        (Mode.PLAN, "A", NO, Scope.UPLINK, "refuse"),
        (Mode.PLAN, "A", BAD, Scope.UPLINK, "refuse"),
        (Mode.PLAN, "Unknown", MAY, Scope.VNIC, "hold"),
        (Mode.PLAN, "Unknown", MAY, Scope.UPLINK, "refuse"),
    ],
)  # fmt: skip
def test_modes(mode: Any, reason: Any, rebuild: Any, scope: Any, action: Any) -> None:
    found = ask(subject([finding(reason, rebuild, scope)]), mode=mode)
    assert found.action == action, found.reason


def test_plan_mode_asks_for_the_plan_alone() -> None:
    found = ask(subject([finding("A")]), mode=Mode.PLAN)
    assert found.ladder == (Action.REBUILD,)
    assert found.reason.startswith("--vmnet-rebuild is plan: rebuild against A")


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.FLAPPING])
def test_only_unhealthy_leads_to_an_act(verdict: Any) -> None:
    found = ask(subject(verdict=verdict, reason="the agent was lost"))
    assert found.action is Action.REFUSE
    assert f"its verdict is {verdict} (the agent was lost)" in found.reason


REFUSED = {
    "no diagnosis": (subject([]), "there is no diagnosis"),
    "sick prober": (subject(prober_sick="captures dropped 3 frames"), "captures dropped 3 frames"),
    "observer finding": (
        subject([finding(), finding("CaptureLost", scope=Scope.OBSERVER)]),
        "the gate's own side is sick: CaptureLost",
    ),
    "second finding dangerous": (
        subject([finding(), finding("PortSecurity", BAD, why_rebuild="It locks the port.")]),
        "PortSecurity: a rebuild is dangerous (It locks the port)",
    ),
    "not enrolled": (
        subject(guest_facts={"tags": ("web",)}),
        "not enrolled: --vmnet-rebuildable names tag:vmnet-rebuild; its tags: web",
    ),
    "the gate's own guest": (subject(is_gate=True), "the gate runs in this guest"),
    "a gateway": (subject(serves=("gateway of vm-2, vm-3",)), "it is gateway of vm-2, vm-3"),
    "a lock": (subject(guest_facts={"lock": "backup"}), "lock 'backup'"),
    "hold": (subject(guest_facts={"tags": ("vmnet-rebuild", "vmnet-hold")}), "tag vmnet-hold"),
    "skip": (subject(guest_facts={"tags": ("vmnet-rebuild", "VMNET-SKIP")}), "tag VMNET-SKIP"),
    "other obstacle": (subject(obstacles=("a backup runs",)), "a backup runs"),
    "protection": (subject(guest_facts={"protection": True}), "protection on"),
    "not in the state": (
        subject(guest_facts={"resource": None}), "Terraform's state has no resource for it"
    ),
    "twice in the state": (
        subject(guest_facts={"resource": None}, resource_problem="VMID 111 is there 2 times"),
        "2 times",
    ),
    "MAC not measured": (subject(measured_macs=()), f"compare with the configured {MAC}"),
    "stranger's MAC": (subject(measured_macs=(MAC, "aa:bb:cc:dd:ee:ff")), "aa:bb:cc:dd:ee:ff was"),
    "no NIC": (subject(guest_facts={"nics": ()}), "it has no NIC on a bridge"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: Any) -> None:
    who, text = REFUSED[name]
    found = ask(who)
    assert found.action is Action.REFUSE
    assert text in found.reason


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"vmid": 999}, "VMID 999 in Terraform's state, 111 in the API"),
        ({"name": "web"}, "name 'web' in Terraform's state, 'vm-1' in the API"),
        ({"node": "pve2"}, "node 'pve2' in Terraform's state, 'pve1' in the API"),
        ({"macs": ("aa:aa:aa:aa:aa:aa",)}, "MACs aa:aa:aa:aa:aa:aa in Terraform's state"),
        ({"macs": ()}, "MACs none in Terraform's state"),
    ],
)
def test_identity(facts: Any, text: Any) -> None:
    who = guest()
    other = dataclasses.replace(who.resource, **facts)
    found = ask(subject(guest_facts={"resource": other}))
    assert found.action is Action.REFUSE
    assert f"proxmox_vm_qemu.vm-1: {text}" in found.reason


def test_identity_does_not_mind_upper_case() -> None:
    upper = dataclasses.replace(guest().resource, macs=(MAC.upper(),))
    assert ask(subject(guest_facts={"resource": upper})).action is Action.REBUILD


def test_a_notice_is_no_fault() -> None:
    notice = finding("IcmpFiltered", BAD, Scope.OBSERVER, severity=Severity.NOTICE)
    assert ask(subject([finding(), notice])).action is Action.REBUILD


SICK = outcome(112)


@pytest.mark.parametrize(
    ("others", "limit", "text"),
    [
        (
            (SICK, *HEALTHY[1:]),
            "1,20%",
            "2 of 5 guests in vmbr0 on pve1 unhealthy (vm-1, vm-2), l",
        ),
        ((outcome(112, verdict=Verdict.FLAPPING), *HEALTHY[1:]), "1,20%", "2 of 5 guests"),
        ((outcome(112, verdict=Verdict.HEALTHY, healed=True),), "1", "2 of 2 guests"),
        ((*HEALTHY,), "0", "1 of 5 guests in vmbr0 on pve1 unhealthy (vm-1), limit 0"),
        ((*HEALTHY,), "19%", "limit 0"),
        ((SICK, *HEALTHY[1:]), "2", None),
        ((SICK, *HEALTHY[1:]), "40%", None),
        ((), "1,20%", None),
        ((outcome(112, bridge="vmbr1"), *HEALTHY[1:]), "1,20%", None),
        ((outcome(112, node="pve2"), *HEALTHY[1:]), "1,20%", None),
        ((outcome(112, verdict=Verdict.INCONCLUSIVE), *HEALTHY[1:]), "1,20%", None),
    ],
)
def test_crowd(others: Any, limit: Any, text: Any) -> None:
    found = ask(others=others, max_unhealthy=Limit.parse(limit))
    assert (found.action is Action.REFUSE) is (text is not None)
    assert text is None or text in found.reason


def test_an_attempt_counts_even_if_it_healed() -> None:
    tried = Attempt(
        rung=Action.REBUILD,
        outcome=AttemptOutcome.CURED,
        duration_s=1,
        mac_before=None,
        mac_after=None,
    )
    others = (outcome(112, verdict=Verdict.HEALTHY, attempts=(tried,)), *HEALTHY[1:])
    assert "2 of 5 guests" in ask(others=others).reason


def test_a_crowd_is_not_listed_without_end() -> None:
    many = tuple(outcome(vmid) for vmid in range(112, 140))
    assert "vm-8, ...), limit 5" in ask(others=many).reason


@pytest.mark.parametrize(
    ("text", "total", "limit"),
    [("1,20%", 3, 1), ("1,20%", 10, 2), ("1,20%", 14, 2), ("20%", 4, 0), ("20%", 5, 1),
     ("0", 100, 0), ("0%", 100, 0), ("3", 2, 3), ("100%", 7, 7), ("33.4%", 3, 1), (" 2 ", 9, 2)],
)  # fmt: skip
def test_limits(text: Any, total: Any, limit: Any) -> None:
    assert Limit.parse(text).of(total) == limit


@pytest.mark.parametrize("text", ["", "%", "-1", "101%", "1,", ",20%", "a", "1 2", "20%,1", "1.5"])
def test_limits_that_are_none(text: Any) -> None:
    with pytest.raises(ConfigError, match=r"ini = .*not a limit"):
        Limit.parse(text, source="ini")


HOURS = timedelta(hours=1)


@pytest.mark.parametrize(
    ("history", "text"),
    [
        (done(), None),
        (done(time=NOW - 23 * HOURS), "the last rebuild of this guest was 23.0 h ago, the interv"),
        (done(time=NOW - 24 * HOURS), None),
        (done(time=NOW - 23 * HOURS, vmid=112), None),
        (done(time=NOW - 23 * HOURS, rung=Action.RESTART, step=Step.STOP), None),
        (done(time=NOW - 23 * HOURS, step=Step.PLAN), None),
        (done(signature=SIGNATURE), "breaker: it was rebuilt against the same fault (MacRefl"),
        (done(signature=SIGNATURE, time=NOW - 31 * 24 * HOURS), None),
        (done(signature=SIGNATURE, rung=Action.RESTART, step=Step.STOP), None),
        ((entry(),), "run 01234567 began to apply at 2026-11-22 06:00 UTC and never wrote how"),
        ((entry(step=Step.STOP, rung=Action.RESTART),), "began to stop"),
        ((entry(step=Step.TAINT),), "began to taint"),
        ((entry(step=Step.TAINT), entry(step=Step.UNTAINT, phase=Phase.AFTER)), None),
        ((entry(step=Step.TAINT), entry(step=Step.TAINT, phase=Phase.AFTER)), "began to taint"),
        ((entry(), entry(phase=Phase.AFTER, run_id="another")), "began to apply"),
        ((entry(step=Step.PLAN),), None),
        ((entry(signature=SIGNATURE), entry(step=Step.ABANDON, phase=Phase.AFTER)), None),
        ((entry(step=Step.ABANDON, phase=Phase.AFTER), entry()), "began to apply"),
    ],
)  # fmt: skip
def test_history(history: Any, text: Any) -> None:
    found = ask(history=history)
    assert (found.action is Action.REFUSE) is (text is not None), found.reason
    assert text is None or text in found.reason


def test_the_interval_is_the_users() -> None:
    history = done(time=NOW - 2 * HOURS)
    assert ask(history=history, interval_s=3600).action is Action.REBUILD
    assert "the interval is 3 h" in ask(history=history, interval_s=3 * 3600).reason


def test_without_a_journal_that_outlives_the_run_no_act() -> None:
    found = ask(journal=None)
    assert found.action is Action.REFUSE
    assert "no journal that outlives this run" in found.reason


def test_the_ladder_begins_with_the_gentlest_rung_that_can_cure() -> None:
    stuck = subject([finding("VirtioRingStuck", scope=Scope.VNIC)])
    found = ask(stuck)
    assert (found.action, found.ladder) == (Action.RESTART, (Action.RESTART, Action.REBUILD))
    assert "not available" not in found.reason
    assert ask(stuck, ladder=(Action.REBUILD,)).action is Action.REBUILD
    assert "restart is not in --vmnet-ladder" in ask(stuck, ladder=(Action.REBUILD,)).reason
    assert ask(stuck, ladder=(Action.REBUILD, Action.RESTART)).action is Action.RESTART


def test_a_ladder_that_has_no_rung_for_the_cause() -> None:
    found = ask(ladder=(Action.RESTART, Action.REMAC))
    assert found.action is Action.REFUSE
    for text in ("rebuild is not in --vmnet-ladder", "remac is not available in this version",
                 "restart leaves what MacReflection needs renewed"):  # fmt: skip
        assert text in found.reason


def test_a_restart_that_was_tried_leaves_the_next_rung() -> None:
    stuck = subject([finding("VirtioRingStuck", scope=Scope.VNIC)])
    history = done(time=NOW - HOURS, rung=Action.RESTART, step=Step.STOP)
    found = ask(stuck, history=history)
    assert found.action is Action.REBUILD
    assert "the last restart of this guest was 1.0 h ago" in found.reason


def test_a_protected_guest_may_still_be_restarted() -> None:
    stuck = subject(
        [finding("VirtioRingStuck", scope=Scope.VNIC)], guest_facts={"protection": True}
    )
    assert ask(stuck).ladder == (Action.RESTART,)


def test_which_rungs_cure_what() -> None:
    assert cured_by("MacReflection") == cured_by("DuplicateMac") == (Action.REMAC, Action.REBUILD)
    assert cured_by("Unknown") == (Action.RESTART, Action.REMAC, Action.REBUILD)


def test_every_obstacle_is_told_at_once_and_once() -> None:
    who = subject(guest_facts={"lock": "backup", "tags": ()}, obstacles=("x", "x"), is_gate=True)
    reason = ask(who, others=(SICK,), journal=None).reason
    for text in ("lock 'backup'", "not enrolled", "2 of 2 guests", "no journal", "gate runs"):
        assert text in reason
    assert reason.count("x;") + reason.endswith("; x") == 1


def test_a_refused_plan_refuses() -> None:
    found = refused_plan(ask(), ["a", "b"])
    assert found.action is Action.REFUSE
    assert found.reason.startswith("the plan was refused: a; b (decided before: rebuild against")
    assert found.ladder == ()
