"""Cables, bridges, addresses and routes of the site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_vmnet.lab import spec
from pytest_vmnet.lab.site.hosts import Host

MACS = {
    "node": "02:76:6d:00:00:02",
    "node2": "02:76:6d:00:00:03",
    "gateway": "02:76:6d:00:00:01",
    "gateway-wan": "02:76:6d:00:01:01",
    "external": "02:76:6d:00:01:08",
    "workstation": "02:76:6d:00:00:32",
}
"""Fixed, locally administered addresses; a switch's ports keep those that the kernel gave them."""

_NET = spec.PREFIX_LENGTH
_NET6 = spec.PREFIX_LENGTH6

_BATCHES: tuple[tuple[str, str], ...] = (
    (
        "switch",
        """
        link add sw0 type bridge stp_state 0
        link add sw-gw type veth peer name eth0 netns gateway
        link add sw-ws type veth peer name eth0 netns workstation
        link set sw-gw master sw0
        link set sw-ws master sw0
        link set sw0 up
        link set sw-gw up
        link set sw-ws up
        """,
    ),
    (
        "gateway",
        f"""
        link add eth1 type veth peer name eth0 netns external
        link set eth0 address {MACS["gateway"]}
        link set eth1 address {MACS["gateway-wan"]}
        link set eth0 up
        link set eth1 up
        address add {spec.GATEWAY_ADDRESS}/{_NET} dev eth0
        address add {spec.EXTERNAL_ROUTER_ADDRESS}/{_NET} dev eth1
        """,
    ),
    (
        "external",
        f"""
        link set eth0 address {MACS["external"]}
        link set eth0 up
        address add {spec.EXTERNAL_ADDRESS}/{_NET} dev eth0
        route add default via {spec.EXTERNAL_ROUTER_ADDRESS}
        """,
    ),
    (
        "workstation",
        f"""
        link set eth0 address {MACS["workstation"]}
        link set eth0 up
        address add {spec.WORKSTATION_ADDRESS}/{_NET} dev eth0
        route add default via {spec.GATEWAY_ADDRESS}
        """,
    ),
)


_BATCHES6: tuple[tuple[str, str], ...] = (
    (
        "gateway",
        f"""
        address add {spec.GATEWAY_ADDRESS6}/{_NET6} dev eth0 nodad
        address add {spec.EXTERNAL_ROUTER_ADDRESS6}/{_NET6} dev eth1 nodad
        """,
    ),
    (
        "external",
        f"""
        address add {spec.EXTERNAL_ADDRESS6}/{_NET6} dev eth0 nodad
        route add default via {spec.EXTERNAL_ROUTER_ADDRESS6}
        """,
    ),
    (
        "workstation",
        f"""
        address add {spec.WORKSTATION_ADDRESS6}/{_NET6} dev eth0 nodad
        route add default via {spec.GATEWAY_ADDRESS6}
        """,
    ),
)


def wire(hosts: Mapping[str, Host], site: spec.SiteSpec) -> None:
    """Plug everything of *site* in; returns when each command has been accepted.

    Raises:
        CommandError: The kernel or iproute2 refused one.
    """
    for name, batch in _BATCHES:
        ip(hosts[name], "link set lo up\n" + batch)
        if name == "switch":
            for node in site.nodes:
                _wire_node(hosts, node, site.bridges[1:])
    hosts["gateway"].run(["tee", "/proc/sys/net/ipv4/ip_forward"], stdin="1")
    if site.ipv6:
        _wire_ipv6(hosts, site)


def _wire_ipv6(hosts: Mapping[str, Host], site: spec.SiteSpec) -> None:
    """Give every host IPv6 addresses and routes beside the others."""
    for node in site.nodes:
        ip(
            hosts[node.host],
            f"""
            address add {node.address6}/{_NET6} dev {spec.BRIDGE} nodad
            route add default via {spec.GATEWAY_ADDRESS6}
            """,
        )
    for name, batch in _BATCHES6:
        ip(hosts[name], batch)
    hosts["gateway"].run(["tee", "/proc/sys/net/ipv6/conf/all/forwarding"], stdin="1")


def _wire_node(
    hosts: Mapping[str, Host], node: spec.NodeSpec, inner_bridges: Sequence[str]
) -> None:
    """Plug a node into the switch, and its uplink into its first bridge."""
    ip(
        hosts["switch"],
        f"""
        link add {node.port} type veth peer name {spec.UPLINK} netns {node.host}
        link set {node.port} master sw0
        link set {node.port} up
        """,
    )
    ip(
        hosts[node.host],
        f"""
        link set lo up
        link set {spec.UPLINK} address {MACS[node.host]}
        link add {spec.BRIDGE} address {MACS[node.host]} type bridge stp_state 0
        link set {spec.UPLINK} master {spec.BRIDGE}
        link set {spec.UPLINK} up
        link set {spec.BRIDGE} up
        address add {node.address}/{_NET} dev {spec.BRIDGE}
        route add default via {spec.GATEWAY_ADDRESS}
        """,
    )
    for bridge in inner_bridges:
        ip(hosts[node.host], f"link add {bridge} type bridge stp_state 0\nlink set {bridge} up")


def ip(host: Host, batch: str) -> None:
    """Run the `ip` commands of *batch*, one a line, on *host*."""
    lines = "\n".join(line.strip() for line in batch.splitlines() if line.strip())
    host.run(["ip", "-batch", "-"], stdin=f"{lines}\n")
