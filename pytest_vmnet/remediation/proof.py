"""Guard rail 10: show that a guest is another VM than before, and that its siblings are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_vmnet.core.guardrails.ladder import needs_new_mac
from pytest_vmnet.core.words import Action

_UPID_PARTS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What tells one VM, and one run of it, from another.

    Attributes:
        vmid: VMID.
        name: Name.
        node: Node.
        smbios_uuid: UUID in the VM's configuration, new with each clone; or None.
        pid: QEMU's process id on the node, or None if it does not run.
        start_time: When that process started, in clock ticks since the node's boot (field 22 of
            ``/proc/PID/stat``), or None; a pid alone may be used again.
        macs: MACs in its configuration, lower case, in the order of its NICs.
    """

    vmid: int
    name: str
    node: str
    smbios_uuid: str | None
    pid: int | None
    start_time: int | None
    macs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the comparison shows.

    Attributes:
        sentences: What is proven, one sentence each.
        violations: What is wrong; an act with one has failed, whatever the probes say.
    """

    sentences: tuple[str, ...]
    violations: tuple[str, ...]


def prove(
    rung: Action,
    *,
    before: Identity,
    after: Identity,
    siblings_before: Mapping[str, Identity],
    siblings_after: Mapping[str, Identity],
    upids: Sequence[str] = (),
) -> Proof:
    """Compare the guest and its siblings before and after an act.

    Args:
        rung: ``restart`` or ``rebuild``.
        before: The guest before the act.
        after: The guest after it.
        siblings_before: The other guests before, by id.
        siblings_after: The same guests after.
        upids: Proxmox tasks that ran meanwhile, Terraform's among them.
    """
    sentences: list[str] = []
    violations: list[str] = []
    for is_fine, text in (
        *_place(before, after),
        *_machine(rung, before, after),
        *_mac(rung, before, after),
        *_siblings(siblings_before, siblings_after),
    ):
        (sentences if is_fine else violations).append(text)
    tasks = [told for upid in upids if (told := _task(upid))]
    if tasks:
        sentences.append(f"tasks: {', '.join(tasks)}")
    return Proof(sentences=tuple(sentences), violations=tuple(violations))


def caution(
    reason: str, macs_before: Sequence[str], macs_after: Sequence[str], *, cured: bool
) -> str | None:
    """Return what a new or an old MAC owes the reader, or None if there is nothing to say.

    Args:
        reason: Reason of the diagnosis.
        macs_before: MACs before the act.
        macs_after: MACs after it.
        cured: Whether the same probes are clean now.
    """
    gone = [mac for mac in macs_before if mac not in macs_after]
    if gone and cured:
        source = (
            f"the other source of {', '.join(gone)} may still be out there and can hit whoever "
            "gets that MAC next: find it"
            if needs_new_mac(reason)
            else f"{', '.join(gone)} is free; DHCP reservations and port security still name it"
        )
        return f"cured, but the MAC changed: {source}"
    if not gone and not cured and needs_new_mac(reason):
        return (
            f"not cured, and the MAC stayed {', '.join(macs_after)}: it is pinned, and only a new "
            "MAC or an end of its other source helps"
        )
    if not gone and needs_new_mac(reason):
        return (
            f"cured with the same MAC {', '.join(macs_after)}: its other source may come back, "
            "and then it is sick again: find it"
        )
    return None


def _place(before: Identity, after: Identity) -> Iterator[tuple[bool, str]]:
    for word, old, new in (
        ("VMID", before.vmid, after.vmid),
        ("name", before.name, after.name),
        ("node", before.node, after.node),
    ):
        if old != new:
            yield False, f"its {word} was {old} and is {new}"


def _machine(rung: Action, before: Identity, after: Identity) -> Iterator[tuple[bool, str]]:
    is_rebuild = rung is Action.REBUILD
    old, new = before.smbios_uuid, after.smbios_uuid
    if old is None or new is None:
        yield False, f"its SMBIOS UUID is not known ({old} before, {new} after)"
    elif is_rebuild:
        yield (
            old != new,
            f"SMBIOS UUID {old} -> {new}"
            if old != new
            else (f"its SMBIOS UUID is still {old}: it is the same VM"),
        )
    else:
        yield (
            old == new,
            f"SMBIOS UUID is still {old}"
            if old == new
            else (f"its SMBIOS UUID was {old} and is {new}: a restart does not do that"),
        )
    if after.pid is None or after.start_time is None:
        yield False, "no QEMU process runs it"
    else:
        is_new = (before.pid, before.start_time) != (after.pid, after.start_time)
        yield (
            is_new,
            (
                f"QEMU pid {before.pid} -> {after.pid}, start time {before.start_time} -> "
                f"{after.start_time} ticks"
                if is_new
                else f"QEMU is still pid {after.pid}: it was never stopped"
            ),
        )


def _mac(rung: Action, before: Identity, after: Identity) -> Iterator[tuple[bool, str]]:
    old, new = ", ".join(before.macs) or "none", ", ".join(after.macs) or "none"
    if old == new:
        yield True, f"MAC is still {new}"
    elif len(before.macs) != len(after.macs):
        yield False, f"it had {len(before.macs)} NICs ({old}) and has {len(after.macs)} ({new})"
    else:
        yield rung is not Action.RESTART, f"MAC {old} -> {new}"


def _siblings(
    before: Mapping[str, Identity], after: Mapping[str, Identity]
) -> Iterator[tuple[bool, str]]:
    untouched = [ident for ident in sorted(before) if before[ident] == after.get(ident)]
    if untouched:
        yield True, f"untouched (UUID, pid, start time, MAC): {', '.join(untouched)}"
    for ident in sorted(set(before) - set(untouched)):
        now = after.get(ident)
        if now is None:
            yield False, f"its sibling {ident} is gone"
            continue
        old = before[ident]
        words = [
            f"{word} {getattr(old, word)} -> {getattr(now, word)}"
            for word in Identity.__slots__
            if getattr(old, word) != getattr(now, word)
        ]
        yield False, f"its sibling {ident} changed: {', '.join(words)}"


def _task(upid: str) -> str | None:
    """Return type, id and UPID of a task: ``UPID:node:pid:pstart:starttime:type:id:user:``."""
    parts = upid.split(":")
    return f"{parts[5]} {parts[6]} ({upid})" if len(parts) == _UPID_PARTS else None
