"""The ledger: every probe packet, request and reply, against every point of its path.

A cell is *seen*, *not seen* or *unknown*; "not seen" exists only for points whose capture is
proven. All arrays are indexed by sequence number, so repeated and late packets fall into the
cell that they belong to and are counted once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.facts import FlowSpec, HostFacts, PingResult, Sweep
from pytest_vmnet.core.flow.route import Path, path_of
from pytest_vmnet.core.ledger.coverage import Pair, listening
from pytest_vmnet.core.ledger.expected import Expected, Site
from pytest_vmnet.core.ledger.journey import Fates, trace
from pytest_vmnet.core.ledger.oddity import Oddity
from pytest_vmnet.core.ledger.tally import Tally
from pytest_vmnet.core.outcome import Death, PointCount
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.core.words import Leg, PingKind

Cells = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
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
        duplicates: Frames that each waypoint saw again; shape (2, W).
        oddities: What was seen of it that should not be.
        forged: Packets that another guest sent too, in the sender's name, at the waypoints where
            they cannot be told apart; shape (W, count), or None if there is none.
    """

    flow: FlowSpec
    path: Path
    sent: Cells
    answered: Cells
    times: npt.NDArray[np.int64]
    doubts: tuple[str | None, ...]
    covered: npt.NDArray[np.bool_]
    strays: Mapping[tuple[int, Leg], int]
    duplicates: npt.NDArray[np.int64]
    oddities: tuple[Oddity, ...] = ()
    forged: npt.NDArray[np.bool_] | None = None

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
        sent = int(self.sent.sum())
        within = int((self.covered[index] & self.sent).sum())
        if within < sent:
            return f"its capture is known to have run during {within} of {sent} probes"
        if self.forged is not None and (forged := int((self.forged[index] & self.sent).sum())):
            return f"{forged} of {sent} probes came in by another guest's port too"
        return None

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Where "not seen" counts; shape (W, count)."""
        trusted = np.array([doubt is None for doubt in self.doubts], dtype=np.bool_)
        known: npt.NDArray[np.bool_] = self.covered & trusted[:, None]
        return known if self.forged is None else known & ~self.forged

    @cached_property
    def fates(self) -> Fates:
        """Where each packet was seen last, and where it was missed next."""
        return trace(self.path, self.seen, self.known)

    def deaths(self) -> tuple[Death, ...]:
        """Return where the lost packets died, the largest group first."""
        if not self.lost.any():
            return ()
        groups = self.fates.count(self.lost)
        return tuple(
            Death(leg=leg, last_seen=last, next_point=following, packets=packets)
            for (leg, last, following), packets in sorted(
                groups.items(), key=lambda item: (-item[1], str(item[0]))
            )
        )

    def death_of(self, seq: int) -> tuple[Leg, str | None, str]:
        """Return leg, last point that saw packet *seq*, and where it was missed next."""
        return self.fates.of(seq)

    def reordered(self) -> tuple[int | None, int | None]:
        """Return how many requests were late at the last waypoint, and replies at the first.

        A packet is late if one that was sent after it came before it (RFC 4737, section 3). None
        where the waypoint's capture is in doubt.
        """
        if not self.doubts:
            return None, None
        ends = ((self.doubts[-1], self.times[0, -1]), (self.doubts[0], self.times[1, 0]))
        requests, replies = (None if doubt else _late(times) for doubt, times in ends)
        return requests, replies


def _late(times: npt.NDArray[np.int64]) -> int:
    """Return how many packets came after one with a higher number; 0 is no time."""
    came = times[times != 0]
    earliest_behind = np.minimum.accumulate(came[::-1])[::-1]
    return int((came[:-1] > earliest_behind[1:]).sum())


def build_ledger(sweep: Sweep, inventory: Inventory) -> tuple[FlowLedger, ...]:
    """Put every sighting of a sweep into its flow's cells.

    Flows whose prober could not say what it sent are left out; the caller sees them in
    ``sweep.flows``.
    """
    names = {host: facts.ifname for host, facts in sweep.hosts.items() if facts.ifname}
    captures = {host: facts.capture for host, facts in sweep.hosts.items() if facts.capture}
    site = Site(inventory)
    asked = [(flow, ping) for flow in sweep.flows if (ping := sweep.ping(flow)) is not None]
    flows = [site.expected(flow, path_of(flow, inventory, names)) for flow, _ in asked]
    tally = Tally(flows, site, captures)
    ledgers = [
        _ledger(each, ping, tally, index, sweep)
        for index, (each, (_, ping)) in enumerate(zip(flows, asked, strict=True))
    ]
    return _narrowed(ledgers, sweep)


def _ledger(
    expected: Expected, ping: PingResult, tally: Tally, index: int, sweep: Sweep
) -> FlowLedger:
    flow, waypoints = expected.flow, expected.path.waypoints
    sent = np.arange(1, flow.count + 1) <= ping.transmitted
    answered = np.zeros(flow.count + 1, dtype=np.bool_)
    answered[[seq for seq in ping.rtt_ms if 1 <= seq <= flow.count]] = True
    answered = answered[1:] & sent
    times = tally.times(index)
    covered = np.ones((len(waypoints), flow.count), dtype=np.bool_)
    unmarked = _unmarked(flow)
    doubts = [unmarked or _doubt(sweep.hosts.get(each.host), each.ifname) for each in waypoints]
    passed = (times != 0).any(axis=0)
    for at, doubt in enumerate(doubts):
        if doubt is None:
            window = _window(passed[at], answered)
            if window is None:
                doubts[at] = "probes that were answered passed it unseen"
            else:
                covered[at] = window
    forged = tally.forged(index)
    return FlowLedger(
        flow=flow,
        path=expected.path,
        sent=sent,
        answered=answered,
        times=times,
        doubts=tuple(doubts),
        covered=covered,
        strays=tally.strays(index),
        duplicates=tally.duplicates(index),
        oddities=tally.oddities(index),
        forged=None if forged is None else _unsafe(expected, forged),
    )


def _unsafe(expected: Expected, forged: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return where a packet may have been taken for one that another guest sent in its name.

    At its sender's own port only the sender's frames come in.
    """
    rows = [
        (forged[0] & (waypoint.guest is None or waypoint.guest != expected.request.guest))
        | (forged[1] & (waypoint.guest is None or waypoint.guest != expected.reply.guest))
        for waypoint in expected.path.waypoints
    ]
    return np.array(rows)


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
        return facts.unwatched or "no capture there"
    return facts.capture.doubt(ifname)
