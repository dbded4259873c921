"""Create, clone, destroy, resize: the calls that make and remove a guest and its disks."""

from __future__ import annotations

import re

from pytest_vmnet.lab.pve.base import Api, PveError, Route, Values, drives_of, join_drive
from pytest_vmnet.lab.pve.machines import FAILURES
from pytest_vmnet.lab.pve.props import is_on, normal_tags

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class DiskApi(Api):
    """Proxmox's calls that make and remove guests."""

    def _routes_vmnet_disks(self) -> list[Route]:
        one = "/nodes/{node}/qemu/{vmid}"
        return [
            ("PUT", f"{one}/resize", self._resize),
            ("PUT", f"{one}/unlink", self._unlink),
            ("GET", "/cluster/nextid", self._next_id),
        ]

    def _qm_can_snapshot(self, _config: Values) -> bool:
        return False

    async def _qm_create(self, v: Values, user: str) -> object:
        start = is_on(v.pop("start", 0))
        if v.get("tags"):
            v["tags"] = normal_tags(v["tags"])
        upid = await super()._qm_create(v, user)
        if start:
            await self._started_after(int(v["vmid"]), user)
        return upid

    async def _started_after(self, vmid: int, user: str) -> None:
        """Start a new guest once the task that creates it has let go of its lock."""
        if vm := self.vm(vmid):

            async def body() -> None:
                await self.start_machine(vm)

            await self.task(vm.node, "qmstart", vmid, user, body, vm=vm)

    async def _qm_clone(self, v: Values, user: str) -> object:
        source, newid = self.find(v["node"], v["vmid"]), int(v["newid"])
        if self.vm(newid) is None:
            full = is_on(v["full"]) if v.get("full") is not None else not source.template
            self.clone_sources[newid] = (source, full)
        try:
            return await super()._qm_clone(v, user)
        except PveError:
            if self.vm(newid) is None:
                self.clone_sources.pop(newid, None)
            raise

    async def _qm_destroy(self, v: Values, user: str) -> object:
        vm = self.find(v["node"], v["vmid"])
        if vm.vmid in self.linked_to.values():
            used = next(volume for _, volume, _ in drives_of(vm.config, skip_cdrom=True))
            raise PveError(500, f"base volume '{used}' is still in use by linked cloned")
        return await super()._qm_destroy(v, user)

    async def _resize(self, v: Values, user: str) -> object:
        vm, key = self.find(v["node"], v["vmid"]), v["disk"]
        self.need_quorum()
        self._check_lock(vm)
        found = {drive: (volume, props) for drive, volume, props in drives_of(vm.config)}
        if key not in found:
            raise PveError(500, f"disk '{key}' does not exist")
        volume, props = found[key]
        record = self._qm_volume(volume) or {}
        old = int(record.get("size") or 0)
        match = re.fullmatch(r"(\+?)(\d+(?:\.\d+)?)([KMGT]?)", str(v["size"]))
        if match is None:
            raise PveError(400, "Parameter verification failed.", {"size": "invalid size"})
        new = int(float(match[2]) * _UNITS[match[3]]) + (old if match[1] else 0)
        if new < old:
            raise PveError(500, "shrinking disks is not supported")

        async def body() -> None:
            if new > old and vm.status == "running":
                block = {"device": f"drive-{key}", "size": new}
                await self.machines.qmp(vm.vmid, "block_resize", block)
            elif new > old:
                await self.machines.resize_disk(volume, new)
            record["size"] = new
            vm.config[key] = join_drive(volume, {**props, "size": size_text(new)})

        return await self.task(vm.node, "resize", vm.vmid, user, body, vm=vm)

    async def _unlink(self, v: Values, _user: str) -> None:
        vm = self.find(v["node"], v["vmid"])
        self._check_lock(vm)
        for key in str(v["idlist"]).replace(",", " ").split():
            volume = str(vm.config.get(key, "")).split(",")[0]
            if not key.startswith("unused") or not volume:
                raise PveError(500, f"{key}: the lab unlinks unused disks only")
            vm.config.pop(key)
            self._qm_free(volume)
            try:
                await self.machines.delete_disk(volume)
            except FAILURES as error:
                raise PveError(500, str(error)) from error

    async def _next_id(self, v: Values, _user: str) -> str:
        wanted = v.get("vmid")
        if wanted is not None and self._qm_taken(int(wanted)):
            raise PveError(
                400, "Parameter verification failed.", {"vmid": f"VM {wanted} already exists"}
            )
        free = (vmid for vmid in range(100, 1_000_000) if not self._qm_taken(vmid))
        return str(wanted if wanted is not None else next(free))


def size_text(size: int) -> str:
    """Return a disk's size as Proxmox writes it, in the largest unit that divides it.

    >>> size_text(2 << 30)
    '2G'
    """
    for unit in "TGMK":
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
