"""What the hand-made runs are put together from; no number is measured."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from pytest_vmnet.core.outcome import (
    Alignment,
    Death,
    Finding,
    Flow,
    GuestOutcome,
    PointCount,
    RuledOut,
    RunOutcome,
    Setting,
    Side,
    Timeline,
)
from pytest_vmnet.core.site.topology import Guest, Nic
from pytest_vmnet.core.words import FlowKind, Leg, Rebuild, Scope, Severity, Verdict

OLD_MAC, NEW_MAC = "bc:24:11:74:5a:6d", "bc:24:11:0f:0e:0d"
GATEWAY, EXTERNAL = "192.0.2.1", "198.51.100.8"
HOSTILE = "<script>alert(1)</script>|`x`\x1b[31m\u202e\n\r\x00\x07\"'&*_[a](b)\ud800"

# One-sided 95 % Clopper-Pearson bounds of the counts used below.
BOUNDS = {
    (0, 300): (0.0, 0.009936), (0, 100): (0.0, 0.029513), (0, 30): (0.0, 0.095034),
    (165, 300): (0.500875, 0.598384), (140, 300): (0.418027, 0.515800),
    (60, 300): (0.162685, 0.241806), (125, 330): (0.334295, 0.424913),
    (300, 300): (0.990064, 1.0), (100, 100): (0.970487, 1.0), (121, 300): (0.355949, 0.452151),
    (4, 300): (0.004567, 0.030250), (5, 300): (0.006590, 0.034722), (30, 30): (0.904966, 1.0),
}  # fmt: skip


def settings(rebuild: str = "never", source: str = "default") -> tuple[Setting, ...]:
    """Return settings as the header shows them."""
    rows = (
        ("proxmox-node", "pve1", "command line"),
        ("proxmox-host", "192.0.2.2", "environment PROXMOX_VE_ENDPOINT"),
        ("vmnet-guest", "*", "default"),
        ("vmnet-count", "300", "default"),
        ("vmnet-interval", "0.1", "environment VMNET_INTERVAL"),
        ("vmnet-max-loss", "1 %", "default"),
        ("vmnet-confidence", "95 %", "default"),
        ("vmnet-rebuild", rebuild, source),
        ("vmnet-rebuildable", "tag:vmnet-rebuild", "default"),
        ("vmnet-lock-timeout", "0", "default"),
    )
    return tuple(Setting(name=n, value=v, source=s) for n, v, s in rows)


def guest(number: int, mac: str | None = None, **extra: object) -> Guest:
    """Return vm-*number* of the site."""
    return Guest(
        **{
            "vmid": 110 + number,
            "name": f"vm-{number}",
            "ident": f"vm-{number}",
            "node": "pve1",
            "tags": ("vmnet-rebuild",),
            "nics": (
                Nic(
                    index=0, model="virtio", mac=mac or f"bc:24:11:00:00:0{number}", bridge="vmbr0"
                ),
            ),
            "interface": IPv4Interface(f"192.0.2.1{number}/24"),
            "address_source": "agent",
            "gateway": IPv4Address(GATEWAY),
            "gateway_source": "route",
            **extra,
        }  # type: ignore[arg-type]
    )


def point(
    name: str, requests: int | None, replies: int | None, doubt: str | None = None
) -> PointCount:
    """Return a capture point with its counts."""
    return PointCount(point=name, requests=requests, replies=replies, doubt=doubt)


def flow(
    source: str,
    target: str,
    kind: FlowKind,
    *,
    lost: int = 0,
    sent: int = 300,
    verdict: Verdict | None = None,
    points: tuple[PointCount, ...] = (),
    deaths: tuple[Death, ...] = (),
    against: str | None = None,
    note: str | None = None,
) -> Flow:
    """Return a flow of which *lost* of *sent* probes stayed without an answer."""
    lower, upper = BOUNDS[lost, sent]
    usual = Verdict.UNHEALTHY if lower > 0.01 else Verdict.HEALTHY
    return Flow(
        source=source, target=target, kind=kind, transmitted=sent, received=sent - lost,
        loss_lower_bound=lower, loss_upper_bound=upper, confidence=0.95, max_loss=0.01,
        verdict=verdict or usual, points=points, deaths=deaths, counted_against=against,
        rtt_avg_ms=0.8 if lost < sent else None, rtt_max_ms=3.1 if lost < sent else None,
        note=note,
    )  # fmt: skip


def to_gateway(number: int, lost: int = 0, **more: object) -> Flow:
    """Return the gateway flow of a guest; what is lost are replies, from uplink to tap."""
    left = 300 - lost
    tap = f"tap{110 + number}i0"
    points = (point("guest:eth0", 300, left), point(tap, 300, left), point("enp4s0", 300, 300))
    deaths = (Death(leg=Leg.REPLY, last_seen="enp4s0", next_point=tap, packets=lost),)
    return flow(
        f"vm-{number}", GATEWAY, FlowKind.GATEWAY, lost=lost,
        **{"points": points, "deaths": deaths if lost else (), **more},  # type: ignore[arg-type]
    )  # fmt: skip


def firewalled(lost: int = 60) -> Flow:
    """Return a gateway flow through a firewall's bridge whose packets die in several places."""
    doubt = "the kernel dropped 812 packets of this capture"
    replies = 300 - lost + 12
    points = (
        point("guest:eth0", 300, 300 - lost), point("tap112i0", 300, replies),
        point("fwln112i0", None, None, doubt), point("fwpr112p0", 296, replies),
        point("enp4s0", 296, replies + 20),
    )  # fmt: skip
    deaths = (
        Death(leg=Leg.REPLY, last_seen="enp4s0", next_point="fwpr112p0", packets=20),
        Death(leg=Leg.UNKNOWN, last_seen="enp4s0", next_point="gateway", packets=lost - 36),
        Death(leg=Leg.REPLY, last_seen="tap112i0", next_point="guest:eth0", packets=12),
        Death(leg=Leg.REQUEST, last_seen="tap112i0", next_point="fwpr112p0", packets=4),
    )
    return flow("vm-2", GATEWAY, FlowKind.GATEWAY, lost=lost, points=points, deaths=deaths)


