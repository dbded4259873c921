"""What the API needs of whatever runs its guests, and the QEMU that does."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytest_vmnet.errors import BackendError, CommandError, LabError
from pytest_vmnet.lab.agent import Agent
from pytest_vmnet.lab.pve import tap
from pytest_vmnet.lab.pve.place import Place
from pytest_vmnet.lab.pve.props import Nic, is_agent_enabled, nics
from pytest_vmnet.lab.pve.qmp import qmp
from pytest_vmnet.lab.pve.relay import AgentRelay
from pytest_vmnet.lab.pve.seed import seed
from pytest_vmnet.lab.qemu import GuestFiles, QemuProcess, command_line, volume_path

log = logging.getLogger(__name__)


class Machines(Protocol):
    """Runs the guests of all nodes. Errors are `BackendError` or `LabError`."""

    on_exit: Callable[[int], None]
    """Called with a VMID when that guest's machine has ended, for whatever reason."""

    async def start(
        self,
        vmid: int,
        name: str,
        config: Mapping[str, object],
        disks: Sequence[tuple[str, str]],
        *,
        node: str,
    ) -> None:
        """Start a guest on *node*; *disks* are key and volume, the root disk first."""

    async def stop(self, vmid: int) -> None:
        """End a guest's machine at once; a stopped guest is fine."""

    async def powerdown(self, vmid: int) -> None:
        """Press the power button."""

    async def wait_stopped(self, vmid: int, timeout_s: float) -> bool:
        """Wait until the guest is stopped; return whether it is."""

    async def qmp(self, vmid: int, command: str, arguments: Mapping[str, object]) -> object:
        """Run a monitor command."""

    async def plug(self, vmid: int, nic: Nic) -> None:
        """Wire a running guest's NIC anew: its bridge and its link."""

    async def create_disk(self, volume: str, source: str | None, size: int, *, full: bool) -> None:
        """Make a disk: empty, an overlay of *source*, or with *full* a copy of it."""

    async def resize_disk(self, volume: str, size: int) -> None:
        """Give a stopped guest's disk *size* bytes."""

    async def delete_disk(self, volume: str) -> None:
        """Delete a disk that no guest uses any more."""

    async def remove(self, vmid: int) -> None:
        """Remove all that is left of a guest."""

    def pid(self, vmid: int) -> int | None:
        """Return the process id of a running guest's machine, None if it is stopped."""

    def agent(self, vmid: int) -> Agent:
        """Return the guest's agent."""

    def counters(self, node: str) -> Mapping[str, tuple[int, int]]:
        """Return received and transmitted bytes of the interfaces of *node*."""

    async def links(self, node: str) -> list[dict[str, Any]]:
        """Return the interfaces of *node* as ``ip -json link`` tells them."""


