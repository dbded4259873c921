"""The chain of ports from a guest's tap to the wire, from recorded and from modelled devices."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vmnet.core.site.link import Chain, Link
from pytest_vmnet.core.site.wiring import Wiring

recorded = runpy.run_path(str(Path(__file__).with_name("test_parse_links.py")))["recorded"]
CONFIGURED = {
    "two-bridges": {"vmbr0": ("enp4s0",), "vmbr1": ("enp5s0",)},
    "vlan-plain": {"vmbr0": ("enp4s0",)},
    "vlan-aware": {"vmbr0": ("bond0",)},
    "bond-lacp": {"vmbr0": ("bond0",)},
    "ovs": {"vmbr1": ("eno1", "vlan50")},
    "vnet": {"vmbr0": ("enp4s0",)},
}


def wiring(name: str, **changed: Link) -> Wiring:
    return Wiring(list({**recorded(name), **changed}.values()), CONFIGURED[name])


def told(chain: Chain) -> str:
    """Return the ports in order, each with the way of a frame towards the wire."""
    words = [f"{port.ifname}{'<>'[port.out]}" for port in (*chain.ports, *chain.uplink)]
    words.insert(len(chain.ports), f"[{chain.bridge}]")
    return " ".join(words)


@pytest.mark.parametrize(
    ("name", "tap", "bridge", "tag", "expected"),
    [
        ("two-bridges", "tap112i0", "vmbr0", None, "tap112i0< [vmbr0] enp4s0>"),
        ("two-bridges", "tap112i1", "vmbr1", None, "tap112i1< [vmbr1] enp5s0>"),
        (
            "two-bridges", "tap111i0", "vmbr0", None,
            "tap111i0< fwln111i0> fwpr111p0< [vmbr0] enp4s0>",
        ),
        ("vlan-plain", "tap111i0", "vmbr0", 10, "tap111i0< [vmbr0v10] enp4s0.10>"),
        ("vlan-plain", "tap112i0", "vmbr0", None, "tap112i0< [vmbr0] enp4s0>"),
        (
            "vlan-plain", "tap113i0", "vmbr0", 10,
            "tap113i0< fwln113i0> fwpr113p0< [vmbr0v10] enp4s0.10>",
        ),
        ("vlan-aware", "tap111i0", "vmbr0", 10, "tap111i0< [vmbr0] bond0> eno1>"),
        (
            "vlan-aware", "tap112i0", "vmbr0", 20,
            "tap112i0< fwln112i0> fwpr112p0< [vmbr0] bond0> eno1>",
        ),
        ("bond-lacp", "tap111i0", "vmbr0", None, "tap111i0< [vmbr0] bond0>"),
        ("ovs", "tap111i0", "vmbr1", 10, "tap111i0< [vmbr1] eno1>"),
        ("ovs", "tap112i0", "vmbr1", None, "tap112i0< fwln112o0> [vmbr1] eno1>"),
        ("vnet", "tap111i0", "web", None, "tap111i0< [web] ln_web> pr_web< enp4s0.20>"),
    ],
)  # fmt: skip
def test_the_chain_of_each_kind(name, tap, bridge, tag, expected) -> None:
    assert told(wiring(name).chain(tap, bridge, tag)) == expected


def test_every_device_is_named_in_order_bridges_and_what_is_below_an_uplink_too() -> None:
    assert wiring("two-bridges").chain("tap111i0", "vmbr0").devices == (
        "tap111i0", "fwbr111i0", "fwln111i0", "fwpr111p0", "vmbr0", "enp4s0",
    )  # fmt: skip
    tagged = wiring("vlan-plain").chain("tap111i0", "vmbr0", 10)
    assert tagged.devices == ("tap111i0", "vmbr0v10", "enp4s0.10", "enp4s0")
    assert tagged.notes == (
        "frames carry a VLAN tag on enp4s0, below enp4s0.10: not watched",
    )  # fmt: skip
    assert wiring("vlan-aware").chain("tap111i0", "vmbr0", 10).devices[-3:] == (
        "bond0", "eno1", "eno2",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tap", "bridge"),
    [("two-bridges", "tap111i0", "vmbr0"), ("vlan-aware", "tap112i0", "vmbr0"),
     ("ovs", "tap112i0", "vmbr1")],
)  # fmt: skip
def test_what_proxmox_makes_is_not_worth_a_note(name, tap, bridge) -> None:
    assert wiring(name).chain(tap, bridge).notes == ()


def test_a_device_of_somebody_elses_is_a_point_and_is_named() -> None:
    chain = wiring("two-bridges").chain("tap113i0", "vmbr0")
    assert told(chain) == "tap113i0< odd0> odd1< [vmbr0] enp4s0>"
    assert chain.notes == (
        "br-odd, a bridge that is not Proxmox's, is on the way",
        "odd0, a veth that is not Proxmox's, is on the way",
        "odd1, a veth that is not Proxmox's, is on the way",
    )


def test_an_uplink_of_an_unknown_kind_is_a_point_and_is_named() -> None:
    uplink = replace(recorded("two-bridges")["enp4s0"], kind="wwan")
    chain = wiring("two-bridges", enp4s0=uplink).chain("tap112i0", "vmbr0")
    assert told(chain) == "tap112i0< [vmbr0] enp4s0>"
    assert chain.notes == ("enp4s0, a device of kind wwan, is on the way",)


def test_a_tap_on_another_bridge_than_configured_is_followed_to_where_it_is() -> None:
    chain = wiring("two-bridges").chain("tap112i1", "vmbr0")
    assert told(chain) == "tap112i1< [vmbr1] enp5s0>"
    assert chain.notes == (
        "tap112i1 is a port of vmbr1 and does not lead to vmbr0, as configured",
    )


def test_a_tap_that_is_no_port_leads_nowhere() -> None:
    loose = replace(recorded("two-bridges")["tap112i0"], master=None)
    chain = wiring("two-bridges", tap112i0=loose).chain("tap112i0", "vmbr0")
    assert (told(chain), chain.bridge) == ("tap112i0< [None]", None)
    assert chain.notes == ("tap112i0 is no port of any bridge",)


def test_a_tap_that_does_not_exist_is_still_watched_for() -> None:
    chain = wiring("two-bridges").chain("tap999i0", "vmbr0")
    assert told(chain) == "tap999i0< [vmbr0] enp4s0>"
    assert chain.notes == ("tap999i0 is no device of the node",)


@pytest.mark.parametrize(
    ("changed", "expected", "note"),
    [
        (
            {"enp4s0": {"master": None}},
            "tap112i0< [vmbr0] enp4s0>",
            "enp4s0, configured as a port of vmbr0, is no port of any bridge",
        ),
        (
            {"enp5s0": {"master": "vmbr0"}},
            "tap112i0< [vmbr0] enp4s0>",
            "vmbr0 has a port that its configuration does not name: enp5s0",
        ),
        (
            {"enp5s0": {"master": "vmbr0"}, "enp4s0": {"ifname": "eth9"}},
            "tap112i0< [vmbr0]",
            "vmbr0 has several ways out: eth9, enp5s0: none is watched",
        ),
        (
            {"enp4s0": {"ifname": "veth200i0"}},  # a container's port is no way out
            "tap112i0< [vmbr0] enp4s0>",
            "enp4s0, configured as a port of vmbr0, is no device of the node",
        ),
    ],
)
def test_an_uplink_that_is_not_as_configured_is_told(changed, expected, note) -> None:
    links = recorded("two-bridges")
    changes = {name: replace(links[name], **more) for name, more in changed.items()}
    chain = wiring("two-bridges", **changes).chain("tap112i0", "vmbr0")
    assert told(chain) == expected
    assert note in chain.notes


def test_a_bridge_without_a_way_out_has_none() -> None:
    links = recorded("two-bridges")
    lonely = Wiring([links["vmbr0"], links["tap112i0"]], {})
    assert told(lonely.chain("tap112i0", "vmbr0")) == "tap112i0< [vmbr0]"
    assert lonely.chain("tap112i0", "vmbr0").notes == ()


def test_a_way_back_through_a_bridge_that_was_passed_is_no_way_out() -> None:
    """odd0 leads from vmbr0 back into br-odd, which has a card of its own."""
    links = recorded("two-bridges")
    own = replace(links["enp5s0"], master="br-odd")
    chain = wiring("two-bridges", enp5s0=own).chain("tap113i0", "vmbr0")
    assert told(chain) == "tap113i0< odd0> odd1< [vmbr0] enp4s0>"
    assert chain.ways == ("enp4s0",)
    beside = wiring("two-bridges", enp5s0=own).chain("tap112i0", "vmbr0")
    assert beside.ways == ("enp4s0", "odd1")
    assert told(beside) == "tap112i0< [vmbr0] enp4s0>"


def test_a_ring_of_bridges_ends() -> None:
    links = [
        Link(ifname="tap1i0", ifindex=1, kind="tun", master="a"),
        *(Link(ifname=name, ifindex=i, kind="bridge") for i, name in ((2, "a"), (3, "b"))),
        *(
            Link(ifname=f"{x}{n}", ifindex=4 + i, kind="veth", master=x, peer=f"{y}{n}")
            for i, (x, y, n) in enumerate(
                [("a", "b", 1), ("b", "a", 1), ("a", "b", 2), ("b", "a", 2)]
            )
        ),
    ]
    chain = Wiring(links, {}).chain("tap1i0", "elsewhere")
    assert told(chain) == "tap1i0< [a]"


def test_a_bonds_slaves_are_told_where_any_may_carry_a_frame() -> None:
    chain = wiring("bond-lacp").chain("tap111i0", "vmbr0")
    assert chain.notes == (
        "bond0 (802.3ad) spreads frames over eno1, eno2: which one a frame takes is not told",
    )
    links = recorded("vlan-aware")
    failed = replace(links["eno1"], is_active=False)
    both_down = wiring("vlan-aware", eno1=failed).chain("tap111i0", "vmbr0", 10)
    assert told(both_down) == "tap111i0< [vmbr0] bond0>"


def test_without_devices_the_configuration_is_all_there_is() -> None:
    bare = Wiring((), {"vmbr0": ("enp4s0",), "vmbr1": ("a", "b")})
    assert told(bare.chain("tap1i0", "vmbr0", 10)) == "tap1i0< [vmbr0] enp4s0>"
    assert told(bare.chain("tap1i0", "vmbr1")) == "tap1i0< [vmbr1]"
    assert told(bare.outward("vmbr0")) == "[vmbr0] enp4s0>"
    assert bare.chain("tap1i0", "vmbr0").devices == ("tap1i0", "vmbr0", "enp4s0")


def test_the_nodes_own_frames_leave_by_the_same_uplink() -> None:
    assert told(wiring("vlan-aware").outward("vmbr0")) == "[vmbr0] bond0> eno1>"
    assert told(wiring("two-bridges").outward("vmbr1")) == "[vmbr1] enp5s0>"
