"""Guard rail 2: only enrolled guests, and none that others stand upon."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_vmnet.core.guardrails.case import Case, Obstacle
from pytest_vmnet.core.site.pattern import matches_any


def enrolment_rail(case: Case) -> Iterator[Obstacle]:
    """A guest is acted upon only if ``--vmnet-rebuildable`` names it and nobody leans on it."""
    subject, patterns = case.subject, case.settings.rebuildable
    if not matches_any(patterns, subject.guest):
        named = ", ".join(patterns) or "nothing"
        tags = ", ".join(subject.guest.tags) or "none"
        yield Obstacle(
            text=f"it is not enrolled: --vmnet-rebuildable names {named}; its tags: {tags}"
        )
    if subject.is_gate:
        yield Obstacle(text="the gate runs in this guest")
    for service in subject.serves:
        yield Obstacle(text=f"it is {service}")
