"""Discover the site: nodes, bridges, guests, NICs, addresses and gateways, from the API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Interface
from typing import TypeVar

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.facts import GATE
from pytest_vmnet.core.site.pattern import matches, matches_any
from pytest_vmnet.core.site.topology import Bridge, Guest, Inventory, Node, Skipped
from pytest_vmnet.errors import ConfigError, ProxmoxError
from pytest_vmnet.probes.address import with_addresses
from pytest_vmnet.probes.listing import name_of, read_guest

_PARALLEL = 8

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is to be discovered.

    Attributes:
        nodes: Node names, or ``("all",)``.
        patterns: Guest patterns; empty for all.
        gateway: Gateway of guests without a default route, or None.
        wait_s: How long to wait for guests that are still starting, in seconds.
        ask_guests: Whether guests may be asked by their agent for their routes.
    """

    nodes: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    gateway: IPv4Address | None = None
    wait_s: float = 60.0
    ask_guests: bool = True


def discover(
    proxmox: Proxmox, selection: Selection, *, clock: Clock, progress: Callable[[str], None]
) -> Inventory:
    """Return the site as its API describes it.

    Raises:
        ConfigError: A node does not exist, a pattern matches nothing, or nothing is left to
            test; the message says what there is.
        ProxmoxError: The API cannot be reached or refuses.
    """
    nodes = _nodes(proxmox, selection.nodes)
    names = {node.name for node in nodes}
    rows = [
        row
        for row in proxmox.get("cluster/resources", type="vm") or []
        if isinstance(row, dict) and row.get("node") in names
    ]
    rows.sort(key=lambda row: int(row["vmid"]))
    if not rows:
        raise ConfigError(
            f"no guest is visible on {', '.join(sorted(names))} for "
            f"{proxmox.endpoint.user}!{proxmox.endpoint.token_name}: there is none, or the token "
            "lacks VM.Audit on /vms; `vmnet doctor` prints the commands that grant it"
        )
    # A guest may not be taken for a host that sends probes as well.
    taken = Counter([*map(name_of, rows), *names, GATE])
    guests: list[Guest] = []
    skipped: list[Skipped] = []
    for read in _in_parallel(
        lambda row: read_guest(proxmox, row, nodes, is_unique=taken[name_of(row)] == 1), rows
    ):
        if isinstance(read, Skipped):
            skipped.append(read)
        else:
            guests.append(read)
    chosen, skipped = _select(guests, skipped, selection.patterns)
    if not chosen:
        told = "; ".join(f"{s.name} ({s.vmid}): {s.reason}" for s in skipped) or "no guest at all"
        raise ConfigError(f"nothing to test on {', '.join(sorted(names))}: {told}")
    progress(f"discovered {len(chosen)} guests to test on {', '.join(sorted(names))}")
    complete = _in_parallel(lambda guest: _complete(proxmox, guest, selection, clock), guests)
    return Inventory(
        nodes=nodes,
        guests=tuple(complete),
        skipped=tuple(skipped),
        chosen=frozenset(guest.ident for guest in chosen),
    )


def _in_parallel(work: Callable[[_Item], _Made], items: Sequence[_Item]) -> list[_Made]:
    """Return *work* of each item, in their order, some of it at the same time."""
    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        return list(pool.map(work, items))


def _nodes(proxmox: Proxmox, wanted: Collection[str]) -> tuple[Node, ...]:
    listed = {str(row["node"]): row for row in proxmox.get("nodes") or []}
    if "all" in wanted:
        wanted = sorted(name for name, row in listed.items() if row.get("status") == "online")
    if unknown := sorted(set(wanted) - set(listed)):
        raise ConfigError(
            f"--proxmox-node = {', '.join(unknown)!r}: there is no such node; "
            f"the cluster has {', '.join(sorted(listed)) or 'none that this token may see'}"
        )
    try:
        status = proxmox.get("cluster/status") or []
    except ProxmoxError:  # needs Sys.Audit on /; without it SSH needs --proxmox-ssh
        status = []
    addresses = {row.get("name"): row.get("ip") for row in status if row.get("type") == "node"}
    nodes = []
    for name in sorted(set(wanted)):
        ip = addresses.get(name)
        nodes.append(
            Node(
                name=name,
                address=IPv4Address(ip) if ip and ":" not in ip else None,
                bridges=_bridges(proxmox, name),
            )
        )
    return tuple(nodes)


def _bridges(proxmox: Proxmox, node: str) -> tuple[Bridge, ...]:
    found = []
    for row in proxmox.get(f"nodes/{node}/network") or []:
        if row.get("type") not in {"bridge", "OVSBridge"}:
            continue
        cidr = row.get("cidr")
        found.append(
            Bridge(
                name=str(row["iface"]),
                node=node,
                ports=tuple(str(row.get("bridge_ports") or row.get("ovs_ports") or "").split()),
                interface=IPv4Interface(cidr) if cidr else None,
                vlan_aware=bool(row.get("bridge_vlan_aware")),
                mtu=int(row["mtu"]) if row.get("mtu") else None,
            )
        )
    return tuple(sorted(found, key=lambda bridge: bridge.name))


def _select(
    guests: list[Guest], skipped: list[Skipped], patterns: tuple[str, ...]
) -> tuple[list[Guest], list[Skipped]]:
    if not patterns:
        return guests, skipped
    named = [skip for skip in skipped if any(_names(pattern, skip) for pattern in patterns)]
    if unmatched := [
        pattern
        for pattern in patterns
        if not any(matches(pattern, guest) for guest in guests)
        and not any(_names(pattern, skip) for skip in named)
    ]:
        there = ", ".join(f"{guest.name} ({guest.vmid})" for guest in guests) or "none"
        raise ConfigError(
            f"--vmnet-guest = {','.join(unmatched)!r}: no running guest matches; "
            f"there are: {there}"
        )
    return [guest for guest in guests if matches_any(patterns, guest)], named


def _names(pattern: str, skip: Skipped) -> bool:
    return pattern == str(skip.vmid) or fnmatchcase(skip.name, pattern)


def _complete(proxmox: Proxmox, guest: Guest, selection: Selection, clock: Clock) -> Guest:
    """Add what the guest's agent says of its address and gateway."""
    guest = with_addresses(
        proxmox, guest, wait_s=selection.wait_s, ask_routes=selection.ask_guests, clock=clock
    )
    if guest.gateway is None and selection.gateway is not None:
        guest = replace(guest, gateway=selection.gateway, gateway_source="vmnet_gateway")
    return guest


def rediscover(
    proxmox: Proxmox, inventory: Inventory, vmid: int, selection: Selection, clock: Clock
) -> Guest:
    """Return one guest as it is now, for example after a rebuild.

    Raises:
        ConfigError: It is not there, does not run or cannot be tested now.
    """
    rows = proxmox.get("cluster/resources", type="vm") or []
    row = next((row for row in rows if int(row["vmid"]) == vmid), None)
    before = next(guest for guest in inventory.guests if guest.vmid == vmid)
    if row is None:
        raise ConfigError(f"{before.ident}: there is no VMID {vmid} any more")
    read = read_guest(proxmox, row, inventory.nodes, is_unique=before.ident == before.name)
    if isinstance(read, Skipped):
        raise ConfigError(f"{before.ident}: cannot be tested now: {read.reason}")
    complete = _complete(proxmox, read, selection, clock)
    return replace(complete, resource=before.resource)
