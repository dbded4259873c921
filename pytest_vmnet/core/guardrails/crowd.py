"""Guard rail 3: when many guests of a bridge are sick, the cause is not in one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_vmnet.core.guardrails.case import Case, Obstacle, bridge_of
from pytest_vmnet.core.outcome import GuestOutcome
from pytest_vmnet.core.words import Verdict

_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """The guests that share the subject's bridge.

    Attributes:
        place: Bridge and node, for messages.
        total: How many there are in this run.
        sick: Ids of those that are unhealthy, flapping, or were acted upon in this run.
        limit: How many of them may be sick.
    """

    place: str
    total: int
    sick: tuple[str, ...]
    limit: int

    def __str__(self) -> str:
        """Return, for example, ``1 of 5 guests in vmbr0 on pve1 unhealthy, limit 1``."""
        shown = ", ".join(self.sick[:_NAMES_SHOWN])
        names = f" ({shown}{', ...' if len(self.sick) > _NAMES_SHOWN else ''})" if shown else ""
        return (
            f"{len(self.sick)} of {self.total} guests in {self.place} unhealthy{names}, "
            f"limit {self.limit}"
        )


def crowd_of(case: Case) -> Crowd:
    """Return the guests that share the subject's bridge, with their limit."""
    node, bridge = bridge_of(case.subject.guest)
    there = [out for out in case.population if bridge_of(out.guest) == (node, bridge)]
    return Crowd(
        place=f"{bridge} on {node}",
        total=len(there),
        sick=tuple(outcome.guest.ident for outcome in there if _is_sick(outcome)),
        limit=case.settings.max_unhealthy.of(len(there)),
    )


def crowd_rail(case: Case) -> Iterator[Obstacle]:
    """At most one guest or 20 % of a bridge may be unhealthy; those being healed count."""
    crowd = crowd_of(case)
    if len(crowd.sick) > crowd.limit:
        yield Obstacle(text=str(crowd))


def _is_sick(outcome: GuestOutcome) -> bool:
    sick = outcome.verdict in {Verdict.UNHEALTHY, Verdict.FLAPPING}
    return sick or outcome.healed or bool(outcome.attempts)
