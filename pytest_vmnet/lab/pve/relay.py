"""A guest agent's socket whose other end stays connected to QEMU.

An agent that finds its port without a client sleeps 100 ms before it looks again, so a client that
connects for one command waits that long. The relay keeps QEMU's end open and lets clients have it
one at a time. It passes bytes and knows nothing of them: a client synchronises first, and so skips
what an earlier one left behind.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

_CHUNK = 1 << 16


class AgentRelay:
    """The relay of one guest; made by `start`, ended by `close`.

    Args:
        port: QEMU's socket.
        path: The socket for clients.
    """

    def __init__(self, port: Path, path: Path) -> None:
        self._port = port
        self._path = path
        self._turn = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._reading: asyncio.Task[None] | None = None
        self._to_agent: asyncio.StreamWriter | None = None
        self._to_client: asyncio.StreamWriter | None = None
        self._has_answered = True

    @classmethod
    async def start(cls, port: Path, path: Path) -> AgentRelay:
        """Listen on *path*; QEMU's *port* is connected to when the first client comes."""
        relay = cls(port, path)
        relay._server = await asyncio.start_unix_server(relay._serve, path)
        return relay

    def close(self) -> None:
        """Stop listening; a client at work is cut off."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)
        if self._to_client is not None:
            self._to_client.close()
        self._hang_up()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            async with self._turn:
                await self._converse(reader, writer)
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agent = self._to_agent or await self._connect()
        self._to_client = writer
        try:
            while data := await reader.read(_CHUNK):
                self._has_answered = False
                agent.write(data)
                await agent.drain()
        finally:
            self._to_client = None
            if not self._has_answered:
                # Nobody reads what was sent: an agent that comes later must not find it.
                self._hang_up()

    async def _connect(self) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_unix_connection(self._port)
        self._to_agent = writer
        self._reading = asyncio.create_task(self._read(reader))
        return writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                self._has_answered = True
                if self._to_client is not None:
                    self._to_client.write(data)
                    await self._to_client.drain()
        self._to_agent = None
        if self._to_client is not None:
            self._to_client.close()

    def _hang_up(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._to_agent is not None:
            self._to_agent.close()
            self._to_agent = None
