"""What a rebuild must not do: keep the very thing that makes the guest sick, or lose a guest."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.core.guardrails.journal import JournalEntry, Phase, Step, missing
from pytest_vmnet.core.words import Action, AttemptOutcome

Scene = runpy.run_path(str(Path(__file__).with_name("test_remediation_rebuild.py")))["Scene"]


def test_a_pinned_mac_is_refused_where_only_a_new_one_cures(tmp_path: Path) -> None:
    scene = Scene(tmp_path, plan="pinned")
    act = scene.go()
    assert act.outcome is AttemptOutcome.REFUSED
    assert scene.terraform.calls == ["plan -replace", "show"]
    assert "pins the MAC bc:24:11:74:5a:6d" in act.message
    assert "cures MacReflection only by a new one" in act.message
    assert act.judgement is not None
    assert not act.judgement.accepted


def entry(step: Step, phase: Phase, outcome: str | None = None, **more: Any) -> JournalEntry:
    return JournalEntry(
        time=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        run_id="0123456789",
        vmid=111,
        name="vm-1",
        node="pve1",
        rung=Action.REBUILD,
        step=step,
        phase=phase,
        address="x.vm",
        outcome=outcome,
        **more,
    )


BEGUN = entry(Step.APPLY, Phase.BEFORE)
FAILED = entry(Step.APPLY, Phase.AFTER, "failed")
DONE = entry(Step.APPLY, Phase.AFTER, "ok")
ABANDONED = entry(Step.ABANDON, Phase.AFTER, "abandoned")


@pytest.mark.parametrize("history", [[BEGUN], [BEGUN, FAILED], [BEGUN, DONE, BEGUN]])
def test_a_guest_that_a_broken_off_rebuild_left_missing_is_told(history: Any) -> None:
    (told,) = missing(history, {112, 113})
    assert told.startswith(
        "vm-1 (111) is gone: run 01234567 began to rebuild it at 2026-01-02 03:04 UTC"
    )
    assert "`vmnet journal abandon 111`" in told


@pytest.mark.parametrize(
    ("history", "present"),
    [
        pytest.param([BEGUN, FAILED], {111}, id="it-is-there"),
        pytest.param([BEGUN, DONE], set(), id="the-act-ended-well"),
        pytest.param([BEGUN, FAILED, ABANDONED], set(), id="a-person-closed-the-book"),
        pytest.param([], set(), id="nothing-was-done"),
    ],
)
def test_nobody_else_is(history: Any, present: Any) -> None:
    assert missing(history, present) == []
