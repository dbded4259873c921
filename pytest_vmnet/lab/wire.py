"""How a lab and its callers find and talk to each other: no files, so none are left behind.

A lab listens on an abstract unix socket in the network namespace that it was started from; the
name is gone when the lab is. A message is one JSON object; namespaces travel beside it as file
descriptors. A request is ``{"op": ...}``; answers are any number of ``{"progress": text}``, then
one ``{"done": ...}`` or ``{"error": text}``.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
from collections.abc import Sequence
from typing import Any

from pytest_vmnet.errors import ConfigError

Message = dict[str, Any]

_LIMIT = 1 << 17
_MAX_FDS = 8


def lab_name() -> str:
    """Return the name of the lab that is meant: ``VMNET_LAB_NAME``, or ``default``.

    Raises:
        ConfigError: The name cannot be a name.
    """
    name = os.environ.get("VMNET_LAB_NAME") or "default"
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,48}", name):
        raise ConfigError(
            f"VMNET_LAB_NAME = {name!r}: use up to 48 letters, digits, dots, dashes, underscores"
        )
    return name


def address(name: str) -> str:
    """Return the abstract address of the lab *name* of this user."""
    return f"\0vmnet-lab-{os.geteuid()}-{name}"


def new_socket() -> socket.socket:
    """Return a socket of the kind that both ends use: a message stays one message."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def peer(sock: socket.socket) -> tuple[int, int]:
    """Return PID and UID of the other end; of a lab: of the process whose end is its end."""
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid


class Channel:
    """One connection between a lab and a caller."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send *message*, and *fds* beside it.

        Raises:
            OSError: The other end is gone.
        """
        data = json.dumps(message).encode()
        if fds:
            socket.send_fds(self.sock, [data], list(fds), socket.MSG_NOSIGNAL)
        else:
            self.sock.send(data, socket.MSG_NOSIGNAL)

    def receive(self) -> tuple[Message, list[int]] | None:
        """Return the next message and its file descriptors, or None if the other end is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self.sock, _LIMIT, _MAX_FDS)
        except ConnectionError:
            return None
        if not data:
            return None
        message = json.loads(data)
        if not isinstance(message, dict):
            raise TypeError(f"not a message: {data[:80]!r}")
        return message, fds

    def close(self) -> None:
        """Hang up."""
        self.sock.close()
