"""`vmnet journal`: read the memory of acts, and close the book on one that never ended."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.backends.hosts import SshShell
from pytest_vmnet.core.guardrails.journal import JournalEntry, Phase, Step
from pytest_vmnet.errors import ConfigError
from pytest_vmnet.gate import connect
from pytest_vmnet.lab.commands import Subparsers
from pytest_vmnet.options.settings import resolve
from pytest_vmnet.remediation.journal import FileJournal, Journal


def register(commands: Subparsers) -> None:
    """Add `journal` to the subparsers *commands*."""
    journal = commands.add_parser(
        "journal",
        help="show the journal of acts, or abandon a guest's unfinished act",
        description="Without an action, show every entry. `abandon VMID` closes the book on what "
        "was done to a guest until now: look at the guest and at Terraform's state first.",
    )
    journal.add_argument("action", nargs="?", choices=("show", "abandon"), default="show")
    journal.add_argument("vmid", nargs="?", type=int, help="the guest, for abandon")
    journal.add_argument("--vmnet-journal", type=Path, metavar="PATH", help="the journal's file")
    journal.add_argument(
        "--proxmox-ssh", metavar="NODE=TARGET", help="the node that keeps the journal"
    )
    journal.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the journal, or write that a guest's acts are abandoned.

    Raises:
        ConfigError: The journal is not named, or the guest is not in it.
        VmnetError: It cannot be read or written.
    """
    journal = _open(arguments)
    history = journal.read()
    for problem in (*history.notes, *history.damage):
        sys.stderr.write(f"vmnet: {problem}\n")
    if arguments.action == "abandon":
        _abandon(journal, history.entries, arguments.vmid)
        return 0
    for entry in history.entries:
        sys.stdout.write(f"{_line(entry)}\n")
    if not history.entries:
        sys.stdout.write(f"{journal.place} is empty\n")
    return 0


def _open(arguments: argparse.Namespace) -> Journal:
    if arguments.vmnet_journal is not None:
        return FileJournal(arguments.vmnet_journal)
    node, _, target = (arguments.proxmox_ssh or "").partition("=")
    if not (node and target):
        raise ConfigError("name the journal: --vmnet-journal PATH, or --proxmox-ssh NODE=TARGET")
    settings = resolve({}, {}, {})
    found = connect.journal(settings, node, {node: SshShell(node, target)})
    if found is None:
        raise ConfigError(f"{node} keeps no journal")
    return found


def _abandon(journal: Journal, entries: tuple[JournalEntry, ...], vmid: int | None) -> None:
    mine = [entry for entry in entries if entry.vmid == vmid]
    if not mine:
        known = ", ".join(sorted({str(entry.vmid) for entry in entries})) or "none"
        raise ConfigError(f"abandon {vmid}: {journal.place} has no such VMID; it has {known}")
    last = mine[-1]
    journal.append(
        JournalEntry(
            time=SYSTEM.now(),
            run_id="0" * 16,
            vmid=last.vmid,
            name=last.name,
            node=last.node,
            rung=last.rung,
            step=Step.ABANDON,
            phase=Phase.AFTER,
            address=last.address,
            signature=last.signature,
            outcome="abandoned",
            message="closed by a person",
            mac_before=None,
            mac_after=None,
        )
    )
    sys.stdout.write(f"{last.name} ({last.vmid}): abandoned in {journal.place}\n")


def _line(entry: JournalEntry) -> str:
    end = f": {entry.outcome}" if entry.outcome else ""
    why = f" against {entry.signature}" if entry.signature else ""
    return (
        f"{entry.time:%Y-%m-%d %H:%M:%S} UTC run {entry.run_id[:8]} {entry.name} ({entry.vmid}) "
        f"{entry.rung}{why}: {entry.phase} {entry.step}{end}"
    )
