"""``python -m benchmarks.counted FILE ARGS...``: pytest with ARGS, and what it took, into FILE.

The gate is not told: its doors are counted and its steps are timed from outside.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import pytest

from pytest_vmnet.backends import hosts, proxmox
from pytest_vmnet.gate import session
from pytest_vmnet.probes import node, site, sweep
from pytest_vmnet.probes import script as script_of


def main(file: str, *words: str) -> int:
    """Run pytest; write seconds by step, CPU seconds and the commands given to others."""
    steps: dict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    guests: Counter[str] = Counter()
    lock = Lock()

    def count(name: str) -> None:
        with lock:
            counts[name] += 1

    def script(words: tuple[object, ...]) -> None:
        count("node commands")
        if "tcpdump" in str(words[-1]) and "echo ready" in str(words[-1]):
            count("captures")

    def command(words: tuple[object, ...], named: dict[str, object]) -> None:
        with lock:
            step = "probes" if named.get("expect_s") else "discovery"
            guests[f"{step} {words[2]}"] += 1

    _before(hosts.SshShell, "run", lambda words, _: script(words))
    _before(hosts.SshShell, "hold", lambda words, _: script(words))
    _before(proxmox.Proxmox, "agent_exec", command)
    _before(proxmox.Proxmox, "agent", lambda *_: count("agent calls"))
    _before(proxmox.Proxmox, "call", lambda *_: count("API calls"))
    for where, what in (
        (site, "discover"),
        (sweep, "run_sweep"),
        (node.NodeWatch, "start"),
        (node.NodeWatch, "fetch"),
        (node.NodeWatch, "clean"),
        (node.NodeWatch, "start"),
        (node.NodeWatch, "fetch"),
        (node.NodeWatch, "clean"),
        (session, "read_sweep"),
        (session, "judge"),
        (session.Gate, "outcomes"),
    ):
        _timed(where, what, steps)
    longest: list[float] = [0.0]

    def sweeping(words: tuple[object, ...], _: dict[str, object]) -> None:
        longest.append(script_of.duration_s(words[1]))

    _before(sweep, "run_sweep", sweeping)
    begun = time.monotonic()
    code = pytest.main(list(words))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "wall_s": time.monotonic() - begun,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
        "probing_s": max(longest),
        "steps": steps,
        "counts": counts,
        "guests": guests,
    }
    Path(file).write_text(json.dumps(told), encoding="utf-8")
    return int(code)


def _before(
    where: object, what: str, note: Callable[[tuple[object, ...], dict[str, object]], None]
) -> None:
    """Call *note* with the arguments of each call of a method."""
    known = getattr(where, what)

    def noted(*words: object, **named: object) -> object:
        note(words, named)
        return known(*words, **named)

    setattr(where, what, noted)


def _timed(where: object, what: str, steps: dict[str, float]) -> None:
    """Add up the seconds that a function takes."""
    known = getattr(where, what)

    def timed(*words: object, **named: object) -> object:
        begun = time.monotonic()
        try:
            return known(*words, **named)
        finally:
            steps[what] += time.monotonic() - begun

    setattr(where, what, timed)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main(*sys.argv[1:]))
