"""What the policy has to know of a guest beyond its outcome: who it is, who needs it, who asks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_vmnet.backends.hosts import LocalShell
from pytest_vmnet.core.facts import GATE, Sweep, mac_text
from pytest_vmnet.core.guardrails.case import Subject
from pytest_vmnet.core.outcome import GuestOutcome
from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.core.verdict.judge import Judgement
from pytest_vmnet.core.words import Verdict
from pytest_vmnet.errors import BackendError


@dataclass(frozen=True, slots=True)
class Own:
    """Who the gate's own host is.

    Attributes:
        addresses: Its IPv4 addresses, as text.
        uuid: Its machine UUID, lower case, or None.
    """

    addresses: frozenset[str] = frozenset()
    uuid: str | None = None

    def is_guest(self, guest: Guest) -> bool:
        """Tell whether the gate runs in that guest."""
        if str(guest.address) in self.addresses:
            return True
        return self.uuid is not None and self.uuid == guest.smbios_uuid


def own_identity() -> Own:
    """Ask the host that the gate runs on for its addresses and its machine UUID."""
    shell = LocalShell()
    try:
        listing = json.loads(shell.run("ip -j -4 addr").text or "[]")
        uuid = shell.run("cat /sys/class/dmi/id/product_uuid").text.strip().lower()
    except (BackendError, ValueError):
        return Own()
    found = {
        str(info.get("local"))
        for row in listing
        if isinstance(row, Mapping)
        for info in row.get("addr_info", [])
    }
    return Own(frozenset(found), uuid or None)


def subject_of(
    outcome: GuestOutcome,
    population: Sequence[GuestOutcome],
    *,
    judgement: Judgement,
    sweeps: Sequence[Sweep],
    own: Own,
    resource_problem: str | None,
    trouble: str | None,
) -> Subject:
    """Return a guest as the policy looks at it.

    Args:
        outcome: The guest.
        population: Every guest of the run.
        judgement: How all of them were judged, with the controls.
        sweeps: The facts.
        own: The gate's own host.
        resource_problem: Why its place in Terraform's state is not known, or None.
        trouble: Why the journal cannot be used, or None.
    """
    guest = outcome.guest
    obstacles = [trouble] if trouble else []
    if guest.dhcp:
        obstacles.append(
            "its address is not set by cloud-init: a new VM, or one with a new MAC, may come "
            "up with another one or with none"
        )
    return Subject(
        outcome=outcome,
        measured_macs=measured_macs(guest, sweeps),
        is_gate=own.is_guest(guest),
        serves=_serves(guest, population),
        prober_sick=prober_sick(guest, judgement, sweeps),
        resource_problem=resource_problem,
        obstacles=tuple(obstacles),
    )


def _serves(guest: Guest, population: Sequence[GuestOutcome]) -> tuple[str, ...]:
    address = str(guest.address)
    others = [other.guest for other in population if other.guest.vmid != guest.vmid]
    serves = []
    if clients := [other.ident for other in others if str(other.gateway) == address]:
        serves.append(f"gateway of {', '.join(clients)}")
    if clients := [other.ident for other in others if address in other.nameservers]:
        serves.append(f"DNS server of {', '.join(clients)}")
    return tuple(serves)


def measured_macs(guest: Guest, sweeps: Sequence[Sweep]) -> tuple[str, ...]:
    """Return the source MACs that the guest's tap saw coming from it, sorted."""
    macs: set[str] = set()
    for sweep in sweeps:
        facts = sweep.hosts.get(guest.node)
        if facts is None or facts.capture is None:
            continue
        rows = facts.capture.packets.sightings
        for ifindex, name in facts.capture.points.items():
            if name == guest.tap and len(rows):
                mine = rows[(rows["ifindex"] == ifindex) & ~rows["out"]]
                macs |= {mac_text(int(mac)) for mac in set(mine["mac"].tolist())}
    return tuple(sorted(macs))


def prober_sick(guest: Guest, judgement: Judgement, sweeps: Sequence[Sweep]) -> str | None:
    """Return why the gate's own side cannot be trusted for this guest, or None."""
    facts = sweeps[-1].hosts.get(guest.node)
    if facts is None:
        return f"nobody watched {guest.node}: without a shell there, nothing is located"
    if facts.problem:
        return facts.problem
    if facts.capture and (doubt := facts.capture.doubt(guest.tap)):
        return f"{guest.tap}: {doubt}"
    lossy = {flow.source for flow in judgement.controls if flow.verdict is Verdict.UNHEALTHY}
    clean = {flow.source for flow in judgement.controls if flow.verdict is Verdict.HEALTHY}
    if GATE in lossy and clean:
        told = ", ".join(sorted(clean))
        return f"the gate's own host loses packets to the gateway, {told} does not"
    return None
