"""The only place that reads a clock or waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Clock:
    """Time as the rest of the gate sees it; tests hand in one that does not wait.

    Attributes:
        monotonic: Seconds on a clock that never steps.
        now: Wall-clock time, UTC.
        sleep: Wait for that many seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep

    def wait_for(
        self, ready: Callable[[], bool], *, timeout_s: float, interval_s: float = 0.2
    ) -> bool:
        """Ask *ready* until it says yes; return False if it has not within *timeout_s*."""
        deadline = self.monotonic() + timeout_s
        while not ready():
            if self.monotonic() >= deadline:
                return False
            self.sleep(interval_s)
        return True


SYSTEM = Clock()
