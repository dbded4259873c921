"""What a guest's agent says of its address and gateway, and how long it is waited for."""

from __future__ import annotations

import json
import runpy
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.errors import ProxmoxError

API = runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "api.py"))
MAC = API["MAC"]
FakeProxmox, interfaces, look = (API[name] for name in ("FakeProxmox", "interfaces", "look"))
ROUTE = json.dumps([{"dst": "default", "gateway": "192.0.2.254"}])


def found(proxmox, **more):
    site, waited = look(proxmox, **more)
    guest = site.guests[0]
    return (
        str(guest.interface), guest.address_source, str(guest.gateway), guest.gateway_source,
    ), waited  # fmt: skip


@pytest.mark.parametrize(
    ("said", "config", "expected"),
    [
        pytest.param(
            interfaces("192.0.2.11/24"), {}, ("192.0.2.11/24", "agent"), id="as-configured"
        ),
        pytest.param(
            interfaces("192.0.2.200/32", "192.0.2.11/24"), {}, ("192.0.2.11/24", "agent"),
            id="a-further-address-is-not-the-one",
        ),
        pytest.param(
            interfaces("192.0.2.77/24"), {}, ("192.0.2.77/24", "agent"), id="not-as-configured"
        ),
        pytest.param(
            interfaces("169.254.1.1/16", "192.0.2.50/24"), {"ipconfig0": "ip=dhcp"},
            ("192.0.2.50/24", "agent"), id="dhcp",
        ),
        pytest.param(
            interfaces("192.0.2.50/24", mac="02:00:00:00:00:01"), {},
            ("192.0.2.11/24", "ipconfig0"), id="another-nics-address",
        ),
    ],
)  # fmt: skip
def test_the_address_is_the_agents(said, config, expected) -> None:
    where, waited = found(FakeProxmox(agent=said, config=config))
    assert (where[:2], waited) == (expected, 0)


@pytest.mark.parametrize(
    ("config", "routes", "more", "expected"),
    [
        pytest.param({}, ROUTE, {}, ("192.0.2.254", "route"), id="its-own-route"),
        pytest.param({}, "[]\n@@\n", {}, ("192.0.2.1", "ipconfig0"), id="as-configured"),
        pytest.param({}, "no JSON", {}, ("192.0.2.1", "ipconfig0"), id="not-understood"),
        pytest.param({"ipconfig0": "ip=192.0.2.11/24"}, "", {}, ("None", None), id="none"),
        pytest.param(
            {"ipconfig0": "ip=192.0.2.11/24"}, "", {"gateway": IPv4Address("192.0.2.9")},
            ("192.0.2.9", "vmnet_gateway"), id="the-options",
        ),
        pytest.param(
            {}, ROUTE, {"ask_guests": False}, ("192.0.2.1", "ipconfig0"), id="may-not-be-asked"
        ),
    ],
)  # fmt: skip
def test_the_gateway_is_the_routes(config, routes, more, expected) -> None:
    proxmox = FakeProxmox(agent=interfaces("192.0.2.11/24"), config=config, routes=routes)
    where, _ = found(proxmox, **more)
    assert where[2:] == expected
    assert ("exec 111" in proxmox.asked) == more.get("ask_guests", True)


def test_an_agent_that_may_not_run_commands_is_no_reason_to_wait() -> None:
    proxmox = FakeProxmox(agent=interfaces("192.0.2.11/24"))

    def refuse(*_words):
        raise ProxmoxError("POST", "exec", status=403, reason="no VM.GuestAgent.Unrestricted")

    proxmox.agent_exec = refuse
    assert found(proxmox) == (("192.0.2.11/24", "agent", "192.0.2.1", "ipconfig0"), 0)


def test_a_guest_that_is_still_starting_is_waited_for() -> None:
    ready = interfaces("192.0.2.11/24")
    proxmox = FakeProxmox(agent=lambda asked: ready if asked > 2 else None)
    where, waited = found(proxmox)
    assert (where[1], waited) == ("agent", 2)


def test_cloud_init_is_waited_for() -> None:
    proxmox = FakeProxmox(agent=interfaces("192.0.2.11/24"), routes=f"{ROUTE}\n@@\nstarting\n")
    where, waited = found(proxmox)
    assert (where, waited) == (("192.0.2.11/24", "ipconfig0", "192.0.2.1", "ipconfig0"), 3)


def test_a_guest_without_an_address_is_waited_for_and_taken_all_the_same() -> None:
    proxmox = FakeProxmox(agent=interfaces(), config={"ipconfig0": "ip=dhcp"})
    assert found(proxmox) == (("None", None, "None", None), 3)


def test_without_an_agent_nobody_is_asked() -> None:
    proxmox = FakeProxmox(config={"agent": "0"})
    assert found(proxmox)[0][1] == "ipconfig0"
    assert proxmox.asked == []


WORDS = st.sampled_from(
    ["result", "hardware-address", "ip-addresses", "ip-address", "ip-address-type", "prefix"]
)
VALUES = st.sampled_from([MAC, "ipv4", "999.1.1.1", "192.0.2.11", -1, 99, None, "x" * 99])
ANSWERS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner),
    max_leaves=12,
)


@given(ANSWERS | st.fixed_dictionaries({"result": st.lists(st.fixed_dictionaries(
    {"hardware-address": st.just(MAC), "ip-addresses": ANSWERS}))}))  # fmt: skip
def test_a_hostile_agent_harms_nobody(answer) -> None:
    where, _ = found(FakeProxmox(agent=lambda _asked: answer or {}))
    assert where[0].startswith("192.0.2.11/")
