"""A node's devices, from listings that iproute2 6.1 printed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.parse.links import MAX_LINKS, parse_links
from pytest_vmnet.core.site.link import Link, VlanRange
from pytest_vmnet.errors import ParseError

DATA = Path(__file__).parents[1] / "data" / "wiring"


def recorded(name: str) -> dict[str, Link]:
    texts = {
        part: path.read_text() if (path := DATA / f"{name}.{part}.json").exists() else ""
        for part in ("ip-link", "bridge-link", "bridge-vlan")
    }
    links = parse_links(
        texts["ip-link"], name, bridge_link=texts["bridge-link"], bridge_vlan=texts["bridge-vlan"]
    )
    return {link.ifname: link for link in links}


def test_masters_and_veth_peers_of_a_firewalled_nic() -> None:
    links = recorded("two-bridges")
    chain = ["tap111i0", "fwbr111i0", "fwln111i0", "fwpr111p0", "vmbr0"]
    assert [(links[n].kind, links[n].master, links[n].peer) for n in chain] == [
        ("tun", "fwbr111i0", None),
        ("bridge", None, None),
        ("veth", "fwbr111i0", "fwpr111p0"),
        ("veth", "vmbr0", "fwln111i0"),
        ("bridge", None, None),
    ]
    assert links["fwpr111p0"].isolated is True
    assert (links["tap112i0"].learning, links["tap112i0"].flood) == (False, False)
    assert (links["tap112i1"].learning, links["tap112i1"].isolated) == (True, False)
    assert links["tap112i0"].slave_kind == "bridge"
    assert links["vmbr0"].vlan_filtering is False
    assert links["tap111i0"].vlan_filtering is None


def test_a_veth_whose_other_end_is_elsewhere_has_no_peer() -> None:
    uplink = recorded("two-bridges")["enp4s0"]
    assert (uplink.kind, uplink.peer, uplink.lower, uplink.master) == ("veth", None, None, "vmbr0")
    assert uplink.operstate == "lowerlayerdown"
    assert not uplink.is_up


def test_bridges_words_for_a_port_take_precedence_and_may_be_missing() -> None:
    ip = json.dumps([
        {
            "ifname": "tap1i0", "ifindex": 3, "flags": ["UP", "LOWER_UP"], "address": "02:AA::",
            "linkinfo": {
                "info_kind": "tun", "info_slave_kind": "bridge",
                "info_slave_data": {"state": "blocking", "learning": True, "hairpin": True},
            },
        }
    ])  # fmt: skip
    port = json.dumps([{"ifname": "tap1i0", "state": "forwarding", "learning": False}])
    vlan = json.dumps([
        {"ifname": "tap1i0", "vlans": [
            {"vlan": 10, "flags": ["PVID", "Egress Untagged"]}, {"vlan": 20, "vlanEnd": 30}, 7,
        ]}
    ])  # fmt: skip
    (bare,) = parse_links(ip, "x")
    assert (bare.state, bare.learning, bare.hairpin, bare.is_up) == ("blocking", True, True, True)
    (told,) = parse_links(ip, "x", bridge_link=port, bridge_vlan=vlan)
    assert (told.state, told.learning, told.hairpin, told.mac) == (
        "forwarding", False, True, "02:aa::",
    )  # fmt: skip
    assert told.vlans == (
        VlanRange(first=10, last=10, pvid=True, untagged=True),
        VlanRange(first=20, last=30),
    )
    assert [vid for vid in (9, 10, 19, 20, 30, 31) if told.carries(vid)] == [10, 20, 30]


def test_a_name_counts_once_and_the_order_is_the_kernels() -> None:
    rows = [{"ifname": n, "ifindex": i} for n, i in (("b", 2), ("a", 1), ("b", 9), (None, 3))]
    assert [(x.ifname, x.ifindex) for x in parse_links(json.dumps(rows), "x")] == [
        ("a", 1),
        ("b", 2),
    ]


def test_a_listing_of_too_many_devices_is_refused() -> None:
    text = json.dumps([{}] * (MAX_LINKS + 1))
    with pytest.raises(ParseError, match="at most 20000 are read"):
        parse_links(text, "pve1, ip link")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["ifname", "ifindex", "linkinfo", "info_data", "vlans", "flags", "link"]),
        inner, max_size=5,
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.one_of(st.text(), _JSON.map(lambda value: json.dumps([value]))), st.text(max_size=40))
def test_nothing_but_a_parse_error_comes_of_any_text(text, other) -> None:
    for more in ({}, {"bridge_link": text, "bridge_vlan": text}, {"bridge_vlan": other}):
        with contextlib.suppress(ParseError):
            parse_links(text, "x", **more)


def test_a_peer_that_is_told_by_its_index_alone_is_found() -> None:
    veth = {"info_kind": "veth"}
    rows = [
        {"ifname": "a", "ifindex": 1, "link_index": 2, "linkinfo": veth},
        {"ifname": "b", "ifindex": 2, "link": "a", "linkinfo": veth},
        {"ifname": "c", "ifindex": 3, "link_index": 2, "link_netnsid": 0, "linkinfo": veth},
    ]
    found = parse_links(json.dumps(rows), "x")
    assert [link.peer for link in found] == ["b", "a", None]
