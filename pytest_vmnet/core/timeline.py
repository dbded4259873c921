"""A flow's packets in time, over the moves of the guest's MAC in its bridge's FDB. Pure.

Whether the moves have to do with the deaths is asked twice: against chance, by the share of the
time that lies close to a move, and against the packets that were answered. The sentence is
said only if both answers leave no doubt.

A move is looked for on both sides of a death: the kernel does not stamp its FDB events, so they
are stamped when they are read, which is later than the move and often later than the death.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core import stats
from pytest_vmnet.core.facts import FdbMove, Sweep
from pytest_vmnet.core.flows import seen_from
from pytest_vmnet.core.ledger import FlowLedger
from pytest_vmnet.core.outcome import Alignment, Flow, Timeline
from pytest_vmnet.core.topology import Guest, Inventory

MOST = 2_000
"""Most packets, and most moves, that a timeline lists."""

WINDOWS_MS = (1, 2, 5, 10, 20, 50)
"""Distances from a move that are tried, in ms; the one that chance explains least is taken."""

_DOUBT = 0.001
_FEWEST = 5
_MS = 1_000_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stay:
    """The FDB entry of a MAC is on *ifname* from *t_ns* on; None if it was removed."""

    t_ns: int
    ifname: str | None


def timeline_of(
    flow: Flow,
    ledgers: Sequence[FlowLedger],
    guest: Guest,
    inventory: Inventory,
    sweeps: Sequence[Sweep],
) -> Timeline | None:
    """Return the timeline of a flow, or None if the guest's node saw none of its packets.

    Args:
        flow: The pooled flow, as it is reported for the guest.
        ledgers: The ledgers that it was pooled from.
        guest: The guest that it is reported for.
        inventory: The site.
        sweeps: The facts.
    """
    watched = [each for each in (Watched.of(ledger, guest.node) for ledger in ledgers) if each]
    if not watched:
        return None
    home, stays = stays_of(guest, inventory, sweeps)
    start = int(min(each.sent.min() for each in watched))
    kept = _thinned(watched)
    drawn = _longest(stays, MOST)
    ports = tuple(dict.fromkeys([home, *(stay.ifname for stay in drawn if stay.ifname)]))
    return Timeline(
        started_ns=start,
        sent_us=tuple((t_ns - start) // 1_000 for t_ns, _, _ in kept),
        fates="".join(_fate(flow, guest.ident, each.ledger, seq) for _, each, seq in kept),
        packets=sum(len(each.seqs) for each in watched),
        ports=ports,
        moved_us=tuple((stay.t_ns - start) // 1_000 for stay in drawn),
        moved_to="".join(_port_letter(ports, stay.ifname) for stay in drawn),
        moves=len(stays),
        alignment=align(watched, home, stays, guest.nic.mac),
    )


@dataclass(frozen=True, slots=True)
class Watched:
    """One ledger as the points of one node saw it: one clock.

    Attributes:
        ledger: The ledger.
        seqs: Indices of the packets that were sent.
        sent: When each of them passed the node first, in ns; interpolated where it did not.
        journey: Sightings in the order of the way out and back; shape (steps, count), 0 = none.
    """

    ledger: FlowLedger
    seqs: npt.NDArray[np.intp]
    sent: Times
    journey: Times

    @classmethod
    def of(cls, ledger: FlowLedger, node: str) -> Watched | None:
        """Return what a node saw of the packets, or None if nothing that can be trusted."""
        rows = [
            at
            for at, waypoint in enumerate(ledger.path.waypoints)
            if waypoint.host == node and not ledger.doubts[at]
        ]
        requests, replies = ledger.times[0][rows], ledger.times[1][rows[::-1]]
        journey = np.concatenate([requests, replies])
        seqs = np.flatnonzero(ledger.sent)
        early = np.where(requests > 0, requests, np.iinfo(np.int64).max)
        first = early.min(axis=0, initial=np.iinfo(np.int64).max)[seqs]
        known = first < np.iinfo(np.int64).max
        if not known.any():
            return None
        return cls(ledger, seqs, _filled(seqs, first, known, ledger.flow.interval_s), journey)

    def deaths(self) -> tuple[npt.NDArray[np.intp], Times]:
        """Return the step at which each lost packet was seen last, and when."""
        lost = self.journey[:, self.ledger.lost]
        lost = lost[:, (lost > 0).any(axis=0)]
        steps = len(self.journey) - 1 - np.argmax(lost[::-1] > 0, axis=0)
        return steps, lost[steps, np.arange(lost.shape[1])]

    def answered_at(self, step: int) -> Times:
        """Return when the answered packets passed a step."""
        passed: Times = self.journey[step, self.ledger.answered]
        return passed[passed > 0]


def _filled(
    seqs: npt.NDArray[np.intp], first: Times, known: npt.NDArray[np.bool_], interval_s: float
) -> Times:
    """Return the times, with those that are not known by their neighbours' and the interval."""
    base = first[known][0]  # floats are exact enough from there
    at, when = seqs[known], (first[known] - base).astype(np.float64)
    sent = np.interp(seqs, at, when)
    outside = np.minimum(seqs - at[0], 0) + np.maximum(seqs - at[-1], 0)
    filled: Times = base + (sent + outside * interval_s * 1e9).astype(np.int64)
    return filled


