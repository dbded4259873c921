"""A replay of a bundle: the same ids, verdicts, reports and exit code, with nobody to ask."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
LOSSY = ("--vmnet-max-loss=0.5", "--vmnet-json=live.json", "--vmnet-bundle=kept")
REPLAY = ("--vmnet-replay=kept", "--vmnet-json=again.json")
_NO_SOCKET = """
import socket

class Refused:
    def __init__(self, *words, **more):
        raise AssertionError("a replay opened a socket")

socket.socket = Refused
socket.create_connection = Refused
"""


def ids(result: Any) -> list[str]:
    return [line for line in result.outlines if "::" in line and "[" in line]


def told(name: str) -> dict[str, Any]:
    """Return a report without the only thing that a replay may change: how long the run took."""
    report = json.loads(Path(name).read_text(encoding="utf-8"))
    del report["run"]["duration_s"]
    return dict(report)


@pytest.fixture
def live(site: Any) -> Any:
    """A run that is recorded: vm-1 loses everything to its gateway and to vm-2."""
    for agent in site.agents.values():
        agent.mode = "probe"
    site.agents[111].lost = frozenset({"192.0.2.1", "192.0.2.12"})
    return site.gate(*LOSSY, "-v")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def kept(request: pytest.FixtureRequest, run: Run, store: Path) -> Path:
    """The bundle of such a run, and its report; recorded once for all tests."""
    if not (store / "kept").exists():
        request.getfixturevalue("live")
        shutil.copytree("kept", store / "kept")
        shutil.copy("live.json", store)
        shutil.rmtree("kept")
    shutil.copytree(store / "kept", "kept")
    shutil.copy(store / "live.json", "live.json")
    return Path("kept")


@pytest.fixture
def replay(run: Any) -> Any:
    """Replay the bundle without a site, an environment, or a way to open a socket."""
    Path("nosocket.py").write_text(_NO_SOCKET, encoding="utf-8")

    def start(*words: str, **how: Any) -> Any:
        return run("-p", "no:rerunfailures", "-p", "nosocket", *REPLAY, *words, apart=True, **how)

    return start


def test_replay_is_identical_but_for_the_time_it_took(live: Any, replay: Any) -> None:
    again = replay("-v", "--junitxml=again.xml", "--vmnet-markdown=again.md")
    assert (live.ret, again.ret) == (1, 1)
    assert live.parseoutcomes() == again.parseoutcomes()
    assert told("live.json") == told("again.json")
    verdicts = {guest["name"]: guest["verdict"] for guest in told("again.json")["guests"]}
    assert verdicts == {"vm-1": "unhealthy", "vm-2": "healthy"}
    one, other = (Path(n).read_text().splitlines() for n in ("live.json", "again.json"))
    changed = [line for line, same in zip(one, other, strict=True) if line != same]
    assert [line.partition(":")[0].strip() for line in changed] in ([], ['"duration_s"'])


def test_header_says_that_it_is_a_replay_and_of_what(kept: Path, replay: Any) -> None:
    shown = " ".join(replay("-k", "test_verdict").stdout.str().split())
    run = told("live.json")["run"]
    assert f"vmnet: replay of run {run['id']} of {run['started_at']} from kept (recorded" in shown
    assert "nobody is asked, nothing is sent, nothing is carried out" in shown
    assert "vmnet: probing: " not in shown


def test_the_bundle_holds_the_report_of_its_run(live: Any) -> None:
    kept = Path("kept/outcome.json").read_bytes()
    assert kept == Path("live.json").read_bytes()


def test_replay_collects_the_same_ids(kept: Path, site: Any, replay: Any) -> None:
    known = ids(site.gate("--collect-only", "-q"))
    assert ids(replay("--collect-only", "-q")) == known
    assert not Path("again.json").exists()
    assert "test_peer_loss[vm-1:vm-2]" in " ".join(known)


@pytest.mark.parametrize("words", [("-n2",), ("-k", "test_verdict[vm-2]"), ("-x",)])
def test_replay_judges_all_whatever_runs(kept: Path, replay: Any, words: Any) -> None:
    result = replay(*words)
    assert result.ret == (0 if "-k" in words else 1)
    assert told("again.json") == told("live.json")


def test_replay_needs_no_network_at_all(kept: Path, pytester: Any, run: Run) -> None:
    if subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("unshare makes no network namespace here")
    words = ("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:rerunfailures", *REPLAY)
    assert pytester.run("unshare", "-n", sys.executable, *words).ret == 1
    assert told("again.json") == told("live.json")


def test_replay_in_ini_switches_the_gate_on(kept: Path, run: Any, pytester: Any) -> None:
    pytester.makeini("[pytest]\nvmnet_replay = kept\nvmnet_proxmox_node = pve1\n")
    assert run("--vmnet-json=again.json").ret == 1
    assert told("again.json") == told("live.json")


def test_environment_switches_no_replay_on(run: Any, pytester: Any) -> None:
    pytester.makepyfile("def test_own(): ...")
    run(env={"VMNET_REPLAY": "kept"}).assert_outcomes(passed=1)


def test_fixtures_that_need_the_site_skip_their_tests(
    kept: Path, replay: Any, pytester: Any
) -> None:
    pytester.makepyfile(
        test_mine="""
        def test_api(proxmox): ...
        def test_inside(vm, guest): ...
        def test_shell(hypervisor): ...
        def test_facts(vm, peer, node, bridge, gateway, ledger):
            assert ledger.outcome(vm).guest == vm
    """
    )
    result = replay("-rs", "test_mine.py")
    result.assert_outcomes(passed=2, skipped=4)
    result.stdout.fnmatch_lines(["*a replay asks nobody*"])


@pytest.mark.parametrize(
    ("words", "action", "reason"),
    [
        ((), "refuse", "--vmnet-rebuild is never (default)"),
        (("--vmnet-rebuild=plan",), "refuse", "journal"),
    ],
)
def test_decisions_are_computed_and_never_carried_out(
    kept: Path, replay: Any, words: Any, action: str, reason: str
) -> None:
    shown = " ".join(replay(*words).stdout.str().split())
    sick = told("again.json")["guests"][0]
    assert (sick["decision"]["action"], sick["attempts"]) == (action, [])
    assert reason in sick["decision"]["reason"]
    assert "decided as of then, and nothing is carried out: this is a replay" in shown
    assert "ARMED" not in shown


def test_thresholds_may_be_asked_anew(kept: Path, replay: Any) -> None:
    replay("--vmnet-max-loss=0.01")
    again = told("again.json")
    assert "healthy" not in {guest["verdict"] for guest in again["guests"]}
    row = next(row for row in again["run"]["settings"] if row["name"] == "vmnet-max-loss")
    assert row == {"name": "vmnet-max-loss", "value": "0.01", "source": "command line"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--proxmox-node=pve1", "--vmnet-count=9"), "--proxmox-node, --vmnet-count: not with --"),
        (("--vmnet-bundle=other",), "--vmnet-bundle: not with --vmnet-replay, which takes them"),
        (("--vmnet-lab",), "--vmnet-replay needs no lab"),
    ],
)
def test_what_no_replay_can_do_is_refused(kept: Path, replay: Any, words: Any, said: str) -> None:
    result = replay(*words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in " ".join(result.stderr.str().split())


def _edit(name: str, **changes: Any) -> None:
    path = Path("kept") / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")


def _cut(name: str) -> None:
    path = Path("kept") / name
    path.write_bytes(path.read_bytes()[:-7])


def _lengthen(name: str) -> None:
    path = Path("kept") / name
    path.write_bytes(path.read_bytes() + b"x")


def _flip(name: str) -> None:
    path = Path("kept") / name
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def _link(name: str) -> None:
    path = Path("kept") / name
    path.rename("elsewhere")
    path.symlink_to(Path("elsewhere").absolute())


def _pipe(name: str) -> None:
    path = Path("kept") / name
    path.unlink()
    os.mkfifo(path)


PING = "sweep-1/vm-1/ping.0.txt"
DAMAGE = {
    "none": (lambda: shutil.rmtree("kept"), "there is no such folder"),
    "empty": (lambda: Path("kept/manifest.json").unlink(), "it is no bundle: it has no m"),
    "foreign": (lambda: _edit("manifest.json", what="a list"), "it is no bundle: its m"),
    "newer": (lambda: _edit("manifest.json", format=2), "its format is 2, this version reads 1"),
    "unfinished": (lambda: _edit("manifest.json", finished=False), "it is not finished ("),
    "no-json": (lambda: _cut("manifest.json"), "manifest.json is no JSON"),
    "list": (lambda: Path("kept/manifest.json").write_text("[]"), "it is no bundle"),
    "deep": (lambda: Path("kept/manifest.json").write_text("[" * 99999), "is nested too deeply"),
    "missing": (lambda: Path("kept", PING).unlink(), "No such file"),
    "cut": (lambda: _cut(PING), f"{PING} is damaged: its bytes are not those"),
    "flipped": (lambda: _flip(PING), f"{PING} is damaged"),
    "edited": (lambda: _edit("run.json", tested=["vm-1"]), "run.json is damaged"),
    "longer": (lambda: _lengthen(PING), f"{PING} is larger than"),
    "link": (lambda: _link(PING), PING),
    "pipe": (lambda: _pipe(PING), f"{PING} is no plain file"),
    "leaving": (
        lambda: _edit("manifest.json", files={"../live.json": {"sha256": "", "bytes": 9}}),
        "'../live.json' is no name for a file of a bundle",
    ),
    "huge": (
        lambda: _edit("manifest.json", files={"run.json": {"sha256": "", "bytes": 3 * 10**9}}),
        "are beyond the limits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_bundle_that_cannot_be_trusted_is_refused(kept: Path, run: Any, name: str) -> None:
    damage, wanted = DAMAGE[name]
    damage()
    result = run(*REPLAY)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = " ".join(result.stderr.str().split())
    assert wanted in said
    assert "--vmnet-replay = 'kept': " in said
    report = json.loads(Path("again.json").read_text(encoding="utf-8"))
    assert report["guests"] == []
    assert wanted in report["run"]["error"]
    assert re.fullmatch("[0-9a-f]{16}", report["run"]["id"])
