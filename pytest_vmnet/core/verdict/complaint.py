"""Whose packets the ICMP errors in the captures are about. Pure.

An error quotes the packet that it is about, at times no more than its first bytes: then addresses,
length and sequence number tell the flow, or nothing does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_vmnet.core.facts import Address, FlowSpec, IcmpError, Quoted, Sweep
from pytest_vmnet.core.outcome import ErrorCount
from pytest_vmnet.core.site.topology import Inventory

_HEADERS = {4: 28, 6: 48}
"""Bytes of IP and ICMP header of a probe."""


class _Matcher:
    """Finds the flow of a quoted packet."""

    def __init__(self, flows: Iterable[FlowSpec], inventory: Inventory) -> None:
        self._guests: dict[str, Address | None] = {g.ident: g.address for g in inventory.guests}
        self._taken = {address for address in self._guests.values() if address}
        self._by_number: dict[int, FlowSpec] = {}
        self._by_packet: dict[tuple[Address, int], list[FlowSpec]] = {}
        for flow in flows:
            self._by_number[flow.number] = flow
            key = flow.address, flow.size + _HEADERS[flow.address.version]
            self._by_packet.setdefault(key, []).append(flow)

    def flow_of(self, quoted: Quoted) -> int | None:
        """Return the number of the flow, None if it is none of these or not told."""
        if quoted.seq is None:
            return None
        if quoted.flow is not None:
            found = [self._by_number[quoted.flow]] if quoted.flow in self._by_number else []
        else:
            far, near = quoted.destination, quoted.source
            if quoted.reply:
                far, near = near, far
            sent = self._by_packet.get((far, quoted.size), [])
            found = [flow for flow in sent if self._may_send(flow, near)]
        fitting = [flow.number for flow in found if 1 <= quoted.seq <= flow.count]
        return fitting[0] if len(fitting) == 1 else None

    def _may_send(self, flow: FlowSpec, address: Address) -> bool:
        """Tell whether a flow's prober may have that address."""
        if flow.source not in self._guests:
            return address not in self._taken
        own = self._guests[flow.source]
        return own is None or own.version != address.version or own == address


def complaints(sweep: Sweep, inventory: Inventory) -> Mapping[int, tuple[ErrorCount, ...]]:
    """Return the ICMP errors by the number of the flow that they are about.

    An error passes several capture points; errors about one packet from one source count once.
    """
    match = _Matcher(sweep.flows, inventory)
    packets: dict[int, dict[tuple[str, int, int], set[tuple[int, bool]]]] = {}
    for error in _errors(sweep):
        quoted = error.quoted
        number = match.flow_of(quoted) if quoted else None
        if quoted and quoted.seq is not None and number is not None:
            key = str(error.source), error.type, error.code
            told = packets.setdefault(number, {}).setdefault(key, set())
            told.add((quoted.seq, quoted.reply))
    return {number: _counts(found) for number, found in packets.items()}


def _errors(sweep: Sweep) -> Iterable[IcmpError]:
    for _, facts in sorted(sweep.hosts.items()):
        if facts.capture is not None:
            yield from facts.capture.packets.errors


def _counts(found: Mapping[tuple[str, int, int], set[tuple[int, bool]]]) -> tuple[ErrorCount, ...]:
    rows = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(
        ErrorCount(source=source, type=kind, code=code, packets=len(packets))
        for (source, kind, code), packets in rows
    )


def pooled(parts: Sequence[tuple[ErrorCount, ...]]) -> tuple[ErrorCount, ...]:
    """Add up the errors of several series of probes of one flow."""
    sums: dict[tuple[str, int, int], int] = {}
    for each in (error for part in parts for error in part):
        key = each.source, each.type, each.code
        sums[key] = sums.get(key, 0) + each.packets
    rows = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        ErrorCount(source=source, type=kind, code=code, packets=packets)
        for (source, kind, code), packets in rows
    )
