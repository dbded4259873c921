"""What one node saw of a flow's packets and of the moves of a guest's MAC: one clock. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.facts import FdbMove, Sweep
from pytest_vmnet.core.ledger.book import FlowLedger
from pytest_vmnet.core.site.topology import Guest, Inventory

Times = npt.NDArray[np.int64]


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


@dataclass(frozen=True, slots=True)
class Stay:
    """The FDB entry of a MAC is on *ifname* from *t_ns* on; None if it was removed."""

    t_ns: int
    ifname: str | None


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
