"""A bundle: what a run keeps, where it may, and what never gets into it."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

SENTINEL = "Sentinel-5ecret-9f1c"
BUNDLE = ("--vmnet-max-loss=0.5", "--vmnet-bundle=kept", "--vmnet-json=live.json")


def manifest(folder: str = "kept") -> Any:
    return json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))


def files(folder: str = "kept") -> list[Path]:
    return [path for path in Path(folder).rglob("*") if path.is_file()]


@pytest.fixture
def probed(site: Any) -> Any:
    """The site, with guests that answer to probes."""
    for agent in site.agents.values():
        agent.mode = "probe"
    return site


def complaint(result: Any) -> str:
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return " ".join((result.stdout.str() + result.stderr.str()).split())


def test_a_bundle_lists_every_file_with_its_hash(probed: Any) -> None:
    assert probed.gate(*BUNDLE).ret == 0
    told = manifest()
    run = json.loads(Path("live.json").read_text(encoding="utf-8"))["run"]
    assert (told["what"], told["format"], told["finished"]) == ("pytest-vmnet bundle", 1, True)
    assert (told["run_id"], told["started_at"]) == (run["id"], run["started_at"])
    assert told["versions"] == run["versions"]
    there = {str(path.relative_to("kept")): path.read_bytes() for path in files()}
    del there["manifest.json"]
    assert {name: hashlib.sha256(data).hexdigest() for name, data in there.items()} == {
        name: entry["sha256"] for name, entry in told["files"].items()
    }
    assert b"64 bytes from 192.0.2.1: icmp_seq=1" in there["sweep-1/vm-1/ping.0.txt"]


def test_nobody_else_can_read_it(probed: Any) -> None:
    probed.gate(*BUNDLE)
    modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in Path("kept").rglob("*")}
    assert modes == {True: 0o700, False: 0o600}
    assert stat.S_IMODE(Path("kept").stat().st_mode) == 0o700


def test_no_secret_gets_into_it(probed: Any) -> None:
    """The token is planted wherever something could pick it up, a guest's output included."""
    probed.pve.add_token("root@pam!gate", SENTINEL)
    probed.pve.vm(111).config["description"] = SENTINEL
    probed.agents[111].says = SENTINEL
    Path(f"{SENTINEL}.token").write_text(f"root@pam!gate={SENTINEL}", encoding="utf-8")
    env = {
        "PROXMOX_VE_API_TOKEN": "",
        "PM_API_TOKEN_SECRET": SENTINEL[::-1],
        "TF_VAR_pm_password": SENTINEL.swapcase(),
        "UNRELATED": SENTINEL,
    }
    option = f"--proxmox-token-file={SENTINEL}.token"
    assert probed.gate(*BUNDLE, option, env=env).ret == 0
    everything = b"".join(path.read_bytes() + str(path).encode() for path in files())
    assert b"vm-1" in everything
    assert b"*" * len(SENTINEL) in everything, "the guest's own words are there, and covered"
    for word in (SENTINEL, SENTINEL[::-1], SENTINEL.swapcase()):
        assert word.encode() not in everything
    rows = {row["name"]: row for row in json.loads(Path("kept/run.json").read_text())["settings"]}
    assert rows["proxmox-token-file"]["value"] == "(not shown)"


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ("mine", "the folder is not empty and is no bundle"),
        ("mine/notes.txt", "it exists and is no folder"),
        ("mine/none/kept", "does not exist; create it first"),
        ("mine/loop", "it exists and is no folder"),
    ],
)
def test_what_is_no_bundle_is_left_alone(probed: Any, place: str, wanted: str) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine", encoding="utf-8")
    Path("mine/loop").symlink_to("loop")
    said = complaint(probed.gate("--vmnet-bundle", place))
    assert wanted in said
    assert f"--vmnet-bundle = '{place}': " in said
    assert not probed.pve.requests
    assert sorted(path.name for path in Path("mine").iterdir()) == ["loop", "notes.txt"]


def test_an_older_bundle_is_replaced_as_a_whole(probed: Any, run: Any) -> None:
    probed.gate(*BUNDLE)
    Path("kept/sweep-7").mkdir()
    Path("kept/sweep-7/left.txt").write_text("left", encoding="utf-8")
    Path("kept/notes.md").write_text("a person's", encoding="utf-8")
    first = manifest()["run_id"]
    probed.gate(*BUNDLE)
    assert manifest()["run_id"] != first
    assert not Path("kept/sweep-7").exists()
    assert Path("kept/notes.md").exists()
    assert run("--vmnet-replay=kept").ret == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("-k", "no_such_test"), "the run has not come to its end"),
        (("--proxmox-node=nowhere",), "the run has not come to its end"),
    ],
)
def test_a_run_that_looked_at_nothing_leaves_no_older_bundle(
    probed: Any, run: Any, words: Any, why: str
) -> None:
    probed.gate(*BUNDLE)
    probed.gate(*BUNDLE, *words)
    told = manifest()
    assert (told["finished"], told["reason"]) == (False, why)
    assert f"it is not finished ({why})" in complaint(run("--vmnet-replay=kept"))


def test_a_run_that_is_broken_off_says_so_in_its_bundle(probed: Any, pytester: Any) -> None:
    pytester.makeconftest("""
        from pytest_vmnet.gate import live

        def broken(self, inventory, plan):
            raise KeyboardInterrupt

        live.LiveSource.sweep = broken
    """)
    probed.gate(*BUNDLE, "-p", "conftest", apart=True, may_break=True)
    told = manifest()
    assert (told["finished"], told["reason"]) == (False, "the run ended early: KeyboardInterrupt")
    assert Path("kept/inventory.json").exists()


def test_a_bundle_that_could_not_be_kept_loses_nothing_else(probed: Any, pytester: Any) -> None:
    pytester.makeconftest("""
        from pytest_vmnet.bundle import layout

        layout.MAX_TOTAL = 3000
    """)
    said = complaint(probed.gate(*BUNDLE, "-p", "conftest", apart=True))
    assert "ERROR: --vmnet-bundle = 'kept' is not whole: " in said
    assert "is beyond the bundle's limits" in said
    assert "network acceptance gate" in said
    assert len(json.loads(Path("live.json").read_text(encoding="utf-8"))["guests"]) == 2
    assert manifest()["finished"] is False


@pytest.mark.parametrize("words", [("--collect-only",), ("--vmnet-dry-run",)])
def test_without_probes_there_is_no_bundle(probed: Any, words: Any) -> None:
    probed.gate(*BUNDLE, *words)
    assert not Path("kept").exists()


def test_workers_leave_it_to_the_controller(probed: Any, run: Any) -> None:
    assert probed.gate(*BUNDLE, "-n2", apart=True).ret == 0
    assert manifest()["finished"] is True
    assert run("--vmnet-replay=kept").ret == 0


def test_folder_from_environment_and_ini(probed: Any, pytester: Any) -> None:
    probed.gate("-k", "test_verdict", env={"VMNET_BUNDLE": "one"})
    pytester.makeini("[pytest]\nvmnet_bundle = two\n")
    probed.gate("-k", "test_verdict")
    assert manifest("one")["finished"] is manifest("two")["finished"] is True
