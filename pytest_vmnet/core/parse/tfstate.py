"""Terraform's state: which resource instance is which VMID.

Reads what ``terraform state pull`` prints (state version 4; needs no provider) and what
``terraform show -json`` prints for a state. Only the few attributes that identify a guest are
kept: a state holds secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_vmnet.core.site.topology import ResourceAddress
from pytest_vmnet.errors import ConfigError, ParseError

BPG_TYPES = frozenset(
    {
        "proxmox_virtual_environment_vm",
        "proxmox_virtual_environment_vm2",
        "proxmox_virtual_environment_cloned_vm",
        "proxmox_vm",
        "proxmox_cloned_vm",
    }
)
"""VM resources of ``bpg/proxmox``."""

TELMATE_TYPES = frozenset({"proxmox_vm_qemu"})
"""VM resources of ``Telmate/proxmox``."""

VM_TYPES = BPG_TYPES | TELMATE_TYPES

_STATE_VERSION = 4
_MAC = re.compile(r"(?i)[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_BMP = 0x10000
_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", "\\": r"\\"}


def parse_state(text: bytes | str, source: str) -> tuple[ResourceAddress, ...]:
    """Return every VM instance in a state, sorted by VMID and address.

    Data sources and deposed objects are left out: neither is what an address replaces. An empty
    text is an empty state: ``state pull`` prints that before the first apply.

    Args:
        text: Output of ``terraform state pull`` or of ``terraform show -json``.
        source: What is being read, for messages.

    Raises:
        ParseError: *text* is neither, or a VM in it has no VMID.
    """
    if not text.strip():
        return ()
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError(source, getattr(error, "pos", 0), "not JSON") from (
            None  # the original holds the whole text, secrets included
        )
    try:
        return tuple(sorted(_instances(state), key=lambda found: (found.vmid, found.address)))
    except (_NotAStateError, KeyError, TypeError, AttributeError, ValueError) as error:
        problem = str(error) if isinstance(error, _NotAStateError) else type(error).__name__
        raise ParseError(source, 0, f"not a Terraform state: {problem}") from None


def resource_for(vmid: int, resources: Sequence[ResourceAddress]) -> ResourceAddress:
    """Return the one resource that is VMID *vmid*.

    Raises:
        ConfigError: There is none, or more than one; the message names what there is.
    """
    found = [resource for resource in resources if resource.vmid == vmid]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(resource.address for resource in found)
        raise ConfigError(
            f"VMID {vmid} is in Terraform's state {len(found)} times: {names}; remove the wrong "
            "ones with `terraform state rm`"
        )
    there = ", ".join(f"{known.address} is {known.vmid}" for known in resources) or "no VM at all"
    raise ConfigError(f"VMID {vmid} is not in Terraform's state, which has {there[:500]}")


def instance_key(key: object) -> str:
    r"""Return the part of an address that ``count`` or ``for_each`` adds, as Terraform prints it.

    >>> instance_key(0), instance_key('a "b" ${c}'), instance_key(None)
    ('[0]', '["a \\"b\\" $${c}"]', '')

    References:
        ``InstanceKey.String`` in hashicorp/terraform ``internal/addrs/instance_key.go``.
    """
    if key is None:
        return ""
    if isinstance(key, int) and not isinstance(key, bool):
        return f"[{key}]"
    if isinstance(key, float) and key.is_integer():
        return f"[{int(key)}]"
    if not isinstance(key, str):
        raise _NotAStateError(f"an index key is a {type(key).__name__}")
    return f'["{"".join(_quoted(key))}"]'


def macs_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the MACs of a VM resource's NICs, lower case, in the order of the NICs."""
    blocks = values.get("network_device") or values.get("network") or ()
    if isinstance(blocks, Mapping):
        blocks = tuple(blocks.values())
    found = (block.get("mac_address") or block.get("macaddr") for block in blocks)
    return tuple(mac.lower() for mac in found if isinstance(mac, str) and _MAC.fullmatch(mac))


def vmid_of(values: Mapping[str, Any]) -> int | None:
    """Return a VM resource's VMID: ``vmid``, ``vm_id``, or from its id ``NODE/qemu/VMID``."""
    for word in ("vmid", "vm_id", "id"):
        value = values.get(word)
        if isinstance(value, str):
            value = value.rpartition("/")[2]
            value = int(value) if value.isascii() and value.isdigit() else None
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


class _NotAStateError(Exception):
    """The JSON has another shape."""


def _instances(state: Any) -> Iterator[ResourceAddress]:  # noqa: ANN401 - any JSON
    if not isinstance(state, Mapping):
        raise _NotAStateError("it is not an object")
    if "format_version" in state:
        yield from _shown((state.get("values") or {}).get("root_module") or {})
    elif state.get("version") == _STATE_VERSION:
        yield from _pulled(state.get("resources") or ())
    else:
        raise _NotAStateError(f"its version is {str(state.get('version'))[:20]}, not 4")


def _pulled(resources: Sequence[Mapping[str, Any]]) -> Iterator[ResourceAddress]:
    for resource in resources:
        if resource["mode"] != "managed" or resource["type"] not in VM_TYPES:
            continue
        module = f"{resource['module']}." if resource.get("module") else ""
        for instance in resource["instances"]:
            if not instance.get("deposed"):
                key = instance_key(instance.get("index_key"))
                address = f"{module}{resource['type']}.{resource['name']}{key}"
                tainted = instance.get("status") == "tainted"
                values = instance["attributes"] or {}
                yield from _resource(address, resource["type"], values, tainted=tainted)


def _shown(module: Mapping[str, Any]) -> Iterator[ResourceAddress]:
    for found in module.get("resources") or ():
        is_current = found["mode"] == "managed" and not found.get("deposed_key")
        if is_current and found["type"] in VM_TYPES:
            tainted = bool(found.get("tainted"))
            values = found["values"] or {}
            yield from _resource(found["address"], found["type"], values, tainted=tainted)
    for child in module.get("child_modules") or ():
        yield from _shown(child)


def _resource(
    address: str, kind: str, values: Mapping[str, Any], *, tainted: bool
) -> Iterator[ResourceAddress]:
    vmid = vmid_of(values)
    if vmid is None:
        if tainted:  # Its creation failed before it had a VMID: it is no guest.
            return
        raise _NotAStateError(f"{address} has no VMID")
    yield ResourceAddress(
        address=address,
        type=kind,
        vmid=vmid,
        name=_text(values.get("name")),
        node=node_of(values),
        macs=macs_of(values),
        tainted=tainted,
    )


def node_of(values: Mapping[str, Any]) -> str | None:
    """Return the node that a VM resource is on, or None if its values do not say."""
    words = ("current_node", "node_name", "target_node")
    return next((found for word in words if (found := _text(values.get(word)))), None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _quoted(text: str) -> Iterator[str]:
    for at, char in enumerate(text):
        if char in _ESCAPES:
            yield _ESCAPES[char]
        elif char in "$%" and text[at + 1 : at + 2] == "{":
            yield char * 2
        elif char.isprintable():
            yield char
        else:
            yield f"\\u{ord(char):04x}" if ord(char) < _BMP else f"\\U{ord(char):08x}"
