"""What a guard rail looks at, and what it may say."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pytest_vmnet.core.guardrails.journal import JournalEntry, Signature
from pytest_vmnet.core.outcome import Finding, GuestOutcome
from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.core.words import Action
from pytest_vmnet.errors import ConfigError

RUNGS = (Action.RESTART, Action.REMAC, Action.REBUILD)
"""The ladder, the gentlest rung first."""

DAY_S = 86_400.0
_ALL_PERCENT = 100


class Mode(StrEnum):
    """Values of ``--vmnet-rebuild``."""

    NEVER = "never"
    PLAN = "plan"
    DIAGNOSED = "diagnosed"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How many guests of one bridge may be unhealthy while the gate still acts.

    Attributes:
        count: So many guests.
        percent: So many percent of the bridge's guests, 0..100, rounded down.
    """

    count: int = 0
    percent: float = 0.0

    @classmethod
    def parse(cls, text: str, *, source: str = "--vmnet-max-unhealthy") -> Limit:
        """Return the limit that ``N``, ``N%`` or ``N,N%`` (the larger one) stands for.

        Raises:
            ConfigError: *text* is none of these.
        """
        match = re.fullmatch(r"(?:(\d{1,6})(?:,|$))?(?:(\d{1,3}(?:\.\d+)?)%)?", text.strip())
        if match and any(match.groups()) and not text.strip().endswith(","):
            limit = cls(count=int(match[1] or 0), percent=float(match[2] or 0))
            if limit.percent <= _ALL_PERCENT:
                return limit
        raise ConfigError(
            f"{source} = {text!r}: not a limit; write a number of guests (`1`), a share of the "
            "bridge's guests (`20%`), or both (`1,20%`: the larger one counts)"
        )

    def of(self, total: int) -> int:
        """Return the limit for a bridge with *total* guests."""
        return max(self.count, math.floor(total * self.percent / 100 + 1e-9))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """What the user allows.

    Attributes:
        mode: Value of ``--vmnet-rebuild``.
        mode_source: Where that value comes from, for example ``default``.
        rebuildable: Patterns of the guests that are enrolled.
        ladder: Rungs that may be used, in any order.
        max_unhealthy: Limit for the unhealthy guests of one bridge.
        interval_s: Least time between two acts of one kind on one guest, in seconds.
        breaker_s: How long a rebuild is remembered as "tried against this fault", in seconds.
        journal: Where the journal is kept, for messages; None if nowhere that outlives the run.
    """

    mode: Mode = Mode.NEVER
    mode_source: str = "default"
    rebuildable: tuple[str, ...] = ("tag:vmnet-rebuild",)
    ladder: tuple[Action, ...] = RUNGS
    max_unhealthy: Limit = Limit(count=1, percent=20)
    interval_s: float = DAY_S
    breaker_s: float = 30 * DAY_S
    journal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The guest that is to be decided upon, and what is known of it beyond its outcome.

    Attributes:
        outcome: Its guest, verdict and findings; the first finding is the diagnosis.
        measured_macs: MACs that were measured for the NIC under test, lower case: seen on its
            tap as source, or read inside the guest. Empty if none was measured.
        is_gate: Whether the gate itself runs in this guest.
        serves: What others need it for, for example ``"gateway of vm-2, vm-3"``.
        prober_sick: Why the gate's own side cannot be trusted, or None.
        resource_problem: Why its place in Terraform's state is not known, or None.
        obstacles: Anything else that forbids every act, one sentence each.
    """

    outcome: GuestOutcome
    measured_macs: tuple[str, ...] = ()
    is_gate: bool = False
    serves: tuple[str, ...] = ()
    prober_sick: str | None = None
    resource_problem: str | None = None
    obstacles: tuple[str, ...] = ()

    @property
    def guest(self) -> Guest:
        """The guest itself."""
        return self.outcome.guest

    @property
    def diagnosis(self) -> Finding | None:
        """The first finding, or None if there is none."""
        return self.outcome.findings[0] if self.outcome.findings else None

    @property
    def signature(self) -> Signature:
        """What its fault looks like."""
        found = self.diagnosis
        if found is None:
            return Signature(reason="Unknown", last_seen=None, next_point=None)
        return Signature(
            reason=found.reason, last_seen=found.last_seen, next_point=found.next_point
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything a guard rail may look at.

    Attributes:
        subject: The guest in question.
        population: Every guest of the run, the subject among them.
        settings: What the user allows.
        history: The journal, oldest entry first.
        now: The time of the decision, UTC.
    """

    subject: Subject
    population: Sequence[GuestOutcome]
    settings: PolicySettings
    history: Sequence[JournalEntry]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One reason not to act.

    Attributes:
        text: The reason, with its numbers.
        rungs: The rungs that it forbids; all of them by default.
    """

    text: str
    rungs: tuple[Action, ...] = RUNGS


def bridge_of(guest: Guest) -> tuple[str, str | None]:
    """Return node and bridge of the NIC under test; the bridge is None if it has none."""
    return guest.node, next((nic.bridge for nic in guest.nics if nic.bridge), None)


def mac_of(guest: Guest) -> str | None:
    """Return the configured MAC of the NIC under test, or None without such a NIC."""
    return next((nic.mac for nic in guest.nics if nic.bridge), None)
