"""``python -m pytest_vmnet.lab.supervisor NAME OWNER_FD``: `vmnet lab up` calls it."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
from typing import NoReturn

from pytest_vmnet.lab import kernel, wire
from pytest_vmnet.lab.site import mounts


def main(name: str, owner_fd: int) -> None:
    """Become the lab *name*; the socket *owner_fd* leads to the caller that asked for it."""
    owner = socket.socket(fileno=owner_fd)
    if os.fork() != 0:
        os._exit(0)  # The caller need not reap a lab that outlives it.
    listener = wire.new_socket()
    try:
        listener.bind(wire.address(name))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # Read first: what is left unread when a socket closes resets it, answer and all.
        channel = wire.Channel(owner)
        channel.receive()
        channel.send({"done": {"busy": True}})
        return
    listener.listen(64)
    namespaces = kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | kernel.CLONE_NEWNET
    kernel.unshare(namespaces | kernel.CLONE_NEWUTS)
    alive, held = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(held)
        _be_init(name, listener, owner, alive)
    os.close(alive)
    listener.close()
    owner.close()
    _close_standard_streams()
    # Returns when init and with it every process of the PID namespace is gone.
    os.waitpid(init, 0)


def _be_init(name: str, listener: socket.socket, owner: socket.socket, alive: int) -> NoReturn:
    kernel.set_parent_death_signal(signal.SIGKILL)
    if select.select([alive], [], [], 0)[0]:
        os._exit(1)  # The outer process died before the kernel could be asked to tell us.
    try:
        mounts.make_private()
        supervisor = os.fork()
    except OSError as error:
        wire.Channel(owner).send({"error": f"this machine cannot hold a lab: {error}"})
        os._exit(1)
    if supervisor == 0:
        _be_supervisor(name, listener, owner)
    listener.close()
    owner.close()
    _close_standard_streams()
    while os.waitpid(-1, 0)[0] != supervisor:
        pass
    os._exit(0)


def _be_supervisor(name: str, listener: socket.socket, owner: socket.socket) -> NoReturn:
    from pytest_vmnet.lab.supervisor.server import Server  # noqa: PLC0415 - only this half needs it

    try:
        mounts.log_to_file()
        Server(name, listener).serve(owner)
    finally:
        os._exit(0)


def _close_standard_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
