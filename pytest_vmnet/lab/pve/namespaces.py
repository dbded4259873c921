"""Cheap guests: network namespaces behind the same API, taps and agent as QEMU's.

A guest is a set of namespaces (network, mount, UTS, PID) that one sleeping process holds. Its NICs
are veth pairs: the node's end is called as Proxmox calls a tap and is a port of the same bridge,
the other end is ``ethN`` inside with the configuration's MAC, address and gateway. They boot in
milliseconds and share the machine's kernel and CPU, so hundreds fit where five QEMU guests do.
What they cannot show is everything of QEMU: its device, its monitor, its disks. Their NICs are on
the first node and have no firewall bridge.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_vmnet.errors import CommandError, LabError
from pytest_vmnet.lab.agent import Agent
from pytest_vmnet.lab.pve import tap
from pytest_vmnet.lab.pve.guestagent import GuestAgent, piped
from pytest_vmnet.lab.pve.place import Place
from pytest_vmnet.lab.pve.props import Nic, is_agent_enabled, nics, split
from pytest_vmnet.lab.qemu import GuestFiles

_HOLDER = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child"),
    *("--propagation", "slave", "--mount-proc", "--", "sh", "-c"),
)
_HOLD = """\
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys && hostname "$1" && ip link set lo up || exit 1
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null
echo up
exec sleep infinity
"""
_HERE = Place()
_NO_DISK = "a namespace guest has no disk"


class NamespaceGuest:
    """A running guest: made by `start`, ended by `kill`.

    Attributes:
        pid: The process that holds its namespaces, as the node sees it.
        init: A process in all of its namespaces, its PID 1.
        agent: Its agent, or None if its configuration has none.
    """

    def __init__(self, holder: asyncio.subprocess.Process, inside: int) -> None:
        self._holder = holder
        self.pid = holder.pid
        self.init = inside
        self.agent: GuestAgent | None = None
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, name: str) -> NamespaceGuest:
        """Make the namespaces.

        Raises:
            LabError: The kernel or util-linux refused.
        """
        holder = await asyncio.create_subprocess_exec(
            *_HOLDER,
            _HOLD,
            "sh",
            name,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        if await piped(holder.stdout).readline() != b"up\n":
            said = (await piped(holder.stderr).read(500)).decode(errors="replace").strip()
            raise LabError(f"start failed: no namespaces for {name}: {said}")
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        return cls(holder, int(children.read_text("ascii").split()[0]))

    def watch(self, on_exit: Callable[[], None]) -> None:
        """Call *on_exit* when the guest has ended, for whatever reason."""

        async def wait() -> None:
            await self._holder.wait()
            if self.agent is not None:
                self.agent.close()
            on_exit()

        self._watch = asyncio.create_task(wait())

    @property
    def is_running(self) -> bool:
        """Whether the holder has not ended yet."""
        return self._holder.returncode is None

    @property
    def enter(self) -> list[str]:
        """The words that run a command inside."""
        return ["nsenter", "-t", str(self.init), "-n", "-m", "-u", "-p", "--"]

    def end(self) -> None:
        """End the guest, and with its PID 1 every process in it."""
        if self.is_running:
            self._holder.kill()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for its end, at most *timeout_s* seconds; return whether it ended."""
        try:
            await asyncio.wait_for(self._holder.wait(), timeout_s)
        except TimeoutError:
            return False
        if self._watch is not None:
            await asyncio.wait([self._watch], timeout=timeout_s)
        return True


