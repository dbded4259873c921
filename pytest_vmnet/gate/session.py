"""One gate run, whatever its facts come from.

discover -> plan -> sweep -> ledger -> diagnose -> decide -> act -> prove, then the tests and the
reports. All of it happens once per run, in one process, before the first test.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cached_property, partial

from pytest_vmnet.core.diagnosis import diagnose
from pytest_vmnet.core.facts import Sweep
from pytest_vmnet.core.flow.budget import Fitted, Sampling
from pytest_vmnet.core.flow.plan import Pace
from pytest_vmnet.core.flow.route import odd_ways
from pytest_vmnet.core.ledger.clocks import clock_notes
from pytest_vmnet.core.outcome import GuestOutcome, RunOutcome
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.core.verdict.judge import Judgement, judge
from pytest_vmnet.core.words import FlowKind, Verdict
from pytest_vmnet.errors import VmnetError
from pytest_vmnet.gate.framing import Frame
from pytest_vmnet.gate.planning import Planning
from pytest_vmnet.gate.remedy import Remedy
from pytest_vmnet.gate.source import Source
from pytest_vmnet.options.settings import Settings
from pytest_vmnet.probes.reading import read_sweep

_SECOND_STAGE = 4
"""The second stage sends so many times the first one's probes; both are pooled."""


class Gate:
    """One gate run.

    Args:
        settings: Resolved settings.
        frame: The run's frame.
        source: Where its facts come from.
        progress: Gets one line per step.

    Raises:
        ConfigError: A setting is wrong.
    """

    def __init__(
        self,
        settings: Settings,
        frame: Frame,
        source: Source,
        *,
        progress: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.frame = frame
        self.source = source
        self._progress = progress
        self.planning = Planning(settings)
        self.inventory: Inventory | None = None
        self.resource_problems: dict[int, str] = {}
        self.unfinished: RunOutcome | None = None  # what was known when an act was interrupted

    def progress(self, line: str) -> None:
        """Tell the person who watches one line."""
        self._progress(line)

    def discover(self, *, ask_guests: bool = True) -> Inventory:
        """Find the site's nodes, bridges and guests; with Terraform's addresses.

        Args:
            ask_guests: Whether the guests' agents may run a command; else the API is read and
                nothing more.

        Raises:
            VmnetError: There is nothing to look at, or it cannot be looked at.
        """
        found = self.source.discover(ask_guests=ask_guests)
        self.frame.versions.update(found.versions)
        self.frame.note(found.notes)
        self.resource_problems = dict(found.resource_problems)
        self.inventory = found.inventory
        if note := self._sampling.note:
            self.frame.note([note])
            self.progress(note)
        return found.inventory

    @cached_property
    def _sampling(self) -> Sampling:
        """How many peers the budget affords; of the site as discovered, so tests can be made."""
        return self.planning.sampling(self._site)

    @property
    def peers(self) -> str:
        """Peers of each guest: ``segment``, ``all`` or a number."""
        return self._sampling.peers

    def plan(self, tested: Collection[str], pace: Pace | None = None) -> Fitted:
        """Return what a sweep of the tested guests sends, within the budget."""
        doors = self.source.doors
        shells = frozenset(doors.shells) if doors else None
        return self.planning.plan(self._site, tested, self.peers, shells=shells, pace=pace)

    @property
    def _site(self) -> Inventory:
        if self.inventory is None:
            raise VmnetError("the site has not been discovered")
        return self.inventory

    def run(self, tested: Collection[str]) -> RunOutcome:
        """Sweep, judge, diagnose, decide and heal; return the outcome.

        Args:
            tested: Ids of the guests that tests were collected for.

        Raises:
            VmnetError: The run could not look at all.
        """
        tested = self.source.covers(tested)
        with self.source.hold(self._site) as held:
            self.inventory = held.inventory
            self.frame.note([*held.notes, *odd_ways(held.inventory)])
            sweeps = self.sweep(tested)
            judgement = self.judge(tested, sweeps)
            outcomes = self.outcomes(judgement, sweeps)
            remedy = Remedy(self, judgement, sweeps)
            try:
                outcomes = remedy.decide_and_act(outcomes)
            except KeyboardInterrupt:
                self.unfinished = self.outcome(remedy.settled or outcomes, judgement, sweeps)
                raise
        return self.outcome(outcomes, judgement, sweeps)

    def sweep(self, tested: Collection[str]) -> list[Sweep]:
        """Sweep once, and once more with four times the probes where nothing was proven.

        The second stage covers only guests whose verdict hangs on too few probes; it is
        announced, and its probes are pooled with the first ones.
        """
        sweeps = [self._sweep(tested, self.planning.pace)]
        first = self.judge(tested, sweeps)
        unproven = sorted(
            ident
            for ident, judged in first.guests.items()
            if judged.verdict is Verdict.INCONCLUSIVE and _may_say_more(judged.guest, sweeps[0])
        )
        if open_ := self.source.second_stage(unproven):
            pace = self.planning.pace
            longer = replace(pace, count=pace.count * _SECOND_STAGE)
            for ident in open_:
                self.progress(f"{ident}: nothing is proven yet: {first.guests[ident].reason}")
            self.progress(f"second stage: {longer.count} more probes per flow of theirs")
            sweeps.append(self._sweep(open_, longer))
        return sweeps

    def _sweep(self, tested: Collection[str], pace: Pace) -> Sweep:
        raw = self.source.sweep(self._site, partial(self.plan, tested, pace))
        self.frame.note(raw.notes)
        return read_sweep(raw, self._site)

    def judge(self, tested: Collection[str], sweeps: Sequence[Sweep]) -> Judgement:
        """Judge the tested guests on those sweeps."""
        return judge(self._site, tested, sweeps, self.planning.threshold)

    def outcomes(self, judgement: Judgement, sweeps: Sequence[Sweep]) -> list[GuestOutcome]:
        """Diagnose every judged guest."""
        found = []
        for judged in judgement.guests.values():
            findings, ruled_out = diagnose(judged, judgement, self._site, sweeps)
            found.append(
                GuestOutcome(
                    guest=judged.guest,
                    verdict=judged.verdict,
                    reason=judged.reason,
                    flows=judged.flows,
                    neighbours=judged.neighbours,
                    findings=findings,
                    ruled_out=ruled_out,
                )
            )
        return sorted(found, key=lambda outcome: outcome.guest.vmid)

    def outcome(
        self, outcomes: Sequence[GuestOutcome], judgement: Judgement, sweeps: Sequence[Sweep]
    ) -> RunOutcome:
        """Return the whole run's outcome."""
        notes = [
            facts.problem
            for host, facts in sorted(sweeps[0].hosts.items())
            if facts.problem and host not in judgement.guests
        ]
        if not any(self.planning.external):
            notes.append("no external flow: --vmnet-external is not given")
        notes += [
            f"{outcome.guest.ident}: no gateway is known, so none is probed"
            for outcome in outcomes
            if not any(flow.kind is FlowKind.GATEWAY for flow in outcome.flows)
        ]
        notes += clock_notes(sweeps, judgement.ledgers)
        self.frame.note(notes)
        return self.frame.outcome(
            self.inventory,
            guests=tuple(outcomes),
            controls=judgement.controls,
            sweep_s=sweeps[0].duration_s,
        )


def _may_say_more(guest: Guest, sweep: Sweep) -> bool:
    """Tell whether more probes may prove something: it answered, or others probe it."""
    facts = sweep.hosts.get(guest.ident)
    if facts is None:
        return not guest.agent and bool(guest.address or guest.address6)
    return not facts.problem
