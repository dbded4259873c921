"""Keep the raw evidence of a run in a bundle while it passes from its source to the gate."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pytest_vmnet.bundle import layout
from pytest_vmnet.bundle.sections import write_sweep
from pytest_vmnet.bundle.writer import BundleWriter
from pytest_vmnet.core.guardrails.case import Subject
from pytest_vmnet.core.outcome import Decision, GuestOutcome
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.gate.source import (
    Circumstances,
    Discovery,
    Doors,
    Healed,
    Held,
    Plan,
    Reprobe,
    Source,
)
from pytest_vmnet.gate.standing import Own
from pytest_vmnet.options.settings import Setting
from pytest_vmnet.probes.answer import RawSweep


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """What a bundle says of its run beside facts.

    Attributes:
        tested: Ids of the guests that it was about.
        settings: Its settings as reports show them; a secretive one's value is not among them.
        versions: Versions of what took part, by name.
        resource_problems: Why a guest's place in Terraform's state is not known, by VMID.
        discovery_notes: What discovery wanted the report to say.
        held_notes: What the report should say of the nodes' shells.
        own: Who the gate's own host was.
    """

    tested: tuple[str, ...]
    settings: tuple[Setting, ...]
    versions: Mapping[str, str]
    resource_problems: Mapping[int, str]
    discovery_notes: tuple[str, ...]
    held_notes: tuple[str, ...]
    own: Own


@dataclass(frozen=True, slots=True, kw_only=True)
class Reprobed:
    """The same probes after an act.

    Attributes:
        guest: The guest as it was discovered again.
        group: Group of the sweeps that show it.
    """

    guest: Guest
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActFile:
    """An act, as it was carried out.

    Attributes:
        decided: What was decided.
        healed: How it went.
        reprobed: The probes after each of its rungs.
    """

    decided: Decision
    healed: Healed
    reprobed: tuple[Reprobed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionsFile:
    """What the policy was told, and what was done.

    Attributes:
        sweeps: How many sweeps there are.
        circumstances: What the policy was told, by VMID.
        acts: What was carried out, by VMID.
    """

    sweeps: int
    circumstances: Mapping[int, Circumstances] = field(default_factory=dict)
    acts: Mapping[int, ActFile] = field(default_factory=dict)


class RecordingSource:
    """A source whose answers are kept; whoever asks does not notice.

    Args:
        inner: The source that is asked.
        writer: The bundle, begun.
        settings: The run's settings as reports show them.
        versions: The run's versions; discovery adds to them.
    """

    def __init__(
        self,
        inner: Source,
        writer: BundleWriter,
        *,
        settings: tuple[Setting, ...],
        versions: Mapping[str, str],
    ) -> None:
        self._inner = inner
        self.writer = writer
        self._settings = settings
        self._versions = dict(versions)
        self._discovery: Discovery | None = None
        self._tested: tuple[str, ...] = ()
        self._own = Own()
        self._sweeps = 0
        self._group = 0
        self._second_stage: tuple[str, ...] = ()
        self._circumstances: dict[int, Circumstances] = {}
        self._acts: dict[int, ActFile] = {}

    @property
    def doors(self) -> Doors | None:
        """The open doors to the site."""
        return self._inner.doors

    def discover(self, *, ask_guests: bool = True) -> Discovery:
        """Discover the site, and remember what was found."""
        self._discovery = self._inner.discover(ask_guests=ask_guests)
        return self._discovery

    def covers(self, tested: Collection[str]) -> tuple[str, ...]:
        """Return the guests that the run is about, and remember them."""
        self._tested = self._inner.covers(tested)
        return self._tested

    @contextmanager
    def hold(self, inventory: Inventory) -> Iterator[Held]:
        """Keep the site as it is when the run begins."""
        try:
            with self._inner.hold(inventory) as held:
                self._own = self._inner.own()
                self._write_run(held)
                yield held
        except BaseException as error:
            self.writer.abandon(f"the run ended early: {str(error) or type(error).__name__}")
            raise

    def _write_run(self, held: Held) -> None:
        found = self._discovery or Discovery(inventory=held.inventory)
        self._versions.update(found.versions)
        self.writer.add_json(layout.DISCOVERED, found.inventory)
        self.writer.add_json(layout.INVENTORY, held.inventory)
        run = RunFile(
            tested=self._tested,
            settings=self._settings,
            versions=self._versions,
            resource_problems=found.resource_problems,
            discovery_notes=found.notes,
            held_notes=held.notes,
            own=self._own,
        )
        self.writer.add_json(layout.RUN, run)

    def sweep(self, inventory: Inventory, plan: Plan) -> RawSweep:
        """Sweep, and keep what came back."""
        raw = self._inner.sweep(inventory, plan)
        self._sweeps += 1
        write_sweep(
            self.writer,
            self._sweeps,
            raw,
            group=self._group,
            second_stage=self._second_stage,
        )
        self._second_stage = ()
        return raw

    def second_stage(self, unproven: Sequence[str]) -> Sequence[str]:
        """Return for whom more probes are to be had; the next sweep remembers it."""
        self._second_stage = tuple(self._inner.second_stage(unproven))
        return self._second_stage

    def own(self) -> Own:
        """Return who the gate's own host was when the run began."""
        return self._own

    def circumstances(self, outcome: GuestOutcome) -> Circumstances:
        """Return what the policy has to know, and keep it."""
        told = self._circumstances[outcome.guest.vmid] = self._inner.circumstances(outcome)
        return told

    def heal(
        self,
        outcome: GuestOutcome,
        subject: Subject,
        inventory: Inventory,
        reprobe: Reprobe,
    ) -> Healed | None:
        """Act, and keep how it went and what the probes showed afterwards."""
        reprobed: list[Reprobed] = []

        def again(guest: Guest) -> bool:
            self._group += 1
            group = self._group
            is_healthy = reprobe(guest)
            reprobed.append(Reprobed(guest=guest, group=group))
            return is_healthy

        healed = self._inner.heal(outcome, subject, inventory, again)
        if healed is not None:
            self._acts[outcome.guest.vmid] = ActFile(
                decided=outcome.decision, healed=healed, reprobed=tuple(reprobed)
            )
        return healed

    def finish(self, outcome: str) -> None:
        """Write what was decided, and the run's own report; then the bundle is whole.

        Args:
            outcome: The run's JSON report.
        """
        decisions = DecisionsFile(
            sweeps=self._sweeps, circumstances=self._circumstances, acts=self._acts
        )
        self.writer.add_json(layout.DECISIONS, decisions)
        self.writer.add(layout.OUTCOME, outcome.encode())
        self.writer.finish(self._versions)
