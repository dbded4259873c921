"""A guest's configuration: stored the way Proxmox writes it, applied where a running guest can."""

from __future__ import annotations

import re
import uuid

from pytest_vmnet.lab.pve.base import (
    DRIVE_KEY,
    USER,
    Api,
    PveError,
    TaskError,
    Values,
    Vm,
    drives_of,
    is_cdrom,
    ok,
    params,
    split_drive,
    web,
    with_mac,
)
from pytest_vmnet.lab.pve.machines import FAILURES
from pytest_vmnet.lab.pve.props import Nic, is_cloudinit, is_on, normal_tags, parse_nic

_NOT_CONFIG = ("node", "vmid", "background_delay", "force")
_MASKED = "**********"


class ConfigApi(Api):
    """Proxmox's ``config`` and ``pending`` calls."""

    async def _config_get(self, request: web.Request) -> web.Response:
        vm = self._vm(request, "VM.Audit")
        values = dict(vm.config)
        if not is_on(request.query.get("current")):
            for key, value in vm.pending.items():
                values.pop(key, None)
                if value is not None:
                    values[key] = value
        values = shown(values)
        values["digest"] = vm.digest()
        return _ok(values)

    async def _pending(self, request: web.Request) -> web.Response:
        vm = self._vm(request, "VM.Audit")
        now, later = shown(vm.config), shown(vm.pending)
        items = []
        for key in sorted(now.keys() | later.keys()):
            item: Values = {"key": key}
            if key in now:
                item["value"] = now[key]
            if key in later and later[key] is None:
                item["delete"] = 1
            elif key in later:
                item["pending"] = later[key]
            items.append(item)
        return _ok(items)

    async def _config_put(self, request: web.Request) -> web.Response:
        values = self._verify(request, await params(request))
        await self._apply_config(self._vm(request), request[USER], values)
        return _ok(None)

    async def _config_post(self, request: web.Request) -> web.Response:
        values = self._verify(request, await params(request))
        vm, user = self._vm(request), request[USER]
        self.need_quorum()

        async def body() -> None:
            await self._apply_config(vm, user, values)

        return _ok(await self.task(vm.node, "qmconfig", vm.vmid, user, body))

    async def _apply_config(self, vm: Vm, user: str, p: Values) -> None:
        updates = {key: value for key, value in p.items() if key not in _NOT_CONFIG}
        for key in str(updates.pop("revert", "")).replace(",", " ").split():
            vm.pending.pop(key, None)
        skip = is_on(updates.get("skiplock"))
        if skip and user.split("!", maxsplit=1)[0] != "root@pam":
            problem = {"skiplock": "Only root may use this option."}
            raise PveError(400, "Parameter verification failed.", problem)
        lock = vm.lock
        if skip:
            vm.lock = None
        before = dict(vm.config)
        try:
            self._normalise(vm, updates)
            await super()._apply_config(vm, user, updates)
        except TaskError as error:
            raise PveError(500, str(error)) from error
        finally:
            if skip:
                vm.lock = lock
        vm.lock = vm.config.get("lock")
        try:
            await self._follow(vm, before)
        except FAILURES as error:
            raise PveError(500, str(error)) from error
        self.guest_changed(vm)

    def _normalise(self, vm: Vm, updates: Values) -> None:
        """Rewrite *updates* in place as Proxmox would store them, new disks allocated."""
        for key, value in updates.items():
            if re.fullmatch(r"net\d+", key):
                updates[key] = with_mac(value)
            elif DRIVE_KEY.match(key):
                updates[key] = self._drive(vm, key, value)
            elif key == "tags":
                updates[key] = normal_tags(value)
            elif key == "vmgenid" and str(value) == "1":
                updates[key] = str(uuid.uuid4())

    def _drive(self, vm: Vm, key: str, value: object) -> str:
        volume, _ = split_drive(value)
        if is_cloudinit(volume):
            storage = volume.partition(":")[0]
            own = f"{storage}:vm-{vm.vmid}-cloudinit"
            if self._qm_volume(own) is None:
                store = self._store(storage)
                store.setdefault("volumes", {})[f"vm-{vm.vmid}-cloudinit"] = {
                    "content": "images", "format": "raw", "size": 4 << 20, "vmid": vm.vmid,
                }  # fmt: skip
            return f"{own},media=cdrom"
        return str(self._qm_new_drive(vm.vmid, key, value, None)[0])

    async def _follow(self, vm: Vm, before: Values) -> None:
        """Do what a change of the configuration brings along."""
        if vm.status == "running":
            for key in [key for key in vm.pending if re.fullmatch(r"net\d+", key)]:
                if vm.pending[key] is not None and key in vm.config:
                    await self._rewire(vm, key)
            return
        await self.ceph_io(vm)
        used = {volume for _, volume, _ in drives_of(vm.config)}
        for key, volume, props in drives_of(before):
            if volume in used or key in vm.config:
                continue
            if is_cdrom(volume, props):
                if is_cloudinit(volume):
                    self._qm_free(volume)
            else:
                number = next(n for n in range(256) if f"unused{n}" not in vm.config)
                vm.config[f"unused{number}"] = volume

    async def _rewire(self, vm: Vm, key: str) -> None:
        """Apply a pending NIC at once if only its wiring differs, not its device."""
        index = int(key[3:])
        now, wanted = (parse_nic(index, values[key]) for values in (vm.config, vm.pending))
        if _device(now) != _device(wanted):
            return
        await self.machines.plug(vm.vmid, wanted)
        vm.config[key] = vm.pending.pop(key)


def _device(nic: Nic) -> tuple[object, ...]:
    return nic.model, nic.mac, nic.mtu, nic.queues


def shown(config: Values) -> Values:
    """Return a configuration as the API shows it: passwords masked.

    Numbers are numbers and ``memory`` is a string since the schema coerced them when they came.
    """
    values = dict(config)
    if values.get("cipassword") is not None:
        values["cipassword"] = _MASKED
    return values


def _ok(data: object) -> web.Response:
    answer: web.Response = ok(data)
    return answer
