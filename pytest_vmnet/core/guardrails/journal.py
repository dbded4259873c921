"""What the journal remembers of an act: one entry before each step and one after it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pytest_vmnet.core.words import Action
from pytest_vmnet.errors import ParseError


class Step(StrEnum):
    """One step of an act. ``stop`` and ``apply`` are the ones that change a guest."""

    PLAN = "plan"
    TAINT = "taint"
    UNTAINT = "untaint"
    APPLY = "apply"
    VERIFY = "verify"
    STOP = "stop"
    START = "start"
    READY = "ready"
    PROVE = "prove"
    ABANDON = "abandon"


class Phase(StrEnum):
    """Whether an entry announces a step or says how it ended."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a fault looks like from outside; two faults that look alike have the same one.

    Attributes:
        reason: Reason of the diagnosis, CamelCase.
        last_seen: Last capture point that saw the packets, or None.
        next_point: Where they should have been seen next, or None.
    """

    reason: str
    last_seen: str | None
    next_point: str | None

    def __str__(self) -> str:
        """Return, for example, ``MacReflection enp4s0 -> tap111i0``."""
        return f"{self.reason} {self.last_seen or '?'} -> {self.next_point or '?'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One line of the journal.

    Attributes:
        time: When it was written, UTC.
        run_id: The gate run that wrote it.
        vmid: VMID of the guest.
        name: Name of the guest.
        node: Node of the guest.
        rung: ``restart``, ``remac`` or ``rebuild``.
        step: The step.
        phase: Before or after it.
        address: Terraform's address of the guest, or None.
        signature: The fault that the act was meant to cure, or None.
        outcome: After a step: ``ok``, ``failed``, ``refused``, ``cured``, ``not-cured``.
        message: One sentence for people.
        mac_before: MAC of the NIC under test before the act, or None.
        mac_after: MAC afterwards, or None while that is not known.
    """

    time: datetime
    run_id: str
    vmid: int
    name: str
    node: str
    rung: Action
    step: Step
    phase: Phase
    address: str | None = None
    signature: Signature | None = None
    outcome: str | None = None
    message: str = ""
    mac_before: str | None = None
    mac_after: str | None = None


def dump_entry(entry: JournalEntry) -> bytes:
    """Return *entry* as one line of JSON, newline included."""
    signature = entry.signature
    record = {
        "time": entry.time.astimezone(UTC).isoformat(timespec="milliseconds"),
        "run_id": entry.run_id,
        "vmid": entry.vmid,
        "name": entry.name,
        "node": entry.node,
        "rung": entry.rung.value,
        "step": entry.step.value,
        "phase": entry.phase.value,
        "address": entry.address,
        "signature": signature
        and {
            "reason": signature.reason,
            "last_seen": signature.last_seen,
            "next_point": signature.next_point,
        },
        "outcome": entry.outcome,
        "message": entry.message,
        "mac_before": entry.mac_before,
        "mac_after": entry.mac_after,
    }
    return json.dumps(record, ensure_ascii=True).encode("ascii") + b"\n"


def load_entry(line: bytes, *, source: str, number: int) -> JournalEntry:
    """Return the entry that *line* holds; keys that this version does not know are ignored.

    Args:
        line: One line, with or without its newline.
        source: What is being read, for the message.
        number: Line number, from 1, for the message.

    Raises:
        ParseError: *line* is not an entry.
    """
    try:
        record: dict[str, Any] = json.loads(line)
        mark = record.get("signature")
        time = datetime.fromisoformat(record["time"])
        return JournalEntry(
            time=time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC),
            run_id=str(record["run_id"]),
            vmid=int(record["vmid"]),
            name=str(record["name"]),
            node=str(record["node"]),
            rung=Action(record["rung"]),
            step=Step(record["step"]),
            phase=Phase(record["phase"]),
            address=record.get("address"),
            signature=mark
            and Signature(
                reason=str(mark["reason"]),
                last_seen=mark.get("last_seen"),
                next_point=mark.get("next_point"),
            ),
            outcome=record.get("outcome"),
            message=str(record.get("message", "")),
            mac_before=record.get("mac_before"),
            mac_after=record.get("mac_after"),
        )
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        problem = f"not a journal entry ({type(error).__name__}: {error})"
        raise ParseError(source, number, problem, unit="line") from error


def missing(entries: Sequence[JournalEntry], present: Collection[int]) -> list[str]:
    """Return a sentence for every guest that an act which did not end well left missing.

    Args:
        entries: The journal, oldest entry first.
        present: VMIDs that exist now.
    """
    last: dict[int, JournalEntry] = {}
    for entry in entries:
        if entry.step in {Step.APPLY, Step.ABANDON}:
            last[entry.vmid] = entry
    told = []
    for vmid, entry in sorted(last.items()):
        is_over = entry.step is Step.ABANDON or entry.outcome == "ok"
        if not is_over and vmid not in present:
            told.append(
                f"{entry.name} ({vmid}) is gone: run {entry.run_id[:8]} began to rebuild it at "
                f"{entry.time:%Y-%m-%d %H:%M UTC} and did not get to the end. `terraform apply` "
                f"makes it again ({entry.address or 'address unknown'}); if it is meant to be "
                f"gone, `vmnet journal abandon {vmid}` closes the book"
            )
    return told
