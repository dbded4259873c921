"""Read Proxmox's property strings (qemu-server, ``PVE/QemuServer/Network.pm``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any

from pytest_vmnet.core.site.topology import Nic
from pytest_vmnet.errors import ParseError

MODELS = frozenset(
    {
        "e1000",
        "e1000-82540em",
        "e1000-82544gc",
        "e1000-82545em",
        "e1000e",
        "i82551",
        "i82557b",
        "i82559er",
        "ne2k_isa",
        "ne2k_pci",
        "pcnet",
        "rtl8139",
        "virtio",
        "vmxnet3",
    }
)
_TRUE = frozenset({"1", "on", "yes", "true"})
"""How pve-common's ``JSONSchema.pm`` spells a boolean that is set."""

_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def parse_properties(text: str, default_key: str) -> dict[str, str]:
    """Split ``k=v,k=v``; a part without ``=`` belongs to *default_key*."""
    parts: dict[str, str] = {}
    for part in filter(None, str(text).split(",")):
        key, separator, value = part.partition("=")
        parts[key if separator else default_key] = value if separator else key
    return parts


def parse_nic(index: int, text: str) -> Nic:
    """Read one ``netN`` value.

    >>> parse_nic(0, "virtio=BC:24:11:00:01:11,bridge=vmbr0,tag=10").mac
    'bc:24:11:00:01:11'

    Raises:
        ParseError: There is no model, or no valid MAC.
    """
    source = f"net{index}"
    parts = parse_properties(text, "model")
    model = next((key for key in parts if key in MODELS), parts.get("model"))
    mac = parts.get(model or "", parts.get("macaddr", ""))
    if model is None or not _MAC.fullmatch(mac):
        raise ParseError(source, 0, f"expected MODEL=MAC,..., got {text!r}")
    return Nic(
        index=index,
        model=model,
        mac=mac.lower(),
        bridge=parts.get("bridge"),
        tag=_int(parts.get("tag"), source),
        firewall=parts.get("firewall", "").lower() in _TRUE,
        link_down=parts.get("link_down", "").lower() in _TRUE,
        queues=_int(parts.get("queues"), source),
        mtu=_int(parts.get("mtu"), source),
    )


def parse_nics(config: Mapping[str, Any]) -> tuple[Nic, ...]:
    """Read every ``netN`` of a VM's configuration, by index."""
    keys = sorted(
        (key for key in config if re.fullmatch(r"net\d+", key)), key=lambda k: int(k[3:])
    )
    return tuple(parse_nic(int(key[3:]), str(config[key])) for key in keys)


def parse_ipconfig(text: str) -> tuple[IPv4Interface | None, IPv4Address | None]:
    """Read one ``ipconfigN`` value: its static IPv4 address and its gateway, each or None."""
    parts = parse_properties(text, "ip")
    ip, gateway = parts.get("ip", "dhcp"), parts.get("gw")
    try:
        interface = None if ip in {"dhcp", "manual"} else IPv4Interface(ip)
        return interface, IPv4Address(gateway) if gateway else None
    except ValueError as problem:
        raise ParseError("ipconfig", 0, f"{text!r}: {problem}") from problem


def parse_ipconfig6(text: str) -> tuple[IPv6Interface | None, IPv6Address | None]:
    """Read one ``ipconfigN`` value: its static IPv6 address and its gateway, each or None."""
    parts = parse_properties(text, "ip")
    ip, gateway = parts.get("ip6", "auto"), parts.get("gw6")
    try:
        interface = None if ip in {"auto", "dhcp", "manual"} else IPv6Interface(ip)
        return interface, IPv6Address(gateway) if gateway else None
    except ValueError as problem:
        raise ParseError("ipconfig", 0, f"{text!r}: {problem}") from problem


def is_on(value: object, default_key: str = "enabled") -> bool:
    """Tell whether a property such as ``agent`` is switched on."""
    parts = parse_properties(str(value or "0"), default_key)
    return parts.get(default_key, "").lower() in _TRUE


def _int(text: str | None, source: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ParseError(source, 0, f"expected a number, got {text!r}")
    return int(text)
