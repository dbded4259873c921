"""The ledger: every probe packet, request and reply, against every point of its path.

A cell is *seen*, *not seen* or *unknown*; "not seen" exists only for points whose capture is
proven. All arrays are indexed by sequence number, so repeated and late packets fall into the
cell that they belong to and are counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.coverage import Pair, listening
from pytest_vmnet.core.facts import FlowSpec, HostFacts, Sweep, Waypoint
from pytest_vmnet.core.outcome import Death, PointCount
from pytest_vmnet.core.route import Path, path_of
from pytest_vmnet.core.topology import Inventory
from pytest_vmnet.core.words import Leg, PingKind

Cells = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FlowLedger:
    """One flow's packets at every point.

    Attributes:
        flow: The flow.
        path: Its path; W waypoints.
        sent: Which probes were sent; shape (count,).
        answered: Which probes the prober got an answer to; shape (count,).
        times: First sighting in the expected direction, in ns since the epoch, 0 if there is none;
            shape (2, W, count), requests first.
        doubts: Reason per waypoint that all its cells are unknown, or None; length W.
        covered: Probes during which a waypoint's capture is known to have run; shape (W, count).
        strays: Probes that passed a waypoint in the wrong direction with the MAC of the guest
            that sent them (replies: with any MAC), by (waypoint, leg).
    """

    flow: FlowSpec
    path: Path
    sent: Cells
    answered: Cells
    times: npt.NDArray[np.int64]
    doubts: tuple[str | None, ...]
    covered: npt.NDArray[np.bool_]
    strays: Mapping[tuple[int, Leg], int]

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Sightings in the expected direction; shape (2, W, count), requests first."""
        seen: npt.NDArray[np.bool_] = self.times != 0
        return seen

    @property
    def lost(self) -> Cells:
        """Which probes were sent and stayed without an answer; shape (count,)."""
        return self.sent & ~self.answered

    def pairs(self) -> dict[int, tuple[str, Pair]]:
        """Return each guest's frames at its tap and at its NIC, by the NIC's waypoint."""
        points = self.path.waypoints
        found = {}
        for nic, beside in ((0, 1), (len(points) - 1, len(points) - 2)):
            if len(points) > 1 and points[nic].host == points[nic].guest == points[beside].guest:
                pair = Pair(tap=self.times[:, beside], nic=self.times[:, nic])
                found[nic] = points[nic].host, pair
        return found

    def counts(self) -> tuple[PointCount, ...]:
        """Return how many requests and replies each waypoint saw, from prober to far end."""
        rows = []
        for index, waypoint in enumerate(self.path.waypoints):
            doubt = self.doubts[index] or self._gap(index)
            known = doubt is None
            rows.append(
                PointCount(
                    point=waypoint.point,
                    requests=int(self.seen[0, index].sum()) if known else None,
                    replies=int(self.seen[1, index].sum()) if known else None,
                    doubt=doubt,
                )
            )
        return tuple(rows)

    def _gap(self, index: int) -> str | None:
        within = int((self.covered[index] & self.sent).sum())
        sent = int(self.sent.sum())
        if within == sent:
            return None
        return f"its capture is known to have run during {within} of {sent} probes"

    def deaths(self) -> tuple[Death, ...]:
        """Return where the lost packets died, the largest group first."""
        groups: Counter[tuple[Leg, str | None, str]] = Counter()
        for seq in np.flatnonzero(self.lost):
            groups[self.death_of(int(seq))] += 1
        return tuple(
            Death(leg=leg, last_seen=last, next_point=following, packets=packets)
            for (leg, last, following), packets in sorted(
                groups.items(), key=lambda item: (-item[1], str(item[0]))
            )
        )

    def death_of(self, seq: int) -> tuple[Leg, str | None, str]:
        """Return leg, last point that saw packet *seq*, and where it was missed next."""
        width = len(self.path.waypoints)
        journey = [(0, i) for i in range(width)] + [(1, i) for i in reversed(range(width))]
        known = [
            step for step in journey if not self.doubts[step[1]] and self.covered[step[1], seq]
        ]
        last = max((k for k, (leg, i) in enumerate(known) if self.seen[leg, i, seq]), default=None)
        names = [waypoint.point for waypoint in self.path.waypoints]
        if last is None:
            missed = names[known[0][1]] if known else self.path.end
            return (Leg.REQUEST if known else Leg.UNKNOWN), None, missed
        leg, index = known[last]
        here = names[index]
        if last + 1 == len(known):
            return Leg.REPLY if leg else Leg.UNKNOWN, here, self.path.start
        next_leg, next_index = known[last + 1]
        if leg == 0 and next_leg == 1:
            turned = self.path.end.endswith(":stack")
            return (Leg.REQUEST if turned else Leg.UNKNOWN), here, self.path.end
        following = names[next_index]
        if following == here:  # routed: out by a port, and never back in by it
            following = "gateway"
        return (Leg.REPLY if next_leg else Leg.REQUEST), here, following


