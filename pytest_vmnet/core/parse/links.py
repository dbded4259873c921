"""Read a node's devices: ``ip -d -j link``, ``bridge -d -j link``, ``bridge -j vlan``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_vmnet.core.parse.iproute import rows
from pytest_vmnet.core.site.link import Link, VlanRange
from pytest_vmnet.errors import ParseError

MAX_LINKS = 20_000
"""Most devices of a node that are read: a larger listing is no listing of a node."""


def parse_links(
    ip_link: str, source: str, *, bridge_link: str = "", bridge_vlan: str = ""
) -> tuple[Link, ...]:
    """Return a node's devices, by ifindex.

    What ``bridge`` says of a port takes precedence over ``ip``'s own words for it; both of its
    listings may be empty. The same device twice is told once: the first row of a name counts.

    Args:
        ip_link: Output of ``ip -d -j link``.
        source: Name for error messages.
        bridge_link: Output of ``bridge -d -j link``.
        bridge_vlan: Output of ``bridge -j vlan``.

    Raises:
        ParseError: A listing is no JSON list, or longer than any node's.
    """
    devices = rows(ip_link, source)
    if len(devices) > MAX_LINKS:
        raise ParseError(source, 0, f"{len(devices)} devices, at most {MAX_LINKS} are read")
    ports = _by_name(rows(bridge_link, f"{source}, bridge link"))
    vlans = _by_name(rows(bridge_vlan, f"{source}, bridge vlan"))
    names = {_number(row.get("ifindex")): _word(row.get("ifname")) for row in devices}
    found: dict[str, Link] = {}
    for row in devices:
        ifname, ifindex = _word(row.get("ifname")), _number(row.get("ifindex"))
        if ifname is None or ifindex is None or ifname in found:
            continue
        on = _word(row.get("link"))
        if on is None and "link_netnsid" not in row:  # some versions give the index alone
            on = names.get(_number(row.get("link_index")))
        found[ifname] = _link(row, on, ports.get(ifname, {}), vlans.get(ifname, {}))
    return tuple(sorted(found.values(), key=lambda link: link.ifindex))


def _by_name(listed: list[dict[str, Any]]) -> dict[str | None, dict[str, Any]]:
    return {_word(row.get("ifname")): row for row in listed}


def _link(
    row: Mapping[str, Any], on: str | None, port: Mapping[str, Any], vlan: Mapping[str, Any]
) -> Link:
    """Return a device; *on* is the other end of a veth, or what else it stands on."""
    info = _mapping(row.get("linkinfo"))
    data = _mapping(info.get("info_data"))
    said = {**_mapping(info.get("info_slave_data")), **port}
    kind = _word(info.get("info_kind"))
    slave_kind = _word(info.get("info_slave_kind"))
    flags = row.get("flags")
    flags = flags if isinstance(flags, list) else []
    is_port = bool(port) or slave_kind == "bridge"
    is_slave = slave_kind == "bond" and "state" in said
    return Link(
        ifname=row["ifname"],
        ifindex=row["ifindex"],
        kind=kind,
        master=_word(row.get("master")),
        slave_kind=slave_kind,
        peer=on if kind == "veth" else None,
        lower=on if kind != "veth" else None,
        vid=_number(data.get("id")) if kind == "vlan" else None,
        mode=_word(data.get("mode")) if kind == "bond" else None,
        is_active=str(said["state"]).lower() == "active" if is_slave else None,
        vlan_filtering=bool(data.get("vlan_filtering")) if kind == "bridge" else None,
        mac=(_word(row.get("address")) or "").lower() or None,
        mtu=_number(row.get("mtu")),
        operstate=(_word(row.get("operstate")) or "unknown").lower(),
        is_up="UP" in flags and "NO-CARRIER" not in flags,
        state=_word(said.get("state")) if is_port else None,
        learning=_truth(said.get("learning")),
        flood=_truth(said.get("flood")),
        isolated=_truth(said.get("isolated")),
        hairpin=_truth(said.get("hairpin")),
        vlans=_vlans(vlan.get("vlans")),
    )


def _vlans(listed: object) -> tuple[VlanRange, ...]:
    found = []
    for row in listed if isinstance(listed, list) else []:
        first = _number(row.get("vlan")) if isinstance(row, dict) else None
        if first is None:
            continue
        flags = row.get("flags")
        words = {str(flag).lower() for flag in flags} if isinstance(flags, list) else set()
        found.append(
            VlanRange(
                first=first,
                last=_number(row.get("vlanEnd")) or first,
                pvid="pvid" in words,
                untagged="egress untagged" in words,
            )
        )
    return tuple(found)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
