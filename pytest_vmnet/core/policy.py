"""Decide what is to be done for a guest: pure, with the time as an argument."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pytest_vmnet.core.guardrails import RAILS, Rail
from pytest_vmnet.core.guardrails.case import (
    RUNGS,
    Case,
    Limit,
    Mode,
    Obstacle,
    PolicySettings,
    Subject,
    mac_of,
)
from pytest_vmnet.core.guardrails.crowd import crowd_of
from pytest_vmnet.core.guardrails.journal import JournalEntry, Signature
from pytest_vmnet.core.outcome import Decision, GuestOutcome
from pytest_vmnet.core.words import Action, Rebuild, Verdict

__all__ = [
    "Limit",
    "Mode",
    "PolicySettings",
    "Signature",
    "Subject",
    "decide",
    "refused_plan",
]


def decide(
    subject: Subject,
    population: Sequence[GuestOutcome],
    settings: PolicySettings,
    history: Sequence[JournalEntry],
    now: datetime,
    *,
    rails: Sequence[Rail] = RAILS,
) -> Decision:
    """Return what is to be done for the guest, with every reason at once.

    Args:
        subject: The guest, its findings and what is known of it.
        population: Every guest of the run, the subject among them. Guests that were acted upon
            earlier in the run keep their attempts, so that they still count.
        settings: What the user allows.
        history: The journal, oldest entry first.
        now: The time, UTC.
        rails: The guard rails.

    Returns:
        ``none`` if there is nothing to do; an act with the ladder that is left; ``hold`` in mode
        ``plan`` with the ladder ``(rebuild,)``: make the plan, check it, leave it; ``refuse``
        with the obstacles otherwise.
    """
    outcome = subject.outcome
    if outcome.verdict is Verdict.HEALTHY:
        return Decision(action=Action.NONE, reason="healthy")
    if outcome.verdict is Verdict.SKIPPED:
        return Decision(action=Action.NONE, reason=f"skipped: {outcome.reason}")
    if settings.mode is Mode.NEVER:
        return Decision(action=Action.REFUSE, reason=_never(subject, settings))
    case = Case(
        subject=subject, population=population, settings=settings, history=history, now=now
    )
    obstacles = [obstacle for rail in rails for obstacle in rail(case)]
    wanted = (Action.REBUILD,) if settings.mode is Mode.PLAN else RUNGS
    left = tuple(
        rung for rung in wanted if not any(rung in obstacle.rungs for obstacle in obstacles)
    )
    if not left:
        return Decision(action=Action.REFUSE, reason=_join(obstacles, wanted))
    reason = _reason(subject, case, left[0])
    passed_over = [obstacle for obstacle in obstacles if _is_gentler(obstacle, left[0])]
    if passed_over and settings.mode is not Mode.PLAN:
        reason += "; " + _join(passed_over, wanted)
    if settings.mode is Mode.PLAN:
        return Decision(
            action=Action.HOLD, reason=f"--vmnet-rebuild is plan: {reason}", ladder=left
        )
    return Decision(action=left[0], reason=reason, ladder=left)


def refused_plan(decision: Decision, violations: Sequence[str]) -> Decision:
    """Return the decision that is left of *decision* once guard rail 7 refused the plan."""
    return Decision(
        action=Action.REFUSE,
        reason=f"the plan was refused: {'; '.join(violations)} "
        f"(decided before: {decision.reason})",
    )


def _never(subject: Subject, settings: PolicySettings) -> str:
    found = subject.diagnosis
    opinion = {
        Rebuild.CURES: "would cure it",
        Rebuild.MAY_CURE: "may cure it",
        Rebuild.NO: "would not cure it",
        Rebuild.DANGEROUS: "would be dangerous",
    }
    tail = f"; {found.reason}: a rebuild {opinion[found.rebuild]}" if found else ""
    return f"--vmnet-rebuild is never ({settings.mode_source}): no act is allowed{tail}"


def _reason(subject: Subject, case: Case, rung: Action) -> str:
    signature = subject.signature
    found = subject.diagnosis
    opinion = f" (a rebuild: {found.rebuild})" if found else ""
    renewed = f", MAC {mac_of(subject.guest)} until now" if rung is not Action.RESTART else ""
    return f"{rung} against {signature}{opinion}{renewed}; {crowd_of(case)}; no guard rail objects"


def _is_gentler(obstacle: Obstacle, chosen: Action) -> bool:
    return any(RUNGS.index(rung) < RUNGS.index(chosen) for rung in obstacle.rungs)


def _join(obstacles: Sequence[Obstacle], wanted: Sequence[Action]) -> str:
    """Return the texts, those that forbid every wanted rung first, each once."""
    ranked = sorted(obstacles, key=lambda obstacle: not set(wanted) <= set(obstacle.rungs))
    return "; ".join(dict.fromkeys(obs.text for obs in ranked if set(wanted) & set(obs.rungs)))
