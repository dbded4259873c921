"""Proxmox's property strings: read, and written the way Proxmox writes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

NIC_MODELS = frozenset({
    "e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e", "i82551", "i82557b",
    "i82559er", "ne2k_isa", "ne2k_pci", "pcnet", "rtl8139", "virtio", "vmxnet3",
})  # fmt: skip


def split(text: object, default_key: str = "") -> dict[str, str]:
    """Return the parts of a property string; a part without a key is *default_key*'s.

    >>> split("enabled=1,type=virtio")
    {'enabled': '1', 'type': 'virtio'}
    >>> split("1", "enabled")
    {'enabled': '1'}
    """
    parts = {}
    for part in str(text).split(","):
        key, equals, value = part.partition("=")
        if part:
            parts[key if equals else default_key] = value if equals else part
    return parts


def is_on(value: object) -> bool:
    """Return whether *value* is one of Proxmox's words for true."""
    return str(value).lower() in {"1", "true", "yes", "on"}


def is_agent_enabled(config: Mapping[str, object]) -> bool:
    """Return whether the ``agent`` key of a guest's configuration switches the agent on."""
    return is_on(split(config.get("agent", "0"), "enabled").get("enabled", "0"))


@dataclass(frozen=True)
class Nic:
    """A guest's NIC, from its ``netN`` key.

    Attributes:
        index: The N of ``netN``.
        model: For example ``virtio``.
        mac: Its MAC address, lower case.
        bridge: The bridge that its tap is a port of, or None.
        link_down: True if its cable is pulled.
        mtu: MTU told to the guest; None for none, 1 for the bridge's.
        queues: Queue pairs, at least 1.
        firewall: Whether it gets the devices of Proxmox's firewall; the lab adds no rules.
        tag: VLAN, or None; the lab keeps it and does nothing.
    """

    index: int
    model: str
    mac: str
    bridge: str | None = None
    link_down: bool = False
    mtu: int | None = None
    queues: int = 1
    firewall: bool = False
    tag: int | None = None

    def tap(self, vmid: int) -> str:
        """Return the name of its tap for guest *vmid*."""
        return f"tap{vmid}i{self.index}"


def parse_nic(index: int, text: object) -> Nic:
    """Return the NIC that a ``netN`` value describes.

    >>> parse_nic(0, "virtio=BC:24:11:00:00:01,bridge=vmbr0,queues=2").queues
    2
    """
    parts = split(text, "model")
    model, mac = parts.get("model", "virtio"), parts.get("macaddr", "")
    for key in NIC_MODELS & parts.keys():
        model, mac = key, parts[key]
    return Nic(
        index=index,
        model=model,
        mac=mac.lower(),
        bridge=parts.get("bridge"),
        link_down=is_on(parts.get("link_down")),
        mtu=int(parts["mtu"]) if "mtu" in parts else None,
        queues=max(int(parts.get("queues", 1)), 1),
        firewall=is_on(parts.get("firewall")),
        tag=int(parts["tag"]) if "tag" in parts else None,
    )


def nics(config: Mapping[str, object]) -> list[Nic]:
    """Return the NICs of a guest's configuration in the order of their numbers."""
    return [parse_nic(index, value) for index, value in numbered(config, "net")]


def numbered(config: Mapping[str, object], prefix: str) -> Iterator[tuple[int, object]]:
    """Yield number and value of the keys ``prefixN`` of *config*, in the order of the numbers."""
    found = {}
    for key, value in config.items():
        if match := re.fullmatch(prefix + r"(\d+)", key):
            found[int(match[1])] = value
    yield from sorted(found.items())


def normal_tags(text: object) -> str:
    """Return a tag list as Proxmox writes it: lower case, sorted, each once, with semicolons.

    >>> normal_tags("web, DB;web")
    'db;web'
    """
    return ";".join(sorted({tag.lower() for tag in re.split(r"[;,\s]+", str(text)) if tag}))


def own_cloudinit(vmid: int, text: str) -> str:
    """Return a cloud-init drive's value with the name that it has as a drive of *vmid*.

    >>> own_cloudinit(111, "local-lvm:vm-9000-cloudinit,media=cdrom")
    'local-lvm:vm-111-cloudinit,media=cdrom'
    """
    return re.sub(r"\bvm-\d+-cloudinit", f"vm-{vmid}-cloudinit", text)


def is_cloudinit(text: object) -> bool:
    """Return whether a drive's value is a cloud-init drive."""
    return "cloudinit" in str(text).split(",")[0]
