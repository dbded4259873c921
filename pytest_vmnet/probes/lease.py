"""One gate at a time on a node: a lock that lives as long as the gate's connection does."""

from __future__ import annotations

import select
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.hosts import Shell, SshShell
from pytest_vmnet.errors import ConfigError

_LOCK = "/run/vmnet-gate.lock"
_HOLD = """\
exec 9>>{lock} || exit 76
flock -n 9 || {{ echo "taken: $(cat {lock}.holder 2>/dev/null)"; exit 75; }}
printf '%s' {holder} >{lock}.holder
echo held
cat >/dev/null
rm -f {lock}.holder {lock}
"""
_ANSWER_S = 20


def hold_script(holder: str) -> str:
    """Return the script that holds a node's lock for as long as its input stays open."""
    return _HOLD.format(lock=_LOCK, holder=shlex.quote(holder))


@contextmanager
def lease(
    shells: Mapping[str, Shell], *, holder: str, timeout_s: float, clock: Clock
) -> Iterator[None]:
    """Hold every node's lock, in the order of their names, while the body runs.

    Args:
        shells: The nodes' shells.
        holder: What another gate is told about this one.
        timeout_s: How long to wait for another gate, in seconds.
        clock: Time.

    Raises:
        ConfigError: Another gate holds a node; the message says which one.
    """
    with ExitStack() as stack:
        for node, shell in sorted(shells.items()):
            if isinstance(shell, SshShell):
                stack.enter_context(_one(node, shell, holder, timeout_s, clock))
        yield


@contextmanager
def _one(
    node: str, shell: SshShell, holder: str, timeout_s: float, clock: Clock
) -> Iterator[None]:
    deadline = clock.monotonic() + timeout_s
    while True:
        process = shell.hold(hold_script(holder))
        answer = _first_line(process)
        if answer == "held":
            break
        _end(process)
        if clock.monotonic() >= deadline:
            told = answer.removeprefix("taken:").strip() or "it did not say who"
            raise ConfigError(
                f"{node} is taken by another gate: {told}. Wait for it, or give "
                f"--vmnet-lock-timeout more than {timeout_s:g} s"
            )
        clock.sleep(1.0)
    try:
        yield
    finally:
        _end(process)


def _first_line(process: subprocess.Popen[bytes]) -> str:
    if process.stdout is None:
        return ""
    ready, _, _ = select.select([process.stdout], [], [], _ANSWER_S)
    return process.stdout.readline().decode(errors="replace").strip() if ready else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the connection's input, which ends the lease, and wait for ssh to go."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
