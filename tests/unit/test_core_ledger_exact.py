"""The ledger against a slow reference that takes one frame after another, without a trick."""

from __future__ import annotations

import runpy
from collections import Counter
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vmnet.core.facts import GATE, Sweep
from pytest_vmnet.core.ledger.book import FlowLedger, build_ledger
from pytest_vmnet.core.ledger.oddity import OddityKind
from pytest_vmnet.core.words import FlowKind, Leg

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
COUNT = 12
LEGS = (Leg.REQUEST, Leg.REPLY)
STRANGER, STRANGE_MAC = int(IPv4Address("198.51.100.77")), 0x0200_0000_0001


def number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


@dataclass
class Slow:
    """What one flow's frames amount to, found one by one."""

    times: dict[tuple[int, int, int], int] = field(default_factory=dict)
    hits: Counter[tuple[int, int]] = field(default_factory=Counter)
    strays: dict[tuple[int, Leg], set[int]] = field(default_factory=dict)
    forged: set[tuple[int, int]] = field(default_factory=set)
    odd: Counter[tuple[OddityKind, Leg, str, str]] = field(default_factory=Counter)
    frames: dict[tuple[int, int], list[tuple[int, int]]] = field(default_factory=dict)


def senders(flow, guests):
    """Return guest and address of who sends requests, and replies; None for nobody we know."""
    source = next((g for g in guests if g.ident == flow.source), None)
    target = next((g for g in guests if flow.target in {g.ident, str(g.address)}), None)
    return (source, source and int(source.address)), (target, int(flow.address))


def slowly(sweep: Sweep, ledger: FlowLedger, guests) -> Slow:
    flow, points, slow = ledger.flow, ledger.path.waypoints, Slow()
    who = senders(flow, guests)
    macs = {number(g.nic.mac): g.nic.mac for g in guests}
    for host, facts in sorted(sweep.hosts.items()):
        if facts.capture is None:
            continue
        for row in facts.capture.packets.sightings:
            seq, leg = int(row["seq"]), int(row["reply"])
            if row["flow"] != flow.number or not 1 <= seq <= flow.count:
                continue
            name, (guest, address) = facts.capture.points.get(int(row["ifindex"])), who[leg]
            expected = False
            for at, waypoint in enumerate(points):
                if (waypoint.host, waypoint.ifname) != (host, name):
                    continue
                mac, src = int(row["mac"]), int(row["src"])
                if bool(row["out"]) != (waypoint.request_out != bool(leg)):
                    sender = who[0][0]
                    if leg or sender is None or mac == number(sender.nic.mac):
                        slow.strays.setdefault((at, LEGS[leg]), set()).add(seq)
                    continue
                expected = True
                own = guest is not None and waypoint.guest == guest.ident
                place = LEGS[leg], waypoint.point
                odd = []
                if address is not None and src != address and (leg or not own):
                    odd.append((OddityKind.FOREIGN, *place, str(IPv4Address(src))))
                other = guest is None or mac != number(guest.nic.mac)
                if mac in macs and other and not own and (leg or flow.source != GATE):
                    odd.append((OddityKind.IMPOSTOR, *place, macs[mac]))
                slow.odd.update(odd)
                if not odd:
                    cell = (leg, at, seq - 1)
                    slow.times[cell] = min(slow.times.get(cell, 2**63), int(row["t_ns"]))
                    slow.hits[leg, at] += 1
                    slow.frames.setdefault((leg, at), []).append((mac, int(row["ttl"])))
            owner = next((g for g in guests if g.tap == name and g.node == host), guest)
            if row["out"] or expected or owner is guest or not (leg or flow.source != GATE):
                continue
            slow.forged.add((leg, seq - 1))
            slow.odd[OddityKind.INTRUDER, LEGS[leg], name, owner.ident] += 1
    return slow


def wrong_ttls(slow: Slow, points) -> Counter[tuple[Leg, str, str]]:
    found: Counter[tuple[Leg, str, str]] = Counter()
    for (leg, at), frames in slow.frames.items():
        ttls = Counter(ttl for _, ttl in frames)
        usual = min(ttls, key=lambda ttl: (-ttls[ttl], ttl))
        for ttl in ttls.keys() - {usual}:
            found[LEGS[leg], points[at].point, str(ttl)] += ttls[ttl]
    return found


def death_of(ledger: FlowLedger, seq: int, unsafe) -> tuple[Leg, str | None, str]:
    """Follow one packet: the last point that saw it, and the next one that would have."""
    points = ledger.path.waypoints
    journey = [(0, i) for i in range(len(points))]
    journey += [(1, i) for i in reversed(range(len(points)))]
    known = [
        (leg, i) for leg, i in journey
        if not ledger.doubts[i] and ledger.covered[i, seq] and not unsafe(i, seq)
    ]  # fmt: skip
    last = max((k for k, (leg, i) in enumerate(known) if ledger.seen[leg, i, seq]), default=None)
    names = [waypoint.point for waypoint in points]
    if last is None:
        missed = names[known[0][1]] if known else ledger.path.end
        return (Leg.REQUEST if known else Leg.UNKNOWN), None, missed
    leg, here = known[last][0], names[known[last][1]]
    if last + 1 == len(known):
        return Leg.REPLY, here, ledger.path.start
    next_leg, index = known[last + 1]
    if (leg, next_leg) == (0, 1):
        stack = ledger.path.end.endswith(":stack")
        return (Leg.REQUEST if stack else Leg.UNKNOWN), here, ledger.path.end
    return LEGS[next_leg], here, "gateway" if names[index] == here else names[index]


