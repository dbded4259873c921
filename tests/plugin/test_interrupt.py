"""Ctrl-C: exit 2, the report says where it was, and what was before is not taken for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_vmnet.backends.clock import SYSTEM

# A shell that starts tests in the background has them ignore SIGINT, and so would the gate.
_PYTEST = (
    "import signal, sys, pytest; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "sys.exit(pytest.console_main())"
)


@contextmanager
def _running(site: Any, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a gate in a process and a session of its own."""
    command = [sys.executable, "-c", _PYTEST, "-p", "no:cacheprovider", "--proxmox-node=pve1"]
    process = subprocess.Popen(
        [*command, "--vmnet-json=out.json", *words],
        env={**os.environ, **site.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _interrupted(site: Any, when: Callable[[], bool], *words: str) -> str:
    """Send SIGINT, as a terminal does, once *when* is true; return what the gate said."""
    with _running(site, *words) as process:
        assert SYSTEM.wait_for(when, timeout_s=40)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=40)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "Traceback (most recent call" not in said
    return str(said)


@pytest.mark.usefixtures("run")
def test_during_discovery(site: Any, written: Any) -> None:
    site.pve.network["latency"] = 0.5
    said = _interrupted(site, lambda: ("GET", "/nodes/pve1/network") in site.asked)
    assert "KeyboardInterrupt" in said
    assert written("out.json")["run"]["error"] == "interrupted during discovery"
    assert written("out.json")["guests"] == []


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("words", [(), ("-n2",)])
def test_during_the_sweep(site: Any, written: Any, words: tuple[str, ...]) -> None:
    agent = site.agents[111]
    agent.mode = "busy"
    said = _interrupted(site, lambda: agent.calls.count("guest-exec") == 2, *words)
    assert "vmnet: probing: " in said
    assert written("out.json")["run"]["error"] == "interrupted before the guests were judged"


@pytest.mark.usefixtures("run")
def test_during_the_tests(site: Any, written: Any, pytester: Any) -> None:
    pytester.makepyfile(
        test_mine="""
        import pathlib, time

        def test_slow(vm, ledger):
            pathlib.Path("begun").touch()
            time.sleep(30)
    """
    )
    _interrupted(site, (pytester.path / "begun").exists, "test_mine.py")
    report = written("out.json")
    assert report["run"]["error"] is None
    assert [guest["verdict"] for guest in report["guests"]] == ["inconclusive"] * 2
