"""Bundles of real runs on the lab: each replays to the report that its run gave."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.lab.faults import FAULTS

HERE = Path(__file__).parents[1] / "data" / "bundles"
TRUTHS = {fault.name: fault.truth() for fault in FAULTS}
NAMES = ["healthy", *TRUTHS, "healed"]
TRUTH = ("reason", "scope", "leg", "last_seen", "next_point", "rebuild")


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[str], Path]:
    def unpack(name: str) -> Path:
        with tarfile.open(HERE / f"{name}.tar.xz") as archive:
            archive.extractall(tmp_path / name, filter="data")
        return tmp_path / name

    return unpack


def told(path: Path) -> Any:
    report = json.loads(path.read_text(encoding="utf-8"))
    del report["run"]["duration_s"]
    return report


def changes(before: Any, after: Any, where: str = "") -> list[str]:
    """Return where a report is another one: it may grow (schema 1 does), and that is all."""
    if isinstance(before, dict) and isinstance(after, dict):
        gone = [f"{where}.{key} is gone" for key in before if key not in after]
        both = [key for key in before if key in after]
        return gone + [
            line for key in both for line in changes(before[key], after[key], f"{where}.{key}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for n, (a, b) in pairs for line in changes(a, b, f"{where}[{n}]")]
    return [] if before == after else [f"{where}: {before!r:.300} -> {after!r:.300}"]


def test_every_fault_has_a_bundle_and_it_is_small() -> None:
    sizes = {path.name.removesuffix(".tar.xz"): path.stat().st_size for path in HERE.glob("*.xz")}
    assert set(sizes) == set(NAMES)
    healed = sizes.pop("healed")  # two sweeps: before the act and after it
    assert max(sizes.values()) < 300_000
    assert healed < 2 * 300_000


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_run_gives_its_report_again(run: Any, unpacked: Any, name: str) -> None:
    folder = unpacked(name)
    result = run(f"--vmnet-replay={folder}", "--vmnet-json=again.json")
    assert result.ret == (0 if name in {"healthy", "healed"} else 1)
    again = told(Path("again.json"))
    assert changes(told(folder / "outcome.json"), again) == []
    if name in TRUTHS:
        for guest in again["guests"]:
            assert guest["verdict"] == TRUTHS[name]["verdicts"].get(guest["name"], "healthy")
        sick = next(guest for guest in again["guests"] if guest["findings"])
        finding = sick["findings"][0]
        assert {key: finding[key] for key in TRUTH} == {key: TRUTHS[name][key] for key in TRUTH}


def test_a_recorded_act_is_shown_as_it_was(run: Any, unpacked: Any) -> None:
    result = run(f"--vmnet-replay={unpacked('healed')}", "--vmnet-json=again.json")
    sick = next(guest for guest in told(Path("again.json"))["guests"] if guest["attempts"])
    (attempt,) = sick["attempts"]
    assert (sick["verdict"], sick["healed"], attempt["outcome"]) == ("healthy", True, "cured")
    assert attempt["mac_after"] == sick["mac"] != attempt["mac_before"]
    assert [flow["received"] == flow["transmitted"] for flow in sick["flows"]][:1] == [True]
    assert any(flow["received"] < flow["transmitted"] for flow in sick["flows_before"])
    assert "tried: rebuild: cured" in result.stdout.str()


def test_what_would_have_been_decided(run: Any, unpacked: Any) -> None:
    """The run was not allowed to act; a replay says what an armed one would have decided."""
    folder = unpacked("reflected-mac")
    words = ("--vmnet-rebuild=diagnosed", "--vmnet-ladder=rebuild", "--vmnet-json=again.json")
    result = run(f"--vmnet-replay={folder}", *words)
    report = told(Path("again.json"))
    sick = next(guest for guest in report["guests"] if guest["findings"])
    assert (sick["decision"]["action"], sick["attempts"]) == ("rebuild", [])
    assert "no guard rail objects" in sick["decision"]["reason"]
    said = "vm-1: rebuild is decided as of then; a replay carries nothing out"
    assert said in report["run"]["notes"]
    assert f"note: {said}" in result.stdout.str()


def test_a_guard_rail_of_a_replay_refuses_with_its_numbers(run: Any, unpacked: Any) -> None:
    folder = unpacked("reflected-mac")
    words = ("--vmnet-rebuild=diagnosed", "--vmnet-rebuildable=vm-2", "--vmnet-json=again.json")
    run(f"--vmnet-replay={folder}", *words)
    sick = next(guest for guest in told(Path("again.json"))["guests"] if guest["findings"])
    assert sick["decision"]["action"] == "refuse"
    assert "vm-2" in sick["decision"]["reason"]