def build_ledger(sweep: Sweep, inventory: Inventory) -> tuple[FlowLedger, ...]:
    """Put every sighting of a sweep into its flow's cells.

    Flows whose prober could not say what it sent are left out; the caller sees them in
    ``sweep.flows``.
    """
    names = {host: facts.ifname for host, facts in sweep.hosts.items() if facts.ifname}
    macs = {g.ident: int(g.nic.mac.replace(":", ""), 16) for g in inventory.guests}
    by_flow = {host: _by_flow(facts) for host, facts in sweep.hosts.items()}
    ledgers = []
    for flow in sweep.flows:
        ping = sweep.ping(flow)
        if ping is None:
            continue
        path = path_of(flow, inventory, names)
        sequence = np.arange(1, flow.count + 1)
        sent = sequence <= ping.transmitted
        answered = np.isin(sequence, list(ping.rtt_ms)) & sent
        times = np.zeros((2, len(path.waypoints), flow.count), dtype=np.int64)
        covered = np.ones((len(path.waypoints), flow.count), dtype=np.bool_)
        doubts: list[str | None] = []
        strays: dict[tuple[int, Leg], int] = {}
        for index, waypoint in enumerate(path.waypoints):
            rows = by_flow.get(waypoint.host, {}).get((waypoint.ifname, flow.number))
            if rows is not None:
                wrong = _enter(rows, times[:, index], waypoint, macs.get(flow.source))
                strays |= {(index, leg): packets for leg, packets in wrong.items()}
            doubt = _unmarked(flow) or _doubt(sweep.hosts.get(waypoint.host), waypoint.ifname)
            window = None if doubt else _window((times[:, index] != 0).any(axis=0), answered)
            if window is None:
                doubt = doubt or "probes that were answered passed it unseen"
            else:
                covered[index] = window
            doubts.append(doubt)
        ledgers.append(
            FlowLedger(
                flow=flow,
                path=path,
                sent=sent,
                answered=answered,
                times=times,
                doubts=tuple(doubts),
                covered=covered,
                strays=strays,
            )
        )
    return _narrowed(ledgers, sweep)


def _narrowed(ledgers: Sequence[FlowLedger], sweep: Sweep) -> tuple[FlowLedger, ...]:
    """Take from each guest's cells the packets that passed while it may not have listened."""
    pairs: dict[str, list[Pair]] = {}
    for ledger in ledgers:
        for guest, pair in ledger.pairs().values():
            pairs.setdefault(guest, []).append(pair)
    heard = {
        guest: listening(facts.capture, mine)
        for guest, mine in pairs.items()
        if (facts := sweep.hosts.get(guest)) and facts.capture
    }
    for ledger in ledgers:
        for index, (guest, pair) in ledger.pairs().items():
            if span := heard.get(guest):
                ledger.covered[index] &= ~span.misses(pair).any(axis=0)
    return tuple(ledgers)


def _enter(
    rows: npt.NDArray[np.void],
    times: npt.NDArray[np.int64],
    waypoint: Waypoint,
    mac: int | None,
) -> dict[Leg, int]:
    """Note when a waypoint first saw what in *times*, shape (2, count); return the strays."""
    wrong: dict[Leg, int] = {}
    inside = rows[(rows["seq"] >= 1) & (rows["seq"] <= times.shape[1])]
    for leg, reply in ((Leg.REQUEST, False), (Leg.REPLY, True)):
        mine = inside[inside["reply"] == reply]
        expected = mine["out"] == (waypoint.request_out != reply)
        latest_first = np.argsort(-mine["t_ns"][expected], kind="stable")
        seen = mine[expected][latest_first]  # of several times for one cell the last one stays
        times[int(reply), seen["seq"] - 1] = np.maximum(seen["t_ns"], 1)
        strays = mine[~expected]
        if not reply and mac is not None:  # a router sends it on with a MAC of its own
            strays = strays[strays["mac"] == mac]
        if len(strays):
            wrong[leg] = len(np.unique(strays["seq"]))
    return wrong


def _window(seen: Cells, answered: Cells) -> Cells | None:
    """Return the probes during which a capture is known to have run.

    Who answers passed every point of the path, so an answered probe that a point did not see
    shows a gap: the captures of guests start and end a little apart from each other. Lost
    probes beyond such an edge prove nothing; None if the gap is in the middle.
    """
    missed = answered & ~seen
    if not missed.any():
        return np.ones_like(seen)
    if not seen.any():
        return None
    first, last = np.flatnonzero(seen)[[0, -1]]
    window = np.ones_like(seen)
    window[:first] = not missed[:first].any()
    window[last + 1 :] = not missed[last + 1 :].any()
    return None if (missed & window).any() else window


def _unmarked(flow: FlowSpec) -> str | None:
    if flow.ping is PingKind.IPUTILS:
        return None
    return "the prober's ping is busybox's, whose packets cannot carry this run's mark"


def _doubt(facts: HostFacts | None, ifname: str) -> str | None:
    if facts is None:
        return "nobody looked there"
    if facts.problem:
        return facts.problem
    if facts.capture is None:
        return "no capture there"
    return facts.capture.doubt(ifname)


def _by_flow(facts: HostFacts) -> dict[tuple[str, int], npt.NDArray[np.void]]:
    """Split a host's sightings by interface name and flow number."""
    if facts.capture is None:
        return {}
    rows = facts.capture.packets.sightings
    if not len(rows):
        return {}
    key = rows["ifindex"].astype(np.uint64) << np.uint64(16) | rows["flow"].astype(np.uint64)
    order = np.argsort(key, kind="stable")
    keys, starts = np.unique(key[order], return_index=True)
    split: dict[tuple[str, int], npt.NDArray[np.void]] = {}
    for value, part in zip(keys, np.split(rows[order], starts[1:]), strict=True):
        ifname = facts.capture.points.get(int(value) >> 16)
        if ifname is not None:
            split[ifname, int(value) & 0xFFFF] = part
    return split
