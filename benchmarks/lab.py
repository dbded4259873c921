"""What the lab and the gate in it take, on an otherwise idle machine."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_SOAK = 30
_VMNET = (sys.executable, "-m", "pytest_vmnet.cli")
_HEAL = ("--vmnet-rebuild", "diagnosed", "--vmnet-ladder", "rebuild")


def measure_up() -> Iterator[tuple[str, str]]:
    """Yield how long a lab takes to come up, image and provider being ready."""
    took = []
    for _ in range(3):
        begun = time.monotonic()
        _vmnet("lab", "up")
        took.append(time.monotonic() - begun)
        _vmnet("lab", "down")
    yield "lab up, median of 3 (min, max)", _spread(took, "s")


def measure_gate() -> Iterator[tuple[str, str]]:
    """Yield a healthy gate's duration as a ratio of its probing time."""
    with _lab():
        ratios, took = [], []
        for _ in range(3):
            seconds, told, code = _gate()
            ratios.append(seconds / _probing_s(told))
            took.append(seconds)
            yield "healthy gate of five guests, verdicts", f"exit {code}, {_verdicts(told)}"
        yield "healthy gate, median of 3 (min, max)", _spread(took, "s")
        yield "healthy gate over its probing time, median", _spread(ratios, "x")


def measure_incident() -> Iterator[tuple[str, str]]:
    """Yield the time from the start of the gate to the healed verdict, for the incident."""
    with _lab():
        _vmnet("lab", "fault", "inject", "reflected-mac")
        seconds, told, code = _gate(*_HEAL)
        healed = sum(guest["healed"] for guest in told["guests"])
        yield "incident: start to healed verdict", f"{seconds:.1f} s, exit {code}, {healed} healed"


def measure_soak() -> Iterator[tuple[str, str]]:
    """Yield the outcomes of 30 healthy gates in a row."""
    with _lab():
        took, failures, lost, sent = [], 0, 0, 0
        for number in range(_SOAK):
            seconds, told, code = _gate()
            took.append(seconds)
            flows = [flow for guest in told["guests"] for flow in guest["flows"]]
            lost += sum(flow["transmitted"] - flow["received"] for flow in flows)
            sent += sum(flow["transmitted"] for flow in flows)
            if code:
                failures += 1
                yield f"gate {number + 1} failed", f"exit {code}, {_verdicts(told)}"
        yield f"failures in {_SOAK} healthy gates", str(failures)
        yield "probes lost, of those sent (peer flows count twice)", f"{lost} of {sent}"
        yield f"healthy gate, median of {_SOAK} (min, max)", _spread(took, "s")


def measure_loaded() -> Iterator[tuple[str, str]]:
    """Yield the verdicts of 30 gates on a healthy site while every CPU is busy with other work."""
    with _lab(), _busy():
        took: list[float] = []
        verdicts: Counter[str] = Counter()
        for number in range(_SOAK):
            seconds, told, _ = _gate("--vmnet-peers=1")
            took.append(seconds)
            verdicts.update(guest["verdict"] for guest in told["guests"])
            if any(guest["verdict"] == "unhealthy" for guest in told["guests"]):
                yield f"gate {number + 1} blames the innocent", _verdicts(told)
        found = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.most_common())
        yield f"guests' verdicts in {_SOAK} gates, every CPU busy", found
        yield f"gate, median of {_SOAK} (min, max)", _spread(took, "s")


@contextmanager
def _busy() -> Iterator[None]:
    """Keep every CPU busy; for two hours at most."""
    argv = ["timeout", "7200", sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(argv) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait()


@contextmanager
def _lab() -> Iterator[None]:
    _vmnet("lab", "up")
    try:
        yield
    finally:
        _vmnet("lab", "down")


def _environment() -> dict[str, str]:
    return {**os.environ, "VMNET_LAB_NAME": os.environ.get("VMNET_LAB_NAME", "bench")}


def _vmnet(*words: str) -> None:
    subprocess.run([*_VMNET, *words], check=True, capture_output=True, env=_environment())


def _gate(*options: str) -> tuple[float, dict[str, Any], int]:
    with TemporaryDirectory() as folder:
        report = Path(folder, "out.json")
        argv = [
            *_VMNET, "lab", "exec", "workstation", "--", sys.executable, "-m", "pytest", "-q",
            "-p", "no:cacheprovider", "--proxmox-node", "pve1", f"--vmnet-json={report}",
        ]  # fmt: skip
        begun = time.monotonic()
        done = subprocess.run(
            [*argv, *options], check=False, capture_output=True, env=_environment(), cwd=folder
        )
        seconds = time.monotonic() - begun
        return seconds, json.loads(report.read_text(encoding="utf-8")), done.returncode


def _probing_s(told: dict[str, Any]) -> float:
    settings = {row["name"]: row["value"] for row in told["run"]["settings"]}
    count = max(
        f["transmitted"] for g in told["guests"] for f in g["flows"] if f["kind"] != "peer"
    )
    return count * float(settings["vmnet-interval"])


def _verdicts(told: dict[str, Any]) -> str:
    return " ".join(f"{guest['name']}:{guest['verdict']}" for guest in told["guests"])


def _spread(figures: Sequence[float], unit: str) -> str:
    middle = statistics.median(figures)
    return f"{middle:.1f} {unit} ({min(figures):.1f}, {max(figures):.1f})"
