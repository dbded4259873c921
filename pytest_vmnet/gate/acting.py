"""Carry a decision out on the live site, and say how far an interrupt let it come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.core.guardrails.journal import Signature
from pytest_vmnet.core.outcome import Attempt, GuestOutcome
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.core.words import Action, AttemptOutcome
from pytest_vmnet.errors import ProxmoxError, VmnetError
from pytest_vmnet.gate import connect
from pytest_vmnet.gate.source import ActInterrupted, Doors, Healed, Reprobe
from pytest_vmnet.options.settings import Settings
from pytest_vmnet.probes import site
from pytest_vmnet.remediation.heal import Healer
from pytest_vmnet.remediation.journal import Journal
from pytest_vmnet.remediation.rebuild import RebuildSettings


@dataclass(frozen=True, kw_only=True)
class Acting:
    """What every act of a run shares.

    Attributes:
        settings: Resolved settings.
        run_id: The run.
        doors: The open doors to the site.
        selection: What the settings select, for discovering a guest again.
        progress: Gets one line per step.
        clock: Time.
    """

    settings: Settings
    run_id: str
    doors: Doors
    selection: site.Selection
    progress: Callable[[str], None]
    clock: Clock

    def heal(
        self,
        outcome: GuestOutcome,
        signature: Signature,
        inventory: Inventory,
        *,
        journal: Journal,
        reprobe: Reprobe,
    ) -> Healed:
        """Carry the guest's decision out, rung by rung, and prove the cure.

        Raises:
            ActInterrupted: Ctrl-C, with what is known of the attempt.
        """
        healer = Healer(
            proxmox=self.doors.proxmox,
            terraform=connect.terraform(self.settings),
            journal=journal,
            shells=self.doors.shells,
            clock=self.clock,
            say=self.progress,
            run_id=self.run_id,
            settings=RebuildSettings(
                plan_only=outcome.decision.action is Action.HOLD,
                use_taint=self.settings["vmnet_taint"],
            ),
        )

        def again() -> tuple[bool, Guest]:
            guest = site.rediscover(
                self.doors.proxmox,
                inventory,
                outcome.guest.vmid,
                self.selection,
                self.clock,
            )
            return reprobe(guest), guest

        begun = self.clock.monotonic()
        try:
            attempts, decision, guest = healer.heal(
                outcome.guest,
                outcome.decision,
                signature,
                inventory,
                wait_ready=self._wait_ready,
                reprobe=again,
            )
        except KeyboardInterrupt as interrupt:
            broken = self._broken_off(outcome, journal, begun)
            self.progress(broken.message)
            raise ActInterrupted(broken) from interrupt
        return Healed(attempts=attempts, decision=decision, guest=guest)

    def _broken_off(self, outcome: GuestOutcome, journal: Journal, begun: float) -> Attempt:
        """Return the attempt that an interrupt ended, as far as the journal knows it."""
        guest = outcome.guest
        try:
            entries = [e for e in journal.read().entries if e.run_id == self.run_id]
        except VmnetError:
            entries = []
        last = entries[-1] if entries else None
        rung = last.rung if last else outcome.decision.action
        where = f" in its step {last.step}" if last else ""
        return Attempt(
            rung=rung,
            outcome=AttemptOutcome.FAILED,
            duration_s=self.clock.monotonic() - begun,
            mac_before=guest.nic.mac,
            mac_after=None,
            message=f"{guest.ident}: the {rung} was interrupted{where}; the guest may be gone or "
            f"half made. Look at both sides: `qm status {guest.vmid}` on {guest.node}, and "
            "`terraform state list`; `terraform apply` makes again what is missing",
        )

    def _wait_ready(self, guest: Guest) -> None:
        """Wait until the guest's agent answers, if it has one.

        Raises:
            VmnetError: It does not within ``--vmnet-wait`` seconds.
        """
        if not guest.agent:
            return
        limit = self.settings["vmnet_wait"]

        def answers() -> bool:
            try:
                self.doors.proxmox.agent(guest.node, guest.vmid, "ping")
            except ProxmoxError:
                return False
            return True

        if not self.clock.wait_for(answers, timeout_s=limit):
            raise VmnetError(f"{guest.ident}'s agent does not answer {limit:g} s after the act")
