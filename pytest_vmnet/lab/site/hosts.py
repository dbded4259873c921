"""The site's hosts: each is a process that holds a network, a mount and a UTS namespace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pytest_vmnet.errors import CommandError, LabError
from pytest_vmnet.lab import kernel, spec
from pytest_vmnet.lab.site import mounts

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "USER": "root", "LOGNAME": "root"}
"""What a command on a host finds in its environment, unless it is told more."""

OWN_PROGRAM = {**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
"""The environment of the lab's own Python programs: they find this package, installed or not."""

_QUIET_NETWORK = {
    # The lab's hosts have one way each; asymmetric ways are a fault's business.
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    # A host answers for the address it was asked on that interface only, as hardware would.
    "ipv4/conf/all/arp_ignore": "1",
    "ipv4/conf/default/arp_ignore": "1",
    # As on a Proxmox node: the bridge asks no IP rules. Only there if br_netfilter is loaded.
    "bridge/bridge-nf-call-iptables": "0",
    "bridge/bridge-nf-call-ip6tables": "0",
    "bridge/bridge-nf-call-arptables": "0",
}


@dataclass(frozen=True)
class Host:
    """One host of the site that is a set of namespaces.

    Attributes:
        name: Its name.
        pid: The process that holds its namespaces, in the lab's PID namespace.
    """

    name: str
    pid: int

    def argv(self, command: Sequence[str]) -> list[str]:
        """Return the argv that runs *command* on this host, from inside the lab."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "--", *command]

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: str | None = None,
        timeout_s: float = 30.0,
        check: bool = True,
        env: Mapping[str, str] = ENVIRONMENT,
    ) -> subprocess.CompletedProcess[str]:
        """Run *command* on this host and return what it printed.

        Raises:
            CommandError: It ended with a bad code (if *check*) or ran out of time.
        """
        try:
            ended = subprocess.run(
                self.argv(command),
                input=stdin or "",
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                env=env,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(command, where=self.name, timeout_s=timeout_s) from error
        if check and ended.returncode != 0:
            raise CommandError(
                command,
                where=self.name,
                returncode=ended.returncode,
                stdout=ended.stdout,
                stderr=ended.stderr,
            )
        return ended

    def spawn(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] = ENVIRONMENT
    ) -> subprocess.Popen[bytes]:
        """Start *command* on this host for as long as it or the lab lives; it writes to *log*."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.argv(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                start_new_session=True,
            )

    def is_alive(self) -> bool:
        """Tell whether the process that holds this host still runs."""
        return is_running(self.pid)

    def namespaces(self) -> list[int]:
        """Open the namespaces of this host: PID, network, UTS, mount; the caller closes them."""
        lab = [os.open("/proc/self/ns/pid", os.O_RDONLY)]
        kinds = ("net", "uts", "mnt")
        return lab + [os.open(f"/proc/{self.pid}/ns/{kind}", os.O_RDONLY) for kind in kinds]


def is_running(pid: int) -> bool:
    """Tell whether the process *pid* runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def start_hosts(names: Sequence[str]) -> dict[str, Host]:
    """Start the holders of *names*; call it before there are threads, it forks.

    Raises:
        LabError: A holder could not get its namespaces.
    """
    born = [(name, *_fork_holder(name)) for name in names]
    for name, pid, line in born:
        _expect(line, name)
        place = Path("/run/netns", name)
        place.touch()
        kernel.mount(f"/proc/{pid}/ns/net", str(place), None, kernel.MS_BIND)
    # Only now, so that each host's mount namespace has all of /run/netns.
    for name, _, line in born:
        line.send(b"go")
        _expect(line, name)
        line.close()
    return {name: Host(name, pid) for name, pid, _ in born}


def _fork_holder(name: str) -> tuple[int, socket.socket]:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _hold(name, theirs)
    theirs.close()
    return pid, ours


def _hold(name: str, line: socket.socket) -> NoReturn:
    try:
        kernel.set_parent_death_signal(signal.SIGKILL)
        kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWUTS)
        node = next((node for node in spec.NODES if node.host == name), None)
        socket.sethostname(node.name if node is not None else name)
        for key, value in _QUIET_NETWORK.items():
            with suppress(FileNotFoundError):
                Path("/proc/sys/net", key).write_text(value, encoding="ascii")
        line.send(b"ok")
        line.recv(2)
        kernel.unshare(kernel.CLONE_NEWNS)
        flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        kernel.mount("sysfs", "/sys", "sysfs", flags)
        if node is not None:
            mounts.make_node_private(node)
        os.chdir("/")
        line.send(b"ok")
        line.close()
        while True:
            signal.pause()
    except OSError as error:
        line.send(str(error).encode())
    finally:
        os._exit(1)


def _expect(line: socket.socket, name: str) -> None:
    answer = line.recv(4096)
    if answer != b"ok":
        raise LabError(f"host {name}: no namespaces: {answer.decode() or 'its holder died'}")
