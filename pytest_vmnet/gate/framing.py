"""What every report of a run says beside its guests, also of a run that could not look."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.core.outcome import RunOutcome
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.options.settings import Setting, Settings


@dataclass(kw_only=True)
class Frame:
    """One run: which it is, when it began, with what and by what settings.

    Attributes:
        run_id: Unguessable id, lower-case hex.
        started_at: RFC 3339 UTC.
        settings: Its settings as reports show them.
        nodes: Nodes that were asked for, for a run that found none.
        clock: Time.
        begun_s: When it began, on the clock that never steps.
        versions: Versions of what takes part, by name.
        notes: Things worth saying once, in the order in which they came up.
    """

    run_id: str
    started_at: str
    settings: tuple[Setting, ...]
    nodes: tuple[str, ...]
    clock: Clock
    begun_s: float
    versions: dict[str, str]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, settings: Settings, clock: Clock) -> Frame:
        """Return the frame of a run that begins now."""
        return cls(
            run_id=secrets.token_hex(8),
            started_at=clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            settings=settings.shown(),
            nodes=tuple(settings["proxmox_node"] or ()),
            clock=clock,
            begun_s=clock.monotonic(),
            versions=versions(),
        )

    def note(self, texts: Iterable[str]) -> None:
        """Add things worth saying; each is said once."""
        self.notes += [text for text in dict.fromkeys(texts) if text not in self.notes]

    def outcome(self, site: Inventory | None = None, **parts: object) -> RunOutcome:
        """Return the run's outcome.

        Args:
            site: What discovery found, or None if it found nothing.
            parts: Further parts of the outcome, by its attributes' names.
        """
        nodes = tuple(node.name for node in site.nodes) if site else ()
        return RunOutcome(
            run_id=self.run_id,
            started_at=self.started_at,
            duration_s=round(self.clock.monotonic() - self.begun_s, 3),
            nodes=nodes or self.nodes,
            versions=dict(self.versions),
            settings=self.settings,
            skipped=site.skipped if site else (),
            notes=tuple(self.notes),
            **parts,  # type: ignore[arg-type]  # names and types are RunOutcome's own
        )


def versions() -> dict[str, str]:
    """Return the versions of what the gate itself is made of."""
    names = ("pytest-vmnet", "pytest", "proxmoxer", "pytest-testinfra")
    return {name: metadata.version(name) for name in names} | {"python": platform.python_version()}
