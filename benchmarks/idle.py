"""What the plugin costs a pytest run that does not use it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

_RUNS = 21
_HEAVY = ("numpy", "proxmoxer", "python_terraform", "requests", "testinfra")


def measure() -> Iterator[tuple[str, str]]:
    """Yield the cost of loading the plugin, with plugin autoload off, pair by pair."""
    with TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing(): pass\n", encoding="ascii")
        pairs = [(_run(folder), _run(folder, "-p", "pytest_vmnet.plugin")) for _ in range(_RUNS)]
        costs = [(loaded - bare) * 1000 for bare, loaded in pairs]
        bare_ms = statistics.median(bare for bare, _ in pairs) * 1000
        yield "pytest without the plugin, median", f"{bare_ms:.0f} ms"
        low, middle, high = min(costs), statistics.median(costs), max(costs)
        yield (
            f"added by loading it, median of {_RUNS} pairs (min, max)",
            f"{middle:.1f} ms ({low:.1f}, {high:.1f})",
        )
        yield "heavy modules that it imports", ", ".join(_imported(folder)) or "none"


def _run(folder: str, *options: str) -> float:
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, folder],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    return time.perf_counter() - begun


def _imported(folder: str) -> list[str]:
    code = (
        "import pytest, sys\n"
        f"pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'pytest_vmnet.plugin', {folder!r}])\n"
        f"print('HEAVY', *[name for name in {_HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    return next(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("HEAVY"))
