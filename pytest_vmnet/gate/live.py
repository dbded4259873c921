"""The site itself as a run's source: it is asked, probed, and acted upon."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.hosts import LocalShell
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.guardrails.case import Mode, Subject
from pytest_vmnet.core.guardrails.journal import missing
from pytest_vmnet.core.outcome import GuestOutcome
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.core.words import Verdict
from pytest_vmnet.errors import ConfigError, VmnetError
from pytest_vmnet.gate import connect
from pytest_vmnet.gate.acting import Acting
from pytest_vmnet.gate.ownership import add_resources
from pytest_vmnet.gate.source import Circumstances, Discovery, Doors, Healed, Held, Plan, Reprobe
from pytest_vmnet.gate.standing import Own, own_identity
from pytest_vmnet.options.settings import Settings
from pytest_vmnet.probes import lease, site, sweep, wiring
from pytest_vmnet.probes.answer import RawSweep
from pytest_vmnet.remediation.journal import Journal


class LiveSource:
    """The site that the settings name.

    Args:
        settings: Resolved settings.
        run_id: The run that asks.
        gateway: Gateway of guests without a default route, or None.
        progress: Gets one line per step.
        clock: Time.
        recall: Whether the journal is read also where no act is allowed: a replay may ask what
            would have been decided.

    Raises:
        ConfigError: Where the API is, or the token, is not known.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        run_id: str,
        gateway: IPv4Address | None,
        progress: Callable[[str], None],
        clock: Clock,
        recall: bool = False,
    ) -> None:
        self._settings = settings
        self._run_id = run_id
        self._gateway = gateway
        self._progress = progress
        self._clock = clock
        self._recall = recall
        endpoint = connect.endpoint(settings, connect.environment())
        self._doors = Doors(proxmox=Proxmox(endpoint, clock=clock), shells={})

    @property
    def doors(self) -> Doors:
        """The API, and the shells that answered so far."""
        return self._doors

    def discover(self, *, ask_guests: bool = True) -> Discovery:
        """Find the site's nodes, bridges and guests; with Terraform's addresses.

        Args:
            ask_guests: Whether the guests' agents may run a command; else the API is read and
                nothing more.
        """
        proxmox = self._doors.proxmox
        version = proxmox.get("version") or {}
        versions = {"proxmox": str(version.get("version", "unknown"))}
        inventory = site.discover(
            proxmox,
            self._selection(ask_guests=ask_guests),
            clock=self._clock,
            progress=self._progress,
        )
        shells, notes = connect.shells(self._settings, inventory)
        self._doors.shells.update(shells)
        if not ask_guests:
            return Discovery(inventory=inventory, versions=versions, notes=tuple(notes))
        owned = add_resources(inventory, self._settings)
        if owned.version is not None:
            versions["terraform"] = owned.version
        return Discovery(
            inventory=owned.inventory,
            resource_problems=owned.problems,
            versions=versions,
            notes=(*notes, *owned.notes),
        )

    def _selection(self, *, ask_guests: bool = True) -> site.Selection:
        return site.Selection(
            nodes=tuple(self._settings["proxmox_node"]),
            patterns=tuple(self._settings["vmnet_guest"] or ()),
            gateway=self._gateway,
            wait_s=self._settings["vmnet_wait"] if ask_guests else 0,
            ask_guests=ask_guests,
        )

    @contextmanager
    def hold(self, inventory: Inventory) -> Iterator[Held]:
        """Check the shells, read the nodes' wiring and keep other gates away."""
        shells = self._doors.shells
        notes = connect.check_shells(shells)
        inventory, more = wiring.with_links(inventory, shells)
        with lease.lease(
            shells,
            holder=f"run {self._run_id} of {platform.node()} (pid {os.getpid()})",
            timeout_s=self._settings["vmnet_lock_timeout"],
            clock=self._clock,
        ):
            self._check_nobody_is_lost()
            yield Held(inventory=inventory, notes=(*notes, *more))

    def _check_nobody_is_lost(self) -> None:
        """Refuse to pass over a guest that an unfinished act of an earlier run left missing.

        Raises:
            ConfigError: The journal says so; the message says what to do.
        """
        rows = self._doors.proxmox.get("cluster/resources", type="vm")
        present = {int(row["vmid"]) for row in rows}
        for node in sorted(self._doors.shells):
            journal = self._journal(node)
            if journal is not None and (lost := missing(journal.read().entries, present)):
                raise ConfigError(f"{'; '.join(lost)} (journal {journal.place})")

    def _journal(self, node: str) -> Journal | None:
        return connect.journal(self._settings, node, self._doors.shells)

    def covers(self, tested: Collection[str]) -> tuple[str, ...]:
        """Return these guests: nobody else is probed, and nobody else may be acted upon."""
        return tuple(sorted(tested))

    def sweep(self, inventory: Inventory, plan: Plan) -> RawSweep:
        """Send the flows while the nodes' ports are watched."""
        fitted = plan()
        notes = (told,) if (told := fitted.told()) else ()
        for note in notes:
            self._progress(note)
        raw = sweep.run_sweep(
            inventory,
            fitted.flows,
            proxmox=self._doors.proxmox,
            shells=self._doors.shells,
            local=LocalShell(),
            clock=self._clock,
            progress=self._progress,
        )
        return replace(raw, notes=notes)

    def second_stage(self, unproven: Sequence[str]) -> Sequence[str]:
        """Return all of them: more probes can be sent."""
        return unproven

    def own(self) -> Own:
        """Ask the host that the gate runs on."""
        return own_identity()

    def circumstances(self, outcome: GuestOutcome) -> Circumstances:
        """Return the time, and what the journal of a sick guest holds."""
        now = self._clock.now()
        is_armed = Mode(self._settings["vmnet_rebuild"]) is not Mode.NEVER
        if outcome.verdict is Verdict.HEALTHY or not (is_armed or self._recall):
            return Circumstances(now=now)
        journal = self._journal(outcome.guest.node)
        if journal is None:
            return Circumstances(now=now)
        try:
            history = journal.read()
        except VmnetError as error:
            return Circumstances(now=now, place=journal.place, trouble=str(error))
        return Circumstances(
            now=now,
            place=journal.place,
            entries=history.entries,
            trouble="; ".join(history.damage) or None,
            notes=history.notes if is_armed else (),
        )

    def heal(
        self,
        outcome: GuestOutcome,
        subject: Subject,
        inventory: Inventory,
        reprobe: Reprobe,
    ) -> Healed | None:
        """Carry the decision out, rung by rung, and prove the cure."""
        journal = self._journal(outcome.guest.node)
        if journal is None:
            return None
        acting = Acting(
            settings=self._settings,
            run_id=self._run_id,
            doors=self._doors,
            selection=self._selection(),
            progress=self._progress,
            clock=self._clock,
        )
        return acting.heal(outcome, subject.signature, inventory, journal=journal, reprobe=reprobe)
