"""The lab's Proxmox API without QEMU: clones, configurations and states of guests."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.lab.pve.guests import read_guests

pytest.importorskip("fakepve", reason="the lab extra is not installed")
FAKE = runpy.run_path(str(Path(__file__).parents[1] / "data/pve/fake.py"))
serve, NODE = FAKE["serve"], FAKE["NODE"]


def test_linked_clone_is_new_in_all_that_must_be_new(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        template = await api.call("GET", f"{NODE}/qemu/9000/config")
        first = await api.clone(111, name="vm-1", full=0)
        second = await api.clone(112, name="vm-2", full=0)
        for key in ("smbios1", "vmgenid", "net0"):
            assert len({config[key] for config in (template, first, second)}) == 3
        assert first["ide2"] == "local-lvm:vm-111-cloudinit,media=cdrom"
        assert first["virtio0"] == "local-lvm:vm-111-disk-0,size=2G"
        disk = ("local-lvm:vm-111-disk-0", "local-lvm:base-9000-disk-0", 2 << 30, False)
        assert ("create", *disk) in api.machines.calls
        assert "template" not in first
        assert [guest["name"] for guest in read_guests(tmp_path)] == ["vm-1", "vm-2"]

    serve(tmp_path, body)


def test_full_clone_copies(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(111, full=1)
        assert [call[4] for call in api.machines.calls if call[0] == "create"] == [True]
        assert await api.task("DELETE", f"{NODE}/qemu/9000") == "OK"

    serve(tmp_path, body)


def test_clone_that_fails_leaves_nothing(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        api.machines.broken = "no space"
        ended = await api.task("POST", f"{NODE}/qemu/9000/clone", newid=111, full=0)
        assert ended == "clone failed: no space"
        api.machines.broken = None
        assert "net0" in await api.clone(111, full=0)

    serve(tmp_path, body)


def test_config_is_stored_the_way_proxmox_writes_it(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(111, full=0)
        path = f"{NODE}/qemu/111/config"
        wanted = {
            "net1": "model=virtio,firewall=0,bridge=vmbr0",
            "cores": "1",
            "memory": 256,
            "onboot": "true",
            "ciupgrade": "0",
            "tags": "B,a",
            "ide2": "local-lvm:cloudinit",
            "cipassword": "hidden",
        }
        assert await api.call("PUT", path, **wanted) is None
        config = await api.call("GET", path)
        assert config["net1"].startswith("virtio=BC:24:11:")
        assert config["net1"].endswith(",bridge=vmbr0,firewall=0")
        numbers = {key: config[key] for key in ("cores", "onboot", "ciupgrade", "memory")}
        assert numbers == {"cores": 1, "onboot": 1, "ciupgrade": 0, "memory": "256"}
        assert config["tags"] == "a;b"
        assert config["ide2"] == "local-lvm:vm-111-cloudinit,media=cdrom"
        pending = await api.call("GET", f"{NODE}/qemu/111/pending")
        assert {"key": "ciupgrade", "value": 0} in pending
        assert "hidden" not in json.dumps([config, pending])
        assert "400" in await api.call("PUT", path, cores="many")
        assert "digest" in config
        assert "500" in await api.call("PUT", path, digest="0" * 40, cores=1)

    serve(tmp_path, body)


def test_deleted_drives(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(111, full=0)
        path = f"{NODE}/qemu/111"
        await api.call("PUT", f"{path}/config", virtio1="local-lvm:1")
        assert ("create", "local-lvm:vm-111-disk-1", None, 1 << 30, False) in api.machines.calls
        await api.call("PUT", f"{path}/config", delete="virtio1,ide2")
        config = await api.call("GET", f"{path}/config")
        assert config["unused0"] == "local-lvm:vm-111-disk-1"
        assert "ide2" not in config
        volumes = await api.call("GET", f"{NODE}/storage/local-lvm/content", vmid=111)
        assert [v["volid"].partition(":")[2] for v in volumes] == [
            "vm-111-disk-0",
            "vm-111-disk-1",
        ]
        assert await api.call("PUT", f"{path}/unlink", idlist="unused0") is None
        assert ("delete", "local-lvm:vm-111-disk-1") in api.machines.calls

    serve(tmp_path, body)


def test_running_guest_keeps_its_nic_until_the_next_start(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        config = await api.clone(111, full=0)
        path = f"{NODE}/qemu/111"
        assert await api.task("POST", f"{path}/status/start") == "OK"
        pulled = config["net0"] + ",link_down=1"
        await api.call("PUT", f"{path}/config", net0=pulled)
        assert ("plug", 111, True, "vmbr0") in api.machines.calls
        assert (await api.call("GET", f"{path}/config", current=1))["net0"] == pulled
        await api.call("PUT", f"{path}/config", net0="virtio,bridge=vmbr0")
        now = await api.call("GET", f"{path}/config", current=1)
        later = await api.call("GET", f"{path}/config")
        assert now["net0"] == pulled != later["net0"]
        assert await api.task("POST", f"{path}/status/reboot") == "OK"
        assert (await api.call("GET", f"{path}/config", current=1))["net0"] == later["net0"]
        starts = [call for call in api.machines.calls if call[0] == "start"]
        assert [call[3] for call in starts] == [config["net0"], later["net0"]]

    serve(tmp_path, body)


def test_status_follows_the_machine(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(111, name="vm-1", full=0)
        path = f"{NODE}/qemu/111/status"
        assert "pid" not in await api.call("GET", f"{path}/current")
        assert await api.task("POST", f"{path}/start") == "OK"
        assert await api.task("POST", f"{path}/start") == "VM 111 already running"
        status = await api.call("GET", f"{path}/current")
        assert (status["status"], status["qmpstatus"], status["pid"]) == (
            "running",
            "paused",
            1111,
        )
        assert status["nics"] == {"tap111i0": {"netin": 20, "netout": 10}}
        assert read_guests(tmp_path)[0]["pid"] == 1111
        await api.machines.stop(111)  # as if it had been killed from outside
        status = await api.call("GET", f"{path}/current")
        assert (status["status"], status["uptime"]) == ("stopped", 0)
        assert read_guests(tmp_path)[0]["status"] == "stopped"

    serve(tmp_path, body)
