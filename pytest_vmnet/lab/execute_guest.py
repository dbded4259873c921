"""`vmnet lab exec` on a guest: over the agent's socket, so it works with a broken network.

The agent takes a command's whole input when it starts and gives its output when it ends. Input
that is complete at once goes that way; input that trickles in goes through a FIFO in the guest,
one agent call a piece.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.lab.agent import Agent, AgentError, Completed, completed, exec_arguments

_UNREACHABLE = 125
_AGENT_S = 30.0
"""The agent serves one caller at a time: a gate that is at work may be before us."""
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
_AT_ONCE_S = 0.2
_POLL_S = (0.01, 0.1)
_PIECE = 1 << 16
_INPUT_LIMIT = 1 << 22
"""Input that goes along with the command; the rest of a larger one follows in pieces."""


def run(answer: Mapping[str, Any], argv: Sequence[str]) -> int:
    """Run *argv* in the guest that the lab described; return its exit code, 128+n for a signal.

    Args:
        answer: The guest's name and its agent's socket, which this process can reach.
        argv: The command.
    """
    agent = Agent(Path(answer["agent"]), timeout_s=_AGENT_S)
    caught: list[int] = []

    def catch(number: int, _: FrameType | None) -> None:
        caught.append(number)

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, catch)
    try:
        done = _Command(agent, argv, caught).run()
    except AgentError as error:
        sys.stderr.write(f"vmnet lab exec: {answer['name']}: {error}\n")
        return _code(str(error))
    sys.stdout.buffer.write(done.stdout)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(done.stderr)
    sys.stderr.buffer.flush()
    if done.truncated:
        sys.stderr.write("vmnet lab exec: the guest agent kept only a part of the output\n")
    if done.signal is not None:
        return 128 + done.signal
    return done.exitcode if done.exitcode is not None else _UNREACHABLE


def _code(complaint: str) -> int:
    """Return what a shell would have ended with; the agent only has words for it."""
    if "Failed to execute child" not in complaint:
        return _UNREACHABLE
    return _NOT_FOUND if "No such file or directory" in complaint else _NOT_EXECUTABLE


class _Input:
    """This process's standard input, read without ever waiting for a silent writer."""

    def __init__(self) -> None:
        self.ended = False
        try:
            mode = os.fstat(0).st_mode
        except OSError:
            mode = 0
        # A terminal's user would have to say that there is no input, each time.
        if not mode or (stat.S_ISCHR(mode) and os.isatty(0)):
            self.ended = True

    def read(self, size: int, wait_s: float) -> bytes:
        """Return up to *size* bytes that are there within *wait_s*; sets `ended` at the end."""
        parts: list[bytes] = []
        left = size
        while left > 0 and not self.ended and select.select([0], [], [], wait_s)[0]:
            data = os.read(0, min(left, _PIECE))
            self.ended = not data
            parts.append(data)
            left -= len(data)
        return b"".join(parts)


class _Command:
    """One command in the guest, from its start to its end."""

    def __init__(self, agent: Agent, argv: Sequence[str], caught: list[int]) -> None:
        self._agent = agent
        self._argv = list(argv)
        self._caught = caught
        self._input = _Input()

    def run(self) -> Completed:
        first = self._input.read(_INPUT_LIMIT, _AT_ONCE_S)
        if self._input.ended:
            return self._wait(self._start(self._argv, first))
        fifo = f"/run/vmnet-exec-{secrets.token_hex(8)}"
        self._agent.run(["mkfifo", "-m", "600", fifo])
        try:
            # Keeps the FIFO open for writing between the pieces; its end is the input's end.
            holder = self._start(["sh", "-c", 'exec sleep infinity >"$0"', fifo])
            pid = self._start(["sh", "-c", f'exec "$0" "$@" <{fifo}', *self._argv])
            return self._feed(pid, holder, fifo, first)
        finally:
            with suppress(AgentError):
                self._agent.run(["rm", "-f", fifo])

    def _feed(self, pid: int, holder: int, fifo: str, piece: bytes) -> Completed:
        writer: int | None = None
        open_ = True
        try:
            while True:
                if done := self._poll(pid):
                    return done
                if writer is not None and self._poll(writer):
                    writer = None
                if writer is None and piece:
                    writer = self._start(["sh", "-c", 'exec cat >"$0"', fifo], piece)
                    piece = b""
                elif writer is None and self._input.ended and open_:
                    self._kill(holder, signal.SIGKILL)
                    open_ = False
                if not piece and not self._input.ended:
                    piece = self._input.read(_PIECE, _POLL_S[1])
                else:
                    SYSTEM.sleep(_POLL_S[1])
        finally:
            for helper in (holder, writer):
                if helper is not None:
                    self._kill(helper, signal.SIGKILL)

    def _wait(self, pid: int) -> Completed:
        wait_s, most_s = _POLL_S
        while (done := self._poll(pid)) is None:
            SYSTEM.sleep(wait_s)
            wait_s = min(wait_s * 1.5, most_s)
        return done

    def _start(self, argv: Sequence[str], stdin: bytes = b"") -> int:
        answer = self._agent.call("guest-exec", exec_arguments(argv, stdin))
        if not isinstance(answer, dict):
            raise AgentError(f"guest-exec: no pid in {answer!r}")
        return int(answer["pid"])

    def _poll(self, pid: int) -> Completed | None:
        """Return what *pid* left if it has ended; pass on the signals that came meanwhile."""
        while self._caught:
            self._kill(pid, self._caught.pop(0))
        return completed(self._agent.call("guest-exec-status", {"pid": pid}))

    def _kill(self, pid: int, number: int) -> None:
        with suppress(AgentError):
            self._agent.run(["kill", f"-{number}", str(pid)])
