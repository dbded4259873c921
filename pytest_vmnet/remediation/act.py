"""What every rung needs: its order, its diary, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.core.guardrails.journal import JournalEntry, Phase, Signature, Step
from pytest_vmnet.core.outcome import Attempt
from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.core.terraform.plan import PlanJudgement
from pytest_vmnet.core.words import Action, AttemptOutcome
from pytest_vmnet.remediation.journal import Journal

Say = Callable[[str], None]
"""Tell the person who watches one line of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One act that the policy decided.

    Attributes:
        guest: The guest, as discovered before the act.
        rung: ``restart`` or ``rebuild``.
        run_id: The gate run that acts.
        signature: The fault that it is meant to cure.
        mac_before: MAC of the NIC under test before it, lower case, or None.
    """

    guest: Guest
    rung: Action
    run_id: str
    signature: Signature
    mac_before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """How an act went, before the same probes have judged it.

    Attributes:
        order: What was ordered.
        outcome: ``failed`` or ``refused``; None if it was carried out, and the probes decide.
        message: What happened, and after a failure what to do next.
        duration_s: How long it took, in seconds.
        commands: Commands that were run.
        upids: Proxmox tasks that the gate itself started; Terraform's are found in the API.
        judgement: What the plan would do; None for a restart, or where there was no plan.
        plan_file: The plan that was kept for a person, or None.
        held: Whether it stopped after the checked plan, as ``--vmnet-rebuild plan`` asks.
    """

    order: Order
    outcome: AttemptOutcome | None
    message: str
    duration_s: float
    commands: tuple[str, ...] = ()
    upids: tuple[str, ...] = ()
    judgement: PlanJudgement | None = None
    plan_file: Path | None = None
    held: bool = False

    def attempt(
        self,
        *,
        cured: bool,
        mac_after: str | None,
        proof: tuple[str, ...] = (),
        proof_s: float = 0.0,
        failure: str | None = None,
        caution: str | None = None,
    ) -> Attempt:
        """Return the attempt that the report shows.

        Args:
            cured: Whether the same probes are clean now.
            mac_after: MAC of the NIC under test afterwards, or None if it is not known.
            proof: Sentences of `proof.prove`.
            proof_s: How long proving took, in seconds.
            failure: What the proof found wrong; makes it ``failed``, cured or not.
            caution: Sentence of `proof.caution`.
        """
        outcome = self.outcome
        if outcome is None:
            outcome = AttemptOutcome.CURED if cured else AttemptOutcome.NOT_CURED
            outcome = AttemptOutcome.FAILED if failure else outcome
        return Attempt(
            rung=self.order.rung,
            outcome=outcome,
            duration_s=self.duration_s + proof_s,
            mac_before=self.order.mac_before,
            mac_after=mac_after,
            message="; ".join(part for part in (self.message, failure) if part),
            proof=proof,
            commands=self.commands,
            caution=caution,
        )


@dataclass
class Diary:
    """Writes a journal entry before and after each step of one act.

    Attributes:
        order: The act.
        journal: Where the entries go.
        clock: Tells their time.
        address: Terraform's address of the guest, or None.
    """

    order: Order
    journal: Journal
    clock: Clock
    address: str | None = None

    @contextmanager
    def step(self, step: Step, message: str = "") -> Iterator[None]:
        """Announce *step*, let it happen, and write how it ended, an exception included."""
        self.write(step, Phase.BEFORE, message=message)
        try:
            yield
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"[:500]
            self.write(step, Phase.AFTER, outcome="failed", message=told)
            raise
        self.write(step, Phase.AFTER, outcome="ok")

    def write(
        self,
        step: Step,
        phase: Phase,
        *,
        outcome: str | None = None,
        message: str = "",
        mac_after: str | None = None,
    ) -> None:
        """Write one entry; an error of the journal stops the act."""
        order = self.order
        self.journal.append(
            JournalEntry(
                time=self.clock.now(),
                run_id=order.run_id,
                vmid=order.guest.vmid,
                name=order.guest.name,
                node=order.guest.node,
                rung=order.rung,
                step=step,
                phase=phase,
                address=self.address,
                signature=order.signature,
                outcome=outcome,
                message=message,
                mac_before=order.mac_before,
                mac_after=mac_after,
            )
        )


def close(
    act: Act, *, attempt: Attempt, journal: Journal, clock: Clock, address: str | None = None
) -> None:
    """Write into the journal how the probes judged the act: its last entry."""
    diary = Diary(order=act.order, journal=journal, clock=clock, address=address)
    diary.write(
        Step.PROVE,
        Phase.AFTER,
        outcome=attempt.outcome.value,
        message=attempt.message,
        mac_after=attempt.mac_after,
    )
