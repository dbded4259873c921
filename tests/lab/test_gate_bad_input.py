"""The gate on a real lab that is in somebody's way: interrupted, killed, not alone, without tools.

Each run is short and tests one guest; what counts is how it ends and what it leaves behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.backends.clock import SYSTEM

pytestmark = pytest.mark.lab

# A shell that starts tests in the background has them ignore SIGINT, and so would the gate.
_PYTEST = (
    "import signal, sys, pytest; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "sys.exit(pytest.console_main())"
)
_GATE = (sys.executable, "-c", _PYTEST, "-p", "no:cacheprovider", "--proxmox-node=pve1")
_QUICK = ("-k", "vm-1 and (verdict or tap)", "--vmnet-count=30", "--vmnet-max-loss=20%")
_LEFT = (
    "ls -d /run/vmnet-gate*; ip -br link | grep vmnc; "
    "pgrep -a tcpdump; pgrep -ax bridge; pgrep -ax ping; true"
)


def _words(output: bytes) -> str:
    return " ".join(output.decode().split())


def _told(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    return told


def _gate(lab: Any, folder: Path, *options: str) -> Any:
    argv = [*_GATE, *_QUICK, f"--vmnet-json={folder}/out.json", *options]
    return lab.exec("workstation", *argv, timeout_s=300, cwd=folder)


@contextmanager
def _probing(lab: Any, folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A gate in a session of its own that has begun to probe."""
    folder.mkdir()
    log = folder / "log"
    argv = [*_GATE, *_QUICK, f"--vmnet-json={folder}/out.json", *options]
    with log.open("wb") as stream:
        process = lab.popen(
            "exec", "workstation", "--", *argv,
            stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder,
        )  # fmt: skip
    try:
        assert SYSTEM.wait_for(lambda: b"vmnet: probing: " in log.read_bytes(), timeout_s=90)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_interrupt_leaves_nothing_and_a_second_gate_is_told_who_is_there(lab, tmp_path):
    # It probes for 36 s: longer than the second gate takes to come to the lock.
    with _probing(lab, tmp_path / "first", "--vmnet-count=600") as first:
        second = _gate(lab, tmp_path)
        assert second.returncode == pytest.ExitCode.USAGE_ERROR
        assert "pve1 is taken by another gate: run " in _words(second.stderr)
        assert "--vmnet-lock-timeout" in _told(tmp_path)["run"]["error"]
        os.killpg(first.pid, signal.SIGINT)
        assert first.wait(timeout=90) == pytest.ExitCode.INTERRUPTED
    assert _told(tmp_path / "first")["run"]["error"].startswith("interrupted before")
    assert lab.exec("node", "sh", "-c", _LEFT).stdout == b""


def test_next_gate_runs_after_one_that_was_killed(lab, tmp_path):
    with _probing(lab, tmp_path / "first") as first:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(timeout=20)
    done = _gate(lab, tmp_path, "--vmnet-lock-timeout=20")
    assert done.returncode == 0, _words(done.stdout + done.stderr)


def test_node_without_tcpdump(lab, tmp_path):
    script = "touch /run/none; mount --bind /run/none $(readlink -f $(command -v tcpdump))"
    hidden = lab.exec("node", "sh", "-c", script + "; readlink -f /usr/bin/tcpdump")
    assert hidden.returncode == 0, hidden.stderr
    try:
        done = _gate(lab, tmp_path)
    finally:
        lab.exec("node", "umount", hidden.stdout.decode().strip())
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    said = _words(done.stdout)
    assert "note: pve1: the capture did not start: tcpdump is not installed" in said
    assert "tap111i0 cannot be judged" in said
    assert [guest["verdict"] for guest in _told(tmp_path)["guests"]] == ["healthy"]


def test_agent_that_hangs(lab, tmp_path):
    script = "sleep 1; kill -STOP $(pidof qemu-ga); sleep 30; kill -CONT $(pidof qemu-ga)"
    lab.exec("vm-1", "sh", "-c", f"setsid sh -c '{script}' >/dev/null 2>&1 </dev/null &")
    SYSTEM.sleep(2)
    done = _gate(lab, tmp_path, "--vmnet-wait=2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    guest = _told(tmp_path)["guests"][0]
    assert guest["verdict"] == "inconclusive"
    assert "QEMU guest agent is not running" in guest["findings"][0]["message"]
    answers = lambda: lab.exec("vm-1", "true").returncode == 0  # noqa: E731
    assert SYSTEM.wait_for(answers, timeout_s=60)
