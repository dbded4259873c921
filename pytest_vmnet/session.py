"""The composition root: settings -> doors -> one gate run.

discover -> plan -> sweep -> ledger -> diagnose -> decide -> act -> prove, then the tests and the
reports. All of it happens once per run, in one process, before the first test.
"""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from importlib import metadata
from ipaddress import AddressValueError, IPv4Address

from pytest_vmnet import connect
from pytest_vmnet.backends.clock import SYSTEM, Clock
from pytest_vmnet.backends.hosts import LocalShell, Shell
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core import stats
from pytest_vmnet.core.diagnosis import diagnose
from pytest_vmnet.core.facts import FlowSpec, Sweep
from pytest_vmnet.core.guardrails.case import Limit
from pytest_vmnet.core.guardrails.journal import missing
from pytest_vmnet.core.judge import Judgement, Threshold, judge
from pytest_vmnet.core.outcome import GuestOutcome, RunOutcome
from pytest_vmnet.core.pattern import matches_any
from pytest_vmnet.core.plan import Pace, Targets, plan_flows
from pytest_vmnet.core.topology import Guest, Inventory
from pytest_vmnet.core.words import FlowKind, Verdict
from pytest_vmnet.errors import ConfigError, VmnetError
from pytest_vmnet.options.settings import Settings
from pytest_vmnet.ownership import add_resources
from pytest_vmnet.probes import lease, site, sweep, wiring
from pytest_vmnet.probes.reading import read_sweep
from pytest_vmnet.remedy import Remedy

_SECOND_STAGE = 4
"""The second stage sends so many times the first one's probes; both are pooled."""


