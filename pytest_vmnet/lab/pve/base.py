"""The one door to fakepve and aiohttp: their names, and the fake that the lab's API builds on.

fakepve answers in memory. `Api` gives it machines: its tasks may fail with a machine's error, and
the disks that its configurations speak of exist.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from aiohttp import web
from fakepve import schema
from fakepve.model import FakeVm, PveError, TaskError
from fakepve.qemu import (
    DRIVE_KEY,
    drives_of,
    is_cdrom,
    join_drive,
    split_drive,
    with_mac,
)
from fakepve.server import USER, FakePve, ok, params

from pytest_vmnet.lab.pve.machines import FAILURES, Machines
from pytest_vmnet.lab.pve.props import is_cloudinit, own_cloudinit

__all__ = [
    "DRIVE_KEY",
    "USER",
    "Api",
    "FakeVm",
    "Match",
    "PveError",
    "Route",
    "TaskError",
    "Values",
    "Vm",
    "drives_of",
    "is_cdrom",
    "join_drive",
    "ok",
    "params",
    "schema",
    "split_drive",
    "web",
    "with_mac",
]

log = logging.getLogger(__name__)

Values = dict[str, Any]
"""A request's parameters, checked and coerced by Proxmox's schema; or a part of an answer."""

Route = tuple[str, str, Callable[[Values, str], Awaitable[object]]]
"""Method, path template of the schema, handler of values and user."""

_TASKS_KEPT = 2000


class Match(Protocol):
    """A request's place in Proxmox's schema.

    Attributes:
        template: Its path, for example ``/nodes/{node}/qemu/{vmid}``.
    """

    template: str


class Vm(Protocol):
    """A guest as fakepve keeps it."""

    vmid: int
    name: str
    node: str
    status: str
    qmpstatus: str
    config: Values
    pending: Values
    template: bool
    lock: str | None
    pool: str | None
    stats: Values
    started_at: float | None
    ha_state: str | None
    ha_managed: bool

    def apply_pending(self) -> None:
        """Move what is pending into the configuration."""


class Api(FakePve):  # type: ignore[misc] # fakepve is untyped
    """fakepve whose guests have machines.

    Args:
        machines: What runs the guests.
        host: Address to listen on.
        port: Port to listen on; 0 for any.
    """

    def __init__(self, machines: Machines, *, host: str, port: int) -> None:
        super().__init__(host=host, port=port)
        self.machines = machines
        self.time_scale = 1.0
        self.max_requests = 0
        self.clone_sources: dict[int, tuple[Vm, bool]] = {}
        self.linked_to: dict[int, int] = {}
        machines.on_exit = self.machine_ended

    def machine_ended(self, vmid: int) -> None:
        """Note that a guest's machine has ended."""
        if vm := self.vm(vmid):
            vm.status = vm.qmpstatus = "stopped"
            vm.started_at = None
            self.guest_changed(vm)

    def guest_changed(self, vm: Vm) -> None:
        """Hook: a guest's state or configuration is not what it was."""

    async def start_machine(self, vm: Vm) -> None:
        """Start a guest's machine with its configuration, the pending part included."""
        vm.apply_pending()
        await self.ceph_io(vm)
        disks = [(key, volume) for key, volume, _ in drives_of(vm.config, skip_cdrom=True)]
        root = str(vm.config.get("boot", "")).partition("order=")[2].split(";")[0]
        disks.sort(key=lambda disk: disk[0] != root)
        vm.name = str(vm.config.get("name") or vm.name)
        await self.machines.start(vm.vmid, vm.name, vm.config, disks, node=vm.node)
        vm.status = vm.qmpstatus = "running"
        vm.started_at = time.time()
        self.guest_changed(vm)

    async def task(  # noqa: PLR0917 - fakepve's signature
        self,
        node: str,
        ttype: str,
        tid: object,
        user: str,
        body: Callable[[], Awaitable[str | None]],
        vm: Vm | None = None,
        lock: bool = True,
        log: Sequence[str] = (),
    ) -> str:
        """Start a task whose *body* may fail in any way: its end then says why."""

        async def guarded() -> str | None:
            try:
                note = await body()
                if ttype == "qmdestroy":
                    await self.forget(int(str(tid)))
            except PveError as error:
                raise TaskError(error.message) from error
            except TaskError:
                raise
            except FAILURES as error:
                raise TaskError(str(error)) from error
            except Exception as error:
                logging.getLogger(__name__).exception("task %s %s", ttype, tid)
                raise TaskError("internal error") from error
            finally:
                if vm is not None:
                    self.guest_changed(vm)
            return note

        del self.tasklog[:-_TASKS_KEPT]
        for upid in list(self.tasks)[:-_TASKS_KEPT]:
            del self.tasks[upid]
        upid = await super().task(node, ttype, tid, user, guarded, vm=vm, lock=lock, log=log)
        return str(upid)

    async def forget(self, vmid: int) -> None:
        """Remove what is left of a destroyed guest."""
        self.linked_to.pop(vmid, None)
        self.clone_sources.pop(vmid, None)
        await self.machines.remove(vmid)

    async def ceph_io(self, vm: Vm, keys: Sequence[str] | None = None) -> None:
        """Make the disks that a configuration names and that do not exist yet.

        fakepve awaits this wherever a guest's disks are about to be used, clone and create
        included, and rolls back when it fails.
        """
        await super().ceph_io(vm, keys)
        source, full = self.clone_sources.pop(vm.vmid, (None, False))
        for key in [key for key in vm.config if DRIVE_KEY.match(key)]:
            if is_cloudinit(vm.config[key]):
                vm.config[key] = own_cloudinit(vm.vmid, vm.config[key])
            volume, props = split_drive(vm.config[key])
            if is_cdrom(volume, props):
                continue
            record = self._qm_volume(volume)
            if record is None or record.get("made"):
                continue
            origins = source.config if source is not None else {}
            origin = split_drive(origins[key])[0] if key in origins else None
            await self._make(volume, origin, int(record.get("size") or 0), full=full)
            record["made"] = True
            if source is not None and not full:
                self.linked_to[vm.vmid] = source.vmid

    async def _make(self, volume: str, origin: str | None, size: int, *, full: bool) -> None:
        try:
            await self.machines.create_disk(volume, origin, size, full=full)
        except FAILURES as error:
            raise TaskError(str(error)) from error
