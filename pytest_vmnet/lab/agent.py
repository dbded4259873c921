"""The QEMU guest agent over its unix socket: what `qm agent` and `vmnet lab exec` need.

The socket takes one client at a time. A lock file beside it queues the callers, each for one
command or a short session, so that the API and the command line can both use it.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_vmnet.errors import BackendError

_ANSWER_LIMIT = 64 * 1024 * 1024
_SESSION_S = 0.4
_POLL_MAX_S = 0.2
_DELIMITER = b"\xff"


class AgentError(BackendError):
    """The guest agent refused a command; ``str()`` is what it said."""


class AgentUnavailableError(AgentError):
    """The guest agent did not answer in time, or there is none."""


@dataclass(frozen=True)
class Completed:
    """What a command left when it ended.

    Attributes:
        exitcode: Its exit code, or None if a signal ended it.
        signal: The signal that ended it, or None.
        stdout: What it printed; the agent keeps the first 16 MiB.
        stderr: What it complained about; likewise.
        truncated: True if the agent dropped output.
    """

    exitcode: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool = False


class _Session:
    """A synchronised connection to the agent, with one deadline for all that it does."""

    def __init__(self, connection: socket.socket, deadline: float, where: str) -> None:
        self._connection = connection
        self._deadline = deadline
        self._where = where
        self._buffer = b""

    def synchronise(self) -> None:
        """Throw away what an earlier client left behind in either direction."""
        token = secrets.randbelow(2**31)
        self._send("guest-sync-delimited", {"id": token}, prefix=_DELIMITER)
        while True:
            self._read_until(_DELIMITER)
            with suppress(ValueError):
                if json.loads(self._read_until(b"\n")).get("return") == token:
                    return

    def call(self, command: str, arguments: Mapping[str, object] | None) -> object:
        """Send a command; return its result."""
        self._send(command, arguments or {})
        try:
            answer = json.loads(self._read_until(b"\n").lstrip(_DELIMITER))
        except ValueError as error:
            raise AgentError(f"{self._where}: {command}: the answer is no JSON") from error
        if "error" in answer:
            raise AgentError(str(answer["error"].get("desc", answer["error"])))
        return answer.get("return")

    def _send(self, command: str, arguments: Mapping[str, object], prefix: bytes = b"") -> None:
        request: dict[str, object] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self._connection.settimeout(self._left(command))
        try:
            self._connection.sendall(prefix + json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise AgentUnavailableError(f"{self._where}: {command}: {error}") from error

    def _read_until(self, mark: bytes) -> bytes:
        parts: list[bytes] = [self._buffer]
        size = len(self._buffer)
        while mark not in parts[-1]:
            self._connection.settimeout(self._left("the answer"))
            try:
                part = self._connection.recv(1 << 16)
            except OSError as error:
                raise AgentUnavailableError(f"{self._where}: no answer in time") from error
            size += len(part)
            if not part or size > _ANSWER_LIMIT:
                raise AgentUnavailableError(f"{self._where}: the answer broke off at {size} bytes")
            parts.append(part)
        found, _, self._buffer = b"".join(parts).partition(mark)
        return found

    def _left(self, what: str) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise AgentUnavailableError(f"{self._where}: no time left for {what}")
        return left


class Agent:
    """A guest's agent.

    Args:
        path: The unix socket of QEMU's ``org.qemu.guest_agent.0`` port.
        timeout_s: Time limit of one command in seconds, the wait for other callers included.
    """

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def call(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> object:
        """Run one agent command, for example ``guest-get-osinfo``, and return its result.

        Raises:
            AgentUnavailableError: There is no agent, or it did not answer in time.
            AgentError: The agent refused the command.
        """
        with self._session(self._timeout_s if timeout_s is None else timeout_s) as session:
            return session.call(command, arguments)

    def ping(self, *, timeout_s: float = 3.0) -> bool:
        """Return whether the agent answers."""
        try:
            self.call("guest-ping", timeout_s=timeout_s)
        except AgentError:
            return False
        return True

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout_s: float = 60) -> Completed:
        """Run *argv* as root in the guest and wait for its end.

        Args:
            argv: The command; the first word is found on the agent's PATH.
            stdin: What it reads.
            timeout_s: After that many seconds it is killed.

        Raises:
            AgentUnavailableError: No answer, or *timeout_s* passed.
            AgentError: The command could not be started.
        """
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        wait_s = 0.01
        with self._session(min(timeout_s, max(self._timeout_s, _SESSION_S))) as session:
            pid = self._started(session.call("guest-exec", exec_arguments(argv, stdin)))
            until = min(time.monotonic() + _SESSION_S, deadline)
            while time.monotonic() < until:
                if done := completed(session.call("guest-exec-status", {"pid": pid})):
                    return done
                pause.wait(wait_s)
                wait_s = min(wait_s * 1.5, _POLL_MAX_S)
        while time.monotonic() < deadline:
            if done := completed(self.call("guest-exec-status", {"pid": pid})):
                return done
            pause.wait(wait_s)
            wait_s = min(wait_s * 1.5, _POLL_MAX_S)
        with suppress(AgentError):
            self.call("guest-exec", exec_arguments(["kill", "-KILL", str(pid)]))
        raise AgentUnavailableError(f"`{' '.join(argv)[:200]}` did not end in {timeout_s:g} s")

    @staticmethod
    def _started(answer: object) -> int:
        if isinstance(answer, dict) and isinstance(answer.get("pid"), int):
            return int(answer["pid"])
        raise AgentError(f"guest-exec: no pid in {answer!r}")

    @contextmanager
    def _session(self, timeout_s: float) -> Iterator[_Session]:
        deadline = time.monotonic() + timeout_s
        where = f"guest agent {self._path.parent.name}"
        with _turn(self._path, deadline), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                connection.connect(str(self._path))
            except OSError as error:
                raise AgentUnavailableError(f"{where}: {error.strerror or error}") from error
            session = _Session(connection, deadline, where)
            session.synchronise()
            yield session


@contextmanager
def _turn(path: Path, deadline: float) -> Iterator[None]:
    """Hold the lock file beside the socket, or give up at *deadline*."""
    pause = threading.Event()
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AgentUnavailableError(f"{path.parent.name}: {error.strerror}") from error
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise AgentUnavailableError("the guest agent is busy") from error
                pause.wait(0.005)
        yield
    finally:
        os.close(lock)


def exec_arguments(argv: Sequence[str], stdin: bytes = b"") -> dict[str, object]:
    """Return the arguments of ``guest-exec`` for *argv*, its output captured."""
    arguments: dict[str, object] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
    if stdin:
        arguments["input-data"] = base64.b64encode(stdin).decode()
    return arguments


def completed(status: object) -> Completed | None:
    """Return what ``guest-exec-status`` says of a command, None while it runs."""
    if not isinstance(status, dict) or not status.get("exited"):
        return None
    try:
        out, err = (base64.b64decode(status.get(k, "")) for k in ("out-data", "err-data"))
    except binascii.Error as error:
        raise AgentError("guest-exec-status: the output is no base64") from error
    truncated = bool(status.get("out-truncated") or status.get("err-truncated"))
    return Completed(status.get("exitcode"), status.get("signal"), out, err, truncated)
