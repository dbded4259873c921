"""Read iproute2's output: ``ip -j neigh``, ``ip -j route``, ``bridge -t monitor fdb``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Any

from pytest_vmnet.core.facts import FdbMove, Neighbour
from pytest_vmnet.errors import ParseError

_STAMP = re.compile(r"^Timestamp: (.+) (\d{1,6}) usec$", re.ASCII)
_ENTRY = re.compile(r"^(Deleted )?([0-9a-f:]{17}) dev (\S+)(.*)$")


def rows(text: str, source: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON list as iproute2 prints it; an empty output is no rows."""
    if not text.strip():
        return []
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise ParseError(source, 0, f"expected iproute2's JSON, got {text[:60]!r}") from problem
    if not isinstance(data, list):
        raise ParseError(source, 0, f"expected a JSON list, got {type(data).__name__}")
    return [row for row in data if isinstance(row, dict)]


def parse_neighbours(text: str, source: str) -> tuple[Neighbour, ...]:
    """Read ``ip -j neigh``; entries without an address are left out."""
    found = []
    for row in rows(text, source):
        try:
            address = ip_address(str(row.get("dst", "")))
        except ValueError:
            continue
        states = row.get("state")
        state = states[0] if isinstance(states, list) and states else states or "none"
        lladdr = row.get("lladdr")
        found.append(
            Neighbour(
                address=address,
                ifname=str(row.get("dev", "")),
                lladdr=str(lladdr).lower() if lladdr else None,
                state=str(state).lower(),
            )
        )
    return tuple(found)


def default_gateway(text: str, source: str) -> IPv4Address | None:
    """Return the gateway of the default route with the lowest metric in ``ip -j route``."""
    for gateway in _gateways(text, source):
        try:
            return IPv4Address(gateway)
        except AddressValueError:
            continue
    return None


def default_gateway6(text: str, source: str) -> IPv6Address | None:
    """Return the same of ``ip -j -6 route``; it is a link-local address more often than not."""
    for gateway in _gateways(text, source):
        try:
            return IPv6Address(gateway)
        except AddressValueError:
            continue
    return None


def _gateways(text: str, source: str) -> list[str]:
    candidates = [
        (row.get("metric", 0), str(row["gateway"]))
        for row in rows(text, source)
        if row.get("dst") == "default"
        and row.get("gateway")
        and isinstance(row.get("metric", 0), int)
    ]
    return [gateway for _, gateway in sorted(candidates)]


def parse_fdb_monitor(text: str, source: str) -> tuple[FdbMove, ...]:
    """Read ``bridge -t monitor fdb`` as printed with TZ=UTC and LC_ALL=C.

    Lines that are not understood are left out: the event stream also carries kinds that do not
    matter here. A stamp that is not understood is an error, since the events hang on it.
    """
    return tuple(_moves(text, source))


def _moves(text: str, source: str) -> Iterator[FdbMove]:
    t_ns = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if stamp := _STAMP.match(line):
            try:
                moment = datetime.strptime(stamp[1], "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
            except ValueError as problem:
                raise ParseError(source, number, f"stamp {stamp[1]!r}", unit="line") from problem
            t_ns = int(moment.timestamp()) * 1_000_000_000 + int(stamp[2]) * 1_000
        elif entry := _ENTRY.match(line):
            yield FdbMove(t_ns=t_ns, mac=entry[2], ifname=entry[3], deleted=bool(entry[1]))
