"""Guests that cannot be asked: tests are errors, nobody is blamed, and the reason is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TESTS_FAILED = pytest.ExitCode.TESTS_FAILED
VERDICT = ("-k", "test_verdict[vm-1]", "--vmnet-json=out.json")


def _words(result: Any) -> str:
    return " ".join((result.stdout.str() + result.stderr.str()).split())


def test_guest_without_agent(site: Any, written: Any) -> None:
    del site.pve.vm(111).config["agent"]
    result = site.gate("--vmnet-json=out.json")
    assert result.ret == TESTS_FAILED
    first, second = written("out.json")["guests"]
    assert first["verdict"] == second["verdict"] == "inconclusive"
    assert first["address"] == "192.0.2.11"
    assert "no guest agent" in first["findings"][0]["message"]
    assert not site.agents[111].calls


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("absent", "QEMU guest agent is not running"),
        ("hang", "QEMU guest agent is not running"),
        ("refuse", "Agent error: Command guest-exec has been disabled"),
        ("mute", "no section in its output"),
    ],
)
def test_agent_that_does_not_help(site: Any, written: Any, mode: str, wanted: str) -> None:
    site.agents[111].mode = mode
    result = site.gate(*VERDICT)
    assert result.ret == TESTS_FAILED
    assert result.parseoutcomes()["errors"] == 1
    (guest,) = written("out.json")["guests"]
    assert guest["verdict"] == "inconclusive"
    finding = guest["findings"][0]
    assert (finding["reason"], finding["scope"], finding["rebuild"]) == (
        "Unknown",
        "observer",
        "no",
    )
    assert wanted in finding["message"]
    assert guest["decision"]["action"] == "refuse"
    assert "vm-1 (VMID 111, 192.0.2.11, node pve1): inconclusive" in _words(result)
    assert wanted in _words(result)


@pytest.mark.parametrize(
    ("choice", "outcome", "code"),
    [("error", "errors", 1), ("fail", "failed", 1), ("skip", "skipped", 0)],
)
def test_inconclusive(site: Any, pytester: Any, choice: str, outcome: str, code: int) -> None:
    result = site.gate(*VERDICT, f"--vmnet-inconclusive={choice}", "--junitxml=out.xml")
    assert result.ret == code
    assert result.parseoutcomes()[outcome] == 1
    xml = Path("out.xml").read_text(encoding="utf-8")
    assert f'{"failures" if choice == "fail" else outcome}="1"' in xml
    assert "could not be asked" in xml


def test_inconclusive_forbids_every_act(site: Any, written: Any) -> None:
    words = ("--vmnet-rebuild=unhealthy", "--vmnet-rebuildable=*", "--vmnet-terraform-dir=gone")
    result = site.gate(*VERDICT, *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "'gone'" in written("out.json")["run"]["error"]
    assert not any("status" in path and method == "POST" for method, path in site.asked)


def test_missing_terraform_folder_is_a_note_while_nothing_may_be_done(site: Any) -> None:
    result = site.gate(*VERDICT, "--vmnet-terraform-dir=gone")
    assert result.ret == TESTS_FAILED
    assert "note: Terraform's state is not known: " in _words(result)


def test_node_whose_shell_is_refused(site: Any, written: Any) -> None:
    result = site.gate(*VERDICT, env={"VMNET_PROXMOX_SSH": "pve1=root@127.0.0.1:1"})
    assert result.ret == TESTS_FAILED
    said = _words(result)
    assert "note: pve1: no shell: pve1: `ssh root@127.0.0.1:1` ended with 255: " in said
    assert "Name it with --proxmox-ssh NODE=TARGET, or --proxmox-ssh none" in said
    assert written("out.json")["guests"][0]["verdict"] == "inconclusive"


def test_node_without_shell_by_choice(site: Any) -> None:
    result = site.gate("-k", "test_tap_sees_replies[vm-1]", "-rs")
    assert result.ret == 0
    said = _words(result)
    assert "note: pve1: no shell (--proxmox-ssh none): nothing is located, nobody is acted" in said
    assert "tap111i0: nobody watches pve1 (--proxmox-ssh none)" in said


def test_without_pytest_html(site: Any, written: Any) -> None:
    assert site.gate(*VERDICT, "-p", "no:html", apart=True).ret == TESTS_FAILED
    assert len(written("out.json")["guests"]) == 1


def test_all_reports_at_once(site: Any, written: Any) -> None:
    names = ("--html=out.html", "--self-contained-html", "--junitxml=out.xml")
    result = site.gate(*VERDICT, *names, "--vmnet-markdown=out.md", apart=True)
    assert result.ret == TESTS_FAILED
    for name in ("out.html", "out.xml", "out.md"):
        text = Path(name).read_text(encoding="utf-8")
        assert "could not be asked" in text
        assert "s3cret" not in text
    assert written("out.json")["run"]["error"] is None


def test_reruns_do_not_probe_again(site: Any) -> None:
    result = site.gate(*VERDICT, "--reruns=2", apart=True)
    assert result.ret == TESTS_FAILED
    assert result.stdout.str().count("vmnet: probing: ") == 1


def test_exit_on_first_failure_sweeps_all(site: Any, written: Any) -> None:
    result = site.gate("-x", "--vmnet-json=out.json")
    assert result.ret in {TESTS_FAILED, pytest.ExitCode.INTERRUPTED}
    assert [guest["name"] for guest in written("out.json")["guests"]] == ["vm-1", "vm-2"]


def test_report_that_cannot_be_written_loses_nothing_else(site: Any) -> None:
    words = ("--vmnet-inconclusive=skip", "--vmnet-markdown=out.md")
    result = site.gate("-k", "test_verdict[vm-1]", *words, "--vmnet-json=/dev/full")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = _words(result)
    assert "ERROR: --vmnet-json: '/dev/full' could not be written (" in said
    assert "No space left on device" in said
    assert "network acceptance gate" in said
    assert Path("out.md").exists()


def test_nothing_selected_says_so(site: Any, written: Any) -> None:
    result = site.gate("-k", "no_such_test", "--vmnet-json=out.json")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert written("out.json")["run"]["error"].startswith("nothing was probed: no test of a guest")
    assert "guest-exec" not in site.agents[111].calls[3:]


def test_internal_error_does_not_leave_an_old_report(site: Any, written: Any) -> None:
    Path("out.json").write_text("{}", encoding="utf-8")
    Path("conftest.py").write_text(
        "from pytest_vmnet.gate import session\n"
        "def broken(self, *_): raise LookupError('planted')\n"
        "session.Gate.run = broken\n",
        encoding="utf-8",
    )
    result = site.gate(*VERDICT, "-p", "conftest", apart=True, may_break=True)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    report = written("out.json")
    assert report["guests"] == []
    assert report["run"]["error"].startswith("an internal error ended the run")