class QemuMachines:
    """Guests as QEMU processes on the bridges of the nodes.

    Args:
        run_dir: The lab's run directory.
        boot: QEMU's arguments that name machine, CPU, kernel and initrd.
        places: The namespaces of each node; for one that is not named, those of this process.
    """

    def __init__(
        self, run_dir: Path, boot: Sequence[str], places: Mapping[str, Place] | None = None
    ) -> None:
        self._run_dir = run_dir
        self._boot = boot
        self._places = dict(places or {})
        self._homes: dict[int, Place] = {}
        self._firewalled: dict[int, set[int]] = {}
        self._running: dict[int, QemuProcess] = {}
        self._relays: dict[int, AgentRelay] = {}
        self.on_exit: Callable[[int], None] = lambda _vmid: None

    def _files(self, vmid: int) -> GuestFiles:
        return GuestFiles(self._run_dir, vmid)

    async def start(
        self,
        vmid: int,
        name: str,
        config: Mapping[str, object],
        disks: Sequence[tuple[str, str]],
        *,
        node: str,
    ) -> None:
        """Start a guest: its seed, its taps, its QEMU."""
        files, place = self._files(vmid), self._place(node)
        files.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in (files.qmp, files.agent, files.agent_port, files.pid):
            path.unlink(missing_ok=True)
        files.seed.write_bytes(seed(config))
        taps = [(nic.tap(vmid), nic) for nic in nics(config)]
        for bridge in {nic.bridge for _, nic in taps if nic.bridge is not None}:
            await place.mtu_of(bridge)
        argv = command_line(
            name,
            config,
            files,
            boot=self._boot,
            disks=[(key, self._path(volume)) for key, volume in disks],
            taps=taps,
        )
        process = await QemuProcess.start(
            place.argv(argv), files, on_exit=lambda: self._ended(vmid)
        )
        self._running[vmid], self._homes[vmid] = process, place
        try:
            for _, nic in taps:
                await self._wire(vmid, nic)
                if nic.link_down:
                    await self._set_link(vmid, nic)
            if is_agent_enabled(config):
                self._relays[vmid] = await AgentRelay.start(files.agent_port, files.agent)
            await self.qmp(vmid, "cont", {})
        except BaseException:
            await process.kill()
            raise

    def _place(self, node: str) -> Place:
        return self._places.get(node, Place())

    async def _wire(self, vmid: int, nic: Nic) -> None:
        """Connect a NIC with its bridge; how it was connected before does not matter."""
        await self._unplug(vmid, {nic.index})
        if nic.firewall and nic.bridge is not None:
            self._firewalled.setdefault(vmid, set()).add(nic.index)
        await tap.plug(self._homes[vmid], vmid, nic)

    async def _unplug(self, vmid: int, indices: set[int]) -> None:
        """Remove the firewall bridges of a guest's NICs."""
        for index in sorted(indices & self._firewalled.get(vmid, set())):
            try:
                await tap.unplug(self._homes[vmid], vmid, index)
            except CommandError as error:
                log.warning("VM %s: %s", vmid, error)
            self._firewalled[vmid].discard(index)

    def _path(self, volume: str) -> Path:
        path = volume_path(self._run_dir, volume)
        if path is None:
            raise LabError(f"volume '{volume}' is not a guest's disk")
        return path

    async def _ended(self, vmid: int) -> None:
        """Clean up after a QEMU, as ``qm cleanup`` does; then tell that it has ended."""
        if relay := self._relays.pop(vmid, None):
            relay.close()
        await self._unplug(vmid, set(self._firewalled.get(vmid, ())))
        self._running.pop(vmid, None)
        self.on_exit(vmid)

    def _process(self, vmid: int) -> QemuProcess:
        process = self._running.get(vmid)
        if process is None or not process.is_running:
            raise LabError(f"VM {vmid} not running")
        return process

    async def stop(self, vmid: int) -> None:
        """End a guest's QEMU at once."""
        if process := self._running.get(vmid):
            await process.kill()

    async def powerdown(self, vmid: int) -> None:
        """Press the power button."""
        await self.qmp(vmid, "system_powerdown", {})

    async def wait_stopped(self, vmid: int, timeout_s: float) -> bool:
        """Wait until the guest's QEMU has ended; return whether it has."""
        process = self._running.get(vmid)
        return process is None or await process.wait(timeout_s)

    async def qmp(self, vmid: int, command: str, arguments: Mapping[str, object]) -> object:
        """Run a monitor command."""
        self._process(vmid)
        return await qmp(self._files(vmid).qmp, command, arguments)

    async def plug(self, vmid: int, nic: Nic) -> None:
        """Wire a running guest's NIC anew: its bridge and its link."""
        await self._wire(vmid, nic)
        await self._set_link(vmid, nic)

    async def _set_link(self, vmid: int, nic: Nic) -> None:
        link = {"name": f"net{nic.index}", "up": not nic.link_down}
        await self.qmp(vmid, "set_link", link)

    async def create_disk(self, volume: str, source: str | None, size: int, *, full: bool) -> None:
        """Make a disk: empty, an overlay of *source*, or with *full* a copy of it."""
        path = self._path(volume)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if source is None:
            await _qemu_img("create", "-q", "-f", "qcow2", str(path), str(size))
        elif full:
            await _qemu_img("convert", "-U", "-O", "qcow2", str(self._path(source)), str(path))
        else:
            base = str(self._path(source).resolve())
            await _qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(path))

    async def resize_disk(self, volume: str, size: int) -> None:
        """Give a stopped guest's disk *size* bytes."""
        await _qemu_img("resize", "-q", str(self._path(volume)), str(size))

    async def delete_disk(self, volume: str) -> None:
        """Delete a disk's file."""
        if path := volume_path(self._run_dir, volume):
            path.unlink(missing_ok=True)

    async def remove(self, vmid: int) -> None:
        """End a guest's QEMU and delete its folder."""
        await self.stop(vmid)
        shutil.rmtree(self._files(vmid).folder, ignore_errors=True)

    async def close(self) -> None:
        """End all guests."""
        await asyncio.gather(*(self.stop(vmid) for vmid in list(self._running)))

    def pid(self, vmid: int) -> int | None:
        """Return the process id of a running guest's QEMU."""
        process = self._running.get(vmid)
        return process.pid if process is not None and process.is_running else None

    def agent(self, vmid: int) -> Agent:
        """Return the guest's agent."""
        return Agent(self._files(vmid).agent)

    def counters(self, node: str) -> Mapping[str, tuple[int, int]]:
        """Return received and transmitted bytes of the interfaces of *node*."""
        return self._place(node).counters()

    async def links(self, node: str) -> list[dict[str, Any]]:
        """Return the interfaces of *node* as ``ip -json link`` tells them."""
        return await self._place(node).links()


async def _qemu_img(*arguments: str) -> None:
    argv = ["qemu-img", *arguments]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate()
    if process.returncode:
        raise CommandError(argv, returncode=process.returncode, stderr=stderr.decode())


FAILURES = (BackendError, LabError, OSError)
"""What a machine's methods raise: each becomes the error of the API's task."""
