"""A Proxmox site without machines, for gates that run in a process of their own."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import re
import runpy
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet import plugin_run
from pytest_vmnet.lab.agent import AgentError

assert plugin_run  # a run in this process must find numpy loaded: it cannot be loaded twice

_FAMILIES = ("VMNET_", "PROXMOX_", "PM_", "SSL_CERT_FILE", "PYTEST_ADDOPTS", "PYTEST_XDIST")
_ROUTE = json.dumps([{"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"}])
TOKEN = "root@pam!vmnet=s3cret"
AUDITOR = "auditor@pve!vmnet=look"


def _frame(token: str, name: str, data: str) -> str:
    return f"@@{token} {name} {len(data)}\n{data}\n"


def play(script: str, lost: frozenset[str], says: str = "") -> str:
    """Return what a guest's script would print on a network that loses all to *lost*."""
    token = re.search(r"(?m)^T=(\w+)$", script)
    if token is None:
        return f"{_ROUTE}\n@@\n"
    said = ""
    for line in script.splitlines():
        found = re.search(r" -c (\d+) .* (\S+) >ping\.(\d+)", line)
        if found is None:
            continue
        count, address, number = int(found[1]), found[2], found[3]
        answers = "" if address in lost else "".join(
            f"64 bytes from {address}: icmp_seq={n} ttl=64 time=0.2 ms\n"
            for n in range(1, count + 1)
        )  # fmt: skip
        received = answers.count("\n")
        summary = f"{count} packets transmitted, {received} received, 0% packet loss"
        text = f"{says}\n{answers}\n{summary}\n"
        said += _frame(token[1], f"ping.{number}", text)
    return said + _frame(token[1], "ifname", "eth0") + _frame(token[1], "neigh", "[]")


class FakeAgent:
    """A guest's agent that has no guest.

    Attributes:
        mode: answer (but to no probe's script), probe (to that too), absent, mute, hang, busy,
            refuse.
        lost: Addresses that no probe gets an answer from.
        says: What its ping says beside its answers.
    """

    def __init__(self, vmid: int) -> None:
        self.vmid = vmid
        self.mode = "answer"
        self.calls: list[str] = []
        self.lost: frozenset[str] = frozenset()
        self.says = ""
        self._script = ""

    def ping(self) -> bool:
        if self.mode == "hang":
            threading.Event().wait(0.3)
        return self.mode not in {"absent", "hang"}

    def call(self, command: str, arguments: Any = None, *, timeout_s: float = 5) -> object:
        del timeout_s
        self.calls.append(command)
        if command == "guest-network-get-interfaces":
            address = {
                "ip-address-type": "ipv4",
                "ip-address": f"192.0.2.{self.vmid - 100}",
                "prefix": 24,
            }
            mac = f"bc:24:11:00:00:{self.vmid - 100:02x}"
            return [{"name": "eth0", "hardware-address": mac, "ip-addresses": [address]}]
        if self.mode == "refuse":
            raise AgentError(f"Command {command} has been disabled")
        if command == "guest-exec":
            self._script = base64.b64decode(arguments.get("input-data", "")).decode()
            return {"pid": 7}
        if command == "guest-exec-status":
            if self.mode == "busy" and self.calls.count("guest-exec") == 2:
                return {"exited": len(self.calls) > 10}
            said = "" if self.mode == "mute" else f"{_ROUTE}\n@@\n"
            if self.mode == "probe":
                said = play(self._script, self.lost, self.says)
            data = base64.b64encode(said.encode()).decode()
            return {"exited": True, "exitcode": 0, "out-data": data}
        raise AgentError(f"Command {command} not found")


