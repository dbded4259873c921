"""Decide for every sick guest, act where every guard rail allows it, and prove the cure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pytest_vmnet import connect
from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.hosts import Shell
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.facts import Sweep
from pytest_vmnet.core.guardrails.case import Limit, Mode, PolicySettings, Subject
from pytest_vmnet.core.guardrails.journal import JournalEntry
from pytest_vmnet.core.judge import Judgement
from pytest_vmnet.core.outcome import Attempt, Decision, GuestOutcome
from pytest_vmnet.core.policy import decide
from pytest_vmnet.core.topology import Guest, Inventory
from pytest_vmnet.core.words import Action, AttemptOutcome, Verdict
from pytest_vmnet.errors import ProxmoxError, VmnetError
from pytest_vmnet.options.settings import Settings
from pytest_vmnet.probes import site
from pytest_vmnet.remediation.heal import Healer
from pytest_vmnet.remediation.journal import Journal
from pytest_vmnet.remediation.rebuild import RebuildSettings
from pytest_vmnet.standing import Own, own_identity, subject_of

_ACTS = (Action.RESTART, Action.REMAC, Action.REBUILD, Action.HOLD)


class GateRun(Protocol):
    """What a remedy needs of the gate run that it belongs to."""

    settings: Settings
    clock: Clock
    run_id: str
    proxmox: Proxmox
    shells: dict[str, Shell]
    inventory: Inventory | None
    notes: list[str]
    resource_problems: dict[int, str]
    progress: Callable[[str], None]

    def selection(self, *, ask_guests: bool = True) -> site.Selection:
        """Return what the settings select."""

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
        own = own_identity() if self._mode is not Mode.NEVER else Own()
        for index in range(len(settled)):
            outcome = settled[index]  # as it is now: an act renews every guest's flows
            journal, history, trouble = self._history(outcome)
            subject = subject_of(
                outcome,
                settled,
                judgement=self.judgement,
                sweeps=self.sweeps,
                own=own,
                resource_problem=self.gate.resource_problems.get(outcome.guest.vmid),
                trouble=trouble,
            )
            policy = self._policy(journal)
            now = self.gate.clock.now()
            decision = decide(subject, settled, policy, history, now)
            settled[index] = replace(outcome, decision=decision)
            if decision.action in _ACTS and journal is not None:
                settled = self.settled = self._act(settled, index, subject, journal)
        return settled

    @property
    def _mode(self) -> Mode:
        return Mode(self.gate.settings["vmnet_rebuild"])

    def _policy(self, journal: Journal | None) -> PolicySettings:
        settings = self.gate.settings
        limit = settings["vmnet_max_unhealthy"]
        return PolicySettings(
            mode=self._mode,
            mode_source=settings.sources["vmnet_rebuild"],
            rebuildable=tuple(settings["vmnet_rebuildable"]),
            ladder=tuple(Action(rung) for rung in settings["vmnet_ladder"]),
            interval_s=settings["vmnet_rebuild_interval"],
            journal=journal.place if journal else None,
            max_unhealthy=Limit.parse(limit) if limit else PolicySettings().max_unhealthy,
        )

    def _history(
        self, outcome: GuestOutcome
    ) -> tuple[Journal | None, Sequence[JournalEntry], str | None]:
        """Return the journal for a sick guest, what it holds, and why it cannot be used."""
        if self._mode is Mode.NEVER or outcome.verdict is Verdict.HEALTHY:
            return None, (), None
        journal = connect.journal(self.gate.settings, outcome.guest.node, self.gate.shells)
        if journal is None:
            return None, (), None
        try:
            history = journal.read()
        except VmnetError as error:
            return journal, (), str(error)
        self.gate.notes += history.notes
        return journal, history.entries, "; ".join(history.damage) or None

    def _act(
        self,
        settled: list[GuestOutcome],
        index: int,
        subject: Subject,
        journal: Journal,
    ) -> list[GuestOutcome]:
        outcome = settled[index]
        door = connect.terraform(self.gate.settings)
        healer = Healer(
            proxmox=self.gate.proxmox,
            terraform=door,
            journal=journal,
            shells=self.gate.shells,
            clock=self.gate.clock,
            say=self.gate.progress,
            run_id=self.gate.run_id,
            settings=RebuildSettings(
                plan_only=outcome.decision.action is Action.HOLD,
                use_taint=self.gate.settings["vmnet_taint"],
            ),
        )
        begun = self.gate.clock.monotonic()
        try:
            attempts, decision, guest = healer.heal(
                outcome.guest,
                outcome.decision,
                subject.signature,
                self._site,
                wait_ready=self._wait_ready,
                reprobe=lambda: self._reprobe(outcome.guest, [o.guest.ident for o in settled]),
            )
        except KeyboardInterrupt:
            broken = self._broken_off(outcome, journal, begun)
            self.gate.progress(broken.message)
            settled[index] = replace(outcome, attempts=(broken,))
            raise
        return self._after(settled, index, decision, attempts, guest)

    def _broken_off(self, outcome: GuestOutcome, journal: Journal, begun: float) -> Attempt:
        """Return the attempt that an interrupt ended, as far as the journal knows it."""
        guest = outcome.guest
        try:
            entries = [e for e in journal.read().entries if e.run_id == self.gate.run_id]
        except VmnetError:
            entries = []
        last = entries[-1] if entries else None
        rung = last.rung if last else outcome.decision.action
        where = f" in its step {last.step}" if last else ""
        return Attempt(
            rung=rung,
            outcome=AttemptOutcome.FAILED,
            duration_s=self.gate.clock.monotonic() - begun,
            mac_before=guest.nic.mac,
            mac_after=None,
            message=f"{guest.ident}: the {rung} was interrupted{where}; the guest may be gone or "
            f"half made. Look at both sides: `qm status {guest.vmid}` on {guest.node}, and "
            "`terraform state list`; `terraform apply` makes again what is missing",
        )

    @property
    def _site(self) -> Inventory:
        if self.gate.inventory is None:
            raise VmnetError("the site has not been discovered")
        return self.gate.inventory

    def _wait_ready(self, guest: Guest) -> None:
        """Wait until the guest's agent answers, if it has one.

        Raises:
            VmnetError: It does not within ``--vmnet-wait`` seconds.
        """
        if not guest.agent:
            return
        limit = self.gate.settings["vmnet_wait"]

        def answers() -> bool:
            try:
                self.gate.proxmox.agent(guest.node, guest.vmid, "ping")
            except ProxmoxError:
                return False
            return True

        if not self.gate.clock.wait_for(answers, timeout_s=limit):
            raise VmnetError(f"{guest.ident}'s agent does not answer {limit:g} s after the act")

    def _reprobe(self, before: Guest, tested: Collection[str]) -> tuple[bool, Guest]:
        """Discover the guest again, send the same probes to everybody, and judge."""
        guest = site.rediscover(
            self.gate.proxmox,
            self._site,
            before.vmid,
            self.gate.selection(),
            self.gate.clock,
        )
        guests = tuple(guest if g.vmid == guest.vmid else g for g in self._site.guests)
        self.gate.inventory = replace(self._site, guests=guests)
        self.gate.progress(f"{guest.ident}: the same probes again")
        self.retested = self.gate.judge(tested, self.gate.sweep(tested))
        return self.retested.guests[guest.ident].verdict is Verdict.HEALTHY, guest

    def _after(
        self,
        settled: list[GuestOutcome],
        index: int,
        decision: Decision,
        attempts: tuple[Attempt, ...],
        guest: Guest,
    ) -> list[GuestOutcome]:
        """Return the outcomes with what the probes after the act showed of every guest."""
        acted = settled[index]
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
        healed = bool(attempts) and attempts[-1].outcome is AttemptOutcome.CURED
        verdict = final[index].verdict
        if attempts and attempts[-1].outcome is AttemptOutcome.FAILED:
            verdict = Verdict.UNHEALTHY
        final[index] = replace(
            final[index],
            guest=guest,
            verdict=verdict,
            decision=decision,
            attempts=attempts,
            healed=healed and verdict is Verdict.HEALTHY,
            flows_before=acted.flows if self.retested else (),
        )
        return final
