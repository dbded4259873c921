"""Where a run's facts come from: the site itself, or a bundle that an earlier run has left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pytest_vmnet.backends.hosts import Shell
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.flow.budget import Fitted
from pytest_vmnet.core.guardrails.case import Subject
from pytest_vmnet.core.guardrails.journal import JournalEntry
from pytest_vmnet.core.outcome import Attempt, Decision, GuestOutcome
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.gate.standing import Own
from pytest_vmnet.probes.answer import RawSweep

Reprobe = Callable[[Guest], bool]
"""Send the same probes again, with that guest as it is now; say whether it is healthy."""


Plan = Callable[[], Fitted]
"""Return what to send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The open doors to a live site.

    Attributes:
        proxmox: Its API.
        shells: A shell for each node that has one.
    """

    proxmox: Proxmox
    shells: dict[str, Shell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What discovery found.

    Attributes:
        inventory: The site.
        resource_problems: Why a guest's place in Terraform's state is not known, by VMID.
        versions: Versions of what took part, by name.
        notes: What the report should say.
    """

    inventory: Inventory
    resource_problems: Mapping[int, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The site once it is this run's alone.

    Attributes:
        inventory: The site, with what its nodes' shells say of it.
        notes: What the report should say.
    """

    inventory: Inventory
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the policy is told for one guest beside the facts.

    Attributes:
        now: The time, UTC.
        place: Where the journal is, or None if there is none.
        entries: What it holds, oldest first.
        trouble: Why it cannot be used, or None.
        notes: What the report should say.
    """

    now: datetime
    place: str | None = None
    entries: tuple[JournalEntry, ...] = ()
    trouble: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed:
    """How carrying out a decision went.

    Attributes:
        attempts: The rungs that were tried.
        decision: The decision that is left: a plan may have been refused, or held.
        guest: The guest as it is now.
    """

    attempts: tuple[Attempt, ...]
    decision: Decision
    guest: Guest


class ActInterrupted(KeyboardInterrupt):
    """Ctrl-C during an act.

    Attributes:
        attempt: The attempt that it ended, as far as that is known.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        super().__init__(attempt.message)


class Source(Protocol):
    """Everything that a run asks for; what it makes of the answers is the same for all."""

    @property
    def doors(self) -> Doors | None:
        """The open doors, or None where nobody can be asked."""

    def covers(self, tested: Collection[str]) -> tuple[str, ...]:
        """Return the guests that the run is about, where tests of those ids were collected."""

    def discover(self, *, ask_guests: bool = True) -> Discovery:
        """Return the site.

        Raises:
            VmnetError: There is nothing to look at, or it cannot be looked at.
        """

    def hold(self, inventory: Inventory) -> AbstractContextManager[Held]:
        """Keep the site for this run alone while the body runs.

        Raises:
            VmnetError: It is somebody else's now, or the run must not begin.
        """

    def sweep(self, inventory: Inventory, plan: Plan) -> RawSweep:
        """Return what came back from the planned flows."""

    def second_stage(self, unproven: Sequence[str]) -> Sequence[str]:
        """Return for which of the guests that are not proven yet more probes are to be had."""

    def own(self) -> Own:
        """Return who the gate's own host is."""

    def circumstances(self, outcome: GuestOutcome) -> Circumstances:
        """Return what the policy has to know for a sick guest beside the facts."""

    def heal(
        self,
        outcome: GuestOutcome,
        subject: Subject,
        inventory: Inventory,
        reprobe: Reprobe,
    ) -> Healed | None:
        """Carry out the guest's decision, as far as there is anything to carry out.

        Returns:
            How it went; None where nothing is ever carried out.

        Raises:
            ActInterrupted: Ctrl-C, with what is known of the attempt.
        """
