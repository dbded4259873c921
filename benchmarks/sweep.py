"""What a sweep takes on an unemulated CPU: namespace guests behind the lab's own API and node.

``sweep``: five guests at the default pace, as a ratio to its probing time. ``sequential``: the
same flows by hand, one after the other. ``scale``: 5, 50 and 200 guests, what each of them costs.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest_vmnet.lab import spec
from pytest_vmnet.lab.crowd import Crowd, crowd
from pytest_vmnet.lab.pve.crowd import FIRST_VMID
from pytest_vmnet.lab.supervisor import services

Row = tuple[str, str]

_HOME = Path(__file__).resolve().parents[1]
_SIZES = (5, 50, 200)
_RUNS = 3
_PEERS = "--vmnet-peers=2"


@dataclass(frozen=True)
class Gated:
    """One gate run, as it tells of itself and as it was counted from outside."""

    code: int
    told: dict[str, Any]
    counted: dict[str, Any]

    @property
    def sweep_s(self) -> float:
        """How long its first sweep took."""
        return float(self.told["run"]["sweep_s"])

    @property
    def probing_s(self) -> float:
        """How long its longest flow takes by its number of probes and interval."""
        return float(self.counted["probing_s"])

    @property
    def verdicts(self) -> str:
        """How many guests got which verdict."""
        found = Counter(guest["verdict"] for guest in self.told["guests"])
        return ", ".join(f"{number} {verdict}" for verdict, number in sorted(found.items()))

    @property
    def unknown(self) -> str:
        """How many cells of how many are unknown."""
        flows = [flow for guest in self.told["guests"] for flow in guest["flows"]]
        cells = [point for flow in flows for point in flow.get("points", [])]
        return f"{sum(cell['doubt'] is not None for cell in cells)} of {len(cells)}"


def measure_sweep() -> Iterator[Row]:
    """Yield five guests' sweep as a ratio to its probing time."""
    with _site(5) as site:
        runs = [gate(site) for _ in range(_RUNS)]
    yield "five namespace guests, 300 probes at 20 ms, verdicts", runs[-1].verdicts
    yield "probing time", f"{runs[0].probing_s:.1f} s"
    yield "sweep, median of 3 (min, max)", _spread([run.sweep_s for run in runs], "s")
    ratios = [run.sweep_s / run.probing_s for run in runs]
    yield "sweep over its probing time, median of 3 (min, max)", _spread(ratios, "x", 2)
    whole = [run.counted["wall_s"] for run in runs]
    yield "whole gate with pytest, median of 3 (min, max)", _spread(whole, "s")
    yield "points whose cells are unknown, last run", runs[-1].unknown


def measure_sequential() -> Iterator[Row]:
    """Yield what the same flows take one after the other, and the gate's sweep beside it."""
    with _site(5) as site:
        run = gate(site)
        flows = planned(site)
        seconds, passed = by_hand(site, flows)
    sent = sum(int(flow["argv"][flow["argv"].index("-c") + 1]) for flow in flows)
    yield "flows and probes, the same for both", f"{len(flows)} flows, {sent} probes"
    yield "the gate's sweep, all of its evidence included", f"{run.sweep_s:.1f} s"
    yield "by hand with pytest-testinfra, ping and tcpdump", f"{seconds:.1f} s, {passed}"
    yield "ratio to the gate's sweep", f"{seconds / run.sweep_s:.1f} x"
    yield "ratio to the whole gate", f"{seconds / run.counted['wall_s']:.1f} x"


