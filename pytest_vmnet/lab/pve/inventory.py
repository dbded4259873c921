"""What the API says of the nodes and their guests, read from the nodes and guests themselves."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from pytest_vmnet.lab import spec
from pytest_vmnet.lab.pve.base import USER, Api, PveError, Route, Values, Vm, ok, params, web
from pytest_vmnet.lab.pve.machines import FAILURES
from pytest_vmnet.lab.pve.power import PowerApi
from pytest_vmnet.lab.pve.props import nics
from pytest_vmnet.lab.pve.tap import firewall_devices

QEMU_VERSION = "10.1.2"
_MACHINE = "pc-i440fx-10.1+pve0"


class InventoryApi(PowerApi, Api):
    """Proxmox's calls that tell what there is.

    Attributes:
        site: What the site looks like.
    """

    site: spec.SiteSpec

    def _routes_vmnet_node(self) -> list[Route]:
        node = "/nodes/{node}"
        return [
            ("GET", f"{node}/network", self._network),
            ("GET", f"{node}/network/{{iface}}", self._network_one),
            ("GET", f"{node}/netstat", self._netstat),
            ("GET", f"{node}/status", self._node_status),
            ("GET", f"{node}/sdn/zones/{{zone}}/bridges", self._bridges),
        ]

    def _vm_status(self, vm: Vm, listing: bool = False) -> Values:
        status: Values = super()._vm_status(vm, listing)
        taps = [nic.tap(vm.vmid) for nic in nics(vm.config)]
        seen = self.machines.counters(vm.node) if vm.status == "running" else {}
        moved = {tap: seen[tap] for tap in taps if tap in seen}
        # A tap sends what the guest receives.
        status["netin"] = sum(sent for _, sent in moved.values())
        status["netout"] = sum(received for received, _ in moved.values())
        if vm.status != "running":
            return status
        status["pid"] = self.machines.pid(vm.vmid)
        if not listing:
            status["running-qemu"], status["running-machine"] = QEMU_VERSION, _MACHINE
            status["nics"] = {
                tap: {"netin": sent, "netout": received} for tap, (received, sent) in moved.items()
            }
        return status

    async def _status_current(self, request: web.Request) -> web.Response:
        vm = self._vm(request, "VM.Audit")
        try:
            await self.refresh(vm)
        except FAILURES:
            # It ended while it was asked, or hangs: the last known state is shown.
            await asyncio.sleep(0)
        # Not fakepve's own answer: it adds sample values for what a guest does not have.
        answer: web.Response = ok(self._vm_status(vm))
        return answer

    async def _monitor(self, request: web.Request) -> web.Response:
        vm = self._vm(request)
        values = self._verify(request, await params(request))
        command = str(values["command"]).strip()
        rights = ["Sys.Modify"]
        if command.split(" ")[0] in {"info", "help"}:
            rights = ["Sys.Audit", "Sys.Modify"]
        path = f"/vms/{vm.vmid}"
        if not any(self.allowed(request[USER], path, right) for right in rights):
            raise PveError(403, f"Permission check failed ({path}, {'|'.join(rights)})")
        self._need_running(vm)
        try:
            said = await self.machines.qmp(
                vm.vmid, "human-monitor-command", {"command-line": command}
            )
        except FAILURES as error:
            raise PveError(500, str(error)) from error
        answer: web.Response = ok(str(said))
        return answer

    async def _cluster_status(self, _request: web.Request) -> web.Response:
        cluster = {"type": "cluster", "id": "cluster", "name": "vmnet", "nodes": len(self.nodes),
                   "quorate": int(self.quorate), "version": 1}  # fmt: skip
        nodes = [
            {"type": "node", "id": f"node/{name}", "name": name, "nodeid": number, "level": "",
             "ip": self.site.node(name).address, "online": int(state.get("online", True)),
             "local": int(name == spec.NODE)}
            for number, (name, state) in enumerate(sorted(self.nodes.items()), 1)
        ]  # fmt: skip
        answer: web.Response = ok([cluster, *nodes])
        return answer

    async def _network(self, v: Values, _user: str) -> list[Values]:
        wanted = v.get("type")
        kinds = {"any_bridge": "bridge", "any_local_bridge": "bridge", "include_sdn": "bridge"}
        kind = kinds.get(str(wanted), wanted)
        return [entry for entry in self.interfaces(v["node"]) if kind in {None, entry["type"]}]

    async def _network_one(self, v: Values, _user: str) -> Values:
        for entry in self.interfaces(v["node"]):
            if entry["iface"] == v["iface"]:
                return entry
        raise PveError(500, "interface does not exist")

    def interfaces(self, node: str) -> list[Values]:
        """Return a node's network configuration; what is active is read from the node."""
        there = self.machines.counters(node)
        own, own6 = self.site.node(node).address, self.site.node(node).address6
        bridges: list[Values] = []
        for number, bridge in enumerate(self.site.bridges):
            entry: Values = {
                "iface": bridge, "type": "bridge", "method": "manual", "method6": "manual",
                "families": ["inet"], "priority": 4 + number, "autostart": 1, "bridge_stp": "off",
                "bridge_fd": "0", "bridge_ports": spec.UPLINK if number == 0 else "",
            }  # fmt: skip
            if number == 0:
                entry |= {
                    "method": "static", "address": own, "cidr": f"{own}/{spec.PREFIX_LENGTH}",
                    "netmask": str(spec.PREFIX_LENGTH), "gateway": spec.GATEWAY_ADDRESS,
                }  # fmt: skip
            if number == 0 and self.site.ipv6:
                entry |= {
                    "method6": "static", "address6": own6, "families": ["inet", "inet6"],
                    "cidr6": f"{own6}/{spec.PREFIX_LENGTH6}", "gateway6": spec.GATEWAY_ADDRESS6,
                    "netmask6": spec.PREFIX_LENGTH6,
                }  # fmt: skip
            bridges.append(entry)
        uplink: Values = {"iface": spec.UPLINK, "type": "eth", "method": "manual",
                          "method6": "manual", "families": ["inet"], "priority": 3}  # fmt: skip
        for entry in (*bridges, uplink):
            if entry["iface"] in there:
                entry |= {"active": 1, "exists": 1}
        return [*bridges, uplink]

    async def _netstat(self, v: Values, _user: str) -> list[Values]:
        seen = self.machines.counters(v["node"])
        return [
            {"vmid": str(vm.vmid), "dev": f"net{nic.index}", "in": str(seen[tap][1]),
             "out": str(seen[tap][0])}
            for vm in self.vms for nic in nics(vm.config) if (tap := nic.tap(vm.vmid)) in seen
        ]  # fmt: skip

    async def _bridges(self, v: Values, _user: str) -> list[Values]:
        owners = {}
        for vm in self.vms:
            for nic in nics(vm.config):
                owner: Values = {"vmid": vm.vmid, "index": f"net{nic.index}"}
                owners[nic.tap(vm.vmid)] = owner
                owners[firewall_devices(vm.vmid, nic.index)[2]] = owner
        found: dict[str, list[Values]] = {bridge: [] for bridge in self.site.bridges}
        try:
            links = await self.machines.links(v["node"])
        except FAILURES as error:
            raise PveError(500, str(error)) from error
        for link in links:
            if (master := link.get("master")) in found:
                found[master].append({"name": link["ifname"], **owners.get(link["ifname"], {})})
        return [
            {"name": bridge, "vlan_filtering": "0", "ports": ports}
            for bridge, ports in found.items()
        ]

    async def _node_status(self, _values: Values, _user: str) -> Values:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        total, free = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
        system = os.uname()
        return {
            "uptime": int(time.monotonic()),
            "loadavg": [f"{load:.2f}" for load in os.getloadavg()],
            "cpu": 0.0, "wait": 0.0, "idle": 0,
            "cpuinfo": {"cpus": os.cpu_count(), "cores": os.cpu_count(), "sockets": 1, "mhz": "0",
                        "model": "", "flags": "", "hvm": "0", "user_hz": 100},
            "memory": {"total": total, "free": free, "available": free, "used": total - free},
            "swap": {"total": 0, "free": 0, "used": 0},
            "rootfs": {"total": 64 << 30, "free": 60 << 30, "avail": 60 << 30, "used": 4 << 30},
            "ksm": {"shared": 0},
            "pveversion": f"pve-manager/{self.version}/lab",
            "kversion": f"{system.sysname} {system.release} {system.version}",
            "current-kernel": {"sysname": system.sysname, "release": system.release,
                               "version": system.version, "machine": system.machine},
            "boot-info": {"mode": "legacy-bios"},
        }  # fmt: skip
