"""`vmnet doctor`: what is missing for the gate on a real site, and the commands that mend it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.backends.hosts import Shell
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.errors import BackendError, ConfigError, VmnetError
from pytest_vmnet.gate import connect
from pytest_vmnet.lab.commands import Subparsers
from pytest_vmnet.options.connection import CONNECTION
from pytest_vmnet.options.settings import Settings, resolve
from pytest_vmnet.probes import site

LOOK = ("VM.Audit", "VM.GuestAgent.Audit", "Sys.Audit", "SDN.Audit")
"""Privileges for discovery (PVE 9; before 9, VM.Monitor stands for the VM.GuestAgent ones)."""

PROBE = ("VM.GuestAgent.Unrestricted",)
"""Privileges for probes inside of guests."""

ACT = ("VM.PowerMgmt",)
"""Privileges for the rung `restart`; a rebuild uses Terraform's own token."""

_NODE_TOOLS = ("tcpdump", "bridge", "ip", "nft", "ping", "flock", "setsid", "timeout", "gzip")
_GUEST_TOOLS = ("ping", "ip", "timeout", "gzip", "base64", "tcpdump")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        subject: What was looked at.
        problem: What is wrong, or None.
        remedy: What to do about it.
    """

    subject: str
    problem: str | None = None
    remedy: str = ""


def register(commands: Subparsers) -> None:
    """Add `doctor` to the subparsers *commands*."""
    doctor = commands.add_parser(
        "doctor",
        help="say what is missing for the gate on a site, with the commands that mend it",
        description="Look at a site as the gate would, without sending a probe. The token comes "
        "from the environment or a file.",
    )
    for option in CONNECTION:
        doctor.add_argument(option.flag, **option.argument)
    doctor.add_argument("--vmnet-terraform-dir", metavar="PATH", help="Terraform root to look at")
    doctor.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every check and the commands that grant the least rights; return 0 if all is well."""
    bad = 0
    for check in _checks(arguments):
        bad += check.problem is not None
        mark = "ok " if check.problem is None else "BAD"
        _say(f"{mark} {check.subject}" + (f": {check.problem}" if check.problem else ""))
        if check.problem and check.remedy:
            _say(f"    {check.remedy}")
    _say("")
    for line in rights():
        _say(line)
    return 1 if bad else 0


def _checks(arguments: argparse.Namespace) -> Iterator[Check]:
    try:
        settings = resolve(vars(arguments), connect.environment(), {})
        proxmox = Proxmox(connect.endpoint(settings, connect.environment()))
        version = proxmox.get("version")
    except VmnetError as error:
        yield Check("API", str(error))
        return
    yield Check(f"API {proxmox.endpoint.host}:{proxmox.endpoint.port}, {version.get('version')}")
    yield _privileges(proxmox)
    nodes = tuple(settings["proxmox_node"] or ("all",))
    try:
        chosen = site.Selection(nodes=nodes, wait_s=0, ask_guests=False)
        inventory = site.discover(proxmox, chosen, clock=SYSTEM, progress=lambda _: None)
    except VmnetError as error:
        yield Check("discovery", str(error))
        return
    yield Check(f"discovery: {len(inventory.guests)} guests, {len(inventory.skipped)} skipped")
    yield from _nodes(settings, inventory)
    for guest in inventory.guests:
        yield _guest(proxmox, guest)
    yield _terraform(settings)


def _privileges(proxmox: Proxmox) -> Check:
    try:
        held: Mapping[str, Mapping[str, Any]] = proxmox.get("access/permissions") or {}
    except BackendError as error:
        return Check("token's rights", str(error))
    found = {name for rights_ in held.values() for name in rights_}
    missing = [name for name in (*LOOK, *PROBE) if name not in found]
    if missing and "VM.Monitor" in found:
        missing = [name for name in missing if not name.startswith("VM.GuestAgent.")]
    if missing:
        return Check("token's rights", f"it lacks {', '.join(missing)}", "see the commands below")
    return Check("token's rights: enough to look and to probe")


def _nodes(settings: Settings, inventory: Inventory) -> Iterator[Check]:
    try:
        shells, notes = connect.shells(settings, inventory)
    except ConfigError as error:
        yield Check("node shells", str(error))
        return
    notes += connect.check_shells(shells)
    for note in notes:
        yield Check("node shell", note, "ssh-copy-id root@NODE, or --proxmox-ssh NODE=TARGET")
    for name, shell in sorted(shells.items()):
        yield _tools(f"node {name}", _NODE_TOOLS, _ask_node(shell), "apt-get install")


def _ask_node(shell: Shell) -> Callable[[str], str]:
    return lambda script: shell.run(script).text


def _tools(subject: str, wanted: tuple[str, ...], ask: Callable[[str], str], remedy: str) -> Check:
    script = f"for t in {' '.join(wanted)}; do command -v $t >/dev/null || echo $t; done"
    try:
        missing = ask(script).split()
    except BackendError as error:
        return Check(subject, str(error))
    if missing:
        return Check(subject, f"it has no {', '.join(missing)}", f"{remedy} {' '.join(missing)}")
    return Check(f"{subject}: has what probes need")


def _guest(proxmox: Proxmox, guest: Guest) -> Check:
    subject = f"guest {guest.ident}"
    if not guest.agent:
        return Check(subject, "no guest agent is configured", f"qm set {guest.vmid} --agent 1")

    def ask(script: str) -> str:
        done = proxmox.agent_exec(guest.node, guest.vmid, ["/bin/sh", "-c", script])
        return done.stdout.decode(errors="replace")

    return _tools(subject, _GUEST_TOOLS, ask, "in the guest: apt-get install")


def _terraform(settings: Settings) -> Check:
    try:
        door = connect.terraform(settings)
        if door is None:
            return Check("Terraform: no folder given; the gate looks and does not act")
        return Check(f"Terraform {door.version()} in {door.folder}")
    except VmnetError as error:
        return Check("Terraform", str(error))


def rights() -> list[str]:
    """Return the commands for a token and a shell with the least rights."""
    return [
        "A token with the least rights (PVE 9; before 9 use VM.Monitor for VM.GuestAgent.*):",
        "  # to look and to probe",
        f"  pveum role add VmnetProbe -privs '{','.join((*LOOK, *PROBE))}'",
        "  pveum user add vmnet@pve",
        "  pveum acl modify / -user vmnet@pve -role VmnetProbe",
        "  pveum user token add vmnet@pve gate -privsep 0",
        "  # to restart guests as well (a rebuild uses Terraform's own token)",
        f"  pveum role add VmnetAct -privs '{','.join(ACT)}'",
        "  pveum acl modify /vms -user vmnet@pve -role VmnetAct",
        "An ACL on a single /vms/VMID goes away with a rebuild: grant on /vms or on a pool.",
        "",
        "A shell on the nodes: captures and rules need root. SSH as root by key, or a user with",
        "this line in /etc/sudoers.d/vmnet (it is as good as root, so guard its key likewise):",
        "  vmnet ALL=(root) NOPASSWD: /usr/bin/sh, /bin/sh",
        "and --proxmox-ssh NODE=vmnet@ADDRESS. Without a shell nothing is located and nobody is",
        "acted upon.",
    ]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
