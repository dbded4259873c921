"""Answers the lab's callers; each connection has a thread of its own."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from pytest_vmnet.errors import LabError, VmnetError
from pytest_vmnet.lab.settings import LabSettings
from pytest_vmnet.lab.supervisor.lab import BeyondRepairError, Lab
from pytest_vmnet.lab.wire import Channel, Message, peer


class Server:
    """The lab's side of the wire.

    Args:
        name: The lab's name.
        listener: The socket that callers connect to.
    """

    def __init__(self, name: str, listener: socket.socket) -> None:
        self._name = name
        self._listener = listener
        self._lab: Lab

    def serve(self, owner: socket.socket) -> None:
        """Build the lab that *owner* asks for and answer callers until the lab ends."""
        channel = Channel(owner)
        if (asked := channel.receive()) is None:
            return
        request, _ = asked
        try:
            # Here, before there are threads: the hosts are forked.
            self._lab = Lab(self._name, LabSettings.from_json(request["settings"]))
        except (VmnetError, OSError) as error:
            channel.send({"error": str(error)})
            return
        self._in_thread(lambda: self._own(channel, hold=bool(request.get("hold"))))
        self._in_thread(self._lab.bring_up)
        while True:
            connection, _ = self._listener.accept()
            self._in_thread(lambda sock=connection: self._answer(sock))  # type: ignore[misc]

    def end(self) -> NoReturn:
        """End the lab at once, and with it everything that it consists of."""
        os._exit(0)

    @staticmethod
    def _in_thread(work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()

    def _own(self, channel: Channel, *, hold: bool) -> None:
        """Serve the caller that started the lab: if it dies before the lab is up, so does it."""
        self._in_thread(lambda: self._end_with(channel, hold=hold))
        self._follow(channel, {"started": True})
        if self._lab.progress.error is not None:
            self.end()

    def _end_with(self, channel: Channel, *, hold: bool) -> None:
        while channel.receive() is not None:
            pass
        if hold or not self._lab.ready:
            self.end()

    def _answer(self, sock: socket.socket) -> None:
        channel = Channel(sock)
        _, uid = peer(sock)
        if uid not in {0, os.geteuid()}:
            channel.close()
            return
        with suppress(OSError, ValueError, TypeError):
            while (asked := channel.receive()) is not None:
                self._do(channel, asked[0])
        channel.close()

    def _do(self, channel: Channel, request: Message) -> None:
        operation = request.get("op")
        try:
            if operation == "up":
                self._up(channel, request.get("nodes"))
            elif operation == "down":
                channel.send({"done": {}})
                self.end()
            elif operation == "hold":
                channel.send({"done": {}})
                self._end_with(channel, hold=True)
            elif operation == "host":
                answer, fds = self._lab.host(str(request["host"]))
                try:
                    channel.send({"done": answer}, fds)
                finally:
                    for fd in fds:
                        os.close(fd)
            elif operation == "status":
                channel.send({"done": self._lab.status()})
            elif operation == "inject":
                told = self._lab.inject(str(request["fault"]), str(request["guest"]))
                channel.send({"done": told})
            elif operation == "clear":
                channel.send({"done": {"faults": self._lab.clear()}})
            else:
                channel.send({"error": f"this lab does not know {operation!r}"})
        except (VmnetError, OSError) as error:
            channel.send({"error": str(error)})

    def _up(self, channel: Channel, nodes: int | None) -> None:
        """Wait for a lab that comes up; see that one that is up is whole."""
        mine = self._lab.settings.nodes
        if nodes not in {None, mine}:
            raise LabError(
                f"lab {self._name!r} is up with {mine} node{'s' if mine > 1 else ''}, not with "
                f"{nodes}; take it down first: `vmnet lab down`"
            )
        if not self._lab.ready:
            self._follow(channel, {"started": False})
            return
        try:
            repaired = self._lab.repair(lambda line: channel.send({"progress": line}))
        except BeyondRepairError:
            channel.send({"done": {"beyond_repair": True, "nodes": mine}})
            return
        channel.send({"done": {"started": False, "repaired": repaired}})

    def _follow(self, channel: Channel, answer: Message) -> None:
        with suppress(OSError):
            for line in self._lab.progress.follow():
                channel.send({"progress": line})
            error = self._lab.progress.error
            channel.send({"done": answer} if error is None else {"error": error})
