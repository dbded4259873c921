"""A guest's QEMU: its files, its command line and its process."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab.pve.props import Nic, is_agent_enabled, split
from pytest_vmnet.lab.pve.qmp import QmpError, qmp

START_TIMEOUT_S = 30.0
_POLL_S = 0.03
_LOG_LIMIT = 256 * 1024


class GuestFiles:
    """Where a guest's files are.

    Attributes:
        folder: ``guests/VMID`` in the lab's run directory.
        seed: The cloud-init drive, written anew at each start.
        qmp: QEMU's monitor socket.
        agent: The guest agent's socket, for every client.
        agent_port: QEMU's end of it, for the relay.
        serial: The end of what the guest wrote on its console.
        log: The end of what QEMU complained about.
        pid: QEMU's process id, as the node sees it; absent while the guest is stopped.
        record: What `read_guests` reads.
    """

    def __init__(self, run_dir: Path, vmid: int) -> None:
        self.folder = run_dir / "guests" / str(vmid)
        self.seed = self.folder / "seed.iso"
        self.qmp = self.folder / "qmp.sock"
        self.agent = self.folder / "qga.sock"
        self.agent_port = self.folder / "qga-port.sock"
        self.serial = self.folder / "serial.log"
        self.log = self.folder / "qemu.log"
        self.pid = self.folder / "pid"
        self.record = self.folder / "guest.json"

    def disk(self, number: int) -> Path:
        """Return the file of the guest's disk *number*, as in ``vm-111-disk-0``."""
        return self.folder / ("disk.qcow2" if number == 0 else f"disk-{number}.qcow2")


def volume_path(run_dir: Path, volume: str) -> Path | None:
    """Return the file of a disk volume, None if *volume* is not a guest's disk.

    >>> volume_path(Path("/run"), "local-lvm:vm-111-disk-0")
    PosixPath('/run/guests/111/disk.qcow2')
    """
    match = re.search(r"(?:base|vm)-(\d+)-disk-(\d+)$", volume)
    return GuestFiles(run_dir, int(match[1])).disk(int(match[2])) if match else None


def command_line(
    name: str,
    config: Mapping[str, object],
    files: GuestFiles,
    *,
    boot: Sequence[str],
    disks: Sequence[tuple[str, Path]],
    taps: Sequence[tuple[str, Nic]],
) -> list[str]:
    """Return QEMU's argv for a guest of this configuration; its CPU waits for ``cont``.

    Args:
        name: The guest's name.
        config: Its configuration: ``memory smbios1 vmgenid agent``.
        files: Where its files are.
        boot: Arguments that name machine, CPU, kernel and initrd.
        disks: Key and file of each disk; the first is the root disk, /dev/vda.
        taps: Name of the tap of each NIC. QEMU creates it, and it goes when QEMU goes.
    """
    argv = ["qemu-system-x86_64", "-S", "-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-name", f"{name},debug-threads=on", *boot, "-m", str(memory_mib(config))]
    argv += ["-qmp", f"unix:{files.qmp},server=on,wait=off", "-pidfile", str(files.pid)]
    argv += ["-chardev", "stdio,id=serial0,signal=off", "-serial", "chardev:serial0"]
    if uuid := split(config.get("smbios1", "")).get("uuid"):
        argv += ["-smbios", f"type=1,uuid={uuid}"]
    if config.get("vmgenid"):
        argv += ["-device", f"vmgenid,guid={config['vmgenid']}"]
    for number, (key, path) in enumerate(disks):
        argv += _drive(key, f"file={path},format=qcow2,cache=unsafe,discard=unmap")
        if number == 0:
            argv += _drive("cloudinit", f"file={files.seed},format=raw,readonly=on")
    argv += ["-device", "virtio-rng-pci"]
    if is_agent_enabled(config):
        argv += ["-chardev", f"socket,path={files.agent_port},server=on,wait=off,id=qga0"]
        argv += ["-device", "virtio-serial-pci,id=qga0bus"]
        argv += ["-device", "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0"]
    for ifname, nic in taps:
        argv += _nic(ifname, nic)
    return argv


def memory_mib(config: Mapping[str, object]) -> int:
    """Return a guest's memory in MiB from its ``memory`` key."""
    return int(split(config.get("memory", 512), "current").get("current", 512))


