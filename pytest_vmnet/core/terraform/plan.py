"""Guard rail 7: a plan is accepted only if it is one replacement and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_vmnet.core.parse.tfstate import VM_TYPES, macs_of, node_of, vmid_of
from pytest_vmnet.core.terraform.change import (
    actions_of,
    details_of,
    is_allowed,
    maps_in,
    nics_of,
    plugs_of,
    values_of,
)
from pytest_vmnet.core.terraform.disk import lost_disks, owned_volumes

_FORMAT_MAJOR = "1"
_HARMLESS = ({"no-op"}, {"read"})
_REPLACE = ["delete", "create"]
_REASONS = frozenset({"replace_by_request", "replace_because_tainted"})
_KNOWN_KEYS = frozenset({
    "format_version", "terraform_version", "variables", "planned_values", "resource_drift",
    "resource_changes", "output_changes", "prior_state", "configuration", "relevant_attributes",
    "checks", "timestamp", "applyable", "complete", "errored",
})  # fmt: skip
_REPORTED = frozenset({
    "ipv4_addresses", "ipv6_addresses", "mac_addresses", "network_interface_names",
    "default_ipv4_address", "default_ipv6_address", "ssh_host", "ssh_port", "reboot_required",
})  # fmt: skip
"""Attributes of a VM that its guest agent reports; they drift by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanJudgement:
    """What a plan would do, and whether it may.

    Attributes:
        accepted: Whether there is no violation.
        violations: Every reason to refuse the plan.
        summary: What the plan does, in one sentence.
        mac_pinned: Whether the new VM keeps its MACs; None if the plan does not show them.
        macs_before: MACs before, lower case.
        vmid_pinned: Whether the plan says that the new VM has the same VMID.
    """

    accepted: bool
    violations: tuple[str, ...]
    summary: str
    mac_pinned: bool | None
    macs_before: tuple[str, ...] = ()
    vmid_pinned: bool = False


