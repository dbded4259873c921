"""Guard rail 1: what the verdict, the diagnosis and ``--vmnet-rebuild`` allow together."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_vmnet.core.guardrails.case import Case, Mode, Obstacle
from pytest_vmnet.core.outcome import Finding
from pytest_vmnet.core.words import Rebuild, Scope, Severity, Verdict

UNKNOWN = "Unknown"
_OWN_SCOPES = frozenset({Scope.GUEST, Scope.VNIC, Scope.HOST})


def verdict_rail(case: Case) -> Iterator[Obstacle]:
    """Only an unhealthy guest with a cause that an act can cure may be acted upon."""
    subject, mode = case.subject, case.settings.mode
    outcome = subject.outcome
    if outcome.verdict is not Verdict.UNHEALTHY:
        yield Obstacle(
            text=f"its verdict is {outcome.verdict}"
            + (f" ({outcome.reason})" if outcome.reason else "")
            + ": only an unhealthy guest is acted upon"
        )
    faults = [found for found in outcome.findings if found.severity is not Severity.NOTICE]
    if subject.prober_sick:
        yield Obstacle(text=f"the gate's own side is sick: {subject.prober_sick}")
    for found in faults:
        if found.scope is Scope.OBSERVER:
            yield Obstacle(text=f"the gate's own side is sick: {found.reason}: {found.message}")
        elif found.rebuild is Rebuild.DANGEROUS:
            yield Obstacle(text=f"{found.reason}: a rebuild is dangerous{_why(found)}")
    diagnosis = subject.diagnosis
    if diagnosis is None:
        yield Obstacle(text="there is no diagnosis")
    elif diagnosis.rebuild is Rebuild.NO:
        yield Obstacle(text=f"{diagnosis.reason}: a rebuild does not cure it{_why(diagnosis)}")
    elif diagnosis.reason == UNKNOWN and diagnosis.scope not in _OWN_SCOPES:
        yield Obstacle(
            text=f"the cause is unknown and lies in scope {diagnosis.scope}; without a cause "
            "the gate acts in scope guest, vnic or host only"
        )
    elif mode is Mode.DIAGNOSED and (
        diagnosis.reason == UNKNOWN or diagnosis.rebuild is not Rebuild.CURES
    ):
        yield Obstacle(
            text=f"--vmnet-rebuild is diagnosed and {diagnosis.reason} says "
            f"{diagnosis.rebuild}, not cures{_why(diagnosis)}"
        )


def _why(found: Finding) -> str:
    return f" ({found.why_rebuild.rstrip('.')})" if found.why_rebuild else ""
