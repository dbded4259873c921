"""The door to shells: the only module that imports testinfra.

A node is reached over SSH, the gate's own host locally, a guest through the API's agent. A
command that cannot run raises `CommandError`; one that ran and failed is data.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Any, Protocol

import testinfra
from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.errors import CommandError, ProxmoxError

_SSH_ARGS = (
    "-o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=4 "
    "-o LogLevel=ERROR"
)


@dataclass(frozen=True, slots=True)
class Output:
    """What a command ended with; both streams as bytes."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """The output as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")


class Shell(Protocol):
    """Something that runs a POSIX shell script."""

    name: str

    def run(self, script: str) -> Output:
        """Run a script with ``sh`` and return how it ended.

        Raises:
            CommandError: It could not be run.
        """


class SshShell:
    """A node's shell over SSH, as root or through sudo.

    Args:
        name: The node's name, for messages.
        target: ``[user@]host[:port]``.
    """

    def __init__(self, name: str, target: str) -> None:
        self.name = name
        self.target = target
        user = target.partition("@")[0] if "@" in target else "root"
        spec = target if "@" in target else f"root@{target}"
        self._sudo = "" if user == "root" else "sudo -n "
        self._spec = f"ssh://{spec}"

    def host(self) -> Host:
        """Return a testinfra host of this node; commands on it run as the SSH user."""
        return testinfra.get_host(
            self._spec, sudo=bool(self._sudo), controlpersist=0, ssh_extra_args=_SSH_ARGS
        )

    def run(self, script: str) -> Output:
        """Run a script over one SSH connection of its own."""
        host = testinfra.get_host(self._spec, controlpersist=0, ssh_extra_args=_SSH_ARGS)
        try:
            result: CommandResult = host.backend.run(f"{self._sudo}sh -c %s", script)
        except RuntimeError as error:  # testinfra's word for ssh's own exit code 255
            said = error.args[0] if error.args else None
            stderr = getattr(said, "stderr", str(error))
            raise CommandError(
                ["ssh", self.target], where=self.name, returncode=255, stderr=str(stderr)
            ) from error
        return Output(result.rc, result.stdout_bytes, result.stderr_bytes)

    def hold(self, script: str) -> subprocess.Popen[bytes]:
        """Start a script whose life is bound to the connection; its stdin is held open."""
        argv = ["ssh", *_SSH_ARGS.split(), self._spec.removeprefix("ssh://")]
        return subprocess.Popen(
            [*argv, f"{self._sudo}sh -c {_quote(script)}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


class LocalShell:
    """The shell of the host that the gate runs on."""

    name = "workstation"

    def run(self, script: str) -> Output:
        """Run a script here."""
        host = testinfra.get_host("local://")
        result: CommandResult = host.backend.run("sh -c %s", script)
        return Output(result.rc, result.stdout_bytes, result.stderr_bytes)


class AgentBackend(BaseBackend):  # type: ignore[misc]  # testinfra ships no types
    """A testinfra backend that runs commands in a guest through the Proxmox API's agent."""

    NAME = "vmnet-agent"

    def __init__(self, proxmox: Proxmox, node: str, vmid: int, **kwargs: Any) -> None:
        super().__init__(f"{node}/{vmid}", **kwargs)
        self._proxmox, self._node, self._vmid = proxmox, node, vmid

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        """Run a command line in the guest.

        Raises:
            CommandError: The agent could not be reached or refused.
        """
        line = self.get_command(command, *args)
        try:
            done = self._proxmox.agent_exec(self._node, self._vmid, ["/bin/sh", "-c", line])
        except ProxmoxError as error:
            where = f"guest {self._vmid}, agent"
            raise CommandError([line], where=where, stderr=str(error)) from error
        return self.result(done.returncode, self.encode(line), done.stdout, done.stderr)


def agent_host(proxmox: Proxmox, node: str, vmid: int) -> Host:
    """Return a testinfra host inside a guest that does not depend on its network."""
    return Host(AgentBackend(proxmox, node, vmid))


def _quote(script: str) -> str:
    quoted: str = BaseBackend.quote("%s", script)
    return quoted
