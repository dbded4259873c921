"""Guard rail 11: the gentlest rung first, and none that cannot cure the cause."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_vmnet.core.guardrails.case import RUNGS, Case, Obstacle
from pytest_vmnet.core.words import Action

AVAILABLE = frozenset({Action.RESTART, Action.REBUILD})
"""Rungs that this version can carry out."""

_NEEDS_NEW_MAC = (Action.REMAC, Action.REBUILD)

_CURED_BY: dict[str, tuple[Action, ...]] = {
    "MacReflection": _NEEDS_NEW_MAC,
    "DuplicateMac": _NEEDS_NEW_MAC,
}
"""Rungs that can cure a cause, by reason. A restart renews everything but MAC, VMID, disk and
the guest's firewall file, so a cause that is not listed is open to every rung."""


def cured_by(reason: str) -> tuple[Action, ...]:
    """Return the rungs that can cure the cause called *reason*, the gentlest first."""
    return _CURED_BY.get(reason, RUNGS)


def needs_new_mac(reason: str) -> bool:
    """Return whether only a new MAC takes the guest out of reach of that cause."""
    return _CURED_BY.get(reason) == _NEEDS_NEW_MAC


def ladder_rail(case: Case) -> Iterator[Obstacle]:
    """A rung that was not asked for, cannot cure the cause or is not built yet is left out."""
    reason = case.subject.signature.reason
    for rung in RUNGS:
        if rung not in case.settings.ladder:
            yield Obstacle(text=f"{rung} is not in --vmnet-ladder", rungs=(rung,))
        elif rung not in cured_by(reason):
            yield Obstacle(text=f"{rung} leaves what {reason} needs renewed", rungs=(rung,))
        elif rung not in AVAILABLE:
            yield Obstacle(text=f"{rung} is not available in this version", rungs=(rung,))
