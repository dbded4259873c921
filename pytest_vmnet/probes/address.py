"""Ask a guest, through its agent, for its own address and gateway; wait while it still starts."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.parse.iproute import default_gateway
from pytest_vmnet.core.topology import Guest
from pytest_vmnet.errors import ParseError, ProxmoxError

_ROUTES = (
    "ip -j -4 route show default 2>/dev/null; echo; echo @@; "
    "[ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && echo starting; true"
)


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


def _ask(proxmox: Proxmox, guest: Guest, *, ask_routes: bool) -> Guest | None:
    """Return the guest with its own address and gateway, or None while it is not ready."""
    try:
        answer = proxmox.agent(guest.node, guest.vmid, "network-get-interfaces")
    except ProxmoxError:
        return None
    found = _agent_interfaces(answer, guest.nic.mac)
    if found:  # it may have further ones beside the one that it was given
        chosen = guest.interface if guest.interface in found else found[0]
        guest = replace(guest, interface=chosen, address_source="agent")
    elif guest.interface is None:
        return None
    return _with_route(proxmox, guest) if ask_routes else guest


def _with_route(proxmox: Proxmox, guest: Guest) -> Guest | None:
    """Return the guest with its own default gateway, or None while cloud-init is at work."""
    try:
        done = proxmox.agent_exec(guest.node, guest.vmid, ["/bin/sh", "-c", _ROUTES])
        routes, _, marker = done.stdout.decode(errors="replace").partition("@@")
        if "starting" in marker:
            return None
        gateway = default_gateway(routes, f"{guest.ident}, ip route")
    except (ProxmoxError, ParseError):
        return guest  # an agent that refuses exec is told by the sweep
    if gateway is not None:
        return replace(guest, gateway=gateway, gateway_source="route")
    return guest


def _agent_interfaces(answer: object, mac: str) -> list[IPv4Interface]:
    """Return the IPv4 addresses of the NIC with that MAC; what is not understood is left out."""
    entries = answer.get("result") if isinstance(answer, dict) else None
    rows = [
        address
        for entry in _list(entries)
        if isinstance(entry, dict) and str(entry.get("hardware-address", "")).lower() == mac
        for address in _list(entry.get("ip-addresses"))
        if isinstance(address, dict) and address.get("ip-address-type") == "ipv4"
    ]
    found = []
    for row in rows:
        try:
            interface = IPv4Interface(f"{row.get('ip-address')}/{row.get('prefix', 32)}")
        except ValueError:  # a guest says what it likes
            continue
        if not (interface.is_link_local or interface.is_loopback):
            found.append(interface)
    return found


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