def across_nodes() -> Flow:
    """Return vm-4's flow to vm-2 on another node, both with a firewall, that both ends probed."""
    names = [
        "guest:eth0", "tap114i0", "fwln114i0", "fwpr114p0", "enp4s0", "pve1:enp4s0", "fwpr112p0",
        "fwln112i0", "tap112i0", "vm-2:eth0",
    ]  # fmt: skip
    own = tuple(point(name, 30, 30 if at > 5 else 26) for at, name in enumerate(names))
    other = tuple(
        point(name, 300 if at < 5 else 179, 179) for at, name in enumerate(reversed(names))
    )
    late = Death(leg=Leg.REPLY, last_seen="fwpr112p0", next_point="pve1:enp4s0", packets=4)
    lost = Death(leg=Leg.REQUEST, last_seen="pve1:enp4s0", next_point="enp4s0", packets=121)
    sides = (
        Side(source="vm-4", target="vm-2", transmitted=30, received=26, points=own,
             deaths=(late,)),
        Side(source="vm-2", target="vm-4", transmitted=300, received=179, points=other,
             deaths=(lost,)),
    )  # fmt: skip
    pooled = flow("vm-4", "vm-2", FlowKind.PEER, lost=125, sent=330, points=own,
                  deaths=(lost, late), against="vm-4")  # fmt: skip
    return replace(pooled, sides=sides)


def timeline(number: int, died: int = 165) -> Timeline:
    """Return a guest's timeline: the entry moves to the uplink before each reply that dies."""
    hits = sorted(range(300), key=lambda at: (at * 7919) % 300)[:died]
    sent = [at * 20_000 + at * 37 % 400 for at in range(300)]
    moved = [(sent[at] + 400, "b") for at in hits]
    moved += [(sent[at] + 3_000 + at * 53 % 9_000, "a") for at in hits]
    moved.sort()
    mac, away = OLD_MAC, "enp4s0"
    sentence = (
        f"{died} of {died} deaths within 2 ms of the FDB entry of {mac} moving to {away} "
        "(by chance 8; of the answered packets 0 of 135)"
    )
    return Timeline(
        started_ns=1_763_877_600_000_000_000,
        sent_us=tuple(sent),
        fates="".join("a" if at in set(hits) else "." for at in range(300)),
        packets=300,
        ports=(f"tap{110 + number}i0", away),
        moved_us=tuple(moment for moment, _ in moved),
        moved_to="".join(port for _, port in moved),
        moves=len(moved),
        alignment=Alignment(
            port=away, mac=mac, window_ms=2, within=died, deaths=died, by_chance=8.3,
            answered_within=0, answered=300 - died, p_value=0.0, sentence=sentence,
        ),
    )  # fmt: skip


def clean(number: int) -> tuple[Flow, ...]:
    """Return the flows of a healthy guest."""
    name, peer = f"vm-{number}", f"vm-{number % 5 + 1}"
    return (
        to_gateway(number),
        flow(name, peer, FlowKind.PEER),
        flow(name, EXTERNAL, FlowKind.EXTERNAL),
        flow("workstation", name, FlowKind.INBOUND, sent=100),
    )


def healthy(number: int) -> GuestOutcome:
    """Return a healthy guest."""
    return GuestOutcome(
        guest=guest(number), verdict=Verdict.HEALTHY, reason="every flow meets the threshold",
        flows=clean(number),
    )  # fmt: skip


def run(*outcomes: GuestOutcome, **more: object) -> RunOutcome:
    """Return a run with these guests."""
    values: dict[str, object] = {
        "run_id": "5f0c2a9d1e7b4c66", "started_at": "2026-11-23T06:00:00Z", "duration_s": 241.7,
        "nodes": ("pve1",), "versions": {"pytest-vmnet": "0.1.0", "pve": "9.1"},
        "settings": settings(), "guests": outcomes, "sweep_s": 6.4,
        "controls": (flow("pve1", GATEWAY, FlowKind.CONTROL, sent=100),),
        **more,
    }  # fmt: skip
    return RunOutcome(**values)  # type: ignore[arg-type]


REFLECTED = Finding(
    reason="MacReflected",
    severity=Severity.ERROR,
    message="Frames with the guest's MAC address come back in through the uplink: a twin "
    "with the same address or a loop beyond enp4s0. The bridge then takes the guest to be "
    "outside and drops its replies.",
    scope=Scope.UPLINK,
    leg=Leg.REPLY,
    last_seen="enp4s0",
    next_point="tap111i0",
    packets=165,
    evidence=(
        f"FDB: {OLD_MAC} moved from tap111i0 to enp4s0 214 times in 6.0 s",
        "162 of the 165 lost replies arrived while the entry was on enp4s0",
        "vm-2 to vm-5 lost 0 of 300 in the same seconds",
    ),
    rebuild=Rebuild.CURES,
    why_rebuild="the new VM gets a new MAC address",
)
RULED_OUT = (
    RuledOut(reason="GuestFirewall", message="inside the guest no reply arrived at eth0"),
    RuledOut(reason="QdiscDrop", message="tap111i0: 0 drops in tc -s before and after"),
)
