"""The lab's two variants on paper."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pytest_vmnet.lab import spec
from pytest_vmnet.lab.site import mounts


def test_one_node_is_as_it_always_was() -> None:
    site = spec.ONE_NODE
    assert site.hosts == ("node", "switch", "gateway", "external", "workstation")
    assert [site.bridges, site.storage, site.ipv6] == [("vmbr0",), "local-lvm", False]
    assert site.external == ("198.51.100.8",)
    for guest in site.guests:
        assert (guest.node, guest.address6, guest.inner_address) == ("pve1", None, None)
        assert (guest.firewall, guest.port, guest.before_tap) == (False, guest.tap, "enp4s0")


def test_two_nodes_differ_by_what_they_are_for() -> None:
    site = spec.TWO_NODES
    assert site.hosts[:2] == ("node", "node2")
    assert [guest.name for guest in site.guests if guest.node == "pve2"] == ["vm-4", "vm-5"]
    assert [guest.name for guest in site.guests if guest.firewall] == ["vm-2", "vm-4"]
    inner = {guest.name: guest.inner_address for guest in site.guests if guest.inner_address}
    assert inner == {f"vm-{n}": f"203.0.113.1{n}" for n in (1, 2, 3)}
    assert site.node("pve2").port == "sw-node2"
    for one, two in zip(spec.ONE_NODE.guests, site.guests, strict=True):
        assert (one.name, one.vmid, one.address, one.tap) == (
            two.name, two.vmid, two.address, two.tap
        )  # fmt: skip


def test_an_ipv6_address_ends_like_the_ipv4_address() -> None:
    pairs: list[Any] = [(guest.address, guest.address6) for guest in spec.TWO_NODES.guests]
    pairs += [(node.address, node.address6) for node in spec.NODES]
    pairs += [(spec.GATEWAY_ADDRESS, spec.GATEWAY_ADDRESS6)]
    network = ipaddress.IPv6Network("2001:db8:0:2::/64")
    for address, address6 in pairs:
        assert ipaddress.IPv6Address(address6) in network
        assert address6.rpartition(":")[2] == address.rpartition(".")[2]


@pytest.mark.parametrize(("site", "known"), [(spec.ONE_NODE, False), (spec.TWO_NODES, True)])
def test_the_second_node_has_a_name_where_there_is_one(site: Any, known: bool) -> None:
    assert ("192.0.2.3 pve2 node2\n" in mounts._hosts(site)) is known
    assert "192.0.2.2 pve1 node\n" in mounts._hosts(site)
