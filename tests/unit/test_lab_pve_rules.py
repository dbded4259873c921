"""The lab's Proxmox API without QEMU: what it refuses, and what it says of the node."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fakepve", reason="the lab extra is not installed")
FAKE = runpy.run_path(str(Path(__file__).parents[1] / "data/pve/fake.py"))
serve, NODE = FAKE["serve"], FAKE["NODE"]


def test_start_that_fails_is_the_tasks_error(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(111, full=0)
        api.machines.broken = "bridge 'vmbr9' does not exist"
        ended = await api.task("POST", f"{NODE}/qemu/111/status/start")
        assert ended == "bridge 'vmbr9' does not exist"
        ended = await api.task("POST", f"{NODE}/qemu/9000/status/start")
        assert ended == "you can't start a vm if it's a template"

    serve(tmp_path, body)


def test_destroy_and_what_it_refuses(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(111, full=0)
        path = f"{NODE}/qemu/111"
        base = "base volume 'local-lvm:base-9000-disk-0' is still in use by linked cloned"
        assert await api.call("DELETE", f"{NODE}/qemu/9000") == f"500 {base}"
        await api.call("PUT", f"{path}/config", protection=1)
        refusal = "500 can't remove VM 111 - protection mode enabled"
        assert await api.call("DELETE", path) == refusal
        await api.call("PUT", f"{path}/config", protection=0, lock="backup")
        assert await api.task("DELETE", path) == "VM is locked (backup)"
        assert await api.call("PUT", f"{path}/config", cores=1) == "500 VM is locked (backup)"
        resources = await api.call("GET", "/cluster/resources", type="vm")
        assert [r.get("lock") for r in resources if r["vmid"] == 111] == ["backup"]
        await api.call("PUT", f"{path}/config", delete="lock", skiplock=1)
        await api.task("POST", f"{path}/status/start")
        assert await api.call("DELETE", path) == "500 VM 111 is running - destroy failed"
        await api.task("POST", f"{path}/status/stop")
        # bpg's spelling, with a slash at the end
        assert await api.task("DELETE", f"{path}/") == "OK"
        assert ("remove", 111) in api.machines.calls
        assert "does not exist" in await api.call("GET", f"{path}/config")

    serve(tmp_path, body)


def test_agent_errors_are_proxmoxes(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(111, full=0)
        path = f"{NODE}/qemu/111"
        ping = ("POST", f"{path}/agent/ping")
        assert await api.call(*ping) == "500 VM 111 is not running"
        await api.task("POST", f"{path}/status/start")
        assert await api.call(*ping) == "500 QEMU guest agent is not running"
        await api.call("PUT", f"{path}/config", delete="agent")
        await api.task("POST", f"{path}/status/reboot")
        assert await api.call(*ping) == "500 No QEMU guest agent configured"

    serve(tmp_path, body)


def test_high_availability_is_a_guest_by_guest_matter(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(111, full=0)
        one = "/cluster/ha/resources/vm:111"
        assert await api.call("GET", one) == "500 no such resource 'vm:111'"
        assert await api.call("GET", "/cluster/replication") == []
        await api.call("POST", "/cluster/ha/resources", sid="vm:111", state="stopped")
        assert (await api.call("GET", one))["state"] == "stopped"
        assert "HA resources" in await api.call("DELETE", f"{NODE}/qemu/111")
        assert await api.task("POST", f"{NODE}/qemu/111/status/start") == "OK"
        while 111 not in api.machines.running:
            await asyncio.sleep(0)
        await api.call("DELETE", one)
        assert await api.call("GET", "/cluster/ha/resources") == []

    serve(tmp_path, body)


def test_resize_and_next_id(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(100, full=0)
        assert await api.call("GET", "/cluster/nextid") == "101"
        assert "400" in await api.call("GET", "/cluster/nextid", vmid=100)
        path = f"{NODE}/qemu/100"
        assert await api.task("PUT", f"{path}/resize", disk="virtio0", size="+1G") == "OK"
        assert ("resize", "local-lvm:vm-100-disk-0", 3 << 30) in api.machines.calls
        config = await api.call("GET", f"{path}/config")
        assert config["virtio0"] == "local-lvm:vm-100-disk-0,size=3G"
        shrunk = await api.call("PUT", f"{path}/resize", disk="virtio0", size="1G")
        assert shrunk == "500 shrinking disks is not supported"

    serve(tmp_path, body)


def test_node_and_cluster(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        await api.clone(111, full=0)
        network = await api.call("GET", f"{NODE}/network")
        assert [(i["iface"], i["type"], i.get("active")) for i in network] == [
            ("vmbr0", "bridge", 1),
            ("enp4s0", "eth", None),
        ]
        assert network[0]["bridge_ports"] == "enp4s0"
        assert len(await api.call("GET", f"{NODE}/network", type="bridge")) == 1
        nodes = await api.call("GET", "/cluster/status")
        assert [n["ip"] for n in nodes if n["type"] == "node"] == ["192.0.2.2"]
        netstat = await api.call("GET", f"{NODE}/netstat")
        assert netstat == [{"vmid": "111", "dev": "net0", "in": "20", "out": "10"}]
        assert (await api.call("GET", "/version"))["release"] == "9.1"
        assert (await api.call("GET", f"{NODE}/status"))["memory"]["total"] > 0

    serve(tmp_path, body)


def test_auditor_may_only_look(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        resources = await api.call("GET", "/cluster/resources", type="vm")
        assert [r["vmid"] for r in resources] == [9000]
        refused = await api.call("POST", f"{NODE}/qemu/9000/clone", newid=111)
        assert refused == "403 Permission check failed (/vms/9000, VM.Clone)"
        refused = await api.call("POST", f"{NODE}/qemu/9000/monitor", command="stop")
        assert refused == "403 Permission check failed (/vms/9000, Sys.Modify)"

    serve(tmp_path, body, "auditor@pve!vmnet=look")


def test_strangers_and_nonsense_are_refused(tmp_path: Path) -> None:
    async def body(api: Any) -> None:
        known, api.token = api.token, "root@pam!vmnet=wrong"
        assert await api.call("GET", "/version") == "401 authentication failure"
        ticket = await api.call("POST", "/access/ticket", username="root@pam", password="")
        assert "401" in ticket
        api.token = known
        assert "501" in await api.call("POST", f"{NODE}/qemu/9000/status/dance")
        pretended = await api.call("POST", f"{NODE}/vzdump", vmid="9000")
        assert pretended == "501 POST /nodes/{node}/vzdump is not available in the lab"
        async with api.http.post(
            f"{api.url}/api2/json{NODE}/qemu/9000/clone",
            data=b"{{{",
            headers={
                "Authorization": f"PVEAPIToken={api.token}",
                "Content-Type": "application/json",
            },
        ) as answer:
            assert answer.status == 400
        assert (await api.call("GET", "/version"))["version"].startswith("9.")
        assert api.pve.requests == []

    serve(tmp_path, body)
