"""A small site, and sweeps of it as the probes would report them, made from packets' fates."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import numpy as np

from pytest_vmnet.core.diagnosis import diagnose
from pytest_vmnet.core.facts import (
    GATE,
    SIGHTING,
    ArpFrame,
    Capture,
    FdbMove,
    FlowSpec,
    HostFacts,
    Neighbour,
    NftRule,
    Packets,
    PingResult,
    Sample,
    Sweep,
)
from pytest_vmnet.core.flow.plan import Pace, Targets, plan_flows
from pytest_vmnet.core.flow.route import path_of
from pytest_vmnet.core.site.link import Link
from pytest_vmnet.core.site.topology import Guest, Inventory, Node
from pytest_vmnet.core.verdict.judge import Judgement, judge
from pytest_vmnet.core.words import FlowKind

_BUILDERS = runpy.run_path(str(Path(__file__).with_name("builders.py")))
_FATES = runpy.run_path(str(Path(__file__).with_name("fates.py")))
Fate, lose, FAULTS = _FATES["Fate"], _FATES["lose"], _FATES["FAULTS"]
NODE, UPLINK, GATEWAY = _BUILDERS["NODE"], _BUILDERS["UPLINK"], _BUILDERS["GATEWAY"]
guest, node, moved, rule, arp, mac, inventory = (
    _BUILDERS[name] for name in ("guest", "node", "moved", "rule", "arp", "mac", "inventory")
)
GATEWAY_MAC, THRESHOLD = _BUILDERS["GATEWAY_MAC"], _BUILDERS["THRESHOLD"]
links = _BUILDERS["links"]


@dataclass
class World:
    """A site whose sweeps can be made; everything in it may be changed before that."""

    guests: Sequence[Guest] = field(default_factory=lambda: [guest(n) for n in (1, 2, 3)])
    nodes: tuple[Node, ...] = field(default_factory=lambda: (node(),))
    targets: Targets = field(
        default_factory=lambda: Targets(
            peers="segment", external=None, inbound=True, nodes_with_shell=frozenset({NODE})
        )
    )
    count: int = 300
    fates: list[Fate] = field(default_factory=list)
    reflected: dict[str, float] = field(default_factory=dict)
    doubts: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    blind: set[str] = field(default_factory=set)
    silent: set[tuple[str, str]] = field(default_factory=set)
    rules: dict[str, tuple[NftRule, ...] | None] = field(default_factory=dict)
    neighbours: dict[tuple[str, str], tuple[str | None, str] | None] = field(default_factory=dict)
    arps: list[ArpFrame] = field(default_factory=list)
    moves: list[FdbMove] = field(default_factory=list)
    tested: Sequence[str] | None = None
    links: dict[str, tuple[Link, ...]] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()

    @property
    def inventory(self) -> Inventory:
        return Inventory(nodes=self.nodes, guests=tuple(self.guests), links=self.links)

    def idents(self) -> list[str]:
        return list(self.tested or [each.ident for each in self.guests])

    def sweep(self, tested: Sequence[str] | None = None, count: int | None = None) -> Sweep:
        pace = Pace(count=count or self.count, interval_s=0.02)
        flows = plan_flows(self.inventory, tested or self.idents(), self.targets, pace)
        deaf = {each.ident for each in self.guests if not each.agent}
        rows: dict[str, list[np.ndarray]] = {}
        pings: dict[str, dict[int, PingResult]] = {}
        for flow in flows:
            answered = self._send(flow, rows)
            if (flow.source, flow.target) not in self.silent and flow.source not in deaf:
                rtt = {int(seq): 0.5 for seq in np.flatnonzero(answered) + 1}
                result = PingResult(transmitted=flow.count, rtt_ms=rtt)
                pings.setdefault(flow.source, {})[flow.number] = result
        names = {
            *(node.name for node in self.nodes),
            *pings,
            *(f.target for f in flows if f.kind is FlowKind.PEER),
        } - deaf
        hosts = {name: self._host(name, rows.get(name, []), pings) for name in sorted(names)}
        return Sweep(flows=flows, hosts=hosts, duration_s=6.0)

    def _send(self, flow: FlowSpec, rows: dict[str, list[np.ndarray]]) -> np.ndarray:
        path = path_of(flow, self.inventory, {})
        width = len(path.waypoints)
        journey = [(0, i) for i in range(width)] + [(1, i) for i in reversed(range(width))]
        passed = np.full(flow.count, len(journey) - 1)
        answered = np.ones(flow.count, dtype=bool)
        names = [(leg, path.waypoints[i].point) for leg, i in journey]
        for fate in self.fates:
            if fate.hits(flow):
                died = fate.victims(flow.count) & answered
                passed[died] = -1 if fate.last is None else names.index((fate.leg, fate.last))
                answered &= ~died | fate.answered
        for step, (leg, index) in enumerate(journey):
            point = path.waypoints[index]
            seqs = np.flatnonzero(passed >= step) + 1
            out = point.request_out != bool(leg)
            made = self._rows(flow, seqs, point.host, point.ifname, reply=bool(leg), out=out)
            rows.setdefault(point.host, []).append(made)
            if leg == 0 and point.point == UPLINK and flow.source in self.reflected:
                back = seqs[seqs % 10 < self.reflected[flow.source] * 10]
                again = self._rows(flow, back, NODE, UPLINK, reply=False, out=not out)
                rows[NODE].append(again)
        return answered

    def _rows(
        self, flow: FlowSpec, seqs: np.ndarray, host: str, ifname: str, *, reply: bool, out: bool
    ) -> np.ndarray:
        made = np.zeros(len(seqs), dtype=SIGHTING)
        sender = flow.target if reply else flow.source
        source = next((g for g in self.guests if g.ident == sender), None)
        made["flow"], made["seq"] = flow.number, seqs
        made["t_ns"] = seqs * 20_000_000 + reply
        made["ifindex"] = self._ifindex(host, ifname)
        made["reply"], made["out"] = reply, out
        made["ttl"], made["size"] = 64, 84
        made["src"] = self._address(flow, sender)
        if source:
            made["mac"] = int(source.nic.mac.replace(":", ""), 16)
        return made

    def _address(self, flow: FlowSpec, sender: str) -> int:
        """Return the IPv4 address of a flow's end as a number; the gate's is a workstation's."""
        known = {each.ident: each.address for each in self.guests}
        known |= {each.name: each.address for each in self.nodes}
        if sender == flow.target:
            return int(flow.address) & (1 << 64) - 1
        if flow.address.version == 6:
            six = {each.ident: each.address6 for each in self.guests}
            return int(six.get(sender) or ip_address("2001:db8::50")) & (1 << 64) - 1
        return int(known.get(sender) or IPv4Address("192.0.2.50"))

    def _ifindex(self, host: str, ifname: str) -> int:
        if host not in {node.name for node in self.nodes}:
            return 0
        if ifname == UPLINK:
            return 2
        if ifname.startswith("tap"):
            return int(ifname[3:].partition("i")[0])
        return 10_000 + int.from_bytes(ifname[2:7].encode()) % 50_000  # "fwln111i0": by "ln111"

    def _points(self, node: str) -> dict[int, str]:
        site = self.inventory
        here = [g for g in self.guests if g.node == node]
        names = [port.ifname for g in here for port in site.chain(g).ports]
        return {self._ifindex(node, name): name for name in (UPLINK, *names)}

    def _host(
        self, name: str, rows: list[np.ndarray], pings: dict[str, dict[int, PingResult]]
    ) -> HostFacts:
        if name in self.problems:
            return HostFacts(host=name, problem=self.problems[name])
        is_node = name in {node.name for node in self.nodes}
        sightings = np.concatenate(rows) if rows else np.zeros(0, dtype=SIGHTING)
        points = {0: "eth0"}
        if is_node:
            points = self._points(name)
        capture = Capture(
            host=name,
            points=points,
            packets=Packets(len(sightings), sightings, tuple(self.arps) if is_node else ()),
            doubts=self.doubts.get(name, {}),
        )
        return HostFacts(
            host=name,
            pings=pings.get(name, {}),
            neighbours=self._table(name),
            rules=self.rules.get(name, ()),
            capture=None if name == GATE or name in self.blind else capture,
            moves=tuple(self.moves) if is_node else (),
            samples=self.samples if is_node else (),
            ifname=None if is_node or name == GATE else "eth0",
        )

    def _table(self, host: str) -> tuple[Neighbour, ...]:
        usual: dict[str, tuple[str | None, str] | None] = {
            str(g.address): (g.nic.mac, "reachable")
            for g in self.guests
            if g.ident != host and g.address
        }
        usual[str(GATEWAY)] = (GATEWAY_MAC, "reachable")
        for g in self.guests:
            if g.address6 and g.ident != host:
                usual[str(g.address6)] = (g.nic.mac, "reachable")
            if g.gateway6:
                usual[str(g.gateway6)] = (GATEWAY_MAC, "reachable")
        usual |= {key[1]: entry for key, entry in self.neighbours.items() if key[0] == host}
        return tuple(
            Neighbour(address=ip_address(address), ifname="eth0", lladdr=entry[0], state=entry[1])
            for address, entry in usual.items()
            if entry
        )

    def judge(self, *sweeps: Sweep) -> Judgement:
        return judge(self.inventory, self.idents(), sweeps or (self.sweep(),), THRESHOLD)

    def diagnose(self, ident: str = "vm-1", *sweeps: Sweep) -> Any:
        """Return verdict, findings and ruled-out causes of a guest."""
        made = sweeps or (self.sweep(),)
        judgement = self.judge(*made)
        judged = judgement.guests[ident]
        findings, against = diagnose(judged, judgement, self.inventory, made)
        return judged.verdict, findings, {each.reason: each.message for each in against}
