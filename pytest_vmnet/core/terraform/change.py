"""Read one entry of a plan's ``resource_changes`` or ``resource_drift``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def is_allowed(address: str, allow: Sequence[str]) -> bool:
    """Whether a pattern names *address*; brackets are literal, as addresses hold them."""
    for word in allow:
        pattern = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in word)
        if re.fullmatch(pattern, address, re.DOTALL):
            return True
    return False


def actions_of(change: Mapping[str, Any]) -> list[str]:
    """Return the actions, in their order."""
    return [str(action) for action in details_of(change).get("actions") or ()]


def values_of(change: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    """Return the values ``before`` or ``after``; empty where there is no such object."""
    found = details_of(change).get(word)
    return found if isinstance(found, Mapping) else {}


def details_of(change: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of the entry that says what changes; KeyError if it has none."""
    found: Mapping[str, Any] = change["change"]
    return found


def maps_in(found: object) -> list[Mapping[str, Any]]:
    """Return a list of objects; None is an empty one, and anything else a TypeError."""
    listed = [] if found is None else found
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        raise TypeError("not a list of objects")
    return listed


def plugs_of(values: Mapping[str, Any]) -> list[tuple[object, int]]:
    """Return bridge and VLAN tag (0 for none) of each NIC of a VM resource."""
    return [
        (nic.get("bridge"), nic.get("vlan_id") or nic.get("tag") or 0) for nic in nics_of(values)
    ]


def nics_of(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the NIC blocks of a VM resource."""
    found = values.get("network_device") or values.get("network")
    return maps_in(list(found.values()) if isinstance(found, Mapping) else found)
