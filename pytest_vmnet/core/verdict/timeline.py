"""A flow's packets in time, over the moves of the guest's MAC in its bridge's FDB. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pytest_vmnet.core.facts import Sweep
from pytest_vmnet.core.ledger.book import FlowLedger
from pytest_vmnet.core.outcome import Flow, Timeline
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.core.verdict.alignment import align
from pytest_vmnet.core.verdict.flows import seen_from
from pytest_vmnet.core.verdict.watched import Stay, Watched, stays_of

MOST = 2_000
"""Most packets, and most moves, that a timeline lists."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


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
