"""Run the measurements that are named, or the quick ones, and print a table of figures."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator

from benchmarks import capture, idle, lab, ledger, sweep

Row = tuple[str, str]
MEASUREMENTS: dict[str, Callable[[], Iterator[Row]]] = {
    "idle": idle.measure,
    "capture": capture.measure,
    "ledger": ledger.measure,
    "up": lab.measure_up,
    "gate": lab.measure_gate,
    "incident": lab.measure_incident,
    "soak": lab.measure_soak,
    "loaded": lab.measure_loaded,
    "sweep": sweep.measure_sweep,
    "sequential": sweep.measure_sequential,
    "scale": sweep.measure_scale,
}
QUICK = ("idle", "capture", "ledger", "sweep", "up", "gate", "incident")


def main() -> int:
    """Print every measurement's figures as they come."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []], metavar="NAME")
    names = parser.parse_args().names or QUICK
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {sys.version.split()[0]}"
    sys.stdout.write(f"machine: {machine}\n")
    for name in names:
        for what, figure in MEASUREMENTS[name]():
            sys.stdout.write(f"{name:10} {what:58} {figure}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
