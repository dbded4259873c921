"""Proxmox's property strings, as its API gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.parse import pveconfig
from pytest_vmnet.core.site.topology import Nic
from pytest_vmnet.errors import ParseError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "virtio=BC:24:11:74:5A:6D,bridge=vmbr0",
            Nic(index=0, model="virtio", mac="bc:24:11:74:5a:6d", bridge="vmbr0"),
            id="usual",
        ),
        pytest.param(
            "model=e1000,macaddr=BC:24:11:74:5A:6D,bridge=vmbr1,firewall=1,link_down=1,mtu=1450,"
            "queues=2,tag=10",
            Nic(
                index=0, model="e1000", mac="bc:24:11:74:5a:6d", bridge="vmbr1", tag=10,
                firewall=True, link_down=True, queues=2, mtu=1450,
            ),
            id="model-apart",
        ),
        pytest.param(
            "e1000-82545em=BC:24:11:74:5A:6D,firewall=yes,link_down=off",
            Nic(index=0, model="e1000-82545em", mac="bc:24:11:74:5a:6d", bridge=None,
                firewall=True),
            id="user-network",
        ),
    ],
)  # fmt: skip
def test_a_nic_is_read(text, expected) -> None:
    assert pveconfig.parse_nic(0, text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bridge=vmbr0", "net3, byte 0: expected MODEL=MAC,..., got 'bridge=vmbr0'"),
        ("virtio,bridge=vmbr0", "expected MODEL=MAC"),
        ("virtio=BC:24:11:74:5A", "expected MODEL=MAC"),
        ("", "expected MODEL=MAC"),
        ("virtio=BC:24:11:74:5A:6D,tag=ten", "net3, byte 0: expected a number, got 'ten'"),
        ("virtio=BC:24:11:74:5A:6D,mtu=" + "9" * 5000, "expected a number, got '999"),
    ],
)
def test_a_nic_that_is_none_is_told(text, said) -> None:
    with pytest.raises(ParseError) as caught:
        pveconfig.parse_nic(3, text)
    assert said in str(caught.value)


def test_nics_come_in_the_order_of_their_numbers() -> None:
    nic = "virtio=BC:24:11:74:5A:6D"
    config = {"net10": nic, "net2": nic, "net0": nic, "netx": "", "name": "vm-1"}
    assert [each.index for each in pveconfig.parse_nics(config)] == [0, 2, 10]


@pytest.mark.parametrize(
    ("text", "interface", "gateway"),
    [
        ("ip=192.0.2.11/24,gw=192.0.2.1", "192.0.2.11/24", "192.0.2.1"),
        ("ip=192.0.2.11/24", "192.0.2.11/24", "None"),
        ("ip=dhcp", "None", "None"),
        ("ip6=auto", "None", "None"),
        ("ip=manual,gw=192.0.2.1", "None", "192.0.2.1"),
        ("gw=192.0.2.1,ip=192.0.2.11/24,ip6=dhcp", "192.0.2.11/24", "192.0.2.1"),
    ],
)
def test_cloud_inits_address_is_read(text, interface, gateway) -> None:
    assert tuple(map(str, pveconfig.parse_ipconfig(text))) == (interface, gateway)


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(ParseError, match=r"ipconfig, byte 0: 'ip=192.0.2.300/24'"):
        pveconfig.parse_ipconfig("ip=192.0.2.300/24")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("1", True, id="text-1"),
        (1, True),
        ("enabled=1,fstrim_cloned_disks=1", True),
        ("1,type=virtio", True),
        ("yes", True),
        ("0", False),
        ("enabled=0", False),
        ("fstrim_cloned_disks=1", False),
        (None, False),
        ("", False),
    ],
)
def test_the_agent_is_on_or_off(value, expected) -> None:
    assert pveconfig.is_on(value) is expected


@given(st.text(alphabet="virtio=,:0123456789abcdefBCDEF.bridgetaqus/\x00é", max_size=80))
def test_hostile_text_raises_nothing_else(text) -> None:
    for read in (lambda t: pveconfig.parse_nic(0, t), pveconfig.parse_ipconfig):
        try:
            read(text)
        except ParseError:
            continue