class NamespaceMachines:
    """Guests as namespaces on this machine's bridges; a `Machines`.

    Args:
        run_dir: The lab's run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._running: dict[int, NamespaceGuest] = {}
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
        """Start a guest: its namespaces, its cables, its agent."""
        del node  # There is one only.
        if disks:
            raise LabError(_NO_DISK)
        files = self._files(vmid)
        files.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        guest = await NamespaceGuest.start(name)
        try:
            for nic in nics(config):
                await self._wire(vmid, guest, nic, config)
            if is_agent_enabled(config):
                guest.agent = await GuestAgent.start(files.agent, guest.enter, guest.end)
        except BaseException:
            guest.end()
            await guest.wait(10)
            raise
        self._running[vmid] = guest
        guest.watch(lambda: self._ended(vmid, guest))

    async def _wire(
        self, vmid: int, guest: NamespaceGuest, nic: Nic, config: Mapping[str, object]
    ) -> None:
        ifname, inside = nic.tap(vmid), f"eth{nic.index}"
        peer = f"peer name {inside} address {nic.mac} netns {guest.init}"
        await _ip([f"link add {ifname} type veth {peer}"])
        lines = [f"link set {inside} up"]
        address = split(config.get(f"ipconfig{nic.index}", ""))
        if "/" in address.get("ip", ""):
            lines.append(f"address add {address['ip']} dev {inside}")
        if "gw" in address:
            lines.append(f"route add default via {address['gw']} dev {inside}")
        await _ip(lines, enter=guest.enter)
        await self.plug(vmid, nic)

    def _ended(self, vmid: int, guest: NamespaceGuest) -> None:
        if self._running.get(vmid) is guest:
            del self._running[vmid]
            self.on_exit(vmid)

    def _guest(self, vmid: int) -> NamespaceGuest:
        guest = self._running.get(vmid)
        if guest is None or not guest.is_running:
            raise LabError(f"VM {vmid} not running")
        return guest

    async def stop(self, vmid: int) -> None:
        """End a guest at once; its cables go with it."""
        if guest := self._running.get(vmid):
            guest.end()
            await guest.wait(10)
        there = [name for name in _HERE.counters() if name.startswith(f"tap{vmid}i")]
        for ifname in there:  # the kernel takes a moment to take down a namespace
            await _ip([f"link del {ifname}"], check=False)

    async def powerdown(self, vmid: int) -> None:
        """Press the power button."""
        self._guest(vmid).end()

    async def wait_stopped(self, vmid: int, timeout_s: float) -> bool:
        """Wait until the guest is stopped; return whether it is."""
        guest = self._running.get(vmid)
        return guest is None or await guest.wait(timeout_s)

    async def qmp(self, vmid: int, command: str, arguments: Mapping[str, object]) -> object:
        """Say that a running guest runs; there is no monitor for anything else."""
        del arguments
        self._guest(vmid)
        if command == "query-status":
            return {"status": "running", "running": True}
        raise LabError(f"a namespace guest has no monitor: {command} is not available")

    async def plug(self, vmid: int, nic: Nic) -> None:
        """Wire a running guest's NIC anew: its bridge and its link."""
        ifname = nic.tap(vmid)
        await tap.plug(_HERE, vmid, replace(nic, firewall=False))
        if nic.link_down:
            await _ip([f"link set {ifname} down"])

    async def create_disk(self, volume: str, source: str | None, size: int, *, full: bool) -> None:
        """Refuse: there are no disks."""
        del source, size, full
        raise LabError(f"{volume}: {_NO_DISK}")

    async def resize_disk(self, volume: str, size: int) -> None:
        """Refuse: there are no disks."""
        del size
        raise LabError(f"{volume}: {_NO_DISK}")

    async def delete_disk(self, volume: str) -> None:
        """Do nothing: there are no disks."""

    async def remove(self, vmid: int) -> None:
        """End a guest and delete its folder."""
        await self.stop(vmid)
        shutil.rmtree(self._files(vmid).folder, ignore_errors=True)

    async def close(self) -> None:
        """End all guests."""
        await asyncio.gather(*(self.stop(vmid) for vmid in list(self._running)))

    def pid(self, vmid: int) -> int | None:
        """Return the process id of a running guest's holder."""
        guest = self._running.get(vmid)
        return guest.pid if guest is not None and guest.is_running else None

    def place(self, vmid: int) -> Place:
        """Return the inside of a running guest.

        Raises:
            LabError: It is not running.
        """
        return Place(self._guest(vmid).init)

    def agent(self, vmid: int) -> Agent:
        """Return the guest's agent."""
        return Agent(self._files(vmid).agent)

    def counters(self, _node: str) -> Mapping[str, tuple[int, int]]:
        """Return received and transmitted bytes of this network namespace's interfaces."""
        return _HERE.counters()

    async def links(self, _node: str) -> list[dict[str, Any]]:
        """Return this network namespace's interfaces as ``ip -json link`` tells them."""
        return await _HERE.links()


async def _ip(lines: Iterable[str], *, enter: Sequence[str] = (), check: bool = True) -> None:
    """Run the lines as one ``ip -batch``, inside of a guest if *enter* says how."""
    argv = [*enter, "ip", "-batch", "-"]
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate("".join(f"{line}\n" for line in lines).encode())
    if process.returncode and check:
        raise CommandError(argv, returncode=process.returncode, stderr=stderr.decode())
