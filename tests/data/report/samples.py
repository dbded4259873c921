"""Runs made by hand, one of each kind that a report has to tell."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from pytest_vmnet.core.outcome import (
    Attempt,
    Bursts,
    Death,
    Decision,
    Finding,
    Flow,
    GuestOutcome,
    NeighbourCheck,
    RuledOut,
    RunOutcome,
    Setting,
)
from pytest_vmnet.core.site.topology import Skipped
from pytest_vmnet.core.words import (
    Action,
    AttemptOutcome,
    FlowKind,
    Leg,
    LossPattern,
    Rebuild,
    Scope,
    Severity,
    Verdict,
)

build = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("builders.py"))))
OLD_MAC, NEW_MAC, HOSTILE = build.OLD_MAC, build.NEW_MAC, build.HOSTILE
GATEWAY, EXTERNAL = build.GATEWAY, build.EXTERNAL
settings = build.settings
guest = build.guest
point = build.point
flow = build.flow
to_gateway = build.to_gateway
clean = build.clean
healthy = build.healthy
run: Callable[..., RunOutcome] = build.run
REFLECTED, RULED_OUT = build.REFLECTED, build.RULED_OUT


def sick_flows() -> tuple[Flow, ...]:
    """Return the flows of the incident: replies die between uplink and tap."""
    return (
        replace(
            to_gateway(1, 165),
            timeline=build.timeline(1),
            rtt_quantiles_ms={"p50": 0.6, "p90": 1.1, "p99": 2.8, "max": 3.1},
            jitter_ms=0.21,
            bursts=Bursts(
                pattern=LossPattern.RANDOM, stretches=74, longest=6, mean=2.2, p_value=0.4
            ),
        ),
        flow("vm-1", "vm-2", FlowKind.PEER, lost=4, verdict=Verdict.INCONCLUSIVE),
        flow("vm-1", EXTERNAL, FlowKind.EXTERNAL, lost=140),
        flow("workstation", "vm-1", FlowKind.INBOUND, sent=100),
    )


def incident(*, healed: bool = True) -> RunOutcome:
    """Return the incident: vm-1 loses replies, and a rebuild cures it or is refused."""
    attempt = Attempt(
        rung=Action.REBUILD, outcome=AttemptOutcome.CURED, duration_s=200.4, mac_before=OLD_MAC,
        mac_after=NEW_MAC, message="Terraform replaced proxmox_vm_qemu.vm-1 and nothing else.",
        proof=("smbios uuid 3b6f -> 91c2", "QEMU pid 4411 -> 5120", "siblings: pids unchanged"),
        commands=("terraform plan -replace=proxmox_vm_qemu.vm-1 -out=heal.plan",),
        caution=f"cured, but the MAC changed: the other source of {OLD_MAC} may still be out "
        "there and can hit whoever gets that MAC next: find it",
    )  # fmt: skip
    first = GuestOutcome(
        guest=guest(1, NEW_MAC if healed else OLD_MAC),
        verdict=Verdict.HEALTHY if healed else Verdict.UNHEALTHY,
        reason="every flow meets the threshold" if healed else "gateway: at least 50.0 % lost",
        flows=clean(1) if healed else sick_flows(),
        flows_before=sick_flows() if healed else (),
        neighbours=(
            NeighbourCheck(
                address="192.0.2.12", target="vm-2", state="FAILED", lladdr=None,
                expected="bc:24:11:00:00:02", broken=not healed,
                counted_against=None if healed else "vm-1",
            ),
        ),
        findings=(REFLECTED,),
        ruled_out=RULED_OUT,
        decision=Decision(
            action=Action.REBUILD, reason="MacReflected is cured by a rebuild; 1 of 5 unhealthy",
            ladder=(Action.REBUILD,),
        )
        if healed
        else Decision(action=Action.REFUSE, reason="--vmnet-rebuild is never"),
        attempts=(attempt,) if healed else (),
        healed=healed,
    )  # fmt: skip
    mode = ("diagnosed", "command line") if healed else ("never", "default")
    return run(first, *(healthy(n) for n in range(2, 6)), settings=settings(*mode))


def all_healthy() -> RunOutcome:
    """Return five healthy guests and a skipped one."""
    skipped = (Skipped(vmid=120, name="db", reason="locked: backup"),)
    return run(*(healthy(n) for n in range(1, 6)), skipped=skipped)


def firewall() -> RunOutcome:
    """Return a guest whose own firewall drops what comes in."""
    points = (
        point("enp4s0", 100, 0), point("tap113i0", 100, 0), point("guest:eth0", 100, 0),
    )  # fmt: skip
    deaths = (
        Death(leg=Leg.REQUEST, last_seen="guest:eth0", next_point="guest:stack", packets=100),
    )
    inbound = flow(
        "workstation", "vm-3", FlowKind.INBOUND, lost=100, sent=100, points=points, deaths=deaths
    )
    finding = Finding(
        reason="GuestFirewall", severity=Severity.ERROR, message="A rule inside the guest drops "
        "what arrives at eth0: `nft list ruleset` shows it.", scope=Scope.GUEST, leg=Leg.REQUEST,
        last_seen="guest:eth0", next_point="guest:stack", packets=100,
        evidence=("nft: table inet filter, chain input, policy drop: 100 packets",),
        rebuild=Rebuild.NO, why_rebuild="provisioning would write the same rule again",
    )  # fmt: skip
    sick = GuestOutcome(
        guest=guest(3), verdict=Verdict.UNHEALTHY, reason="inbound: at least 97.0 % lost",
        flows=(*clean(3)[:3], inbound), findings=(finding,), ruled_out=RULED_OUT[1:],
        decision=Decision(action=Action.REFUSE, reason="GuestFirewall: a rebuild does not help"),
    )  # fmt: skip
    return run(healthy(2), sick)


def uplink() -> RunOutcome:
    """Return five guests that all lose what leaves through the uplink."""
    return run(*(_uplink_guest(number) for number in range(1, 6)))


def _uplink_guest(number: int) -> GuestOutcome:
    points = (
        point("guest:eth0", 300, 179), point(f"tap{110 + number}i0", 300, 179),
        point("enp4s0", 300, 179),
    )  # fmt: skip
    death = Death(leg=Leg.UNKNOWN, last_seen="enp4s0", next_point="gateway", packets=121)
    finding = Finding(
        reason="UplinkLoss", severity=Severity.ERROR, message="Requests of every guest leave "
        "enp4s0 and no answer comes back.", scope=Scope.UPLINK, leg=Leg.UNKNOWN,
        last_seen="enp4s0", next_point="gateway", packets=121, evidence=("5 of 5 guests lose",),
        rebuild=Rebuild.NO, why_rebuild="the cause is outside of the guest",
    )  # fmt: skip
    return GuestOutcome(
        guest=guest(number), verdict=Verdict.UNHEALTHY, reason="gateway: at least 35.6 % lost",
        flows=(to_gateway(number, 121, points=points, deaths=(death,)), *clean(number)[1:]),
        findings=(finding,),
        decision=Decision(action=Action.REFUSE, reason="5 of 5 guests unhealthy, limit 1"),
    )  # fmt: skip


def inconclusive() -> RunOutcome:
    """Return a guest whose capture on the tap dropped packets."""
    doubt = "the kernel dropped 812 packets of this capture"
    points = (
        point("guest:eth0", 300, 295), point("tap114i0", None, None, doubt),
        point("enp4s0", 300, 300),
    )  # fmt: skip
    deaths = (Death(leg=Leg.REPLY, last_seen="enp4s0", next_point="guest:eth0", packets=5),)
    weak = to_gateway(4, 5, points=points, deaths=deaths, verdict=Verdict.INCONCLUSIVE)
    sick = GuestOutcome(
        guest=guest(4), verdict=Verdict.INCONCLUSIVE,
        reason="gateway: between 0.6 % and 3.5 % lost, limit 1.0 %", flows=(weak, *clean(4)[1:]),
        decision=Decision(action=Action.NONE, reason="inconclusive never leads to an act"),
    )  # fmt: skip
    return run(sick)


def between_guests() -> RunOutcome:
    """Return a peer flow that dies at the other guest, through firewall bridges: a long path."""
    names = [
        "guest:eth0", "tap111i0", "fwbr111i0", "fwln111i0", "fwpr111p0", "vmbr0",
        "fwpr112p0", "fwln112i0", "fwbr112i0", "tap112i0", "guest:eth0",
    ]  # fmt: skip
    points = tuple(point(name, 300 if at < 10 else 0, 0) for at, name in enumerate(names))
    deaths = (Death(leg=Leg.REQUEST, last_seen="tap112i0", next_point="guest:eth0", packets=300),)
    peer = flow(
        "vm-1", "vm-2", FlowKind.PEER, lost=300, points=points, deaths=deaths, against="vm-2"
    )
    finding = Finding(
        reason="Unknown", severity=Severity.ERROR, message="No rule explains it.",
        scope=Scope.VNIC, leg=Leg.REQUEST, last_seen="tap112i0", next_point="guest:eth0",
        packets=300, evidence=(), rebuild=Rebuild.MAY_CURE,
    )  # fmt: skip
    first = GuestOutcome(
        guest=guest(1), verdict=Verdict.HEALTHY, reason="its own flows meet the threshold",
        flows=(to_gateway(1), peer),
    )  # fmt: skip
    second = GuestOutcome(
        guest=guest(2), verdict=Verdict.UNHEALTHY, reason="peer vm-1: at least 99.0 % lost",
        flows=(to_gateway(2), peer), findings=(finding,),
        decision=Decision(action=Action.HOLD, reason="--vmnet-rebuild is plan"),
    )  # fmt: skip
    return run(first, second)


def long_paths() -> RunOutcome:
    """Return guests behind firewall bridges, on one node and on two."""
    second = GuestOutcome(
        guest=guest(2), verdict=Verdict.UNHEALTHY, reason="gateway: at least 16.2 % lost",
        flows=(build.firewalled(),),
        decision=Decision(action=Action.REFUSE, reason="--vmnet-rebuild is never"),
    )  # fmt: skip
    fourth = GuestOutcome(
        guest=guest(4, node="pve2"), verdict=Verdict.UNHEALTHY, reason="vm-2: 33.4 % lost",
        flows=(to_gateway(4), build.across_nodes()),
        decision=Decision(action=Action.REFUSE, reason="--vmnet-rebuild is never"),
    )  # fmt: skip
    return run(second, fourth)


def hostile() -> RunOutcome:
    """Return a run in which every text that can come from outside is hostile."""
    finding = Finding(
        reason=HOSTILE, severity=Severity.ERROR, message=HOSTILE, scope=Scope.GUEST, leg=Leg.REPLY,
        last_seen=HOSTILE, next_point=HOSTILE, packets=165, evidence=(HOSTILE,),
        rebuild=Rebuild.NO, why_rebuild=HOSTILE,
    )  # fmt: skip
    points = (point(HOSTILE, 300, None, HOSTILE),)
    death = Death(leg=Leg.REPLY, last_seen=HOSTILE, next_point=HOSTILE, packets=165)
    bad = flow(
        HOSTILE, HOSTILE, FlowKind.GATEWAY, lost=165, points=points, deaths=(death,), note=HOSTILE,
        against=HOSTILE,
    )  # fmt: skip
    drawn = build.timeline(1)
    sentence = replace(drawn.alignment, port=HOSTILE, mac=HOSTILE, sentence=HOSTILE)
    drawn = replace(drawn, ports=(HOSTILE, HOSTILE + "2"), alignment=sentence)
    bad = replace(bad, timeline=drawn)
    check = NeighbourCheck(
        address=HOSTILE, target=HOSTILE + "2", state=HOSTILE, lladdr=HOSTILE, expected=HOSTILE,
        broken=True, counted_against=HOSTILE,
    )  # fmt: skip
    attempt = Attempt(
        rung=Action.REBUILD, outcome=AttemptOutcome.FAILED, duration_s=1.0, mac_before=HOSTILE,
        mac_after=HOSTILE, message=HOSTILE, proof=(HOSTILE,), commands=(HOSTILE,),
        caution=HOSTILE,
    )  # fmt: skip
    sick = GuestOutcome(
        guest=guest(1, name=HOSTILE, ident=HOSTILE, node=HOSTILE), verdict=Verdict.UNHEALTHY,
        reason=HOSTILE, flows=(bad,), flows_before=(bad,), neighbours=(check,),
        findings=(finding, finding), ruled_out=(RuledOut(reason=HOSTILE, message=HOSTILE),),
        decision=Decision(action=Action.REFUSE, reason=HOSTILE), attempts=(attempt,),
    )  # fmt: skip
    return run(
        sick, nodes=(HOSTILE,), versions={HOSTILE: HOSTILE}, notes=(HOSTILE,), error=HOSTILE,
        skipped=(Skipped(vmid=9, name=HOSTILE, reason=HOSTILE),), controls=(bad,),
        settings=(Setting(name="vmnet-rebuild", value=HOSTILE, source=HOSTILE),),
    )  # fmt: skip


def broken_run() -> RunOutcome:
    """Return a run that could not look."""
    error = "Proxmox API: GET /nodes: 401: no such token"
    return run(error=error, nodes=(), controls=(), sweep_s=0.0)


EVERY = {
    "all_healthy": all_healthy, "healed": incident, "refused": lambda: incident(healed=False),
    "firewall": firewall, "uplink": uplink, "inconclusive": inconclusive,
    "between_guests": between_guests,
    "long_paths": long_paths, "hostile": hostile, "broken_run": broken_run,
}  # fmt: skip
