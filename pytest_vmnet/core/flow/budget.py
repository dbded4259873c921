"""Budgets: how many packets per second a sweep may put on a guest, a target and a node. Pure.

A sweep that would exceed one is slowed down as a whole: every flow keeps its number of probes and
gets a longer interval, so that all flows still run in the same seconds. Where the peers of a
segment are what makes it slow, fewer of them are sampled. Neither happens silently, and no flow
ever sends fewer probes than it needs to prove what it is there to prove.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pytest_vmnet.core.facts import FlowSpec
from pytest_vmnet.core.flow.plan import Pace, Targets, plan_flows
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.errors import ConfigError

PACKETS_PER_PROBE = 2
"""A request and its reply; both cross every port of the path."""

MAX_STRETCH = 5.0
"""A sweep is slowed down so far for its peers' sake; beyond that, fewer peers are sampled."""

_STEP_S = 0.0001
_ROUNDING = 1e-9

Part = Literal["guest", "target", "node"]
Place = tuple[Part, str]
"""What a budget is for, and which one: ``("target", "192.0.2.1")``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Most packets per second, requests and replies, while a sweep runs.

    Attributes:
        guest: On the NIC of one guest.
        target: At one gateway, or one address beyond it.
        node: Of all guests of one node, and of the node itself.
    """

    guest: float = math.inf
    target: float = math.inf
    node: float = math.inf

    @classmethod
    def parse(cls, limits: Sequence[str]) -> Budget:
        """Return the budget of ``guest=2000``, ``target=4000`` and the like; ``none`` is none."""
        named = dict(limit.split("=", 1) for limit in limits if limit != "none")
        return cls(**{part: float(pps) for part, pps in named.items()})

    def of(self, part: Part) -> float:
        """Return the budget of that part."""
        return {"guest": self.guest, "target": self.target, "node": self.node}[part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a sweep puts on one place, and what it may.

    Attributes:
        place: Which one.
        pps: Packets per second at most, all of its flows running.
        budget: Its budget.
    """

    place: Place
    pps: float
    budget: float

    @property
    def share(self) -> float:
        """How many times the budget it is."""
        return self.pps / self.budget


def loads(flows: Sequence[FlowSpec], inventory: Inventory, budget: Budget) -> tuple[Load, ...]:
    """Return every place that the flows touch, the one closest to its budget first.

    What goes to an address beyond the gateway counts at the gateway too: it forwards it.
    """
    guests = {guest.ident: guest for guest in inventory.guests}
    nodes = {node.name for node in inventory.nodes}
    pps: defaultdict[Place, float] = defaultdict(float)
    for flow in flows:
        ends = [guests[end] for end in (flow.source, flow.target) if end in guests]
        places: set[Place] = {("guest", guest.ident) for guest in ends}
        places |= {("node", guest.node) for guest in ends}
        if flow.source in nodes:
            places.add(("node", flow.source))
        if flow.target not in guests:
            places.add(("target", flow.target))
        if flow.kind is FlowKind.EXTERNAL and ends and ends[0].gateway:
            places.add(("target", str(ends[0].gateway)))
        for place in places:
            pps[place] += PACKETS_PER_PROBE / flow.interval_s
    found = [Load(place=p, pps=rate, budget=budget.of(p[0])) for p, rate in pps.items()]
    return tuple(sorted(found, key=lambda load: (-load.share, load.place)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A plan that keeps to its budget.

    Attributes:
        flows: Its flows, in the order of the plan.
        tightest: The place that was furthest over its budget, or None if nothing was slowed down.
        stretch: How many times longer the sweep takes for it.
    """

    flows: tuple[FlowSpec, ...]
    tightest: Load | None = None
    stretch: float = 1.0

    def told(self) -> str | None:
        """Return how the sweep was slowed down and why, or None if it was not."""
        if self.tightest is None:
            return None
        part, name = self.tightest.place
        interval_ms = min(flow.interval_s for flow in self.flows) * 1000
        return (
            f"slowed down {self.stretch:.1f} times, to one probe per {interval_ms:.1f} ms of each "
            f"flow: {part} {name} would get {self.tightest.pps:.0f} packets/s, its budget is "
            f"{self.tightest.budget:.0f} (--vmnet-budget)"
        )


def fit(flows: Sequence[FlowSpec], inventory: Inventory, budget: Budget) -> Fitted:
    """Return the flows, slowed down so far that nothing exceeds its budget."""
    worst = next(iter(loads(flows, inventory, budget)), None)
    if worst is None or worst.share <= 1 + _ROUNDING:
        return Fitted(flows=tuple(flows))
    slower = tuple(
        replace(flow, interval_s=_rounded_up(flow.interval_s * worst.share)) for flow in flows
    )
    return Fitted(flows=slower, tightest=worst, stretch=worst.share)


def _rounded_up(interval_s: float) -> float:
    return round(math.ceil(interval_s / _STEP_S - 1e-6) * _STEP_S, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which peers a sweep can afford.

    Attributes:
        peers: ``segment``, ``all`` or a number of peers per guest.
        note: What was sampled and why, or None if nothing was.
    """

    peers: str
    note: str | None = None


def affordable_peers(
    inventory: Inventory, targets: Targets, pace: Pace, budget: Budget
) -> Sampling:
    """Return how many peers of each guest a sweep can afford.

    What was asked for by number, or as ``all``, is kept however slow it is. Of a segment as many
    are sampled as slow the sweep down no more than `MAX_STRETCH` times, or than the other flows
    do anyway; at least one.
    """
    if targets.peers != "segment":
        return Sampling(peers=targets.peers)
    tested = [guest.ident for guest in inventory.tested]

    def stretch(peers: str) -> float:
        try:
            flows = plan_flows(inventory, tested, replace(targets, peers=peers), pace)
        except ConfigError:  # more than one sweep can tell apart
            return math.inf
        worst = next(iter(loads(flows, inventory, budget)), None)
        return worst.share if worst else 0.0

    whole = stretch("segment")
    if whole <= MAX_STRETCH:
        return Sampling(peers="segment")
    limit = max(MAX_STRETCH, stretch("0"))
    if whole <= limit:
        return Sampling(peers="segment")
    low, high = 1, 2
    while stretch(str(high)) <= limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if stretch(str(middle)) <= limit else (low, middle)
    return Sampling(peers=str(low), note=_sampled(low, whole))


def _sampled(peers: int, whole: float) -> str:
    why = f"slow the sweep down {whole:.0f} times" if whole < math.inf else "be too many flows"
    return (
        f"peers: {peers} of each guest are sampled; all of its segment would {why} "
        "(--vmnet-budget); --vmnet-peers N or all overrules"
    )


def described(found: Sequence[Load]) -> list[str]:
    """Return a line for each load against its budget, grouped by what the budget is for."""
    order: tuple[Part, ...] = ("guest", "target", "node")
    rows = sorted(found, key=lambda load: (order.index(load.place[0]), -load.pps, load.place[1]))
    return [
        f"{load.place[0]} {load.place[1]}: {load.pps:.0f} packets/s"
        + (f", budget {load.budget:.0f}" if load.budget < math.inf else ", no budget")
        for load in rows
    ]
