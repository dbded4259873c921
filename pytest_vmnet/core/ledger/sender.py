"""Tell which sightings come from who may send them, and which only look so. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.facts import Sightings, mac_text
from pytest_vmnet.core.ledger.expected import Site
from pytest_vmnet.core.ledger.lane import LEGS, Lanes, Marks, Numbers
from pytest_vmnet.core.ledger.oddity import OddityCounts, OddityKind
from pytest_vmnet.core.ledger.slot import Match


class Senders:
    """Who sends the packets of some flows.

    Args:
        lanes: The flows.
        site: The site's guests.

    Attributes:
        learnt: Source of a flow's requests, by its place, where its prober's own port saw another
            one than was known.
    """

    def __init__(self, lanes: Lanes, site: Site) -> None:
        self._lanes = lanes
        self._site = site
        legs = [[each.request for each in lanes.flows], [each.reply for each in lanes.flows]]
        self._src = np.array([[each.src for each in leg] for leg in legs], dtype=np.uint64)
        self._mac = np.array([[each.mac for each in leg] for leg in legs], dtype=np.uint64)
        self._guests = {ident: at for at, ident in enumerate(sorted(set(site.macs.values())))}
        self._guest = np.array(
            [[self._guests.get(each.guest or "", -1) for each in leg] for leg in legs]
        ).reshape(2, len(lanes.flows))
        self._anybody = np.array([each.is_anybody for each in legs[0]], dtype=np.bool_)
        self._macs = np.array(sorted(site.macs), dtype=np.uint64)
        self._may_be_guest = np.zeros(1 << 16, dtype=np.bool_)
        self._may_be_guest[_short(self._macs)] = True
        self.learnt: dict[int, int] = {}

    def use_learnt(self) -> bool:
        """Take the learnt sources for known; return whether there is one."""
        for index, src in self.learnt.items():
            self._src[0, index] = src
        return bool(self.learnt)

    def fits(self, seen: Match, odd: OddityCounts | None) -> Marks:
        """Tell which sightings come from who may send them.

        Args:
            seen: Sightings in the expected direction.
            odd: Where to count those that do not; None if that has been done.
        """
        wanted = self._src[seen.reply, seen.flow]
        other = (seen.rows["src"] != wanted) & (wanted != 0)
        foreign = other & ((seen.reply == 1) | ~seen.own)
        impostors = self._impostors(seen)
        if odd is not None:
            self._learn(seen, np.flatnonzero(other & ~foreign))
            self._note(OddityKind.FOREIGN, seen, np.flatnonzero(foreign), odd)
            self._note(OddityKind.IMPOSTOR, seen, impostors, odd)
        fits: Marks = ~foreign
        fits[impostors] = False
        return fits

    def _impostors(self, seen: Match) -> Numbers:
        """Return the rows with the MAC of a guest that has no part in the flow.

        What comes in by a guest's own port is that guest's, whatever MAC it uses.
        """
        macs = seen.rows["mac"]
        suspects = np.flatnonzero(
            (macs != self._mac[seen.reply, seen.flow])
            & self._may_be_guest[_short(macs)]
            & ~seen.own
            & ~(self._anybody[seen.flow] & (seen.reply == 0))
        )
        impostors: Numbers = suspects[np.isin(macs[suspects], self._macs)]
        return impostors

    def astray(self, seen: Match) -> Marks:
        """Tell which sightings passed in the wrong direction with their sender's MAC."""
        sender = self._mac[0][seen.flow]
        routed = (seen.reply == 0) & (sender != 0) & (seen.rows["mac"] != sender)
        astray: Marks = ~seen.right & ~routed  # a router sends it on with a MAC of its own
        return astray

    def intruders(self, rows: Sightings, guest: str) -> Marks:
        """Tell which frames that came in by a guest's port were not for that guest to send."""
        flow = self._lanes.number[rows["flow"]]
        reply = rows["reply"].astype(np.int64)
        theirs: Marks = self._guest[reply, flow] != self._guests[guest]
        theirs &= ~(self._anybody[flow] & (reply == 0))
        return theirs

    def _learn(self, seen: Match, which: Numbers) -> None:
        """Note what a guest sends from by what its own port sees."""
        for index, first in zip(*np.unique(seen.flow[which], return_index=True), strict=True):
            self.learnt.setdefault(int(index), int(seen.rows["src"][which[first]]))

    def _note(self, kind: OddityKind, seen: Match, which: Numbers, odd: OddityCounts) -> None:
        """Count odd rows by lane and by what is odd of them."""
        field = "mac" if kind is OddityKind.IMPOSTOR else "src"
        pairs = np.empty(len(which), dtype=[("flow", "i8"), ("lane", "i8"), ("value", "u8")])
        pairs["flow"], pairs["lane"] = seen.flow[which], seen.lane[which]
        pairs["value"] = seen.rows[field][which]
        for pair, frames in zip(*np.unique(pairs, return_counts=True), strict=True):
            index, lane, value = (int(each) for each in pair)
            leg, point = self._lanes.place(index, lane)
            text = mac_text(value) if field == "mac" else self._address(index, value)
            odd.add(index, (kind, leg, point, text), int(frames))

    def _address(self, index: int, src: int) -> str:
        """Return a source as text; of an IPv6 address the last 64 bits are known."""
        if self._lanes.flows[index].flow.address.version == 4:
            return str(IPv4Address(src & 0xFFFFFFFF))
        return f"...{str(IPv6Address(src)).removeprefix('::')}"


def note_intruders(
    rows: Sightings,
    ports: dict[int, tuple[str, str]],
    senders: Senders,
    lanes: Lanes,
    odd: OddityCounts,
) -> Numbers:
    """Count the frames that came in by the port of a guest that did not send them.

    Args:
        rows: Sightings that no waypoint expected.
        ports: Interface name and guest by ifindex.
        senders: Who may send what.
        lanes: The flows.
        odd: Where to count.

    Returns:
        The packets that they claim to be, by `Lanes.packets`.
    """
    entering = rows[~rows["out"]]
    claimed = [np.zeros(0, dtype=np.int64)]
    for ifindex in sorted(ports.keys() & set(np.unique(entering["ifindex"]).tolist())):
        ifname, guest = ports[ifindex]
        mine = entering[entering["ifindex"] == ifindex]
        mine = mine[senders.intruders(mine, guest)]
        flow, reply = lanes.number[mine["flow"]], mine["reply"].astype(np.int64)
        claimed.append(lanes.packets[flow] + reply * lanes.count[flow] + mine["seq"] - 1)
        for code, frames in zip(*np.unique(flow * 2 + reply, return_counts=True), strict=True):
            index, leg = divmod(int(code), 2)
            odd.add(index, (OddityKind.INTRUDER, LEGS[leg], ifname, guest), int(frames))
    return np.concatenate(claimed)


def _short(macs: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return 16 bits of each MAC, for a quick look whether it may be a known one."""
    mixed: npt.NDArray[np.uint64] = macs ^ macs >> np.uint64(16) ^ macs >> np.uint64(32)
    mixed &= np.uint64(0xFFFF)
    return mixed
