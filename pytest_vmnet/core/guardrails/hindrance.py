"""Guard rail 5, as far as the configuration at hand tells: what Proxmox or a person forbids."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_vmnet.core.guardrails.case import Case, Obstacle
from pytest_vmnet.core.words import Action

HANDS_OFF_TAGS = ("vmnet-hold", "vmnet-skip")


def hindrance_rail(case: Case) -> Iterator[Obstacle]:
    """Protection, a lock, a hold tag or an obstacle found elsewhere forbids the act."""
    subject = case.subject
    guest = subject.guest
    if guest.protection:
        yield Obstacle(
            text="its configuration has protection on, which forbids its removal",
            rungs=(Action.REBUILD,),
        )
    if guest.lock:
        yield Obstacle(text=f"Proxmox holds the lock {guest.lock!r} on it")
    for tag in guest.tags:
        if tag.lower() in HANDS_OFF_TAGS:
            yield Obstacle(text=f"its tag {tag} says hands off")
    for text in subject.obstacles:
        yield Obstacle(text=text)