def measure_scale() -> Iterator[Row]:
    """Yield what each guest costs on sites of several sizes."""
    for size in _SIZES:
        with _site(size) as site:
            run = gate(site, _PEERS)
        counted, name = run.counted, f"{size} guests"
        steps, counts = counted["steps"], counted["counts"]
        beyond = counted["wall_s"] - run.probing_s
        yield f"{name}: verdicts, unknown cells", f"{run.verdicts}; {run.unknown}"
        yield f"{name}: probing, whole gate", f"{run.probing_s:.1f} s, {counted['wall_s']:.1f} s"
        yield f"{name}: wall time beyond probing, per guest", f"{1000 * beyond / size:.0f} ms"
        yield f"{name}: CPU of the gate, per guest", f"{1000 * counted['cpu_s'] / size:.0f} ms"
        yield f"{name}: peak memory of the gate", f"{counted['peak_mib']:.0f} MiB"
        per = Counter(word.split()[0] for word, n in counted["guests"].items() for _ in range(n))
        yield (
            f"{name}: remote commands per guest, probes (and discovery)",
            f"{per['probes'] / size:g} ({per['discovery'] / size:g})",
        )
        yield f"{name}: captures per node", f"{counts['captures']}"
        yield f"{name}: agent calls per guest", f"{counts['agent calls'] / size:.1f}"
        shown = ("discover", "run_sweep", "start", "fetch", "read_sweep", "judge")
        yield f"{name}: seconds by step", ", ".join(f"{k} {steps.get(k, 0):.1f}" for k in shown)


@contextmanager
def _site(guests: int) -> Iterator[Crowd]:
    with crowd(f"bench-{os.getpid()}", guests, lambda _: None) as site:
        yield site


def gate(site: Crowd, *options: str) -> Gated:
    """Run the gate on the workstation of a site and count what it does."""
    with TemporaryDirectory() as folder:
        report, counted = Path(folder, "out.json"), Path(folder, "counted.json")
        argv = ["env", f"PYTHONPATH={_HOME}", sys.executable, "-m", "benchmarks.counted"]
        argv += [str(counted), "-q", "-p", "no:cacheprovider", f"--vmnet-json={report}"]
        done = site.run("workstation", [*argv, *site.connection, *options], cwd=Path(folder))
        if not counted.exists():
            raise RuntimeError(done.stderr.decode(errors="replace")[-2000:])
        told = json.loads(report.read_text(encoding="utf-8"))
        return Gated(done.returncode, told, json.loads(counted.read_text(encoding="utf-8")))


def planned(site: Crowd) -> list[dict[str, Any]]:
    """Return the flows of a gate on that site, as its dry run shows them."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--vmnet-dry-run"]
    with TemporaryDirectory() as folder:
        done = site.run("workstation", [*argv, *site.connection], cwd=Path(folder))
    vmids = {f"vm-{n}": FIRST_VMID + n - 1 for n in range(1, site.count + 1)}
    flows = []
    for line in done.stdout.decode().splitlines():
        ends, _, command = line.partition("): ping ")
        if not command or " -> " not in ends:
            continue
        source, _, rest = ends.partition(" -> ")
        target = rest.partition(" (")[0]
        taps = [f"tap{vmids[end]}i0" for end in (source, target) if end in vmids]
        flows.append(
            {
                "source": source,
                "vmid": vmids.get(source),
                "argv": ["ping", *shlex.split(command.partition("  # ")[0])],
                "points": _points(source, taps),
            }
        )
    return flows


def _points(source: str, taps: list[str]) -> list[str]:
    """Return the node's interfaces that a flow passes; the gate's own to the gateway pass none."""
    if len(taps) == 2 or (source == "workstation" and not taps):
        return taps
    return [*taps, spec.UPLINK]


def by_hand(site: Crowd, flows: list[dict[str, Any]]) -> tuple[float, str]:
    """Run the suite that does it one by one; return seconds, and what pytest says of it."""
    with TemporaryDirectory() as folder:
        named = Path(folder, "flows.json")
        named.write_text(json.dumps(flows), encoding="utf-8")
        variables = {
            "VMNET_FLOWS": str(named),
            "VMNET_TOKEN": str(services.TOKEN),
            "VMNET_CA": str(services.CA),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        argv = ["env", *(f"{key}={value}" for key, value in variables.items()), sys.executable]
        argv += ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "testinfra.plugin"]
        argv += ["--rootdir", folder, "-c", "/dev/null", f"{_HOME}/benchmarks/sequential.py"]
        done = site.run("workstation", argv, cwd=Path(folder))
    last = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
    told = last[0] if last else done.stderr.decode(errors="replace")[-300:]
    return float(told.rpartition(" in ")[2].split("s")[0]), told.rpartition(" in ")[0]


def _spread(figures: list[float], unit: str, digits: int = 1) -> str:
    middle = statistics.median(figures)
    return f"{middle:.{digits}f} {unit} ({min(figures):.{digits}f}, {max(figures):.{digits}f})"
