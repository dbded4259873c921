"""IPv6 addresses and gateways of guests, and which ping they have."""

from __future__ import annotations

import json
import runpy
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from pytest_vmnet.core.words import PingKind
from pytest_vmnet.probes import address

API = runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "api.py"))
FakeProxmox, interfaces, look = (API[name] for name in ("FakeProxmox", "interfaces", "look"))
FOUR, SIX = (
    json.dumps([{"dst": "default", "gateway": gateway, "dev": "eth0"}])
    for gateway in ("192.0.2.1", "fe80::1")
)


def said(*six: str):
    answer = interfaces("192.0.2.11/24")
    answer["result"][1]["ip-addresses"] += [
        {"ip-address-type": "ipv6", "ip-address": a.split("/")[0], "prefix": int(a.split("/")[1])}
        for a in six
    ]
    return answer


def found(**more):
    guest = look(FakeProxmox(**more))[0].guests[0]
    return (
        str(guest.interface6), guest.address6_source, str(guest.gateway6), guest.gateway6_source,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("six", "config", "routes", "expected"),
    [
        pytest.param([], {}, f"{FOUR}@@@@[]@@iputils", ("None", None, "None", None), id="none"),
        pytest.param(
            ["2001:db8::11/64"], {}, f"{FOUR}@@@@{SIX}@@iputils",
            ("2001:db8::11/64", "agent", "fe80::1", "route"), id="by-its-router",
        ),
        pytest.param(
            ["2001:db8::99/64", "2001:db8::11/64", "::1/128"],
            {"ipconfig0": "ip=192.0.2.11/24,gw=192.0.2.1,ip6=2001:db8::11/64,gw6=2001:db8::1"},
            FOUR, ("2001:db8::11/64", "agent", "2001:db8::1", "ipconfig0"), id="as-configured",
        ),
        pytest.param(
            [], {"ipconfig0": "ip=192.0.2.11/24,ip6=auto"}, FOUR, ("None", None, "None", None),
            id="auto",
        ),
        pytest.param(
            [], {"ipconfig0": "ip=192.0.2.11/24,ip6=nonsense"}, FOUR,
            ("None", None, "None", None), id="not-understood",
        ),
    ],
)  # fmt: skip
def test_where_ipv6_comes_from(six, config, routes, expected) -> None:
    assert found(agent=said(*six), config=config, routes=routes) == expected


@pytest.mark.parametrize("way", [True, False])
def test_whether_the_gate_has_a_way_there(monkeypatch, way) -> None:
    monkeypatch.setattr(address, "is_routed", lambda to: way and to == IPv6Address("2001:db8::11"))
    guest = look(FakeProxmox(agent=said("2001:db8::11/64"), routes=FOUR))[0].guests[0]
    assert guest.inbound6 is way


def test_a_loopback_is_no_way_to_a_guest() -> None:
    assert not address.is_routed(IPv6Address("::1"))


@pytest.mark.parametrize(
    ("word", "kind"),
    [("busybox", PingKind.BUSYBOX), ("busybox-slow", PingKind.BUSYBOX_SLOW),
     ("iputils", PingKind.IPUTILS), ("", PingKind.IPUTILS), ("x y", PingKind.IPUTILS)],
)  # fmt: skip
def test_which_ping_it_has_comes_with_its_routes(word, kind) -> None:
    proxmox = FakeProxmox(agent=said(), routes=f"{FOUR}@@@@[]@@{word}\n")
    assert look(proxmox)[0].guests[0].ping is kind
    assert proxmox.asked.count("exec 111") == 1
