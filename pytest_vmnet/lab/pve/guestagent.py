"""The guest agent of a namespace guest: QEMU's agent protocol, answered by this process.

The socket speaks what ``qemu-ga`` speaks, so that `pytest_vmnet.lab.agent.Agent` cannot tell the
two apart. Commands run inside of the guest's namespaces; nothing is made up: what the guest says
of its interfaces is what ``ip`` says there.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab.site.hosts import ENVIRONMENT

_LINE_LIMIT = 4 << 20
_OUTPUT_LIMIT = 16 << 20
_CHUNK = 1 << 16
_OWN_PID = 'echo $$; exec "$@"'
"""The guest's own PID of the command comes first, then the command takes the shell's place."""

_OsInfo = {"id": "vmnet", "name": "namespace guest", "pretty-name": "a network namespace"}


_Stream = TypeVar("_Stream")


def piped(stream: _Stream | None) -> _Stream:
    """Return a stream of a process that was started with pipes.

    Raises:
        LabError: It was not.
    """
    if stream is None:
        raise LabError("a process was started without pipes; this is a defect of the lab")
    return stream


class _RefusedError(Exception):
    """Why a command is refused, in qemu-ga's manner."""


class _Command:
    """A command that runs in the guest, and its output so far."""

    def __init__(self, process: asyncio.subprocess.Process, *, capture: bool) -> None:
        self.process = process
        self._capture = capture
        self._output = {"out": bytearray(), "err": bytearray()}
        self._truncated: set[str] = set()
        self.done: asyncio.Task[None] | None = None

    async def attend(self, stdin: bytes) -> None:
        """Feed the command, keep what it says, wait for its end."""
        await asyncio.gather(
            self._feed(piped(self.process.stdin), stdin),
            self._keep("out", piped(self.process.stdout)),
            self._keep("err", piped(self.process.stderr)),
        )
        await self.process.wait()

    @staticmethod
    async def _feed(stream: asyncio.StreamWriter, stdin: bytes) -> None:
        with suppress(OSError):
            stream.write(stdin)
            await stream.drain()
        stream.close()

    async def _keep(self, name: str, stream: asyncio.StreamReader) -> None:
        kept = self._output[name]
        while data := await stream.read(_CHUNK):
            room = _OUTPUT_LIMIT - len(kept)
            kept += data[:room]
            if len(data) > room:
                self._truncated.add(name)

    def status(self) -> dict[str, object]:
        """Return what ``guest-exec-status`` says."""
        if self.done is None or not self.done.done():
            return {"exited": False}
        code = self.process.returncode or 0
        answer: dict[str, object] = {"exited": True}
        answer |= {"exitcode": code} if code >= 0 else {"signal": -code}
        for name, kept in self._output.items():
            if self._capture and kept:
                answer[f"{name}-data"] = base64.b64encode(kept).decode()
            if name in self._truncated:
                answer[f"{name}-truncated"] = True
        return answer


class GuestAgent:
    """The agent of one guest; made by `start`, ended by `close`.

    Args:
        enter: The words that run a command inside of the guest, for example ``nsenter ...``.
        power_off: Called when the guest is told to shut down.
    """

    def __init__(self, enter: Sequence[str], power_off: Callable[[], None]) -> None:
        self._enter = tuple(enter)
        self._power_off = power_off
        self._commands: dict[int, _Command] = {}
        self._server: asyncio.Server | None = None
        self._path: Path
        self._verbs: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[object]]] = {
            "guest-sync": self._sync,
            "guest-sync-delimited": self._sync,
            "guest-ping": self._ping,
            "guest-exec": self._exec,
            "guest-exec-status": self._exec_status,
            "guest-network-get-interfaces": self._interfaces,
            "guest-get-osinfo": self._osinfo,
            "guest-shutdown": self._shutdown,
        }

    @classmethod
    async def start(
        cls, path: Path, enter: Sequence[str], power_off: Callable[[], None]
    ) -> GuestAgent:
        """Listen on *path*."""
        agent = cls(enter, power_off)
        agent._path = path
        path.unlink(missing_ok=True)
        agent._server = await asyncio.start_unix_server(agent._serve, path, limit=_LINE_LIMIT)
        return agent

    def close(self) -> None:
        """Stop listening; the guest's end ends its commands."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError):
            while line := await reader.readline():
                request = json.loads(line.lstrip(b"\xff"))
                verb = str(request.get("execute"))
                prefix = b"\xff" if verb == "guest-sync-delimited" else b""
                try:
                    answer = {"return": await self._answer(verb, request.get("arguments") or {})}
                except (_RefusedError, KeyError, TypeError) as problem:
                    answer = {"error": {"class": "GenericError", "desc": str(problem)}}
                writer.write(prefix + json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, verb: str, arguments: Mapping[str, Any]) -> object:
        known = self._verbs.get(verb)
        if known is None:
            raise _RefusedError(f"The command {verb} has not been found")
        return await known(arguments)

    @staticmethod
    async def _sync(arguments: Mapping[str, Any]) -> object:
        return arguments["id"]

    @staticmethod
    async def _ping(_: Mapping[str, Any]) -> object:
        return {}

    @staticmethod
    async def _osinfo(_: Mapping[str, Any]) -> object:
        return dict(_OsInfo)

    async def _shutdown(self, _: Mapping[str, Any]) -> object:
        self._power_off()
        return {}

    async def _start(self, argv: Sequence[str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._enter,
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            limit=_CHUNK,
        )

    async def _exec(self, arguments: Mapping[str, Any]) -> object:
        argv = [str(arguments["path"]), *map(str, arguments.get("arg") or ())]
        process = await self._start(["/bin/sh", "-c", _OWN_PID, "sh", *argv])
        first = await piped(process.stdout).readline()
        if not first.strip().isdigit():
            raise _RefusedError(f"Guest agent command failed: {argv[0]} could not be started")
        command = _Command(process, capture=bool(arguments.get("capture-output")))
        stdin = base64.b64decode(arguments.get("input-data") or "")
        command.done = asyncio.create_task(command.attend(stdin))
        self._commands[int(first)] = command
        return {"pid": int(first)}

    async def _exec_status(self, arguments: Mapping[str, Any]) -> object:
        pid = int(arguments["pid"])
        command = self._commands.get(pid)
        if command is None:
            raise _RefusedError(f"Invalid parameter 'pid': no command {pid} was started")
        status = command.status()
        if status["exited"]:
            del self._commands[pid]
        return status

    async def _interfaces(self, _: Mapping[str, Any]) -> object:
        process = await self._start(["ip", "-j", "addr", "show"])
        listing, _stderr = await process.communicate()
        return [_interface(row) for row in json.loads(listing or b"[]")]


def _interface(row: Mapping[str, Any]) -> dict[str, object]:
    """Return an interface of ``ip -j addr`` as qemu-ga shows it."""
    addresses = [
        {
            "ip-address": info["local"],
            "ip-address-type": "ipv4" if info["family"] == "inet" else "ipv6",
            "prefix": info["prefixlen"],
        }
        for info in row.get("addr_info", [])
    ]
    return {
        "name": row["ifname"],
        "hardware-address": row.get("address", "00:00:00:00:00:00"),
        "ip-addresses": addresses,
    }