class Site:
    """The API of a node with two guests, and gates that are pointed at it.

    Attributes:
        pve: The API; its ``requests`` are what was asked.
        ca: The CA of its certificate.
        agents: The guests' agents by VMID.
    """

    def __init__(self, pve: Any, ca: Path, agents: dict[int, FakeAgent], run: Any) -> None:
        self.pve = pve
        self.ca = ca
        self.agents = agents
        self._run = run
        for vmid in (111, 112):
            self.add_guest(vmid, f"vm-{vmid - 110}")

    def add_guest(self, vmid: int, name: str, **config: object) -> Any:
        net = f"virtio=BC:24:11:00:00:{vmid - 100:02X},bridge=vmbr0"
        known = {"net0": net, "agent": "1", "ipconfig0": f"ip=192.0.2.{vmid - 100}/24", **config}
        wanted = {key: value for key, value in known.items() if value is not None}
        status = str(wanted.pop("status", "running"))
        self.agents[vmid] = FakeAgent(vmid)
        return self.pve.add_vm(vmid, name, status=status, config=wanted)

    @property
    def asked(self) -> set[tuple[str, str]]:
        """Method and path of every request so far."""
        prefix = "/api2/json"
        return {(method, path.removeprefix(prefix)) for method, path, _ in self.pve.requests}

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PROXMOX_VE_ENDPOINT": self.pve.url,
            "PROXMOX_VE_API_TOKEN": TOKEN,
            "VMNET_PROXMOX_CA": str(self.ca),
            "VMNET_PROXMOX_SSH": "none",
            "VMNET_INBOUND": "off",
            "VMNET_WAIT": "0",
            "VMNET_COUNT": "5",
            "VMNET_INTERVAL": "0.01",
        }

    def gate(self, *args: object, env: Mapping[str, str] | None = None, **how: bool) -> Any:
        """Run a gate on node pve1; *env* changes its environment, *how* is `run`'s."""
        environment = {**self.environment, **(env or {})}
        return self._run("--proxmox-node", "pve1", *args, env=environment, **how)


Run = Callable[..., Any]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest with an environment that holds only what the test puts there.

    Most runs are in this process, which saves them a second of imports each; *apart* gives a run
    one of its own.
    """
    for name in list(os.environ):
        if name.startswith(_FAMILIES):
            monkeypatch.delenv(name)

    def start(
        *args: object,
        env: Mapping[str, str] | None = None,
        apart: bool = False,
        may_break: bool = False,
    ) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            words = ("-p", "no:cacheprovider", *args)
            if apart:
                result = pytester.runpytest_subprocess(*words, timeout=60)
            else:
                result = pytester.runpytest_inprocess(*words)
        shown = result.stdout.str() + result.stderr.str()
        assert may_break or "Traceback (most recent call" not in shown
        assert may_break or "INTERNALERROR" not in shown
        assert "s3cret" not in shown
        return result

    return start


@pytest.fixture
def written() -> Callable[[str], Any]:
    """Read a JSON report that a run has written."""
    return lambda name: json.loads(Path(name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def fake() -> dict[str, Any]:
    pytest.importorskip("fakepve", reason="the lab extra is not installed")
    return runpy.run_path(str(Path(__file__).parents[1] / "data/pve/fake.py"))


@pytest.fixture(scope="session")
def certificates(fake: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - TLS compares it with the clock
    return fake["make_certificates"](tmp_path_factory.mktemp("tls"), ["127.0.0.1"], now)


async def _end(pve: Any) -> None:
    """End the API and every connection to it; a client that keeps one open is not waited for."""
    for connection in pve.runner.server.connections:
        if connection.transport is not None:
            connection.transport.abort()
    await pve.stop()
    await asyncio.sleep(0)


@pytest.fixture
def site(fake: dict[str, Any], certificates: Any, tmp_path: Path, run: Run) -> Iterator[Site]:
    """A site of vm-1 and vm-2 on pve1; its API is served by a thread of this process."""
    agents: dict[int, FakeAgent] = {}

    class Machines(fake["FakeMachines"]):  # type: ignore[misc]
        async def qmp(self, *_: object) -> object:
            return {"status": "running"}

        def agent(self, vmid: int) -> FakeAgent:
            return agents[vmid]

        def pid(self, vmid: int) -> int:
            return 1000 + vmid

    pve = fake["LabPve"](Machines(tmp_path), tmp_path, host="127.0.0.1", port=0)
    pve.max_requests = 10_000
    pve.add_token("root@pam!vmnet", "s3cret")
    pve.add_token("auditor@pve!vmnet", "look", fake["AUDITOR_PRIVILEGES"])
    pve.add_token("nobody@pve!vmnet", "nothing", ())
    pve.add_template(2 << 30, memory_mib=192)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(20)

    try:
        wait(pve.start(str(certificates.certificate), str(certificates.key)))
        yield Site(pve, certificates.ca, agents, run)
    finally:
        wait(_end(pve))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
