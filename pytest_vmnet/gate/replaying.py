"""A bundle as a run's source: the same facts as then, and nobody is asked or acted upon."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pytest_vmnet.bundle import layout
from pytest_vmnet.bundle.check import check_site, check_sweep
from pytest_vmnet.bundle.reader import BundleReader
from pytest_vmnet.bundle.sections import SweepFile, read_sweep_file, restore_sweep
from pytest_vmnet.core.guardrails.case import Subject
from pytest_vmnet.core.outcome import GuestOutcome
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.core.words import Action
from pytest_vmnet.gate.recording import ActFile, DecisionsFile, RunFile
from pytest_vmnet.gate.source import Circumstances, Discovery, Healed, Held, Plan, Reprobe
from pytest_vmnet.gate.standing import Own
from pytest_vmnet.options.settings import Setting
from pytest_vmnet.probes.answer import RawSweep

_MAX_SWEEPS = 100
_NONSENSE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    StopIteration,
    TypeError,
    ValueError,
)


class ReplaySource:
    """The recorded answers of one run.

    Args:
        path: The bundle's folder.

    Raises:
        ConfigError: It cannot be replayed; the message says why.
    """

    def __init__(self, path: Path) -> None:
        self._reader = BundleReader(path)
        self._run = self._reader.record(RunFile, layout.RUN)
        self._discovered = self._site(layout.DISCOVERED)
        self._inventory = self._site(layout.INVENTORY)
        self._decisions = self._reader.record(DecisionsFile, layout.DECISIONS)
        self._now = self._time(self._reader.manifest.started_at)
        self._sweeps: dict[int, list[SweepFile]] | None = None
        self._group = 0
        self._stage = 0

    def _site(self, name: str) -> Inventory:
        site = self._reader.record(Inventory, name)
        try:
            check_site(site, self._run.tested)
        except ValueError as problem:
            raise self._reader.damage(f"{name}: {problem}") from problem
        return site

    def _time(self, text: str) -> datetime:
        try:
            found = datetime.fromisoformat(text)
        except ValueError as problem:
            raise self._reader.damage(f"started_at = {text!r:.60}: {problem}") from problem
        return found.replace(tzinfo=found.tzinfo or UTC)

    @property
    def doors(self) -> None:
        """There are none: nobody is asked."""
        return

    @property
    def run_id(self) -> str:
        """The recorded run's id."""
        return self._reader.manifest.run_id

    @property
    def started_at(self) -> str:
        """When the recorded run began."""
        return self._reader.manifest.started_at

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The recorded run's settings."""
        return self._run.settings

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of what took part in the recorded run."""
        return self._run.versions

    @property
    def origin(self) -> str:
        """One sentence on what is replayed."""
        by = self.versions.get("pytest-vmnet", "an unknown version")
        return (
            f"replay of run {self.run_id} of {self.started_at} from {self._reader.path} (recorded "
            f"by pytest-vmnet {by}): nobody is asked, nothing is sent, nothing is carried out"
        )

    def discover(self, *, ask_guests: bool = True) -> Discovery:
        """Return the site as it was."""
        del ask_guests
        return Discovery(
            inventory=self._discovered,
            resource_problems=self._run.resource_problems,
            notes=self._run.discovery_notes,
        )

    def covers(self, tested: Collection[str]) -> tuple[str, ...]:
        """Return the guests that the run was about: all of them are judged, as they were then."""
        del tested
        return self._run.tested

    @contextmanager
    def hold(self, inventory: Inventory) -> Iterator[Held]:
        """Return the site as its nodes' shells told it; there is nobody to keep away."""
        del inventory
        self._group = self._stage = 0
        with self.guard():
            yield Held(inventory=self._inventory, notes=self._run.held_notes)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Make an error of the bundle of what its records break: no check foresees all of it.

        Raises:
            ConfigError: The body could not make sense of the records.
        """
        try:
            yield
        except _NONSENSE as error:
            raise self._reader.damage(
                f"its parts do not fit together, or not with this version: "
                f"{type(error).__name__}: {error!s:.200}"
            ) from error

    def sweep(self, inventory: Inventory, plan: Plan) -> RawSweep:
        """Return what came back then, from the flows of then."""
        del plan
        group = self._stages()
        if self._stage >= len(group):
            raise self._reader.damage(f"sweep {self._stage + 1} of group {self._group} is missing")
        kept = group[self._stage]
        self._stage += 1
        try:
            check_sweep(kept, inventory)
        except ValueError as problem:
            raise self._reader.damage(f"{layout.SWEEP}: {problem}") from problem
        return restore_sweep(self._reader, kept)

    def _stages(self) -> list[SweepFile]:
        """Return the sweeps of the present group."""
        if self._sweeps is None:
            if not 0 < self._decisions.sweeps <= _MAX_SWEEPS:
                raise self._reader.damage(f"it has {self._decisions.sweeps} sweeps")
            self._sweeps = {}
            for number in range(1, self._decisions.sweeps + 1):
                kept = read_sweep_file(self._reader, number)
                self._sweeps.setdefault(kept.group, []).append(kept)
            for group in self._sweeps.values():
                if [bool(each.second_stage) for each in group] not in ([False], [False, True]):
                    raise self._reader.damage("a second stage comes first, or more than once")
        return self._sweeps.get(self._group, [])

    def second_stage(self, unproven: Sequence[str]) -> Sequence[str]:
        """Return for whom the run sent more probes."""
        del unproven
        group = self._stages()
        asked = group[self._stage].second_stage if self._stage < len(group) else ()
        return [ident for ident in asked if ident in self._run.tested]

    def own(self) -> Own:
        """Return who the gate's own host was."""
        return self._run.own

    def circumstances(self, outcome: GuestOutcome) -> Circumstances:
        """Return what the policy was told; the run's beginning for a guest that it passed over."""
        told = self._decisions.circumstances.get(outcome.guest.vmid)
        return told or Circumstances(now=self._now)

    def heal(
        self,
        outcome: GuestOutcome,
        subject: Subject,
        inventory: Inventory,
        reprobe: Reprobe,
    ) -> Healed | None:
        """Return how the act went that the run carried out; a new decision stays one."""
        del subject, inventory
        act = self._decisions.acts.get(outcome.guest.vmid)
        if act is None or act.decided.action is not outcome.decision.action:
            return None
        self._check_act(outcome, act)
        for each in act.reprobed:
            self._group, self._stage = each.group, 0
            reprobe(each.guest)
        return act.healed

    def _check_act(self, outcome: GuestOutcome, act: ActFile) -> None:
        """Refuse an act whose guest is another one."""
        known = (outcome.guest.vmid, outcome.guest.ident, outcome.guest.node)
        for guest in (act.healed.guest, *(each.guest for each in act.reprobed)):
            if (guest.vmid, guest.ident, guest.node) != known or not any(
                nic.bridge for nic in guest.nics
            ):
                raise self._reader.damage(f"{layout.DECISIONS}: an act on {known} is on another")
        if act.decided.action is Action.NONE or len(act.reprobed) > _MAX_SWEEPS:
            raise self._reader.damage(f"{layout.DECISIONS}: an act on {known} is none")
