"""Which resource of Terraform's state owns each guest, or why that is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pytest_vmnet.core.parse.tfstate import parse_state, resource_for
from pytest_vmnet.core.site.topology import Guest, Inventory, ResourceAddress
from pytest_vmnet.errors import ConfigError, VmnetError
from pytest_vmnet.gate import connect
from pytest_vmnet.options.settings import Settings


@dataclass(frozen=True, slots=True)
class Ownership:
    """A site with its guests' resources.

    Attributes:
        inventory: The site; a guest whose resource is known has it.
        problems: Why a guest's resource is not known, by VMID.
        notes: What the report should say.
        version: Terraform's version, or None without Terraform.
    """

    inventory: Inventory
    problems: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    version: str | None = None


def add_resources(inventory: Inventory, settings: Settings) -> Ownership:
    """Look every guest up in Terraform's state.

    Raises:
        VmnetError: The state cannot be read, and the user wants guests to be rebuilt; without
            that wish it is a note.
    """
    try:
        door = connect.terraform(settings)
        if door is None:
            return _unowned(inventory, "--vmnet-terraform-dir is not given")
        door.init()
        version = door.version()
        resources = parse_state(door.state_pull(), "terraform state")
    except VmnetError as error:
        if settings["vmnet_rebuild"] != "never":
            raise
        return _unowned(inventory, str(error), f"Terraform's state is not known: {error}")
    problems: dict[int, str] = {}
    guests = [_owned(guest, resources, problems) for guest in inventory.guests]
    return Ownership(replace(inventory, guests=tuple(guests)), problems, (), version)


def _owned(guest: Guest, resources: Sequence[ResourceAddress], problems: dict[int, str]) -> Guest:
    try:
        return replace(guest, resource=resource_for(guest.vmid, resources))
    except ConfigError as error:
        problems[guest.vmid] = str(error)
        return guest


def _unowned(inventory: Inventory, problem: str, *notes: str) -> Ownership:
    return Ownership(inventory, {guest.vmid: problem for guest in inventory.guests}, notes)
