"""`vmnet journal` shows what was done, and closes what never ended."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytest_vmnet.cli import main
from pytest_vmnet.core.guardrails.journal import JournalEntry, Phase, Signature, Step
from pytest_vmnet.core.words import Action
from pytest_vmnet.remediation.journal import FileJournal


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    entry = JournalEntry(
        time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        run_id="0123456789abcdef",
        vmid=111,
        name="vm-1",
        node="pve1",
        rung=Action.REBUILD,
        step=Step.APPLY,
        phase=Phase.BEFORE,
        address="x.y",
        signature=Signature(reason="MacReflection", last_seen="enp4s0", next_point="tap111i0"),
        outcome=None,
        message="",
        mac_before=None,
        mac_after=None,
    )
    FileJournal(path).append(entry)
    return path


def test_it_shows_every_entry(journal, capsys):
    assert main(["journal", f"--vmnet-journal={journal}"]) == 0
    assert capsys.readouterr().out == (
        "2026-01-02 03:04:05 UTC run 01234567 vm-1 (111) rebuild against "
        "MacReflection enp4s0 -> tap111i0: before apply\n"
    )


def test_abandon_writes_an_entry_for_that_guest(journal, capsys):
    assert main(["journal", "abandon", "111", f"--vmnet-journal={journal}"]) == 0
    assert "vm-1 (111): abandoned" in capsys.readouterr().out
    assert [entry.step for entry in FileJournal(journal).read().entries] == [
        Step.APPLY,
        Step.ABANDON,
    ]


def test_a_guest_that_is_not_there_is_told_with_those_that_are(journal, capsys):
    assert main(["journal", "abandon", "112", f"--vmnet-journal={journal}"]) == 1
    assert "has no such VMID; it has 111" in capsys.readouterr().err


def test_a_journal_has_to_be_named(capsys):
    assert main(["journal"]) == 1
    assert "--vmnet-journal PATH, or --proxmox-ssh NODE=TARGET" in capsys.readouterr().err