def stays_of(
    guest: Guest, inventory: Inventory, sweeps: Sequence[Sweep]
) -> tuple[str, tuple[Stay, ...]]:
    """Return the guest's own port of its bridge, and where the bridge's FDB had its MAC when.

    A NIC with Proxmox's firewall has a bridge of its own before that one: what moves within it
    is left out. An event that names the port that the entry is on already is no move.
    """
    *inner, home = (port.ifname for port in inventory.chain(guest).ports)
    told = (facts.moves for sweep in sweeps if (facts := sweep.hosts.get(guest.node)))
    stays: list[Stay] = []
    for move in sorted((m for moves in told for m in moves), key=lambda move: move.t_ns):
        if move.mac == guest.nic.mac and move.ifname not in inner:
            _append(stays, move)
    return home, tuple(stays)


def _append(stays: list[Stay], move: FdbMove) -> None:
    now = stays[-1].ifname if stays else None
    if move.deleted and move.ifname != now:
        return  # the old entry of a move goes after the new one has come
    ifname = None if move.deleted else move.ifname
    if not stays or ifname != now:
        stays.append(Stay(move.t_ns, ifname))


def align(
    watched: Sequence[Watched], home: str, stays: Sequence[Stay], mac: str
) -> Alignment | None:
    """Return how the deaths lie at moves to a foreign port, or None if nothing is proven.

    Args:
        watched: The flow's ledgers.
        home: The guest's own port.
        stays: Where the entry was when.
        mac: The guest's MAC.
    """
    foreign = [stay for stay in stays if stay.ifname not in {None, home}]
    deaths = [each.deaths() for each in watched]
    when = np.concatenate([times for _, times in deaths])
    if not foreign or len(when) < _FEWEST:
        return None
    answered = np.concatenate(
        [each.answered_at(_mode(steps)) for each, (steps, _) in zip(watched, deaths, strict=True)]
    )
    tries = [(_window(window, foreign, when, answered, watched), window) for window in WINDOWS_MS]
    (p_value, within, answered_within, share), window = min(
        tries, key=lambda found: (found[0][0], -found[0][1], found[1])
    )
    p_value = min(1.0, p_value * len(WINDOWS_MS))
    if p_value > _DOUBT or 2 * within < len(when):
        return None
    names = [stay.ifname for stay in foreign if stay.ifname]
    port = max(sorted(set(names)), key=names.count)
    by_chance = share * len(when)
    return Alignment(
        port=port,
        mac=mac,
        window_ms=window,
        within=within,
        deaths=len(when),
        by_chance=round(by_chance, 1),
        answered_within=answered_within,
        answered=len(answered),
        p_value=p_value,
        sentence=(
            f"{within} of {len(when)} deaths within {window} ms of the FDB entry of {mac} moving "
            f"to {port} (by chance {by_chance:.0f}; of the answered packets "
            f"{answered_within} of {len(answered)})"
        ),
    )


