"""The API of a small cluster as discovery asks it, and a clock that does not wait."""

from __future__ import annotations

from types import SimpleNamespace

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.proxmox import AgentResult
from pytest_vmnet.errors import ProxmoxError
from pytest_vmnet.probes.site import Selection, discover

MAC = "bc:24:11:00:01:0b"


def row(vmid: int = 111, **more):
    usual = {
        "vmid": vmid, "name": f"vm-{vmid - 110}", "node": "pve1", "type": "qemu",
        "status": "running", "tags": "vmnet-rebuild;web",
    }  # fmt: skip
    return usual | more


class FakeProxmox:
    """The API of a small cluster; every path that is not asked for here is an error."""

    endpoint = SimpleNamespace(user="vmnet@pve", token_name="gate")

    def __init__(self, *rows, config=None, status=None, agent=None, routes="[]") -> None:
        self.rows = list(rows) or [row()]
        self.answers = {
            "nodes": [
                {"node": "pve1", "status": "online"},
                {"node": "pve2", "status": "offline"},
            ],
            "cluster/status": [
                {"type": "cluster", "name": "c"},
                {"type": "node", "name": "pve1", "ip": "192.0.2.2"},
            ],
            "nodes/pve1/network": [
                {"iface": "vmbr1", "type": "bridge", "bridge_ports": ""},
                {"iface": "enp4s0", "type": "eth"},
                {"iface": "vmbr0", "type": "bridge", "bridge_ports": "enp4s0", "mtu": "1500",
                 "cidr": "192.0.2.2/24", "bridge_vlan_aware": 1},
            ],
        }  # fmt: skip
        self.config = {
            "net0": f"virtio={MAC.upper()},bridge=vmbr0",
            "agent": "1",
            "ipconfig0": "ip=192.0.2.11/24,gw=192.0.2.1",
            "smbios1": "uuid=5ec4",
            "nameserver": "192.0.2.1 9.9.9.9",
        } | (config or {})
        self.status = {"pid": 4711, "qmpstatus": "running"} | (status or {})
        self.said = agent
        self.routes = routes
        self.asked: list[str] = []

    def get(self, path: str, **params):
        if path == "cluster/resources":
            assert params == {"type": "vm"}
            return self.rows
        if path.endswith("/config"):
            assert params == {"current": 1}
        answer = self.answers.get(path)
        if answer is None and path.startswith("nodes/pve1/qemu/"):
            answer = {"config": self.config, "current": self.status}[path.rpartition("/")[2]]
        if isinstance(answer, ProxmoxError):
            raise answer
        return answer

    def agent(self, _node, vmid, verb):
        assert verb == "network-get-interfaces"
        self.asked.append(f"agent {vmid}")
        answer = self.said(len(self.asked)) if callable(self.said) else self.said
        if answer is None:
            raise ProxmoxError(
                "GET", "agent", status=500, reason="QEMU guest agent is not running"
            )
        return answer

    def agent_exec(self, _node, vmid, argv):
        self.asked.append(f"exec {vmid}")
        assert argv[:2] == ["/bin/sh", "-c"]
        return AgentResult(0, self.routes.encode(), b"", truncated=False)


def interfaces(*addresses: str, mac: str = MAC):
    rows = [
        {"ip-address-type": "ipv4", "ip-address": a.split("/")[0], "prefix": int(a.split("/")[1])}
        for a in addresses
    ]
    other = {"hardware-address": "00:00:00:00:00:00", "ip-addresses": [
        {"ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8}]}  # fmt: skip
    six = {"ip-address-type": "ipv6", "ip-address": "fe80::1", "prefix": 64}
    return {"result": [other, {"hardware-address": mac.upper(), "ip-addresses": [six, *rows]}]}


def look(proxmox, *, nodes=("pve1",), patterns=(), **more):
    seconds = [0.0]

    def sleep(wait: float) -> None:
        seconds[0] += wait

    clock = Clock(monotonic=lambda: seconds[0], sleep=sleep)
    selection = Selection(nodes=nodes, patterns=patterns, **{"wait_s": 3.0, **more})
    site = discover(proxmox, selection, clock=clock, progress=lambda _line: None)
    return site, seconds[0]
