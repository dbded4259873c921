"""The lab's Proxmox API over machines that are no machines, and a client of it."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.agent import Agent
from pytest_vmnet.lab.pve.certificate import make_certificates
from pytest_vmnet.lab.pve.props import Nic
from pytest_vmnet.lab.pve.server import AUDITOR, AUDITOR_PRIVILEGES, LabPve

TOKEN = "root@pam!vmnet"
NODE = "/nodes/pve1"


class FakeMachines:
    """Machines that start at once, remember what was asked and break on demand."""

    def __init__(self, run_dir: Path) -> None:
        self.on_exit: Callable[[int], None] = lambda _vmid: None
        self.calls: list[tuple[object, ...]] = []
        self.running: dict[int, int] = {}
        self.homes: dict[int, str] = {}
        self.untold: set[int] = set()
        self.broken: str | None = None
        self._run_dir = run_dir

    async def start(
        self,
        vmid: int,
        name: str,
        config: Mapping[str, object],
        disks: Sequence[tuple[str, str]],
        *,
        node: str,
    ) -> None:
        if self.broken:
            raise LabError(self.broken)
        self.homes[vmid] = node
        self.calls.append(("start", vmid, name, config["net0"], tuple(disks)))
        self.running[vmid] = 1000 + vmid

    async def stop(self, vmid: int) -> None:
        if self.running.pop(vmid, None):
            self.on_exit(vmid)

    async def powerdown(self, vmid: int) -> None:
        self.calls.append(("powerdown", vmid))

    async def wait_stopped(self, vmid: int, _timeout_s: float) -> bool:
        if vmid in self.untold:
            self.untold.remove(vmid)
            self.on_exit(vmid)
        await self.stop(vmid)
        return True

    async def qmp(self, vmid: int, command: str, _arguments: Mapping[str, object]) -> object:
        self.calls.append(("qmp", vmid, command))
        return {"status": "paused"} if command == "query-status" else ""

    async def plug(self, vmid: int, nic: Nic) -> None:
        self.calls.append(("plug", vmid, nic.link_down, nic.bridge))

    async def create_disk(self, volume: str, source: str | None, size: int, *, full: bool) -> None:
        if self.broken:
            raise LabError(self.broken)
        self.calls.append(("create", volume, source, size, full))
        (self._run_dir / "guests" / volume.split("-")[2]).mkdir(parents=True, exist_ok=True)

    async def resize_disk(self, volume: str, size: int) -> None:
        self.calls.append(("resize", volume, size))

    async def delete_disk(self, volume: str) -> None:
        self.calls.append(("delete", volume))

    async def remove(self, vmid: int) -> None:
        self.calls.append(("remove", vmid))

    def pid(self, vmid: int) -> int | None:
        return self.running.get(vmid)

    def agent(self, vmid: int) -> Agent:
        return Agent(self._run_dir / "guests" / str(vmid) / "qga.sock", timeout_s=0.2)

    async def links(self, _node: str) -> list[dict[str, Any]]:
        return []

    def counters(self, _node: str) -> Mapping[str, tuple[int, int]]:
        return {"vmbr0": (0, 0), "tap111i0": (10, 20)}


class Client:
    """A client of the API with one token."""

    def __init__(self, http: Any, url: str, token: str, machines: FakeMachines, pve: Any) -> None:
        self.http, self.url, self.token = http, url, token
        self.machines = machines
        self.pve = pve

    async def call(self, method: str, path: str, **data: object) -> Any:
        """Return the answer's data, or ``"500 reason"``."""
        what = {"params": data} if method == "GET" else {"data": data}
        headers = {"Authorization": f"PVEAPIToken={self.token}"}
        url = f"{self.url}/api2/json{path}"
        async with self.http.request(method, url, headers=headers, **what) as answer:
            if answer.status >= 400:
                return f"{answer.status} {answer.reason}"
            return (await answer.json())["data"]

    async def task(self, method: str, path: str, **data: object) -> str:
        """Return how the task ended that the call starts, or why there is none."""
        upid = str(await self.call(method, path, **data))
        while upid.startswith("UPID"):
            status = await self.call("GET", f"/nodes/{upid.split(':')[1]}/tasks/{upid}/status")
            if status["status"] == "stopped":
                return str(status["exitstatus"])
            await asyncio.sleep(0)
        return upid

    async def clone(self, vmid: int, **data: object) -> Any:
        ended = await self.task("POST", f"{NODE}/qemu/9000/clone", newid=vmid, **data)
        assert ended == "OK"
        return await self.call("GET", f"{NODE}/qemu/{vmid}/config")


def serve(
    tmp_path: Path,
    body: Callable[[Client], Awaitable[None]],
    token: str = "",
    site: spec.SiteSpec = spec.ONE_NODE,
) -> None:
    """Run *body* with a client of an API in *tmp_path*."""

    async def run() -> None:
        machines = FakeMachines(tmp_path)
        pve = LabPve(machines, tmp_path, host="127.0.0.1", port=0, site=site)
        pve.add_token(TOKEN, "s3cret")
        pve.add_token(f"{AUDITOR}!vmnet", "look", AUDITOR_PRIVILEGES)
        pve.add_template(2 << 30, memory_mib=192)
        now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - TLS compares it with the clock
        made = make_certificates(tmp_path, ["127.0.0.1"], now)
        await pve.start(str(made.certificate), str(made.key))
        context = ssl.create_default_context(cafile=made.ca)
        connector = aiohttp.TCPConnector(ssl=context)
        try:
            async with aiohttp.ClientSession(connector=connector) as http:
                full = token or f"{TOKEN}=s3cret"
                await body(Client(http, pve.url, full, machines, pve))
        finally:
            await pve.stop()

    asyncio.run(run())
