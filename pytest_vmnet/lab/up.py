"""Bring a lab up: gather what it is built from, start its supervisor, wait until it is ready."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import client, preflight, wire
from pytest_vmnet.lab.settings import LabSettings, gather

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How `bring_up` found and left the lab.

    Attributes:
        started: Whether this call started it.
        repaired: What was dead and lives again.
        lease: The connection that holds the lab, if it was asked for and this call started it:
            the lab ends when it is closed, by the end of the caller too.
    """

    started: bool
    repaired: tuple[str, ...] = ()
    lease: client.Connection | None = None


def bring_up(
    name: str,
    progress: Say,
    *,
    provider: str | None = "bpg",
    nodes: int | None = None,
    hold: bool = False,
) -> Outcome:
    """Return when the lab *name* is up and whole, whoever started it.

    Args:
        name: The lab's name.
        progress: Told what is being done.
        provider: Terraform provider that creates the guests, None for a site without guests.
            A lab that is up already keeps its own.
        nodes: How many Proxmox nodes it has: None for as many as it has if it is up, else one.
        hold: Tie a lab that this call starts to the caller's life.

    Raises:
        LabError: It cannot be brought up; the message says why.
    """
    while True:
        try:
            lab = client.connect(name)
        except client.NoLabError:
            preflight.check(guests=provider is not None)
            count = nodes or 1
            settings = LabSettings(nodes=count)
            if provider:
                settings = gather(provider, progress, nodes=count)
            outcome = _start(name, settings, progress, hold=hold)
            if outcome is not None:
                return outcome
            continue
        try:
            answer = lab.ask("up", progress=progress, nodes=nodes)
        except client.LabEndedError:
            # Whoever was bringing it up gave up: it is our turn.
            continue
        finally:
            lab.close()
        if answer.get("beyond_repair"):
            progress("it cannot be repaired: taking it down to bring it up anew")
            nodes = answer["nodes"]
            client.take_down(name)
            continue
        return Outcome(started=False, repaired=tuple(answer.get("repaired", ())))


def run_in_lab(name: str, argv: Sequence[str], progress: Say) -> int:
    """Run *argv* on the workstation of the lab *name*; return its exit code.

    A lab that is not up yet is brought up, and goes down afterwards: also if this process is
    killed.

    Args:
        name: The lab's name.
        argv: The command.
        progress: Told what is being done.

    Raises:
        LabError: The lab cannot be brought up.
    """
    outcome = bring_up(name, progress, hold=True)
    # A child joins the lab's namespaces: they must not become this process's own.
    words = [sys.executable, "-m", "pytest_vmnet.cli", "lab", "exec", "workstation", "--", *argv]
    environment = {**os.environ, "VMNET_LAB_NAME": name}
    try:
        return subprocess.run(words, check=False, env=environment).returncode
    finally:
        if outcome.started:
            client.take_down(name)


def _start(name: str, settings: LabSettings, progress: Say, *, hold: bool) -> Outcome | None:
    """Start a supervisor and wait for it; return None if another one was faster."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log_read, log_write = os.pipe()
    with theirs, os.fdopen(log_write, "wb") as early_log:
        argv = [sys.executable, "-m", "pytest_vmnet.lab.supervisor", name, str(theirs.fileno())]
        launcher = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=early_log,
            stderr=early_log,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": _python_path()},
        )
    launcher.wait()
    connection = client.Connection(wire.Channel(ours))
    with os.fdopen(log_read, "rb") as complaints:
        try:
            with suppress(BrokenPipeError):
                connection.channel.send({"op": "up", "settings": settings.to_json(), "hold": hold})
            answer, _ = connection.await_answer(progress)
        except client.LabEndedError as error:
            said = complaints.read().decode(errors="replace").strip()[-2000:]
            raise LabError(f"the lab's supervisor died: {said or 'it said nothing'}") from error
        except LabError:
            connection.close()
            raise
        except BaseException:
            # While our connection is open, the lab of that name is the one that we started.
            client.take_down(name)
            connection.close()
            raise
    if answer.get("busy"):
        connection.close()
        return None
    if hold:
        return Outcome(started=True, lease=connection)
    connection.close()
    return Outcome(started=True)


def _python_path() -> str:
    """Return a PYTHONPATH that finds this very package, installed or not."""
    home = str(Path(__file__).resolve().parents[2])
    return ":".join(dict.fromkeys([home, *filter(None, [os.environ.get("PYTHONPATH")])]))
