"""What a rule looks at, and what it can answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_vmnet.core.facts import HostFacts, NftRule, Sweep
from pytest_vmnet.core.judge import Judged, Judgement
from pytest_vmnet.core.ledger import FlowLedger
from pytest_vmnet.core.outcome import Death, Finding, Flow, RuledOut
from pytest_vmnet.core.topology import Guest, Inventory
from pytest_vmnet.core.words import FlowKind, Leg, Rebuild, Scope, Severity, Verdict


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
    def death(self) -> Death | None:
        """The largest group of that flow's deaths, or None."""
        flow = self.telling
        return flow.deaths[0] if flow and flow.deaths else None

    @property
    def uplink(self) -> str | None:
        """The one port of the guest's bridge that leads outside, or None."""
        bridge = self.inventory.node(self.guest.node).bridge(self.guest.nic.bridge)
        return bridge.ports[0] if bridge and len(bridge.ports) == 1 else None

    @property
    def ledgers(self) -> list[FlowLedger]:
        """The ledgers of all flows that the guest itself started."""
        return [
            ledger for ledger in self.judgement.ledgers if ledger.flow.source == self.guest.ident
        ]

    def facts(self, host: str) -> HostFacts | None:
        """Return what a host said in the last sweep, or None if it could not."""
        facts = self.sweeps[-1].hosts.get(host)
        return facts if facts and not facts.problem else None

    def rules(self, host: str) -> tuple[NftRule, ...] | None:
        """Return the dropping rules of a host, or None if they could not be read."""
        facts = self.facts(host)
        return facts.rules if facts else None

    def own_flow(self, kind: FlowKind) -> Flow | None:
        """Return the guest's first flow of a kind."""
        return next((flow for flow in self.judged.flows if flow.kind is kind), None)

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

    def reflected(self) -> tuple[int, int]:
        """Return how many of the guest's own requests came back in by the uplink, of how many.

        Each request counts once, and only those that a proven capture saw leaving.
        """
        back = left = 0
        node = self.facts(self.guest.node)
        if node is None or node.capture is None or self.uplink is None:
            return 0, 0
        for ledger in self.ledgers:
            points = [w.point for w in ledger.path.waypoints]
            if self.uplink not in points or ledger.doubts[points.index(self.uplink)]:
                continue
            index = points.index(self.uplink)
            left += int(ledger.seen[0, index].sum())
            back += min(
                int(ledger.seen[0, index].sum()), ledger.strays.get((index, Leg.REQUEST), 0)
            )
        return back, left

    def other_sources(self) -> dict[str, int]:
        """Return the other MACs that claimed the guest's address by ARP, with their frames."""
        claims: dict[str, int] = {}
        for sweep in self.sweeps:
            facts = sweep.hosts.get(self.guest.node)
            if facts is None or facts.capture is None:
                continue
            for arp in facts.capture.packets.arps:
                if arp.spa == self.guest.address and arp.sha != self.guest.nic.mac:
                    claims[arp.sha] = claims.get(arp.sha, 0) + 1
        return claims

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


def seen_at(flow: Flow | None, point: str) -> tuple[int, int] | None:
    """Return requests and replies that *point* saw of a flow, or None if that is unknown."""
    for cell in flow.points if flow else ():
        if cell.point == point and cell.requests is not None and cell.replies is not None:
            return cell.requests, cell.replies
    return None
