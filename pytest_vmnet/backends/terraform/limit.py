"""How long Terraform may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """How long a command may take, in seconds.

    Attributes:
        init_s: ``init``, downloads included.
        state_s: ``state pull``.
        plan_s: ``plan``.
        apply_s: ``apply``; bpg waits up to 15 minutes for an agent's first address.
        lock_s: How long Terraform itself waits for its state lock.
    """

    init_s: float = 600.0
    state_s: float = 120.0
    plan_s: float = 900.0
    apply_s: float = 3600.0
    lock_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """How long a Terraform that was asked to stop may take, in seconds.

    Attributes:
        interrupt_s: After SIGINT: it finishes the step it is in and writes its state.
        terminate_s: After SIGTERM: it drops everything. Only then comes SIGKILL.
    """

    interrupt_s: float = 120.0
    terminate_s: float = 20.0