def _drive(key: str, options: str) -> list[str]:
    device = f"virtio-blk-pci,drive=drive-{key},id={key}"
    return ["-drive", f"{options},if=none,id=drive-{key}", "-device", device]


def _nic(ifname: str, nic: Nic) -> list[str]:
    netdev = f"tap,id=net{nic.index},ifname={ifname},script=no,downscript=no"
    if nic.queues > 1:
        netdev += f",queues={nic.queues}"
    model = "virtio-net-pci" if nic.model == "virtio" else nic.model
    device = f"{model},mac={nic.mac},netdev=net{nic.index},id=net{nic.index},romfile="
    if nic.model == "virtio" and nic.queues > 1:
        device += f",mq=on,vectors={2 * nic.queues + 2}"
    if nic.model == "virtio" and nic.mtu and nic.mtu > 1:
        device += f",host_mtu={nic.mtu}"
    return ["-netdev", netdev, "-device", device]


class QemuProcess:
    """A running QEMU: started by `start`, watched until it ends.

    Attributes:
        pid: Its process id.
    """

    def __init__(self, process: asyncio.subprocess.Process, files: GuestFiles) -> None:
        self._process = process
        self._files = files
        self._tasks: list[asyncio.Task[None]] = []
        self.pid = process.pid

    @classmethod
    async def start(
        cls, argv: Sequence[str], files: GuestFiles, *, on_exit: Callable[[], Awaitable[None]]
    ) -> QemuProcess:
        """Start QEMU and wait until its monitor answers.

        Args:
            argv: From `command_line`.
            files: Where the guest's files are.
            on_exit: Awaited when it has ended, for whatever reason; only then is it gone for
                those who wait for it.

        Raises:
            LabError: It ended at once, or its monitor did not answer in `START_TIMEOUT_S`; the
                message has its complaint.
        """
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self = cls(process, files)
        self._tasks = [
            asyncio.create_task(_keep_tail(process.stdout, files.serial)),
            asyncio.create_task(_keep_tail(process.stderr, files.log)),
        ]
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._until_ready()
        except TimeoutError as error:
            await self.kill()
            silent = f"start failed: QEMU's monitor is silent for {START_TIMEOUT_S:g} s"
            raise LabError(silent) from error
        except BaseException:
            await self.kill()
            raise
        self._tasks.append(asyncio.create_task(self._watch(on_exit)))
        return self

    async def _until_ready(self) -> None:
        while True:
            if self._process.returncode is not None:
                await self._tasks[1]
                said = self._files.log.read_text("utf-8", "replace").strip()[-500:]
                code = self._process.returncode
                raise LabError(f"start failed: QEMU exited with code {code}: {said}")
            if self._files.qmp.exists():
                with suppress(QmpError):
                    await qmp(self._files.qmp, "query-status", timeout_s=5)
                    return
            await asyncio.sleep(_POLL_S)

    async def _watch(self, on_exit: Callable[[], Awaitable[None]]) -> None:
        await self._process.wait()
        for path in (self._files.pid, self._files.qmp, self._files.agent_port):
            path.unlink(missing_ok=True)
        await on_exit()

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.returncode is None

    async def wait(self, timeout_s: float) -> bool:
        """Wait for its end, at most *timeout_s* seconds; return whether it ended."""
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            return False
        if len(self._tasks) > 2:
            await asyncio.wait([self._tasks[2]], timeout=5)
        return True

    async def kill(self) -> None:
        """End it as ``qm stop`` does: a signal to end, then one that cannot be refused."""
        for number, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0)):
            if self.is_running:
                with suppress(ProcessLookupError):
                    self._process.send_signal(number)
            if await self.wait(patience_s):
                return


async def _keep_tail(stream: asyncio.StreamReader | None, path: Path) -> None:
    """Copy *stream* into *path*, which keeps the last `_LOG_LIMIT` to twice that of bytes."""
    path.write_bytes(b"")
    while stream is not None and (data := await stream.read(1 << 16)):
        with path.open("ab") as log:
            log.write(data)
            size = log.tell()
        if size > 2 * _LOG_LIMIT:
            path.write_bytes(path.read_bytes()[-_LOG_LIMIT:])
