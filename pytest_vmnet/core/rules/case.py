"""What a rule looks at, and what it can answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_vmnet.core.facts import ArpFrame, HostFacts, NftRule, Sweep, latest_facts
from pytest_vmnet.core.ledger.book import FlowLedger
from pytest_vmnet.core.outcome import Death, Finding, Flow, RuledOut
from pytest_vmnet.core.site.link import Chain
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.core.verdict.judge import Judged, Judgement
from pytest_vmnet.core.words import IPV6_LANE, FlowKind, Leg, Rebuild, Scope, Severity, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A sick guest and everything that was seen around it.

    Attributes:
        judged: The guest, its flows and its verdict.
        judgement: All guests: the controls of the case.
        inventory: The site.
        sweeps: The facts.
    """

    judged: Judged
    judgement: Judgement
    inventory: Inventory
    sweeps: Sequence[Sweep]

    @property
    def guest(self) -> Guest:
        """The sick guest."""
        return self.judged.guest

    @property
    def telling(self) -> Flow | None:
        """The flow that tells the story, or None if only a neighbour entry is broken."""
        return self.judged.telling

    @property
    def is_ipv6(self) -> bool:
        """Whether the telling flow is one of IPv6."""
        return self.telling is not None and self.telling.lane == IPV6_LANE

    @property
    def death(self) -> Death | None:
        """The largest group of that flow's deaths, or None."""
        flow = self.telling
        return flow.deaths[0] if flow and flow.deaths else None

    @property
    def chain(self) -> Chain:
        """The way of the guest's frames through its node."""
        return self.inventory.chain(self.guest)

    @property
    def own_ports(self) -> tuple[str, ...]:
        """The guest's own ports on the node: its tap, and what a firewall puts behind it."""
        return tuple(port.ifname for port in self.chain.ports)

    @property
    def port(self) -> str:
        """The guest's own port of the bridge where guests meet: the tap, or its ``fwpr``."""
        return self.own_ports[-1]

    @property
    def uplink(self) -> str | None:
        """The one port of the guest's bridge that leads outside, or None."""
        return self.chain.uplink[0].ifname if self.chain.uplink else None

    @property
    def outermost(self) -> str | None:
        """The last point of the node on the way out: the uplink, or a bond's slave below it."""
        return self.chain.uplink[-1].ifname if self.chain.uplink else None

    @property
    def ledgers(self) -> list[FlowLedger]:
        """The ledgers of all flows that the guest itself started."""
        return [
            ledger for ledger in self.judgement.ledgers if ledger.flow.source == self.guest.ident
        ]

    def facts(self, host: str) -> HostFacts | None:
        """Return what a host said last, or None if it never could."""
        return latest_facts(self.sweeps, host)

    def rules(self, host: str) -> tuple[NftRule, ...] | None:
        """Return the dropping rules of a host, or None if they could not be read."""
        facts = self.facts(host)
        return facts.rules if facts else None

    def own_flow(self, kind: FlowKind) -> Flow | None:
        """Return the guest's first flow of a kind."""
        return next((flow for flow in self.judged.flows if flow.kind is kind), None)

    def over_uplink(self) -> Flow | None:
        """Return the flow from outside to the guest, or None unless it is seen on the uplink.

        Without its packets on the uplink, somebody else answers in the guest's place.
        """
        inbound = self.own_flow(FlowKind.INBOUND)
        if inbound is None:
            return None
        seen = {cell.point for cell in inbound.points if cell.doubt is None}
        return inbound if self.outermost in seen else None

    def died(self, leg: Leg, last_seen: str | None, next_point: str | None) -> int:
        """Return how many packets of the telling flow died there."""
        if self.telling is None:
            return 0
        return sum(
            death.packets
            for death in self.telling.deaths
            if (death.leg, death.last_seen, death.next_point) == (leg, last_seen, next_point)
        )

    def moves_to_uplink(self) -> int:
        """Return how often the FDB entry of the guest's MAC moved to the uplink."""
        return sum(
            move.mac == self.guest.nic.mac and move.ifname == self.uplink and not move.deleted
            for sweep in self.sweeps
            if (facts := sweep.hosts.get(self.guest.node))
            for move in facts.moves
        )

    def alignment(self) -> tuple[str, ...]:
        """Return how the deaths follow moves to the uplink, or nothing if that is not proven."""
        timeline = self.telling.timeline if self.telling else None
        found = timeline.alignment if timeline else None
        return (found.sentence,) if found and found.port == self.uplink else ()

    def reflected(self) -> tuple[int, int]:
        """Return how many of the guest's own requests came back in by the uplink, of how many.

        Each request counts once, and only those that a proven capture saw leaving. What is
        routed back in to a peer is no reflection.
        """
        back = left = 0
        for ledger in self.ledgers:
            points = [w.point for w in ledger.path.waypoints]
            if self.uplink is None or points.count(self.uplink) != 1:
                continue
            index = points.index(self.uplink)
            if ledger.doubts[index]:
                continue
            left += int(ledger.seen[0, index].sum())
            back += min(
                int(ledger.seen[0, index].sum()), ledger.strays.get((index, Leg.REQUEST), 0)
            )
        return back, left

    def claims(self) -> dict[str, int]:
        """Return the MACs that claimed the guest's address by ARP, with their frames.

        A broadcast passes several ports: the port that saw most of a MAC's frames counts.
        """
        ports: Counter[tuple[str, int, bool]] = Counter(
            (arp.sha, arp.ifindex, arp.out) for arp in self.arps() if arp.spa == self.guest.address
        )
        claims: dict[str, int] = {}
        for (mac, _ifindex, _out), frames in ports.items():
            claims[mac] = max(frames, claims.get(mac, 0))
        return claims

    def arps(self) -> list[ArpFrame]:
        """Return the ARP frames that the guest's node captured."""
        said = (sweep.hosts.get(self.guest.node) for sweep in self.sweeps)
        return [
            arp for facts in said if facts and facts.capture for arp in facts.capture.packets.arps
        ]

    def control_loss(self) -> list[Flow]:
        """Return the control flows to the guest's gateway that lose more than allowed."""
        return [
            flow
            for flow in self.judgement.controls
            if flow.target == str(self.guest.gateway) and flow.verdict is Verdict.UNHEALTHY
        ]

    def clean_controls(self) -> list[Flow]:
        """Return the control flows to the guest's gateway that are proven clean."""
        return [
            flow
            for flow in self.judgement.controls
            if flow.target == str(self.guest.gateway) and flow.verdict is Verdict.HEALTHY
        ]

    def finding(
        self,
        reason: str,
        message: str,
        *,
        scope: Scope,
        rebuild: Rebuild,
        why: str,
        evidence: Sequence[str],
        death: Death | None = None,
    ) -> Finding:
        """Return a finding at the place where the telling flow's packets die."""
        place = death or self.death
        return Finding(
            reason=reason,
            severity=Severity.ERROR,
            message=message,
            scope=scope,
            leg=place.leg if place else Leg.UNKNOWN,
            last_seen=place.last_seen if place else None,
            next_point=place.next_point if place else None,
            packets=place.packets if place else 0,
            evidence=tuple(evidence),
            rebuild=rebuild,
            why_rebuild=why,
        )


