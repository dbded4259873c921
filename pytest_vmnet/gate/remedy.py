"""Decide for every sick guest, act where every guard rail allows it, and prove the cure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from pytest_vmnet.core.facts import Sweep
from pytest_vmnet.core.guardrails.case import Limit, Mode, PolicySettings
from pytest_vmnet.core.outcome import GuestOutcome
from pytest_vmnet.core.policy import decide
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.core.verdict.judge import Judgement
from pytest_vmnet.core.words import Action, AttemptOutcome, Verdict
from pytest_vmnet.errors import VmnetError
from pytest_vmnet.gate.framing import Frame
from pytest_vmnet.gate.source import ActInterrupted, Healed, Source
from pytest_vmnet.gate.standing import Own, subject_of
from pytest_vmnet.options.settings import Settings

_ACTS = (Action.RESTART, Action.REMAC, Action.REBUILD, Action.HOLD)


class GateRun(Protocol):
    """What a remedy needs of the gate run that it belongs to."""

    settings: Settings
    frame: Frame
    source: Source
    inventory: Inventory | None
    resource_problems: dict[int, str]

    def progress(self, line: str) -> None:
        """Tell the person who watches one line."""

    def sweep(self, tested: Collection[str]) -> list[Sweep]:
        """Send the same probes again."""

    def judge(self, tested: Collection[str], sweeps: Sequence[Sweep]) -> Judgement:
        """Judge the guests on those sweeps."""


@dataclass
class Remedy:
    """Decisions and acts of one run.

    Attributes:
        gate: The run.
        judgement: How the guests were judged.
        sweeps: The facts.
        retested: The judgement after the last act, or None without one.
        settled: The outcomes as they are known so far, also after an interrupt.
    """

    gate: GateRun
    judgement: Judgement
    sweeps: Sequence[Sweep]
    retested: Judgement | None = None
    settled: list[GuestOutcome] = field(default_factory=list)

    def decide_and_act(self, outcomes: Sequence[GuestOutcome]) -> list[GuestOutcome]:
        """Return the outcomes with decisions, attempts and final verdicts; one guest at a time."""
        settled = self.settled = list(outcomes)
        own = self.gate.source.own() if self._mode is not Mode.NEVER else Own()
        for index in range(len(settled)):
            outcome = settled[index]  # as it is now: an act renews every guest's flows
            told = self.gate.source.circumstances(outcome)
            self.gate.frame.note(told.notes)
            subject = subject_of(
                outcome,
                settled,
                judgement=self.judgement,
                sweeps=self.sweeps,
                own=own,
                resource_problem=self.gate.resource_problems.get(outcome.guest.vmid),
                trouble=told.trouble,
            )
            policy = self._policy(told.place)
            decision = decide(subject, settled, policy, told.entries, told.now)
            outcome = settled[index] = replace(outcome, decision=decision)
            if decision.action not in _ACTS:
                continue
            reprobe = partial(self._reprobe, tested=[each.guest.ident for each in settled])
            try:
                healed = self.gate.source.heal(outcome, subject, self._site, reprobe)
            except ActInterrupted as interrupt:
                settled[index] = replace(outcome, attempts=(interrupt.attempt,))
                raise
            if healed is None:
                told_of = f"{outcome.guest.ident}: {decision.action} is decided"
                self.gate.frame.note([f"{told_of} as of then; a replay carries nothing out"])
            else:
                settled = self.settled = self._after(settled, index, healed)
        return settled

    @property
    def _mode(self) -> Mode:
        return Mode(self.gate.settings["vmnet_rebuild"])

    def _policy(self, journal: str | None) -> PolicySettings:
        settings = self.gate.settings
        limit = settings["vmnet_max_unhealthy"]
        return PolicySettings(
            mode=self._mode,
            mode_source=settings.sources["vmnet_rebuild"],
            rebuildable=tuple(settings["vmnet_rebuildable"]),
            ladder=tuple(Action(rung) for rung in settings["vmnet_ladder"]),
            interval_s=settings["vmnet_rebuild_interval"],
            journal=journal,
            max_unhealthy=Limit.parse(limit) if limit else PolicySettings().max_unhealthy,
        )

    @property
    def _site(self) -> Inventory:
        if self.gate.inventory is None:
            raise VmnetError("the site has not been discovered")
        return self.gate.inventory

    def _reprobe(self, guest: Guest, tested: Collection[str]) -> bool:
        """Send the same probes to everybody with that guest as it is now, and judge."""
        guests = tuple(guest if g.vmid == guest.vmid else g for g in self._site.guests)
        self.gate.inventory = replace(self._site, guests=guests)
        self.gate.progress(f"{guest.ident}: the same probes again")
        self.retested = self.gate.judge(tested, self.gate.sweep(tested))
        return self.retested.guests[guest.ident].verdict is Verdict.HEALTHY

    def _after(
        self, settled: list[GuestOutcome], index: int, healed: Healed
    ) -> list[GuestOutcome]:
        """Return the outcomes with what the probes after the act showed of every guest."""
        acted, attempts = settled[index], healed.attempts
        final = []
        for outcome in settled:
            judged = self.retested.guests.get(outcome.guest.ident) if self.retested else None
            if judged is not None:
                outcome = replace(  # noqa: PLW2901 - the outcome as it is from now on
                    outcome,
                    guest=judged.guest,
                    verdict=judged.verdict,
                    reason=judged.reason,
                    flows=judged.flows,
                    neighbours=judged.neighbours,
                )
            final.append(outcome)
        is_cured = bool(attempts) and attempts[-1].outcome is AttemptOutcome.CURED
        verdict = final[index].verdict
        if attempts and attempts[-1].outcome is AttemptOutcome.FAILED:
            verdict = Verdict.UNHEALTHY
        final[index] = replace(
            final[index],
            guest=healed.guest,
            verdict=verdict,
            decision=healed.decision,
            attempts=attempts,
            healed=is_cured and verdict is Verdict.HEALTHY,
            flows_before=acted.flows if self.retested else (),
        )
        return final