def judge_plan(
    plan: Mapping[str, Any],
    *,
    address: str,
    vmid: int,
    allow: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
) -> PlanJudgement:
    """Judge the plan that ``terraform show -json FILE`` printed.

    Args:
        plan: The plan.
        address: Address of the resource that is to be replaced, index included.
        vmid: Its VMID.
        allow: What else may change: addresses, in which ``*`` and ``?`` are wild; and
            ``disk:SLOT`` for disks of the guest whose content may be lost. No other VM is
            ever created, destroyed or replaced, whatever is allowed.
        config: The guest's configuration from the Proxmox API, for disks that Terraform does
            not know; None if it is not at hand.
    """
    try:
        return _judge(plan, address, vmid, tuple(allow), config or {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problem = f"the plan has a shape that this version does not understand ({error!r})"
        return PlanJudgement(
            accepted=False, violations=(problem,), summary="not understood", mac_pinned=None
        )


def mac_after(plan: Mapping[str, Any], address: str) -> tuple[str, ...] | None:
    """Return the MACs that the VM at *address* will have, or None if Proxmox draws one anew."""
    for change in maps_in(plan.get("resource_changes")):
        if _is_target(change, address):
            after = values_of(change, "after")
            macs = macs_of(after)
            return macs if len(macs) == len(nics_of(after)) else None
    return None


def _judge(
    plan: Mapping[str, Any],
    address: str,
    vmid: int,
    allow: Sequence[str],
    config: Mapping[str, Any],
) -> PlanJudgement:
    changes = maps_in(plan.get("resource_changes"))
    target = next((one for one in changes if _is_target(one, address)), None)
    violations = [*_whole(plan), *_drift(plan, address, allow)]
    for change in changes:
        if change is not target:
            violations += _bystander(change, allow)
            violations += _borrowed(change, vmid)
    if target is None:
        violations.append(f"{address} is not in the plan, or the plan does not replace it")
        before: Mapping[str, Any] = {}
        after: Mapping[str, Any] = {}
    else:
        before, after = values_of(target, "before"), values_of(target, "after")
        violations += _replacement(target, vmid)
        free = {word.removeprefix("disk:") for word in allow if word.startswith("disk:")}
        lost = lost_disks(before, after, config, vmid=vmid)
        violations += [text for slot, text in lost if slot not in free]
    pinned = _mac_pinned(before, after) if target else None
    return PlanJudgement(
        accepted=not violations,
        violations=tuple(dict.fromkeys(violations)),
        summary=_summary(changes, target, pinned),
        mac_pinned=pinned,
        macs_before=macs_of(before),
        vmid_pinned=vmid_of({"vmid": after.get("vmid") or after.get("vm_id")}) == vmid,
    )


def _whole(plan: Mapping[str, Any]) -> Iterator[str]:
    version = str(plan.get("format_version"))
    if version.partition(".")[0] != _FORMAT_MAJOR:
        yield f"the plan's format is {version[:20]}, not 1.x"
    if plan.get("errored", False) is not False:
        yield "planning ended with an error"
    if plan.get("complete", True) is not True:
        yield "the plan is not complete: some changes are put off to a later one"
    if plan.get("applyable", True) is not True:
        yield "Terraform says that the plan cannot be applied"
    if plan.get("deferred_changes"):
        yield f"it defers {len(plan['deferred_changes'])} changes"
    for key in sorted(set(plan) - _KNOWN_KEYS - {"deferred_changes"}):
        if plan[key]:
            yield f"it holds {key}, which this version does not understand"


def _drift(plan: Mapping[str, Any], address: str, allow: Sequence[str]) -> Iterator[str]:
    for change in maps_in(plan.get("resource_drift")):
        name, actions = str(change.get("address")), actions_of(change)
        if set(actions) in _HARMLESS or is_allowed(name, allow):
            continue
        if change.get("type") in VM_TYPES and actions == ["update"]:
            before, after = values_of(change, "before"), values_of(change, "after")
            words = {word for word in {*before, *after} if before.get(word) != after.get(word)}
            if words <= _REPORTED:
                continue
            if name == address:
                yield f"{name} was changed outside of Terraform: {', '.join(sorted(words))}"
                continue
        yield f"{name} was changed outside of Terraform ({'/'.join(actions)})"


def _bystander(change: Mapping[str, Any], allow: Sequence[str]) -> Iterator[str]:
    name, actions = str(change.get("address")), actions_of(change)
    if change.get("previous_address"):
        yield f"{name} is moved from {change['previous_address']}"
    if details_of(change).get("importing"):
        yield f"{name} is imported"
    if set(actions) in _HARMLESS:
        return
    is_vm = change.get("type") in VM_TYPES
    if not is_allowed(name, allow) or (is_vm and actions != ["update"]):
        deposed = f" (deposed object {change['deposed']})" if change.get("deposed") else ""
        yield f"besides, it would {'/'.join(actions) or 'do nothing known to'} {name}{deposed}"


def _borrowed(change: Mapping[str, Any], vmid: int) -> Iterator[str]:
    for disk in owned_volumes(values_of(change, "before"), vmid):
        yield f"{change.get('address')} uses {disk.volume}, which is destroyed with VMID {vmid}"


def _replacement(target: Mapping[str, Any], vmid: int) -> Iterator[str]:
    name, actions = target["address"], actions_of(target)
    before, after = values_of(target, "before"), values_of(target, "after")
    if actions == _REPLACE[::-1]:
        yield f"{name} has create_before_destroy: two VMs cannot have one VMID"
    elif actions != _REPLACE:
        yield f"{name} would not be replaced but {'/'.join(actions)}"
    reason = target.get("action_reason")
    if reason not in _REASONS:
        yield f"{name} is replaced because of {reason!r}, not because it was asked for"
    if target.get("type") not in VM_TYPES or target.get("mode", "managed") != "managed":
        yield f"{name} is a {target.get('type')}, not a VM resource that the gate knows"
    if target.get("previous_address"):
        yield f"{name} is moved from {target['previous_address']}"
    if details_of(target).get("importing"):
        yield f"{name} is imported"
    if vmid_of(before) != vmid:
        yield f"{name} is VMID {vmid_of(before)}, not {vmid}"
    new_vmid = vmid_of({"vmid": after.get("vmid") or after.get("vm_id")})
    if new_vmid not in {None, vmid}:
        yield f"{name} would get VMID {new_vmid} instead of {vmid}"
    if node_of(after) and node_of(before) != node_of(after):
        yield f"{name} would move from node {node_of(before)} to {node_of(after)}"
    if after.get("name") and after.get("name") != before.get("name"):
        yield f"{name} would be called {after.get('name')!r} instead of {before.get('name')!r}"
    if plugs_of(after) and plugs_of(before) != plugs_of(after):
        yield f"{name} would be plugged into {plugs_of(after)} instead of {plugs_of(before)}"


def _mac_pinned(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool | None:
    return macs_of(after) == macs_of(before) if macs_of(before) else None


def _summary(
    changes: Sequence[Mapping[str, Any]], target: Mapping[str, Any] | None, pinned: bool | None
) -> str:
    others = sum(one is not target and set(actions_of(one)) not in _HARMLESS for one in changes)
    what = f"replaces {target['address']}" if target else "does not replace the guest"
    mac = {True: "its MAC stays", False: "it gets a new MAC", None: "its MAC is not in the plan"}
    return f"{what}; {mac[pinned]}; {others} other changes"


def _is_target(change: Mapping[str, Any], address: str) -> bool:
    is_it = change.get("address") == address and not change.get("deposed")
    return is_it and set(actions_of(change)) not in _HARMLESS