Answer = Finding | RuledOut | None
"""A cause found, a cause that the facts speak against, or neither: it stays open."""

Rule = Callable[[Case], Answer]


def loss(flow: Flow) -> str:
    """Return ``vm-1 -> 192.0.2.1 lost 210 of 300``."""
    return f"{flow.source} -> {flow.target} lost {flow.lost} of {flow.transmitted}"


_OTHER_PROTOCOL = re.compile(
    r"(?<![-@\w])(?:tcp|udp|udplite|sctp|dccp|icmpv6|ipv6-icmp|ip6|nd|arp|igmp|esp|vrrp)(?![-\w])"
)
_ICMP = re.compile(r"(?<![-@\w])icmp(?![-\w])")
_OTHER_PROTOCOL6 = re.compile(
    r"(?<![-@\w])(?:tcp|udp|udplite|sctp|dccp|icmp|ip|arp|igmp|esp|vrrp)(?![-\w])"
)
_ICMP6 = re.compile(r"(?<![-@\w])(?:icmpv6|ipv6-icmp|icmp6)(?![-\w])")
_QUOTED = re.compile(r'"[^"]*"')
_INTERFACE = re.compile(r'(?:(?<!\S)-[io]|[io]ifname|[io]if) "?([\w.@:-]+)([*+]?)"?')


def can_take_probe(rule: NftRule, ifname: str | None = None, *, is_ipv6: bool = False) -> bool:
    """Tell whether a rule can take an ICMP packet of that family at all.

    A rule for another protocol or family, or for another interface than *ifname*, cannot.
    """
    if rule.family in {"ip" if is_ipv6 else "ip6", "arp"}:
        return False
    bound = _INTERFACE.search(rule.text)
    if ifname and bound:
        name, wildcard = bound.groups()
        if not (ifname.startswith(name) if wildcard else ifname == name):
            return False
    bare = _QUOTED.sub("", rule.text)
    ours, others = (_ICMP6, _OTHER_PROTOCOL6) if is_ipv6 else (_ICMP, _OTHER_PROTOCOL)
    return bool(ours.search(bare)) or not others.search(bare)


def most_likely(rules: Sequence[NftRule]) -> NftRule:
    """Return the rule that names ICMP, else the first that is not limited to a state."""

    def names_it(rule: NftRule) -> bool:
        return bool(_ICMP.search(rule.text) or _ICMP6.search(rule.text))

    return min(rules, key=lambda rule: (not names_it(rule), "state" in rule.text))
