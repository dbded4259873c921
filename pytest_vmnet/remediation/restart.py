"""The gentlest rung: a full stop and start, which renews all but MAC, VMID, disk and rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.core.guardrails.journal import Step
from pytest_vmnet.core.words import AttemptOutcome
from pytest_vmnet.errors import VmnetError
from pytest_vmnet.remediation.act import Act, Diary, Order, Say
from pytest_vmnet.remediation.journal import Journal


class Power(Protocol):
    """The hypervisor's power switch."""

    def stop(self, node: str, vmid: int, *, timeout_s: float) -> str:
        """Shut the guest down, by force after *timeout_s* seconds; return the task's UPID.

        ``POST .../status/shutdown`` with ``timeout`` and ``forceStop=1`` does both.
        """

    def start(self, node: str, vmid: int) -> str:
        """Start the guest; return the task's UPID."""

    def status(self, node: str, vmid: int) -> str:
        """Return ``running`` or ``stopped``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartLimits:
    """How long a restart may take, in seconds.

    Attributes:
        shutdown_s: For the guest to shut down by itself.
        stop_s: For the VM to be stopped, the shutdown included.
        start_s: For the VM to run again.
    """

    shutdown_s: float = 60.0
    stop_s: float = 120.0
    start_s: float = 120.0


def restart(
    order: Order,
    *,
    power: Power,
    journal: Journal,
    clock: Clock,
    wait_ready: Callable[[], None],
    say: Say = lambda _: None,
    limits: RestartLimits | None = None,
) -> Act:
    """Stop the guest, start it and wait until it is ready.

    A guest that was stopped is started again whatever happens in between, Ctrl-C included.

    Args:
        order: Whom and why.
        power: The hypervisor's power switch.
        journal: Gets an entry before and after each step.
        clock: Measures and waits.
        wait_ready: Returns once the guest can be probed, or raises VmnetError.
        say: Gets the progress.
        limits: How long the steps may take.

    Raises:
        VmnetError: The journal cannot be written: nothing, or nothing more, was done.
    """
    patience = limits or RestartLimits()
    begun_s = clock.monotonic()
    guest = order.guest
    diary = Diary(
        order=order,
        journal=journal,
        clock=clock,
        address=guest.resource.address if guest.resource else None,
    )
    upids: list[str] = []

    def has_status(wanted: str) -> Callable[[], bool]:
        return lambda: power.status(guest.node, guest.vmid) == wanted

    def start() -> None:
        with diary.step(Step.START):
            upids.append(power.start(guest.node, guest.vmid))
            if not clock.wait_for(has_status("running"), timeout_s=patience.start_s):
                raise VmnetError(f"{guest.ident} does not run after {patience.start_s:g} s")

    def end(outcome: AttemptOutcome | None, message: str) -> Act:
        return Act(
            order=order,
            outcome=outcome,
            message=message,
            duration_s=clock.monotonic() - begun_s,
            commands=(f"qm shutdown {guest.vmid} && qm start {guest.vmid}",),
            upids=tuple(upids),
        )

    say(f"{guest.ident}: restart: stopping")
    try:
        try:
            with diary.step(Step.STOP):
                upids.append(power.stop(guest.node, guest.vmid, timeout_s=patience.shutdown_s))
                if not clock.wait_for(has_status("stopped"), timeout_s=patience.stop_s):
                    raise VmnetError(f"{guest.ident} is not stopped after {patience.stop_s:g} s")
        finally:
            if upids or power.status(guest.node, guest.vmid) == "stopped":
                say(f"{guest.ident}: restart: starting")
                start()
        with diary.step(Step.READY):
            wait_ready()
    except VmnetError as error:
        return end(
            AttemptOutcome.FAILED,
            f"{error}. Look at it with `qm status {guest.vmid}` on {guest.node}; if it is "
            f"stopped, `qm start {guest.vmid}`",
        )
    return end(None, "stopped and started; MAC, VMID and disk are the same")
