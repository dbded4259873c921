"""What the plugin keeps between hooks, under one typed key of pytest's stash."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_vmnet.core.outcome import RunOutcome
    from pytest_vmnet.core.site.topology import Inventory
    from pytest_vmnet.gate.session import Gate
    from pytest_vmnet.options.settings import Settings
    from pytest_vmnet.verify import Ledger


@dataclass
class State:
    """The gate of one pytest process.

    Attributes:
        settings: Resolved settings.
        gate: The gate run; a worker of xdist has one that never probes.
        inventory: The site.
        outcome: The outcome, once there is one.
        origin: What a replay replays, in one sentence; None for a live run.
        handover: File by which xdist's controller hands the outcome to its workers, or None.
    """

    settings: Settings
    gate: Gate
    inventory: Inventory
    outcome: RunOutcome | None = None
    origin: str | None = None
    handover: Path | None = None
    swept: bool = field(default=False)

    def ledger(self) -> Ledger:
        """Return the facts; in a worker they are read once from the controller's file."""
        from pytest_vmnet.verify import Ledger  # noqa: PLC0415 - keeps an idle run quick

        if self.outcome is None and self.handover is not None:
            from pytest_vmnet import handover  # noqa: PLC0415 - likewise

            self.outcome = handover.read(self.handover)
        if self.outcome is None:
            pytest.skip("nothing was probed")
        return Ledger(self.outcome)

    def sweep(self, tested: Collection[str]) -> bool:
        """Run the gate once for the guests that tests were collected for; tell if it ran now."""
        if self.swept or not tested:
            return False
        self.swept = True
        self.outcome = self.gate.run(sorted(tested))
        if self.handover is not None:
            from pytest_vmnet import handover  # noqa: PLC0415 - only with xdist

            handover.write(self.handover, self.outcome)
        return True

    def worker_input(self) -> dict[str, Any]:
        """Return what a worker of xdist needs: the site and where the outcome will be."""
        from pytest_vmnet import handover  # noqa: PLC0415 - only with xdist

        if self.handover is None:
            self.handover = handover.new_file()
        return {
            "vmnet_inventory": handover.pack_site(self.inventory),
            "vmnet_handover": str(self.handover),
        }

    def close(self) -> None:
        """Remove the hand-over file."""
        if self.handover is not None:
            self.handover.unlink(missing_ok=True)
            self.handover.parent.rmdir()
            self.handover = None


STATE: pytest.StashKey[State] = pytest.StashKey()
SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