class Gate:
    """One gate run.

    Args:
        settings: Resolved settings.
        progress: Gets one line per step.
        clock: Time.
    """

    def __init__(
        self, settings: Settings, *, progress: Callable[[str], None], clock: Clock = SYSTEM
    ) -> None:
        self.settings = settings
        self.progress = progress
        self.clock = clock
        self.run_id = secrets.token_hex(8)
        self._started_at = clock.now()
        self._begun = clock.monotonic()
        self._external = _address(settings, "vmnet_external")
        _check_words(settings)
        self.proxmox = Proxmox(connect.endpoint(settings, connect.environment()), clock=clock)
        self.inventory: Inventory | None = None
        self.shells: dict[str, Shell] = {}
        self.notes: list[str] = []
        self.resource_problems: dict[int, str] = {}
        self.unfinished: RunOutcome | None = None  # what was known when an act was interrupted
        self._versions: dict[str, str] = {}

    def discover(self, *, ask_guests: bool = True) -> Inventory:
        """Find the site's nodes, bridges and guests; with Terraform's addresses.

        Args:
            ask_guests: Whether the guests' agents may run a command; else the API is read and
                nothing more.

        Raises:
            VmnetError: There is nothing to look at, or it cannot be looked at.
        """
        version = self.proxmox.get("version") or {}
        self._versions["proxmox"] = str(version.get("version", "unknown"))
        inventory = site.discover(
            self.proxmox,
            self.selection(ask_guests=ask_guests),
            clock=self.clock,
            progress=self.progress,
        )
        self.shells, notes = connect.shells(self.settings, inventory)
        self.notes += notes
        self.inventory = self._with_resources(inventory) if ask_guests else inventory
        return self.inventory

    def selection(self, *, ask_guests: bool = True) -> site.Selection:
        """Return what the settings select."""
        return site.Selection(
            nodes=tuple(self.settings["proxmox_node"]),
            patterns=tuple(self.settings["vmnet_guest"] or ()),
            gateway=_address(self.settings, "vmnet_gateway"),
            wait_s=self.settings["vmnet_wait"] if ask_guests else 0,
            ask_guests=ask_guests,
        )

    def _with_resources(self, inventory: Inventory) -> Inventory:
        """Add each guest's address in Terraform's state, or remember why it has none."""
        found = add_resources(inventory, self.settings)
        self.resource_problems = found.problems
        self.notes += found.notes
        if found.version is not None:
            self._versions["terraform"] = found.version
        return found.inventory

    @property
    def pace(self) -> Pace:
        """How many probes, how fast."""
        needed = stats.probes_needed(
            self.settings["vmnet_max_loss"], self.settings["vmnet_confidence"]
        )
        count = self.settings["vmnet_count"] or -(-needed // 10) * 10
        return Pace(count=count, interval_s=self.settings["vmnet_interval"])

    @property
    def threshold(self) -> Threshold:
        """What a healthy flow has to prove."""
        return Threshold(
            max_loss=self.settings["vmnet_max_loss"], confidence=self.settings["vmnet_confidence"]
        )

    def plan(self, tested: Collection[str], pace: Pace | None = None) -> tuple[FlowSpec, ...]:
        """Return the flows that a sweep of the tested guests sends."""
        targets = Targets(
            peers=self.settings["vmnet_peers"],
            external=self._external,
            inbound=self.settings["vmnet_inbound"] == "auto",
            nodes_with_shell=frozenset(self.shells),
        )
        return plan_flows(self._site, tested, targets, pace or self.pace)

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
        self.notes += connect.check_shells(self.shells)
        self.inventory, notes = wiring.with_links(self._site, self.shells)
        self.notes += notes
        holder = f"run {self.run_id} of {platform.node()} (pid {os.getpid()})"
        with lease.lease(
            self.shells,
            holder=holder,
            timeout_s=self.settings["vmnet_lock_timeout"],
            clock=self.clock,
        ):
            self._check_nobody_is_lost()
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

    def _check_nobody_is_lost(self) -> None:
        """Refuse to pass over a guest that an unfinished act of an earlier run left missing.

        Raises:
            ConfigError: The journal says so; the message says what to do.
        """
        present = {int(row["vmid"]) for row in self.proxmox.get("cluster/resources", type="vm")}
        for node in sorted(self.shells):
            journal = connect.journal(self.settings, node, self.shells)
            if journal is not None and (lost := missing(journal.read().entries, present)):
                raise ConfigError(f"{'; '.join(lost)} (journal {journal.place})")

    def sweep(self, tested: Collection[str]) -> list[Sweep]:
        """Sweep once, and once more with four times the probes where nothing was proven.

        The second stage covers only guests whose verdict hangs on too few probes; it is
        announced, and its probes are pooled with the first ones.
        """
        sweeps = [self._sweep(self.plan(tested))]
        first = self.judge(tested, sweeps)
        open_ = sorted(
            ident
            for ident, judged in first.guests.items()
            if judged.verdict is Verdict.INCONCLUSIVE
            if (facts := sweeps[0].hosts.get(ident)) and not facts.problem
        )
        if open_:
            longer = replace(self.pace, count=self.pace.count * _SECOND_STAGE)
            for ident in open_:
                self.progress(f"{ident}: nothing is proven yet: {first.guests[ident].reason}")
            self.progress(f"second stage: {longer.count} more probes per flow of theirs")
            sweeps.append(self._sweep(self.plan(open_, longer)))
        return sweeps

    def _sweep(self, flows: Sequence[FlowSpec]) -> Sweep:
        raw = sweep.run_sweep(
            self._site,
            flows,
            proxmox=self.proxmox,
            shells=self.shells,
            local=LocalShell(),
            clock=self.clock,
            progress=self.progress,
        )
        return read_sweep(raw, self._site)

    def judge(self, tested: Collection[str], sweeps: Sequence[Sweep]) -> Judgement:
        """Judge the tested guests on those sweeps."""
        return judge(self._site, tested, sweeps, self.threshold)

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
        for host, facts in sorted(sweeps[0].hosts.items()):
            if facts.problem and host not in judgement.guests:
                self.notes.append(facts.problem)
        if self._external is None:
            self.notes.append("no external flow: --vmnet-external is not given")
        for outcome in outcomes:
            if not any(flow.kind is FlowKind.GATEWAY for flow in outcome.flows):
                self.notes.append(f"{outcome.guest.ident}: no gateway is known, so none is probed")
        return self.frame(
            guests=tuple(outcomes), controls=judgement.controls, sweep_s=sweeps[0].duration_s
        )

    def frame(self, **parts: object) -> RunOutcome:
        """Return a run's outcome with those parts; also for runs that could not look."""
        inventory = self.inventory
        nodes = tuple(node.name for node in inventory.nodes) if inventory else ()
        return RunOutcome(
            run_id=self.run_id,
            started_at=self._started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            duration_s=round(self.clock.monotonic() - self._begun, 3),
            nodes=nodes or tuple(self.settings["proxmox_node"]),
            versions={**versions(), **self._versions},
            settings=self.settings.shown(),
            skipped=inventory.skipped if inventory else (),
            notes=tuple(dict.fromkeys(self.notes)),
            **parts,  # type: ignore[arg-type]  # names and types are RunOutcome's own
        )


def versions() -> dict[str, str]:
    """Return the versions of what the gate itself is made of."""
    names = ("pytest-vmnet", "pytest", "proxmoxer", "pytest-testinfra")
    return {name: metadata.version(name) for name in names} | {"python": platform.python_version()}


def _check_words(settings: Settings) -> None:
    """Refuse patterns and limits that cannot be read, before anything is asked or sent."""
    nobody = Guest(vmid=0, name="", ident="", node="")
    matches_any((*(settings["vmnet_guest"] or ()), *settings["vmnet_rebuildable"]), nobody)
    if limit := settings["vmnet_max_unhealthy"]:
        Limit.parse(limit)


def _address(settings: Settings, dest: str) -> IPv4Address | None:
    text = settings[dest]
    if text in {None, "none"}:
        return None
    try:
        return IPv4Address(text)
    except AddressValueError as problem:
        raise ConfigError(f"{settings.describe(dest)}: {problem}") from problem