def _window(
    window_ms: int,
    foreign: Sequence[Stay],
    when: Times,
    answered: Times,
    watched: Sequence[Watched],
) -> tuple[float, int, int, float]:
    """Return p-value, deaths and answered packets within, and the share of the time."""
    moves = np.array([stay.t_ns for stay in foreign], dtype=np.int64)
    within = _hits(moves, when, window_ms)
    others = _hits(moves, answered, window_ms)
    spans = [(int(each.sent.min()), int(each.sent.max())) for each in watched]
    share = covered(moves, spans, window_ms)
    expected = max(share, others / len(answered) if len(answered) else 0.0)
    return stats.tail(within, len(when), expected), within, others, share


def _hits(moves: Times, when: Times, window_ms: int) -> int:
    """Return how many moments lie within the window around a move."""
    following = np.searchsorted(moves, when)
    before = np.abs(when - moves[np.maximum(following - 1, 0)])
    after = np.abs(moves[np.minimum(following, len(moves) - 1)] - when)
    return int((np.minimum(before, after) <= window_ms * _MS).sum())


def covered(moves: Times, spans: Iterable[tuple[int, int]], window_ms: int) -> float:
    """Return the share of the spans of time that lies within the window around a move."""
    inside = total = 0
    ends = moves + window_ms * _MS
    begins = np.maximum(moves - window_ms * _MS, np.append(0, ends[:-1]))
    for begin, end in spans:
        total += end - begin
        inside += int(np.maximum(np.minimum(ends, end) - np.maximum(begins, begin), 0).sum())
    return inside / total if total else 1.0


def _mode(steps: npt.NDArray[np.intp]) -> int:
    return int(np.bincount(steps).argmax()) if len(steps) else 0


def _thinned(watched: Sequence[Watched]) -> list[tuple[int, Watched, int]]:
    """Return time, ledger and index of every packet, or of every n-th, in their order."""
    packets = [
        (int(t_ns), each, int(seq))
        for each in watched
        for t_ns, seq in zip(each.sent, each.seqs, strict=True)
    ]
    packets.sort(key=lambda packet: packet[0])
    return packets[:: -(-len(packets) // MOST)]


def _longest(stays: Sequence[Stay], most: int) -> list[Stay]:
    """Return the stays without the shortest ones, if there are too many."""
    if len(stays) <= most:
        return list(stays)
    lengths = [after.t_ns - stay.t_ns for stay, after in pairwise(stays)]
    ranked = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    kept: list[Stay] = []
    for at in sorted([*ranked[: most - 1], len(stays) - 1]):
        if not kept or kept[-1].ifname != stays[at].ifname:
            kept.append(stays[at])
    return kept


def _fate(flow: Flow, owner: str, ledger: FlowLedger, seq: int) -> str:
    if ledger.answered[seq]:
        return "."
    leg, last, following = ledger.death_of(seq)
    here = (leg, seen_from(owner, ledger, last), seen_from(owner, ledger, following))
    groups = [(death.leg, death.last_seen, death.next_point) for death in flow.deaths]
    at = groups.index(here) if here in groups else len(_LETTERS)
    return _LETTERS[at] if at < len(_LETTERS) else "?"


def _port_letter(ports: Sequence[str], ifname: str | None) -> str:
    if ifname is None:
        return "-"
    at = ports.index(ifname)
    return _LETTERS[at] if at < len(_LETTERS) else "?"
