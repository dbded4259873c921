"""Ask a guest, through its agent, for its own addresses and gateways; wait while it starts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface
from typing import TypeVar

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.parse.iproute import default_gateway, default_gateway6
from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.errors import ParseError, ProxmoxError
from pytest_vmnet.probes.program import PING_KIND, parse_ping_kind

_ROUTES = (
    "ip -j -4 route show default 2>/dev/null; echo; echo @@; "
    "[ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && echo starting; echo @@; "
    "ip -j -6 route show default 2>/dev/null; echo; echo @@; " + PING_KIND
)
_DISCARD = 9
_Interface = TypeVar("_Interface", IPv4Interface, IPv6Interface)


def with_addresses(
    proxmox: Proxmox, guest: Guest, *, wait_s: float, ask_routes: bool, clock: Clock
) -> Guest:
    """Return the guest with what its agent says; as it is, if the agent does not answer.

    Args:
        proxmox: The API.
        guest: The guest, with what its configuration says.
        wait_s: How long to wait for it while it is still starting, in seconds.
        ask_routes: Whether its agent may run a command.
        clock: Time.
    """
    asked = _wait(proxmox, guest, wait_s=wait_s, ask_routes=ask_routes, clock=clock)
    if asked.address6 is None:
        return asked
    return replace(asked, inbound6=is_routed(asked.address6))


def _wait(
    proxmox: Proxmox, guest: Guest, *, wait_s: float, ask_routes: bool, clock: Clock
) -> Guest:
    if not guest.agent:
        return guest
    deadline = clock.monotonic() + wait_s
    while True:
        asked = _ask(proxmox, guest, ask_routes=ask_routes)
        if asked is not None:
            return asked
        if clock.monotonic() >= deadline:
            return guest
        clock.sleep(1.0)


def is_routed(address: IPv6Address) -> bool:
    """Tell whether the host that the gate runs on has a global address and a way there.

    Nothing is sent: the kernel is asked for the address that a packet there would leave with.
    """
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asked:
            asked.connect((str(address), _DISCARD))
            own = IPv6Address(asked.getsockname()[0].partition("%")[0])
    except OSError:
        return False
    return not (own.is_link_local or own.is_loopback)


def _ask(proxmox: Proxmox, guest: Guest, *, ask_routes: bool) -> Guest | None:
    """Return the guest with its own addresses and gateways, or None while it is not ready."""
    try:
        answer = proxmox.agent(guest.node, guest.vmid, "network-get-interfaces")
    except ProxmoxError:
        return None
    found = _usable(IPv4Interface, answer, guest.nic.mac)
    found6 = _usable(IPv6Interface, answer, guest.nic.mac)
    if found6:  # it may have further ones beside the one that it was given
        chosen6 = guest.interface6 if guest.interface6 in found6 else found6[0]
        guest = replace(guest, interface6=chosen6, address6_source="agent")
    if found:
        chosen = guest.interface if guest.interface in found else found[0]
        guest = replace(guest, interface=chosen, address_source="agent")
    elif guest.interface is None and guest.interface6 is None:
        return None
    return _with_routes(proxmox, guest) if ask_routes else guest


def _with_routes(proxmox: Proxmox, guest: Guest) -> Guest | None:
    """Return the guest with its own default gateways, or None while cloud-init is at work."""
    try:
        done = proxmox.agent_exec(guest.node, guest.vmid, ["/bin/sh", "-c", _ROUTES])
        text = done.stdout.decode(errors="replace")
        routes, marker, routes6, program = (*text.split("@@", 3), "", "", "")[:4]
        if "starting" in marker:
            return None
        guest = replace(guest, ping=parse_ping_kind(program))
        gateway = default_gateway(routes, f"{guest.ident}, ip route")
        gateway6 = default_gateway6(routes6, f"{guest.ident}, ip -6 route")
    except (ProxmoxError, ParseError):
        return guest  # an agent that refuses exec is told by the sweep
    if gateway is not None:
        guest = replace(guest, gateway=gateway, gateway_source="route")
    if gateway6 is not None:
        guest = replace(guest, gateway6=gateway6, gateway6_source="route")
    return guest


def _usable(kind: type[_Interface], answer: object, mac: str) -> list[_Interface]:
    """Return the usable addresses of one family of the NIC with that MAC, as the agent lists them.

    What is not understood is left out: a guest says what it likes.
    """
    found = []
    for row in _addresses(answer, mac):
        try:
            interface = kind(f"{row.get('ip-address')}/{row.get('prefix', '')}".rstrip("/"))
        except ValueError:
            continue
        if not (interface.is_link_local or interface.is_loopback or interface.is_multicast):
            found.append(interface)
    return found


def _addresses(answer: object, mac: str) -> Iterator[dict[str, object]]:
    entries = answer.get("result") if isinstance(answer, dict) else None
    for entry in _list(entries):
        if isinstance(entry, dict) and str(entry.get("hardware-address", "")).lower() == mac:
            yield from (row for row in _list(entry.get("ip-addresses")) if isinstance(row, dict))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
