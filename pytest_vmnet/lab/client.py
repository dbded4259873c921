"""The caller's side of the wire: find a lab, ask it, hold it, take it down."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import suppress

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import wire
from pytest_vmnet.lab.pids import outer_pids
from pytest_vmnet.lab.wire import Message

Say = Callable[[str], None]


class NoLabError(LabError):
    """There is no lab of that name.

    Attributes:
        name: The name.
        exit_code: What the command line ends with.
    """

    exit_code = 3

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no lab {name!r} is up; `vmnet lab up` brings it up")


class LabEndedError(LabError):
    """The lab went away in the middle of a conversation."""


class Connection:
    """A conversation with a lab.

    Attributes:
        channel: What it goes over.
        pid: The lab's process on the caller's side, or None if it is gone already.
    """

    def __init__(self, channel: wire.Channel) -> None:
        self.channel = channel
        self.pid, _ = wire.peer(channel.sock)

    def ask(self, operation: str, *, progress: Say | None = None, **arguments: object) -> Message:
        """Ask for *operation* and return what came of it.

        Raises:
            LabError: The lab refused, with its reason.
            LabEndedError: The lab ended instead of answering.
        """
        return self.ask_for_fds(operation, progress=progress, **arguments)[0]

    def ask_for_fds(
        self, operation: str, *, progress: Say | None = None, **arguments: object
    ) -> tuple[Message, list[int]]:
        """Like `ask`, and return the file descriptors too that came with the answer."""
        try:
            self.channel.send({"op": operation, **arguments})
        except OSError as error:
            raise LabEndedError("the lab has ended") from error
        return self.await_answer(progress)

    def await_answer(self, progress: Say | None = None) -> tuple[Message, list[int]]:
        """Pass progress on until the answer is there; return it and its file descriptors."""
        while (heard := self.channel.receive()) is not None:
            message, fds = heard
            if "progress" in message:
                if progress is not None:
                    progress(message["progress"])
            elif "error" in message:
                raise LabError(message["error"])
            elif "done" in message:
                done: Message = message["done"]
                return done, fds
        raise LabEndedError("the lab ended before it answered")

    def close(self) -> None:
        """Hang up; a lab that this connection holds ends."""
        self.channel.close()


def connect(name: str) -> Connection:
    """Connect to the lab *name*.

    Raises:
        NoLabError: There is none.
    """
    sock = wire.new_socket()
    try:
        sock.connect(wire.address(name))
    except ConnectionError as error:
        sock.close()
        raise NoLabError(name) from error
    return Connection(wire.Channel(sock))


def status(name: str) -> Message:
    """Return how the lab *name* is, as ``vmnet lab status --json`` prints it."""
    try:
        lab = connect(name)
    except NoLabError:
        return {"up": False, "guests": [], "faults": [], "dead": []}
    found = lab.ask("status")
    lab.close()
    seen_here = outer_pids(found.pop("pid_namespace"))
    for guest in found["guests"]:
        guest["pid"] = seen_here.get(guest["pid"])
    return found


def take_down(name: str) -> bool:
    """End the lab *name*; return when its last process is gone, False if there was none."""
    try:
        connection = connect(name)
    except NoLabError:
        return False
    try:
        lab = os.pidfd_open(connection.pid)
    except ProcessLookupError:
        return True
    with suppress(LabEndedError):
        connection.ask("down")
    connection.close()
    # A pidfd becomes readable when its process ends; the lab's ends last.
    select.select([lab], [], [])
    os.close(lab)
    return True
