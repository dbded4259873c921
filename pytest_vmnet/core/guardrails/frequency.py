"""Guard rail 4: not too often, and never twice against the same fault."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pytest_vmnet.core.guardrails.case import RUNGS, Case, Obstacle
from pytest_vmnet.core.guardrails.journal import JournalEntry, Phase, Step
from pytest_vmnet.core.words import Action

_ACTS = frozenset({Step.APPLY, Step.STOP})
"""The steps that change a guest; their ``before`` entry counts as an act."""

_ENDS = {
    Step.APPLY: frozenset({Step.APPLY}),
    Step.STOP: frozenset({Step.START}),
    Step.TAINT: frozenset({Step.UNTAINT, Step.APPLY}),
}
"""Which ``after`` entries say that such a step is over."""


def frequency_rail(case: Case) -> Iterator[Obstacle]:
    """One act of a kind per guest and interval; the same fault after a rebuild stops all."""
    if case.settings.journal is None:
        yield Obstacle(
            text="there is no journal that outlives this run: give --vmnet-journal PATH, or "
            "let the gate reach the node as root"
        )
        return
    vmid = case.subject.guest.vmid
    mine = _since_abandoned([entry for entry in case.history if entry.vmid == vmid])
    for entry in mine:
        if _is_open(entry, mine):
            yield Obstacle(
                text=f"run {entry.run_id[:8]} began to {entry.step} at {_when(entry.time)} and "
                "never wrote how that ended: look at the guest and at Terraform's state, then "
                "close it with `vmnet journal abandon`"
            )
    acts = [entry for entry in mine if entry.phase is Phase.BEFORE and entry.step in _ACTS]
    for rung in RUNGS:
        last = max((entry.time for entry in acts if entry.rung is rung), default=None)
        if last is not None and (age_s := (case.now - last).total_seconds()) < (
            case.settings.interval_s
        ):
            yield Obstacle(
                text=f"the last {rung} of this guest was {age_s / 3600:.1f} h ago, the interval "
                f"is {case.settings.interval_s / 3600:g} h",
                rungs=(rung,),
            )
    signature = case.subject.signature
    for entry in acts:
        age_s = (case.now - entry.time).total_seconds()
        if (
            entry.rung is Action.REBUILD
            and entry.signature == signature
            and (age_s < case.settings.breaker_s)
        ):
            yield Obstacle(
                text=f"breaker: it was rebuilt against the same fault ({signature}) at "
                f"{_when(entry.time)}; a rebuild is not the cure"
            )


def _since_abandoned(entries: list[JournalEntry]) -> list[JournalEntry]:
    """Return what came after a person last closed the book on this guest."""
    marks = [at for at, entry in enumerate(entries) if entry.step is Step.ABANDON]
    return entries[marks[-1] + 1 :] if marks else entries


def _is_open(entry: JournalEntry, entries: list[JournalEntry]) -> bool:
    """Whether *entry* announces a change whose end nobody wrote down."""
    ends = _ENDS.get(entry.step)
    return (
        ends is not None
        and entry.phase is Phase.BEFORE
        and not any(
            other.phase is Phase.AFTER and other.step in ends
            for other in entries
            if (other.run_id, other.rung) == (entry.run_id, entry.rung)
        )
    )


def _when(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC")
