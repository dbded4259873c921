"""A Proxmox node as the API sees it: namespaces that commands and QEMU processes run in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_vmnet.errors import CommandError, LabError


@dataclass(frozen=True)
class Place:
    """The namespaces of a node.

    Attributes:
        pid: A process that holds them; None for the namespaces of this process.
    """

    pid: int | None = None

    def argv(self, command: Sequence[str]) -> list[str]:
        """Return the argv that runs *command* there; the process becomes the command itself."""
        if self.pid is None:
            return list(command)
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "--", *command]

    async def run(self, command: Sequence[str], stdin: str = "") -> str:
        """Run *command* there and return what it printed.

        Raises:
            CommandError: It failed.
        """
        process = await asyncio.create_subprocess_exec(
            *self.argv(command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate(stdin.encode())
        if process.returncode:
            said = stderr.decode(errors="replace")
            raise CommandError(command, returncode=process.returncode, stderr=said)
        return stdout.decode(errors="replace")

    async def ip(self, lines: Sequence[str]) -> None:
        """Run `ip` commands there, in one process.

        Raises:
            CommandError: One failed.
        """
        await self.run(["ip", "-batch", "-"], "".join(f"{line}\n" for line in lines))

    async def mtu_of(self, ifname: str) -> int:
        """Return the MTU of *ifname* in bytes.

        Raises:
            LabError: There is no such interface.
        """
        try:
            said = await self.run(["ip", "-json", "link", "show", "dev", ifname])
        except CommandError as error:
            raise LabError(f"bridge '{ifname}' does not exist") from error
        return int(json.loads(said)[0]["mtu"])

    async def links(self) -> list[dict[str, Any]]:
        """Return the interfaces there as ``ip -json link`` tells them.

        Raises:
            CommandError: It failed.
        """
        links: list[dict[str, Any]] = json.loads(await self.run(["ip", "-json", "link", "show"]))
        return links

    def counters(self) -> dict[str, tuple[int, int]]:
        """Return received and transmitted bytes of the interfaces there."""
        return counters(Path(f"/proc/{self.pid or 'self'}/net/dev").read_text("ascii"))


def counters(lines: str) -> dict[str, tuple[int, int]]:
    r"""Return received and transmitted bytes by interface from the text of ``/proc/net/dev``.

    >>> counters("a: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")
    {'a': (1, 9)}
    """
    found = {}
    for line in lines.splitlines():
        ifname, colon, rest = line.partition(":")
        if colon:
            values = rest.split()
            found[ifname.strip()] = (int(values[0]), int(values[8]))
    return found
