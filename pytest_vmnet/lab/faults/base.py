"""What a fault is: a way to break the site, to mend it, and the truth that a gate must find."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pytest_vmnet.core.words import Leg, Rebuild, Scope, Verdict
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.site.hosts import Host

DEFAULT_GUEST = spec.GUESTS[0].name


@dataclass(frozen=True)
class Target:
    """A guest as it is at this moment.

    Attributes:
        name: Its name.
        vmid: Its VMID.
        address: Its IPv4 address.
        mac: The MAC address of its NIC, lower case.
        tap: Its tap device on its node.
        node: The node that it lives on.
        firewall: Whether its NIC has the firewall's bridge.
    """

    name: str
    vmid: int
    address: str
    mac: str
    tap: str
    node: spec.NodeSpec = spec.NODES[0]
    firewall: bool = False


class Ground(Protocol):
    """What a fault may touch."""

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The hosts that are namespaces, by name."""

    def node_of(self, target: Target) -> Host:
        """Return the host that is the Proxmox node of *target*."""

    def in_guest(self, guest: str, argv: list[str], stdin: str = "") -> str:
        """Run *argv* in *guest* through its agent; return what it printed.

        Raises:
            LabError: It failed, or the agent does not answer.
        """

    def hire(self, key: str, host: Host, argv: list[str]) -> None:
        """Start a helper process on *host*; it ends with the lab, or when it is dismissed."""

    def dismiss(self, key: str) -> None:
        """End the helper *key* and wait until it is gone; one that is not there is fine."""

    def add_host(self, name: str) -> Host:
        """Add a host with an empty network namespace."""

    def remove_host(self, name: str) -> None:
        """End a host that `add_host` added, and with it its cables; none is fine."""


class Fault(ABC):
    """One fault. The attributes are its ground truth; they are told to no gate.

    Attributes:
        name: Its name on the command line.
        summary: What it does, in one sentence.
        scope: Where the cause lives.
        leg: Which half of a round trip dies.
        last_seen: Capture point that sees a dying packet last; ``{tap}`` is the guest's tap,
            ``{port}`` its port of the bridge, ``{before_tap}`` what a frame from the uplink passes
            before the tap.
        next_point: Where that packet should have been seen next; likewise.
        reason: The finding that a gate must come to.
        rebuild: Whether a rebuild of the guest would cure it.
        everyone: Whether it hits all guests, whichever is named.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    scope: ClassVar[Scope]
    leg: ClassVar[Leg]
    last_seen: ClassVar[str]
    next_point: ClassVar[str]
    reason: ClassVar[str]
    rebuild: ClassVar[Rebuild]
    everyone: ClassVar[bool] = False

    @abstractmethod
    def inject(self, ground: Ground, target: Target) -> None:
        """Break the site; return when the fault is in force."""

    @abstractmethod
    def remove(self, ground: Ground, target: Target) -> None:
        """Take the fault away again, also if *target* was rebuilt or died since."""

    def victims(
        self, guest: spec.GuestSpec, guests: tuple[spec.GuestSpec, ...]
    ) -> tuple[spec.GuestSpec, ...]:
        """Return which *guests* of a site the fault hits if it is planted on *guest*."""
        return guests if self.everyone else (guest,)

    def truth(
        self,
        guest: spec.GuestSpec = spec.GUESTS[0],
        guests: tuple[spec.GuestSpec, ...] = spec.GUESTS,
    ) -> dict[str, Any]:
        """Return the ground truth as JSON takes it, for the fault planted on *guest*.

        Args:
            guest: On which guest.
            guests: All guests of the site.
        """
        hit = self.victims(guest, guests)
        points = {"tap": guest.tap, "port": guest.port, "before_tap": guest.before_tap}
        return {
            "name": self.name,
            "summary": self.summary,
            "verdicts": {each.name: str(Verdict.UNHEALTHY) for each in hit},
            "scope": str(self.scope),
            "leg": str(self.leg),
            "last_seen": self.last_seen.format(**points),
            "next_point": self.next_point.format(**points),
            "reason": self.reason,
            "rebuild": str(self.rebuild),
        }


def load_rules(host: Host, family: str, table: str, chains: str) -> None:
    """Put *chains* into the nftables *table* of *host*, and see that the kernel has them.

    Raises:
        CommandError: nft refused them, or the table is not there afterwards.
    """
    script = f"add table {family} {table}\ndelete table {family} {table}\n"
    host.run(["nft", "-f", "-"], stdin=f"{script}table {family} {table} {{\n{chains}\n}}\n")
    host.run(["nft", "list", "table", family, table])


def drop_rules(host: Host, family: str, table: str) -> None:
    """Remove the nftables *table* of *host*; one that is not there is fine."""
    # Added first: nft 1.0 refuses to delete a table that is not there.
    script = f"add table {family} {table}\ndelete table {family} {table}\n"
    host.run(["nft", "-f", "-"], stdin=script)