GUESTS = [W.guest(n) for n in (1, 2, 3)]
MACS = [number(g.nic.mac) for g in GUESTS] + [number(W.GATEWAY_MAC), STRANGE_MAC]
CHANGES = st.one_of(
    st.tuples(st.just("drop"), st.just(0)),
    st.tuples(st.just("again"), st.integers(-(10**9), 10**9)),
    st.tuples(st.just("t_ns"), st.integers(1, 10**10)),
    st.tuples(st.just("out"), st.booleans()),
    st.tuples(st.just("reply"), st.booleans()),
    st.tuples(st.just("seq"), st.integers(0, COUNT + 2)),
    st.tuples(st.just("flow"), st.integers(0, 20)),
    st.tuples(st.just("mac"), st.sampled_from(MACS)),
    st.tuples(st.just("ttl"), st.integers(60, 64)),
    st.tuples(st.just("ifindex"), st.sampled_from([2, 111, 112, 113, 9])),
    st.tuples(st.just("src"), st.sampled_from([STRANGER, *(int(g.address) for g in GUESTS)])),
)


def disturbed(sweep: Sweep, changes) -> Sweep:
    """Change, drop and repeat single frames; what a guest sends from at its own port stays."""
    hosts = dict(sweep.hosts)
    for host, place, what, value in changes:
        capture = hosts[host].capture
        rows = capture.packets.sightings.copy()
        at = place * 7919 % len(rows)
        is_own = host != "pve1" or rows["ifindex"][at] != 2
        if what == "drop":
            rows = np.delete(rows, at)
        elif what == "again":
            again = rows[at : at + 1].copy()
            again["t_ns"] = max(1, int(again["t_ns"][0]) + value)
            rows = np.concatenate([rows, again])
        elif not (what in {"src", "out", "reply", "ifindex", "flow"} and is_own):
            rows[what][at] = value
        elif what == "src" and rows["reply"][at]:
            rows["src"][at] = value
        packets = replace(capture.packets, sightings=rows)
        hosts[host] = replace(hosts[host], capture=replace(capture, packets=packets))
    return replace(sweep, hosts=hosts)


def loss():
    return st.lists(
        st.tuples(
            st.sampled_from([0, 1]), st.sampled_from(["guest:eth0", "tap111i0", "enp4s0"]),
            st.sampled_from([0.03, 0.06, 1.0]),
        ),
        max_size=2,
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    loss(),
    st.lists(
        st.tuples(st.sampled_from(["pve1", "pve1", "vm-1"]), st.integers(0, 10**4), CHANGES).map(
            lambda made: (*made[:2], *made[2])
        ),
        max_size=40,
    ),
    st.sampled_from([[], ["enp4s0"], ["tap111i0"]]),
)
def test_it_says_what_the_reference_says(losses, changes, doubted) -> None:
    world = W.World(guests=GUESTS, count=COUNT, reflected={"vm-2": 0.5})
    for leg, last, share in losses:
        W.lose(world, leg, last, share=share, source="vm-1", kind=FlowKind.GATEWAY)
    world.doubts["pve1"] = dict.fromkeys(doubted, "the canary was not captured")
    sweep = disturbed(world.sweep(), changes)
    for ledger in build_ledger(sweep, world.inventory):
        points = ledger.path.waypoints
        slow = slowly(sweep, ledger, GUESTS)
        found = {
            (leg, at, seq): int(ledger.times[leg, at, seq])
            for leg, at, seq in np.argwhere(ledger.times).tolist()
        }
        assert found == slow.times
        assert ledger.strays == {key: len(seqs) for key, seqs in slow.strays.items()}
        for leg, at in np.ndindex(2, len(points)):
            distinct = sum(cell[:2] == (leg, at) for cell in slow.times)
            assert ledger.duplicates[leg, at] == slow.hits[leg, at] - distinct
        odd = {(o.kind, o.leg, o.point, o.value): o.frames for o in ledger.oddities}
        ttls = {key[1:]: n for key, n in odd.items() if key[0] is OddityKind.WRONG_TTL}
        assert ttls == wrong_ttls(slow, points)
        compared = {OddityKind.WRONG_TTL, OddityKind.WRONG_MAC}
        assert {k: n for k, n in odd.items() if k[0] not in compared} == slow.odd
        check_deaths(ledger, slow, GUESTS)


def check_deaths(ledger: FlowLedger, slow: Slow, guests) -> None:
    who = [guest and guest.ident for guest, _ in senders(ledger.flow, guests)]

    def unsafe(index: int, seq: int) -> bool:
        owner = ledger.path.waypoints[index].guest
        return any(
            (leg, seq) in slow.forged and (owner is None or owner != who[leg]) for leg in (0, 1)
        )

    groups: Counter[tuple[Leg, str | None, str]] = Counter()
    for seq in range(ledger.flow.count):
        assert ledger.death_of(seq) == death_of(ledger, seq, unsafe)
        if ledger.lost[seq]:
            groups[death_of(ledger, seq, unsafe)] += 1
    deaths = {(d.leg, d.last_seen, d.next_point): d.packets for d in ledger.deaths()}
    assert deaths == groups


@given(st.lists(st.integers(0, 30), max_size=12))
def test_late_packets_are_counted_as_rfc_4737_does(times) -> None:
    world = W.World(guests=GUESTS[:2], count=max(1, len(times)))
    (ledger,) = [
        each for each in build_ledger(world.sweep(), world.inventory)
        if each.flow.source == "vm-1" and each.flow.kind is FlowKind.GATEWAY
    ]  # fmt: skip
    ledger.times[0, -1, : len(times)] = times
    arrivals = [(t, seq) for seq, t in enumerate(times) if t]
    late = sum(any(other < t and after > seq for other, after in arrivals) for t, seq in arrivals)
    if times:
        assert ledger.reordered() == (late, 0)
