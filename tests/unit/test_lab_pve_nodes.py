"""The lab's Proxmox API with two nodes, and the wiring of NICs, without QEMU."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.pve import tap
from pytest_vmnet.lab.pve.guests import read_guests
from pytest_vmnet.lab.pve.place import Place
from pytest_vmnet.lab.pve.props import parse_nic
from pytest_vmnet.lab.pve.seed import network_config

pytest.importorskip("fakepve", reason="the lab extra is not installed")
FAKE = runpy.run_path(str(Path(__file__).parents[1] / "data/pve/fake.py"))


def test_a_linked_clone_may_be_on_the_other_node(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        path = "/nodes/pve1/qemu/9000/clone"
        assert await api.task("POST", path, newid=114, name="vm-4", full=0, target="pve2") == "OK"
        config = await api.call("GET", "/nodes/pve2/qemu/114/config")
        assert config["virtio0"] == "ceph-vm:vm-114-disk-0,size=2G"
        assert "500" in await api.call("GET", "/nodes/pve1/qemu/114/config")
        assert await api.task("POST", "/nodes/pve2/qemu/114/status/start") == "OK"
        assert api.machines.homes == {114: "pve2"}
        assert [(each["name"], each["node"]) for each in read_guests(tmp_path)] == [
            ("vm-4", "pve2")
        ]

    FAKE["serve"](tmp_path, body, site=spec.TWO_NODES)


def test_each_node_tells_its_own_network(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        told = {each["name"]: each for each in await api.call("GET", "/cluster/status")}
        assert told["vmnet"]["nodes"] == 2
        for node in spec.NODES:
            assert told[node.name]["ip"] == node.address
            found = await api.call("GET", f"/nodes/{node.name}/network")
            assert [each["iface"] for each in found] == ["vmbr0", "vmbr1", "enp4s0"]
            assert found[0]["cidr"] == f"{node.address}/24"
            assert found[0]["cidr6"] == f"{node.address6}/64"
            assert (found[0]["bridge_ports"], found[1]["bridge_ports"]) == ("enp4s0", "")

    FAKE["serve"](tmp_path, body, site=spec.TWO_NODES)


def test_one_node_has_no_ipv6(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        found = await api.call("GET", "/nodes/pve1/network")
        assert [each["iface"] for each in found] == ["vmbr0", "enp4s0"]
        assert "cidr6" not in found[0]

    FAKE["serve"](tmp_path, body)


def test_a_start_waits_for_what_a_dead_machine_leaves(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(111, full=0)
        assert await api.task("POST", f"{FAKE['NODE']}/qemu/111/status/start") == "OK"
        # QEMU has ended, and its end is not told yet.
        del api.machines.running[111]
        api.machines.untold.add(111)
        assert await api.task("POST", f"{FAKE['NODE']}/qemu/111/status/start") == "OK"
        assert [call[0] for call in api.machines.calls].count("start") == 2

    FAKE["serve"](tmp_path, body)


class Recorder(Place):
    """A place that notes what is run there."""

    def __init__(self, mtu: int = 1500) -> None:
        super().__init__()
        object.__setattr__(self, "ran", [])
        object.__setattr__(self, "mtu", mtu)

    async def run(self, command: Sequence[str], stdin: str = "") -> str:
        said: list[Any] = self.__dict__["ran"]
        if "-json" in command:
            return f'[{{"mtu": {self.__dict__["mtu"]}}}]'
        said += stdin.splitlines() or [" ".join(command[4:])]
        return ""


def plugged(text: str) -> list[str]:
    place = Recorder(mtu=9000)
    asyncio.run(tap.plug(place, 111, parse_nic(0, text)))
    return list(place.__dict__["ran"])


def test_a_plain_nic_is_a_port_of_its_bridge() -> None:
    assert plugged("virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=0") == [
        "tap111i0",
        "link set dev tap111i0 mtu 9000",
        "link set dev tap111i0 promisc on up",
        "link set dev tap111i0 master vmbr0",
    ]


def test_a_nic_without_a_bridge_is_up() -> None:
    expected = ["tap111i0", "link set dev tap111i0 promisc on up"]
    assert plugged("virtio=BC:24:11:00:00:01,firewall=1") == expected


def test_a_firewall_nic_has_a_bridge_between() -> None:
    ran = plugged("virtio=BC:24:11:00:00:01,bridge=vmbr7,firewall=1")
    assert "link add fwln111i0 mtu 9000 type veth peer name fwpr111p0 mtu 9000" in ran
    ports = [line.split()[3::2] for line in ran if " master " in line]
    assert ports == [["fwpr111p0", "vmbr7"], ["fwln111i0", "fwbr111i0"], ["tap111i0", "fwbr111i0"]]
    # IPv6 is gone from all of them before the first one is up.
    hushed = ran.index("tap111i0 fwbr111i0 fwln111i0 fwpr111p0")
    assert [line for line in ran[:hushed] if line.endswith(" up")] == []


def test_a_place_is_entered_by_its_process() -> None:
    assert Place().argv(["ip", "link"]) == ["ip", "link"]
    assert Place(7).argv(["ip"]) == ["nsenter", "-t", "7", "-n", "-m", "-u", "--", "ip"]


def test_a_bridge_that_is_not_there_is_named() -> None:
    with pytest.raises(LabError, match="bridge 'vmbr-none' does not exist"):
        asyncio.run(Place().mtu_of("vmbr-none"))


def test_the_seed_has_both_families() -> None:
    text = network_config(
        {
            "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
            "ipconfig0": "ip=192.0.2.11/24,ip6=2001:db8:0:2::11/64,gw6=2001:db8:0:2::1",
        }
    )
    for line in ("address: '192.0.2.11'", "type: static6", "address: '2001:db8:0:2::11/64'",
                 "gateway: '2001:db8:0:2::1'"):  # fmt: skip
        assert line in text
