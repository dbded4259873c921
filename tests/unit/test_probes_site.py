"""Discovery: what the API says becomes the site, and whoever is not tested has a reason."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.errors import ConfigError, ProxmoxError
from pytest_vmnet.probes.site import Selection, rediscover

API = runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "api.py"))
MAC = API["MAC"]
FakeProxmox, row, interfaces, look = (
    API[name] for name in ("FakeProxmox", "row", "interfaces", "look")
)


def complaint(proxmox, **more) -> str:
    with pytest.raises(ConfigError) as caught:
        look(proxmox, **more)
    return str(caught.value)


def test_a_guest_as_its_configuration_describes_it() -> None:
    site, _ = look(FakeProxmox(agent=interfaces("192.0.2.11/24")))
    (guest,) = site.guests
    assert (guest.vmid, guest.name, guest.ident, guest.node) == (111, "vm-1", "vm-1", "pve1")
    assert guest.tags == ("vmnet-rebuild", "web")
    assert (guest.nic.mac, guest.nic.bridge, guest.tap) == (MAC, "vmbr0", "tap111i0")
    assert (guest.agent, guest.protection, guest.dhcp) == (True, False, False)
    assert (guest.smbios_uuid, guest.pid) == ("5ec4", 4711)
    assert guest.nameservers == ("192.0.2.1", "9.9.9.9")
    (node,) = site.nodes
    assert str(node.address) == "192.0.2.2"
    assert [(b.name, b.ports, b.mtu, b.vlan_aware) for b in node.bridges] == [
        ("vmbr0", ("enp4s0",), 1500, True), ("vmbr1", (), None, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "rows", "reason"),
    [
        ({}, {"type": "lxc"}, "not supported: a container"),
        ({}, {"template": 1}, "a template"),
        ({}, {"tags": "a,vmnet-skip"}, "tag vmnet-skip"),
        ({}, {"lock": "backup"}, "locked: backup"),
        ({}, {"status": "stopped"}, "stopped"),
        ({"config": {"lock": "snapshot"}}, {}, "locked: snapshot"),
        ({"status": {"lock": "migrate"}}, {}, "locked: migrate"),
        ({"status": {"qmpstatus": "paused"}}, {}, "QEMU is paused"),
        ({"config": {"net0": f"virtio={MAC}"}}, {}, "it has no NIC on a bridge"),
        ({"config": {"net0": "nonsense"}}, {}, "not supported: net0, byte 0: expected MODEL=MAC"),
        (
            {"config": {"net0": f"virtio={MAC},bridge=vnet7"}}, {},
            "not supported: vnet7 is no bridge of pve1 that this token may see",
        ),
    ],
)  # fmt: skip
def test_who_is_not_tested_has_a_reason(changes, rows, reason) -> None:
    proxmox = FakeProxmox(row(112, **rows), **changes)
    assert reason in complaint(proxmox)
    if rows:
        site, _ = look(FakeProxmox(row(111), row(112, **rows), agent=interfaces("192.0.2.11/24")))
        assert [guest.ident for guest in site.guests] == ["vm-1"]
        assert [(skip.vmid, skip.name, skip.reason) for skip in site.skipped] == [
            (112, "vm-2", reason)
        ]


def test_a_guest_that_vanishes_meanwhile_is_skipped() -> None:
    proxmox = FakeProxmox(row(111), row(112), agent=interfaces("192.0.2.11/24"))
    gone = ProxmoxError("GET", "config", status=500, reason="Configuration file does not exist")
    proxmox.answers["nodes/pve1/qemu/112/config"] = gone
    (skip,) = look(proxmox)[0].skipped
    assert "its configuration cannot be read: Proxmox API: GET config: 500" in skip.reason


def test_an_api_that_is_lost_is_no_reason_to_skip() -> None:
    proxmox = FakeProxmox()
    lost = ProxmoxError("GET", "config", status=None, reason="no answer")
    proxmox.answers["nodes/pve1/qemu/111/config"] = lost
    with pytest.raises(ProxmoxError):
        look(proxmox)


@pytest.mark.parametrize(
    ("names", "idents"),
    [
        (["web", "web"], ["web.111", "web.112"]),
        (["web", "db"], ["web", "db"]),
        (["web", None], ["web", "112"]),
        (["workstation", "pve1"], ["workstation.111", "pve1.112"]),
    ],
)
def test_ids_are_unique_and_no_host_that_probes(names, idents) -> None:
    rows = [row(111 + n, name=name) for n, name in enumerate(names)]
    site, _ = look(FakeProxmox(*rows, agent=interfaces("192.0.2.11/24")))
    assert [guest.ident for guest in site.guests] == idents


def test_guests_come_in_the_order_of_their_vmids() -> None:
    rows = [row(113), row(111), row(112, node="pve2")]
    site, _ = look(FakeProxmox(*rows, agent=interfaces("192.0.2.11/24")))
    assert [guest.vmid for guest in site.guests] == [111, 113]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (("pve9",), "--proxmox-node = 'pve9': there is no such node; the cluster has pve1, pve2"),
        (("pve1", "x", "a"), "--proxmox-node = 'a, x': there is no such node"),
    ],
)
def test_an_unknown_node_is_told_with_those_that_there_are(nodes, said) -> None:
    assert said in complaint(FakeProxmox(), nodes=nodes)


def test_all_means_the_nodes_that_are_online() -> None:
    site, _ = look(FakeProxmox(agent=interfaces("192.0.2.11/24")), nodes=("all",))
    assert [node.name for node in site.nodes] == ["pve1"]


def test_without_a_guest_the_token_may_be_the_reason() -> None:
    proxmox = FakeProxmox(row(node="pve2"))
    assert "no guest is visible on pve1 for vmnet@pve!gate: there is none, or the token lacks" in (
        complaint(proxmox)
    )


def test_without_the_clusters_status_there_is_no_address() -> None:
    proxmox = FakeProxmox(agent=interfaces("192.0.2.11/24"))
    proxmox.answers["cluster/status"] = ProxmoxError("GET", "x", status=403, reason="no Sys.Audit")
    assert look(proxmox)[0].nodes[0].address is None


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (("vm-9",), "--vmnet-guest = 'vm-9': no running guest matches; there are: vm-1 (111)"),
        (("vm-1", "vm-9"), "--vmnet-guest = 'vm-9': no running guest matches"),
        (("tag:none", "999"), "--vmnet-guest = 'tag:none,999'"),
        (("vm-2",), "nothing to test on pve1: vm-2 (112): stopped"),
        (("112",), "nothing to test on pve1: vm-2 (112): stopped"),
        (("bad:form",), "'bad:form' names no guest"),
    ],
)
def test_a_pattern_that_names_nobody_is_told(patterns, said) -> None:
    proxmox = FakeProxmox(row(111), row(112, status="stopped"), agent=interfaces("192.0.2.11/24"))
    assert said in complaint(proxmox, patterns=patterns)


def test_a_pattern_chooses_who_is_tested_and_who_is_told_as_skipped() -> None:
    rows = [row(111), row(112), row(113, status="stopped"), row(114, status="stopped")]
    proxmox = FakeProxmox(*rows, agent=interfaces("192.0.2.11/24"))
    site, _ = look(proxmox, patterns=("vm-1", "vm-3"))
    assert [guest.ident for guest in site.tested] == ["vm-1"]
    assert [skip.name for skip in site.skipped] == ["vm-3"]


def test_a_guest_is_discovered_again() -> None:
    proxmox = FakeProxmox(agent=interfaces("192.0.2.11/24"))
    site, _ = look(proxmox)
    selection = Selection(nodes=("pve1",), wait_s=0)
    proxmox.config["net0"] = "virtio=BC:24:11:00:00:99,bridge=vmbr0"
    proxmox.said = interfaces("192.0.2.11/24", mac="bc:24:11:00:00:99")
    assert rediscover(proxmox, site, 111, selection, Clock()).nic.mac == "bc:24:11:00:00:99"
    proxmox.rows = [row(status="stopped")]
    with pytest.raises(ConfigError, match="vm-1: cannot be tested now: stopped"):
        rediscover(proxmox, site, 111, selection, Clock())
    proxmox.rows = []
    with pytest.raises(ConfigError, match="vm-1: there is no VMID 111 any more"):
        rediscover(proxmox, site, 111, selection, Clock())
