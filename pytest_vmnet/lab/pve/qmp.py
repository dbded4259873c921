"""QEMU's machine protocol over a unix socket, one connection for each command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from pytest_vmnet.errors import BackendError

_LINE_LIMIT = 1 << 20


class QmpError(BackendError):
    """QEMU refused a command, or did not answer in time."""


async def qmp(
    path: Path,
    command: str,
    arguments: Mapping[str, object] | None = None,
    *,
    timeout_s: float = 10.0,
) -> object:
    """Run one QMP command and return its result.

    Args:
        path: QEMU's monitor socket.
        command: For example ``query-status``.
        arguments: Its arguments.
        timeout_s: Time limit in seconds, the wait for another client included.

    Raises:
        QmpError: QEMU refused, went away or did not answer in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(path, command, arguments or {})
    except TimeoutError as error:
        raise QmpError(f"qmp command '{command}' failed - got timeout") from error
    except OSError as error:
        raise QmpError(f"qmp command '{command}' failed - {error.strerror or error}") from error


async def _exchange(path: Path, command: str, arguments: Mapping[str, object]) -> object:
    reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_LIMIT)
    try:
        await _answer(reader, "QMP")
        answer: object = None
        for name, values in (("qmp_capabilities", {}), (command, arguments)):
            writer.write(json.dumps({"execute": name, "arguments": values}).encode() + b"\n")
            await writer.drain()
            answer = await _answer(reader, "return")
        return answer
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, key: str) -> object:
    """Return the next message's *key*, past any events."""
    while line := await reader.readline():
        message = json.loads(line)
        if "error" in message:
            raise QmpError(str(message["error"].get("desc")))
        if key in message:
            return message[key]
    raise ConnectionResetError("connection closed")
