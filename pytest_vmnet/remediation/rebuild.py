"""The last rung: destroy the guest and make it again, through Terraform and one checked plan."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.core.guardrails.journal import Step
from pytest_vmnet.core.guardrails.ladder import needs_new_mac
from pytest_vmnet.core.terraform.plan import PlanJudgement, judge_plan
from pytest_vmnet.core.words import AttemptOutcome
from pytest_vmnet.errors import ConfigError, TerraformError, VmnetError
from pytest_vmnet.remediation.act import Act, Diary, Order, Say
from pytest_vmnet.remediation.aftermath import after_failed_apply, after_failed_plan
from pytest_vmnet.remediation.journal import Journal
from pytest_vmnet.remediation.terraform import Terraform

__all__ = ["RebuildSettings", "Terraform", "rebuild"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildSettings:
    """What the user chose for rebuilds.

    Attributes:
        plan_only: Stop after the checked plan and keep it: ``--vmnet-rebuild plan``.
        allow: What ``vmnet_allow_changes`` names.
        use_taint: Mark the resource in the state instead of asking the plan for it.
        keep_in: Folder for a plan that is kept; None for a new one among the temporary files.
    """

    plan_only: bool = False
    allow: Sequence[str] = ()
    use_taint: bool = False
    keep_in: Path | None = None


def rebuild(
    order: Order,
    *,
    terraform: Terraform,
    journal: Journal,
    clock: Clock,
    wait_ready: Callable[[], None],
    say: Say = lambda _: None,
    settings: RebuildSettings | None = None,
    config: Mapping[str, Any] | None = None,
) -> Act:
    """Plan, judge, apply that very plan, plan again, and wait until the guest is ready.

    Args:
        order: Whom and why; its guest must have a resource.
        terraform: Terraform in the guest's root folder.
        journal: Gets an entry before and after each step.
        clock: Measures.
        wait_ready: Returns once the new guest can be probed, or raises VmnetError.
        say: Gets Terraform's progress, line by line.
        settings: What the user chose.
        config: The guest's configuration from the Proxmox API, for the judge of the plan.

    Returns:
        The act: refused with every violation, held with its plan file, failed with what to do
        next, or carried out.

    Raises:
        ConfigError: The guest has no resource.
        VmnetError: The journal cannot be written.
        KeyboardInterrupt: After Terraform has wound up and the journal says so.
    """
    if order.guest.resource is None:
        raise ConfigError(f"{order.guest.ident} has no resource in Terraform's state")
    address = order.guest.resource.address
    work = _Work(
        order=order,
        address=address,
        terraform=terraform,
        diary=Diary(order=order, journal=journal, clock=clock, address=address),
        clock=clock,
        begun_s=clock.monotonic(),
        commands_before=len(terraform.commands),
        say=lambda line: say(f"{order.guest.ident}: {line}"),
        settings=settings or RebuildSettings(),
    )
    folder = Path(tempfile.mkdtemp(prefix="vmnet-plan-", dir=work.settings.keep_in))  # 0700
    keep = False
    try:
        act = work.marked(folder / f"{order.guest.vmid}.tfplan", wait_ready, config or {})
        keep = act.held
        return act
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(kw_only=True)
class _Work:
    """One rebuild under way."""

    order: Order
    address: str
    terraform: Terraform
    diary: Diary
    clock: Clock
    begun_s: float
    commands_before: int
    say: Say
    settings: RebuildSettings
    replaced: bool = False

    @property
    def is_marking(self) -> bool:
        """Whether the plan comes from a mark in the state."""
        return self.settings.use_taint and not self.settings.plan_only

    def marked(
        self, plan_file: Path, wait_ready: Callable[[], None], config: Mapping[str, Any]
    ) -> Act:
        """Mark the resource if that is asked for; take the mark back unless it was replaced.

        A plan that is kept for a person must not depend on a mark that is taken back.
        """
        if not self.is_marking:
            return self.carried_out(plan_file, wait_ready, config)
        try:
            act = self._after_mark(plan_file, wait_ready, config)
        except BaseException:
            self._unmark()
            raise
        if self.replaced:
            return act
        try:
            self._unmark()
        except TerraformError as error:
            text = f"{act.message}; the mark could not be taken back: {error}"
            return replace(act, message=text)
        return act

    def _after_mark(
        self, plan_file: Path, wait_ready: Callable[[], None], config: Mapping[str, Any]
    ) -> Act:
        try:
            with self.diary.step(Step.TAINT):
                self.terraform.taint(self.address)
        except TerraformError as error:
            text = f"{self.address} could not be marked as tainted: {error}"
            return self._end(AttemptOutcome.REFUSED, text)
        return self.carried_out(plan_file, wait_ready, config)

    def _unmark(self) -> None:
        with self.diary.step(Step.UNTAINT):
            self.terraform.untaint(self.address)

    def carried_out(
        self, plan_file: Path, wait_ready: Callable[[], None], config: Mapping[str, Any]
    ) -> Act:
        """Plan, judge, and apply what was judged unless it is kept for a person."""
        try:
            with self.diary.step(Step.PLAN):
                judgement = self._judged(plan_file, config)
        except TerraformError as error:
            return self._end(AttemptOutcome.REFUSED, after_failed_plan(error, self.address))
        if not judgement.accepted:
            text = f"the plan was refused: {'; '.join(judgement.violations)}"
            return self._end(AttemptOutcome.REFUSED, text, judgement)
        self.say(judgement.summary)
        if self.settings.plan_only:
            return self._held(plan_file, judgement)
        try:
            with self.diary.step(Step.APPLY, judgement.summary):
                self.terraform.apply_file(plan_file, self.say)
        except TerraformError as error:
            text = after_failed_apply(error, self.order.guest, self.address)
            return self._end(AttemptOutcome.FAILED, text, judgement)
        self.replaced = True
        try:
            self._verified(wait_ready)
        except VmnetError as error:
            text = f"it was rebuilt and Terraform's state holds the new VM, but: {error}"
            return self._end(AttemptOutcome.FAILED, text, judgement)
        return self._end(None, "rebuilt from its plan; a second plan is empty", judgement)

    def _judged(self, plan_file: Path, config: Mapping[str, Any]) -> PlanJudgement:
        if self.is_marking:
            self.terraform.plan_tainted(plan_file, self.say)
        else:
            self.terraform.plan_replace(self.address, plan_file, self.say)
        judgement = judge_plan(
            self.terraform.show_plan(plan_file),
            address=self.address,
            vmid=self.order.guest.vmid,
            allow=self.settings.allow,
            config=config,
        )
        reason = self.order.signature.reason
        if judgement.mac_pinned and needs_new_mac(reason):
            pinned = (
                f"the configuration pins the MAC {', '.join(judgement.macs_before)}, and a "
                f"rebuild cures {reason} only by a new one"
            )
            return replace(judgement, accepted=False, violations=(*judgement.violations, pinned))
        return judgement

    def _held(self, plan_file: Path, judgement: PlanJudgement) -> Act:
        plan_file.chmod(0o600)
        words = ["terraform", f"-chdir={self.terraform.folder}", "apply", str(plan_file)]
        text = f"the plan is checked and waits for a person: `{shlex.join(words)}`"
        return self._end(AttemptOutcome.REFUSED, text, judgement, plan_file)

    def _verified(self, wait_ready: Callable[[], None]) -> None:
        with self.diary.step(Step.VERIFY):
            if self.terraform.has_changes():
                raise VmnetError(
                    "a second plan is not empty; look at `terraform "
                    f"-chdir={self.terraform.folder} plan` before anything else is applied"
                )
        self.say("rebuilt; a second plan is empty; waiting until it is ready")
        with self.diary.step(Step.READY):
            wait_ready()

    def _end(
        self,
        outcome: AttemptOutcome | None,
        message: str,
        judgement: PlanJudgement | None = None,
        plan_file: Path | None = None,
    ) -> Act:
        return Act(
            order=self.order,
            outcome=outcome,
            message=message,
            duration_s=self.clock.monotonic() - self.begun_s,
            commands=tuple(self.terraform.commands[self.commands_before :]),
            judgement=judgement,
            plan_file=plan_file,
            held=plan_file is not None,
        )
