"""High availability, replication and backup jobs: none, but for what a client puts under HA."""

from __future__ import annotations

from pytest_vmnet.lab.pve.base import Api, PveError, Route, Values, Vm


class HaApi(Api):
    """Proxmox's ``cluster/ha`` calls, and its lists of jobs."""

    def _routes_vmnet_ha(self) -> list[Route]:
        resources = "/cluster/ha/resources"
        return [
            ("GET", resources, self._ha_list),
            ("POST", resources, self._ha_add),
            ("GET", f"{resources}/{{sid}}", self._ha_read),
            ("PUT", f"{resources}/{{sid}}", self._ha_update),
            ("DELETE", f"{resources}/{{sid}}", self._ha_remove),
            ("GET", "/cluster/ha/status/current", self._ha_status),
            ("GET", "/cluster/ha/rules", self._none),
            ("GET", "/cluster/ha/groups", self._none),
            ("GET", "/cluster/replication", self._none),
            ("GET", "/cluster/backup", self._none),
            ("GET", "/nodes/{node}/replication", self._none),
        ]

    async def _none(self, _values: Values, _user: str) -> list[Values]:
        return []

    def _ha_guest(self, sid: object) -> Vm:
        """Return the guest of a resource id, which must be managed."""
        number = str(sid).removeprefix("vm:")
        vm: Vm | None = self.vm(int(number)) if number.isdigit() else None
        if vm is None or not vm.ha_managed:
            raise PveError(500, f"no such resource 'vm:{number}'")
        return vm

    @staticmethod
    def _ha_view(vm: Vm) -> Values:
        return {"sid": f"vm:{vm.vmid}", "type": "vm", "state": vm.ha_state, "digest": "0" * 40}

    async def _ha_list(self, _values: Values, _user: str) -> list[Values]:
        return [self._ha_view(vm) for vm in self.vms if vm.ha_managed]

    async def _ha_read(self, v: Values, _user: str) -> Values:
        return self._ha_view(self._ha_guest(v["sid"]))

    async def _ha_add(self, v: Values, _user: str) -> None:
        number = str(v["sid"]).removeprefix("vm:")
        vm = self.vm(int(number)) if number.isdigit() else None
        if vm is None:
            raise PveError(500, f"unable to add service '{v['sid']}': no such guest")
        if vm.ha_managed:
            raise PveError(500, f"resource ID 'vm:{number}' already defined")
        vm.ha_state = v.get("state") or "started"

    async def _ha_update(self, v: Values, user: str) -> None:
        vm = self._ha_guest(v["sid"])
        if state := v.get("state"):
            await self._ha_request(vm, user, "started" if state == "enabled" else state)

    async def _ha_remove(self, v: Values, _user: str) -> None:
        self._ha_guest(v["sid"]).ha_state = None

    async def _ha_status(self, _values: Values, _user: str) -> list[Values]:
        quorum = {"id": "quorum", "type": "quorum", "node": sorted(self.nodes)[0], "status": "OK",
                  "quorate": 1}  # fmt: skip
        services = [
            {"id": f"service:vm:{vm.vmid}", "type": "service", "sid": f"vm:{vm.vmid}",
             "node": vm.node, "state": vm.ha_state, "status": f"vm:{vm.vmid} ({vm.node})"}
            for vm in self.vms if vm.ha_managed
        ]  # fmt: skip
        return [quorum, *services]
