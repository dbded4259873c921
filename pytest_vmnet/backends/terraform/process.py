"""One long Terraform command as a child: line by line, in bounded time, ended with manners."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.terraform.limit import Grace

_TICK_S = 0.2
_KILLED_S = 5.0
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended.

    Attributes:
        returncode: Its exit code, or None if its time ran out.
        stdout: What it printed.
        stderr: What it complained about.
        fate: How it was stopped, for people; empty if it ended by itself.
    """

    returncode: int | None
    stdout: str
    stderr: str
    fate: str = ""


def run(
    argv: Sequence[str],
    *,
    folder: Path,
    environ: Mapping[str, str],
    timeout_s: float,
    on_line: Callable[[str], None],
    clock: Clock,
    grace: Grace,
    umask: int = -1,
) -> Ended:
    """Run *argv* to its end and hand each line of its output to *on_line* as it comes.

    The child is the leader of a session of its own, so a terminal's Ctrl-C reaches it through us
    alone: once, as SIGINT to Terraform itself, which then ends its providers. A second Ctrl-C
    while it winds up, or *grace* running out, is a SIGTERM.

    It writes into memory files, not pipes: if we are killed, it finishes what it does and saves
    its state; a broken pipe would end it in the middle of an apply.

    Raises:
        KeyboardInterrupt: After the child has ended.
        OSError: The child cannot be started.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(_memory(name)) for name in ("stdout", "stderr")]
        child = subprocess.Popen(
            list(argv),
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=files[0],
            stderr=files[1],
            start_new_session=True,
            umask=umask,
        )
        tails = [_Tail(file) for file in files]
        deadline = clock.monotonic() + timeout_s
        fate = ""
        try:
            while not _is_over(child, _TICK_S):
                for line in (line for tail in tails for line in tail.lines()):
                    on_line(line)
                if clock.monotonic() >= deadline:
                    fate = f"did not end within {timeout_s:g} s; {_stop(child, clock, grace)}"
                    break
            for line in (line for tail in tails for line in tail.lines(last=True)):
                on_line(line)
        except BaseException:
            # Ctrl-C, or the listener failed: never leave Terraform running behind our back.
            _stop(child, clock, grace)
            raise
        return Ended(
            returncode=None if fate else child.returncode,
            stdout=tails[0].text(),
            stderr=tails[1].text(),
            fate=fate,
        )


class _Tail:
    """Follows what a child writes into a file, without moving the offset that they share."""

    def __init__(self, file: IO[bytes]) -> None:
        self._descriptor = file.fileno()
        self._read = bytearray()
        self._told = 0

    def lines(self, *, last: bool = False) -> Iterator[str]:
        """Yield the lines that are new and complete; with *last*, an incomplete one as well."""
        while chunk := os.pread(self._descriptor, _CHUNK, len(self._read)):
            self._read += chunk
        end = len(self._read) if last else self._read.rfind(b"\n") + 1
        new, self._told = self._read[self._told : end], max(end, self._told)
        yield from new.decode("utf-8", "replace").splitlines()

    def text(self) -> str:
        """Return everything that was read."""
        return self._read.decode("utf-8", "replace")


def _memory(name: str) -> IO[bytes]:
    return os.fdopen(os.memfd_create(f"terraform-{name}", os.MFD_CLOEXEC), "wb+", buffering=0)


def _is_over(child: subprocess.Popen[bytes], for_s: float) -> bool:
    try:
        child.wait(for_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _stop(child: subprocess.Popen[bytes], clock: Clock, grace: Grace) -> str:
    """Ask *child* to end, ever less politely; return what it took."""
    steps = (
        (signal.SIGINT, grace.interrupt_s, "it was interrupted and wound up"),
        (signal.SIGTERM, grace.terminate_s, "it ignored SIGINT and was terminated"),
        (signal.SIGKILL, _KILLED_S, "it ignored SIGTERM and was killed: its state may be stale"),
    )
    for number, patience_s, fate in steps:
        try:
            if number is not signal.SIGKILL:
                child.send_signal(number)  # to Terraform itself: it ends its providers
            elif child.poll() is None:
                os.killpg(child.pid, number)
            deadline = clock.monotonic() + patience_s
            while clock.monotonic() < deadline:
                if _is_over(child, _TICK_S):
                    return fate
        except KeyboardInterrupt:
            continue  # A second Ctrl-C: the next step at once.
    return "it could not be ended"
