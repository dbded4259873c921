"""Read one guest of the site: its configuration and state, or why it is not tested."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.parse.pveconfig import (
    is_on,
    parse_ipconfig,
    parse_ipconfig6,
    parse_nics,
    parse_properties,
)
from pytest_vmnet.core.site.topology import Guest, Nic, Node, Skipped
from pytest_vmnet.errors import ParseError, ProxmoxError

SKIP_TAG = "vmnet-skip"


def name_of(row: Mapping[str, Any]) -> str:
    """Return the name of a guest in ``cluster/resources``; its VMID if it has none."""
    return str(row.get("name") or row["vmid"])


def read_guest(
    proxmox: Proxmox, row: Mapping[str, Any], nodes: Sequence[Node], *, is_unique: bool
) -> Guest | Skipped:
    """Return one guest as its configuration describes it, or why it is not tested.

    Args:
        proxmox: The API.
        row: The guest in ``cluster/resources``.
        nodes: The tested nodes, the guest's among them.
        is_unique: Whether its name is its id as well.

    Raises:
        ProxmoxError: The API could not be reached.
    """
    vmid, name, node = int(row["vmid"]), name_of(row), str(row["node"])
    tags = tuple(sorted(filter(None, str(row.get("tags") or "").replace(",", ";").split(";"))))
    if reason := _row_reason(row, tags):
        return Skipped(vmid=vmid, name=name, reason=reason)
    try:
        config, status = _read(proxmox, f"nodes/{node}/qemu/{vmid}")
        nics = _usable_nics(config, next(n for n in nodes if n.name == node))
    except _SkipError as skip:
        return Skipped(vmid=vmid, name=name, reason=str(skip))
    first = next(nic for nic in nics if nic.bridge)
    return Guest(
        vmid=vmid,
        name=name,
        ident=name if is_unique else f"{name}.{vmid}",
        node=node,
        tags=tags,
        pool=row.get("pool"),
        protection=is_on(config.get("protection")),
        agent=is_on(config.get("agent")),
        nics=nics,
        smbios_uuid=parse_properties(str(config.get("smbios1", "")), "uuid").get("uuid"),
        pid=int(status["pid"]) if status.get("pid") else None,
        nameservers=tuple(str(config.get("nameserver") or "").split()),
        **_static(config, first),
        **_static6(config, first),
    )


class _SkipError(Exception):
    """Why a guest is not tested."""


def _read(proxmox: Proxmox, path: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return a running VM's configuration and status."""
    try:
        config = proxmox.get(f"{path}/config", current=1) or {}
        status = proxmox.get(f"{path}/status/current") or {}
    except ProxmoxError as problem:
        if problem.status is None:
            raise
        # It was moved or removed since it was listed, or the token may not look at it.
        raise _SkipError(f"its configuration cannot be read: {problem}") from problem
    if lock := config.get("lock") or status.get("lock"):
        raise _SkipError(f"locked: {lock}")
    if status.get("qmpstatus", "running") != "running":
        raise _SkipError(f"QEMU is {status['qmpstatus']}")
    return config, status


def _usable_nics(config: Mapping[str, Any], node: Node) -> tuple[Nic, ...]:
    try:
        nics = parse_nics(config)
    except ParseError as problem:
        raise _SkipError(f"not supported: {problem}") from problem
    bridge = next((nic.bridge for nic in nics if nic.bridge), None)
    if bridge is None:
        raise _SkipError("it has no NIC on a bridge")
    if node.bridge(bridge) is None:
        raise _SkipError(
            f"not supported: {bridge} is no bridge of {node.name} that this token may see"
        )
    return nics


def _row_reason(row: Mapping[str, Any], tags: Collection[str]) -> str | None:
    if row.get("type") != "qemu":
        return "not supported: a container"
    if row.get("template"):
        return "a template"
    if SKIP_TAG in tags:
        return f"tag {SKIP_TAG}"
    if row.get("lock"):
        return f"locked: {row['lock']}"
    if row.get("status") != "running":
        return str(row.get("status") or "status unknown")
    return None


def _static(config: Mapping[str, Any], nic: Nic) -> dict[str, Any]:
    """Return what cloud-init's configuration says of the NIC's address and gateway."""
    text = config.get(f"ipconfig{nic.index}")
    if not text:
        return {"dhcp": True}
    try:
        interface, gateway = parse_ipconfig(str(text))
    except ParseError:
        return {"dhcp": True}
    source = f"ipconfig{nic.index}"
    return {
        "dhcp": interface is None,
        "interface": interface,
        "address_source": source if interface else None,
        "gateway": gateway,
        "gateway_source": source if gateway else None,
    }


def _static6(config: Mapping[str, Any], nic: Nic) -> dict[str, Any]:
    """Return what cloud-init's configuration says of the NIC's IPv6 address and gateway."""
    source = f"ipconfig{nic.index}"
    try:
        interface, gateway = parse_ipconfig6(str(config.get(source) or ""))
    except ParseError:
        return {}
    return {
        "interface6": interface,
        "address6_source": source if interface else None,
        "gateway6": gateway,
        "gateway6_source": source if gateway else None,
    }
