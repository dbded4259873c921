"""Guard rail 7: one replacement and nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.terraform.plan import judge_plan, mac_after

DATA = Path(__file__).parents[1] / "data" / "terraform"
ADDRESS = 'proxmox_virtual_environment_vm.vm["vm-1"]'
SIBLING = 'proxmox_virtual_environment_vm.vm["vm-2"]'
MAC = "bc:24:11:74:5a:6d"


def recorded(name: Any) -> Any:
    return json.loads((DATA / f"plan_bpg_{name}.json").read_text())


def judge(plan: Any, **more: Any) -> Any:
    settings: Any = {"address": ADDRESS, "vmid": 111} | more
    return judge_plan(plan, **settings)


def entry(plan: Any, address: Any = ADDRESS) -> Any:
    return next(one for one in plan["resource_changes"] if one["address"] == address)


@pytest.mark.parametrize(
    ("name", "pinned"), [("replace", False), ("pinned", True), ("tainted", False)]
)
def test_accepts_one_replacement(name: Any, pinned: Any) -> None:
    found = judge(recorded(name))
    assert found.violations == ()
    assert found.accepted
    assert found.mac_pinned is pinned
    assert found.macs_before == (MAC,)
    assert found.vmid_pinned
    assert f"replaces {ADDRESS}" in found.summary
    assert "0 other changes" in found.summary
    assert ("its MAC stays" if pinned else "it gets a new MAC") in found.summary


def test_tells_the_mac_before_it_is_too_late() -> None:
    assert mac_after(recorded("replace"), ADDRESS) is None
    assert mac_after(recorded("pinned"), ADDRESS) == (MAC,)
    assert mac_after(recorded("replace"), "no.such") is None
    plan = recorded("pinned")
    plan["resource_changes"].reverse()
    assert mac_after(plan, ADDRESS) == (MAC,)


@pytest.mark.parametrize(
    ("name", "violations"),
    [
        ("unknown_address", ["is not in the plan"]),
        ("no_index", ["is not in the plan"]),
        ("two", [f"besides, it would delete/create {SIBLING}"]),
        ("besides", ["besides, it would update terraform_data.net"]),
        ("sibling", [f"besides, it would update {SIBLING}"]),
        ("provision", ["besides, it would create terraform_data.provision[0]",
                       "besides, it would update terraform_data.net"]),
        ("cbd", ["has create_before_destroy"]),
        ("moved", ["vm-1\"] is moved from proxmox_virtual_environment_vm.old",
                   "vm-2\"] is moved from"]),
        ("data_disk", ["scsi1 (100 GB, vm-111-disk-1) has no image or template behind it",
                       "the plan is not complete", "create terraform_data.net"]),
        ("lost_disk", ["scsi1 (100 GB, vm-111-disk-1) is not in the planned VM",
                       "the plan is not complete", "create terraform_data.net"]),
    ],
)  # fmt: skip
def test_refuses_what_real_terraform_planned(name: Any, violations: Any) -> None:
    found = judge(recorded(name))
    assert not found.accepted
    for text in violations:
        assert any(text in violation for violation in found.violations), found.violations
    assert len(found.violations) >= len(violations)


def test_allowed_bystanders_may_change_but_no_other_vm_may_go() -> None:
    assert judge(recorded("besides"), allow=["terraform_data.net"]).accepted
    assert judge(recorded("provision"), allow=["terraform_data.*"]).accepted
    assert judge(recorded("sibling"), allow=[SIBLING]).accepted
    assert not judge(recorded("two"), allow=["*"]).accepted
    assert not judge(recorded("provision"), allow=["terraform_data.provision0"]).accepted


def test_a_disk_may_be_given_up_by_name() -> None:
    plan = recorded("data_disk") | {"complete": True}
    assert judge(plan, allow=["terraform_data.net", "disk:scsi1"]).accepted
    assert not judge(plan, allow=["terraform_data.net", "disk:scsi2"]).accepted


def change(**more: Any) -> Any:
    def edit(plan: Any) -> None:
        entry(plan)["change"].update(more)

    return edit


def target(**more: Any) -> Any:
    return lambda plan: entry(plan).update(more)


def after(**more: Any) -> Any:
    return lambda plan: entry(plan)["change"]["after"].update(more)


def before(**more: Any) -> Any:
    return lambda plan: entry(plan)["change"]["before"].update(more)


def top(**more: Any) -> Any:
    return lambda plan: plan.update(more)


def bystander(**more: Any) -> Any:
    base = {
        "address": "x.y",
        "mode": "managed",
        "type": "x",
        "change": {"actions": ["no-op"], "before": {}, "after": {}},
    }
    return lambda plan: plan["resource_changes"].append(base | more)


def actions(*words: Any, **more: Any) -> Any:
    return {"change": {"actions": list(words), "before": {}, "after": {}, **more}}


def drift(address: Any, kind: Any, old: Any, new: Any, *words: Any) -> Any:
    return top(
        resource_drift=[
            {
                "address": address,
                "type": kind,
                "change": {"actions": list(words or ["update"]), "before": old, "after": new},
            }
        ]
    )


NIC = {"bridge": "vmbr1", "vlan_id": 0}
VM = "proxmox_virtual_environment_vm"

REFUSED = {
    "format": (top(format_version="2.0"), "the plan's format is 2.0"),
    "no format": (lambda plan: plan.pop("format_version"), "the plan's format is None"),
    "errored": (top(errored=True), "planning ended with an error"),
    "incomplete": (top(complete=False), "not complete"),
    "not applyable": (top(applyable=False), "cannot be applied"),
    "deferred": (top(deferred_changes=[{}]), "it defers 1 changes"),
    "actions of 1.14": (top(action_invocations=[{}]), "it holds action_invocations"),
    "something new": (top(surprise={"a": 1}), "it holds surprise"),
    "only created": (change(actions=["create"]), "would not be replaced but create"),
    "only deleted": (change(actions=["delete"]), "would not be replaced but delete"),
    "updated": (change(actions=["update"]), "would not be replaced but update"),
    "forgotten": (change(actions=["forget"]), "would not be replaced but forget"),
    "other reason": (target(action_reason="replace_because_cannot_update"), "cannot_update"),
    "no reason": (lambda plan: entry(plan).pop("action_reason"), "because of None"),
    "imported": (change(importing={"id": "x"}), "is imported"),
    "deposed": (target(deposed="abcd"), "deposed object abcd"),
    "other type": (target(type="proxmox_lxc"), "is a proxmox_lxc"),
    "data": (target(mode="data"), "not a VM resource"),
    "other VMID": (before(vm_id=112, id="112"), "is VMID 112, not 111"),
    "new VMID": (after(vm_id=200), "would get VMID 200"),
    "new node": (after(node_name="pve2"), "would move from node pve1 to pve2"),
    "new name": (after(name="web"), "would be called 'web'"),
    "other bridge": (after(network_device=[NIC]), "would be plugged into [('vmbr1', 0)]"),
    "other VM uses its disk": (
        bystander(change={"actions": ["no-op"], "before": {"disk": [
            {"interface": "scsi1", "path_in_datastore": "vm-111-disk-1"}]}}),
        "x.y uses vm-111-disk-1, which is destroyed with VMID 111",
    ),
    "created besides": (bystander(**actions("create")), "besides, it would create x.y"),
    "deleted besides": (bystander(**actions("delete")), "besides, it would delete x.y"),
    "forgotten besides": (bystander(**actions("forget")), "besides, it would forget x.y"),
    "new action besides": (bystander(**actions("dance")), "besides, it would dance x.y"),
    "no action besides": (bystander(**actions()), "do nothing known to x.y"),
    "moved besides": (bystander(previous_address="x.z"), "x.y is moved from x.z"),
    "imported besides": (bystander(**actions("no-op", importing={"id": "1"})), "x.y is imported"),
    "changes are no list": (top(resource_changes={"a": 1}), "does not understand"),
    "an entry without change": (bystander(change=None), "does not understand"),
    "sibling drifted": (drift(SIBLING, VM, {"cpu": 1}, {"cpu": 2}), "was changed outside"),
    "sibling gone": (drift(SIBLING, VM, {"vm_id": 112}, None, "delete"), "Terraform (delete)"),
    "it drifted": (drift(ADDRESS, VM, {"mtu": 1}, {"mtu": 2}), "Terraform: mtu"),
    "replaced outside": (
        drift(SIBLING, VM, {"ssh_host": 1}, {"ssh_host": 2}, "delete", "create"),
        "Terraform (delete/create)",
    ),
    "no VM's address drifted": (drift("x.y", "x", {"ssh_host": 1}, {"ssh_host": 2}), "x.y was"),
    "other drift": (drift("x.y", "x", {"a": 1}, {"a": 2}), "x.y was changed outside"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: Any) -> None:
    edit, text = REFUSED[name]
    plan = recorded("replace")
    edit(plan)
    found = judge(plan)
    assert not found.accepted
    assert any(text in violation for violation in found.violations), found.violations


ACCEPTED = {
    "a read": bystander(mode="data", **actions("read")),
    "a no-op": bystander(),
    "an output": top(output_changes={"o": {"actions": ["update"]}}),
    "agent's addresses": drift(SIBLING, VM, {"ipv4_addresses": [1]}, {"ipv4_addresses": [2]}),
    "drift without change": drift("x.y", "x", {}, {}, "no-op"),
    "an older Terraform": lambda plan: [plan.pop(key) for key in ("complete", "applyable")],
    "a VMID that Proxmox picks": lambda plan: entry(plan)["change"]["after"].pop("vm_id"),
    "another guest's volume": before(disk=[
        {"interface": "scsi3", "size": 9, "path_in_datastore": "vm-500-disk-0"}]),
    "an empty key of tomorrow": top(surprise=[]),
    "a bystander with disks": bystander(change={"actions": ["no-op"], "before": {"disk": [
        {"interface": "scsi0", "path_in_datastore": "vm-112-disk-0"}]}}),
    "a second disk from an image": lambda plan: [
        values(disk=[{"interface": "scsi1", "file_id": "local:iso/data.img"}])(plan)
        for values in (before, after)],
    "a host's disk": before(disk=[{"interface": "scsi3", "path_in_datastore": "/dev/sdb"}]),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepts_besides(name: Any) -> None:
    plan = recorded("replace")
    ACCEPTED[name](plan)
    assert judge(plan).violations == ()


def test_says_everything_at_once() -> None:
    plan = recorded("two") | {"errored": True, "format_version": "9"}
    change(actions=["create", "delete"])(plan)
    after(vm_id=7)(plan)
    text = "\n".join(judge(plan, vmid=5).violations)
    for part in (
        "format is 9",
        "an error",
        "vm-2",
        "create_before",
        "VMID 111, not 5",
        "get VMID 7",
    ):
        assert part in text


CONFIG = {"boot": "order=scsi0;net0", "scsi0": "local-lvm:base-9000-disk-0/vm-111-disk-0,size=8G",
          "ide2": "local-lvm:vm-111-cloudinit,media=cdrom", "net0": "virtio=BC:..,bridge=vmbr0",
          "ide0": "none,media=cdrom", "memory": 512}  # fmt: skip


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({}, None),
        ({"scsi1": "local-lvm:vm-111-disk-1,size=50G"}, "scsi1 (50G, local-lvm:vm-111-disk-1) is"),
        (
            {"unused0": "local-lvm:vm-111-disk-7"},
            "unused0 (size unknown, local-lvm:vm-111-disk-7)",
        ),
        ({"virtio0": "/dev/disk/by-id/x"}, None),
        ({"boot": "order=scsi4"}, "scsi0 (8G"),
    ],
)
def test_knows_the_disks_that_terraform_does_not(extra: Any, text: Any) -> None:
    plan = recorded("replace")
    found = judge(plan, config=CONFIG | extra)
    assert found.accepted is (text is None), found.violations
    assert text is None or text in found.violations[0]


def test_a_plan_that_shows_no_nic_says_nothing_of_the_mac() -> None:
    plan = recorded("replace")
    before(network_device=[])(plan)
    after(network_device=[])(plan)
    assert judge(plan).violations == ()
    assert judge(plan).mac_pinned is None
    assert "its MAC is not in the plan" in judge(plan).summary


def test_a_blank_boot_disk_has_nothing_to_come_back_from() -> None:
    plan = recorded("replace")
    for values in (before(clone=[]), after(clone=[])):
        values(plan)
    for values in (before, after):
        values(disk=[{"interface": "scsi0", "size": 8}])(plan)
    assert judge(plan).violations == (
        "scsi0 (8 GB) has no image or template behind it: its content is lost",
    )


def telmate(scsi: Any, more: Any) -> Any:
    values = {
        "id": "pve1/qemu/111", "vmid": 111, "name": "vm-1", "target_node": "pve1",
        "current_node": "pve1", "clone": "debian", "boot": "order=scsi0",
        "network": [{"id": 0, "bridge": "vmbr0", "tag": 0, "macaddr": "BC:24:11:74:5A:6D"}],
        "disks": [{"scsi": [scsi], "ide": [{"ide2": [{"cloudinit": [{"storage": "l"}]}]}]}],
    }  # fmt: skip
    planned = {key: value for key, value in values.items() if key not in {"id", "current_node"}}
    planned["network"] = [{"id": 0, "bridge": "vmbr0", "tag": 0}]
    return {
        "format_version": "1.2",
        "resource_changes": [{
            "address": "proxmox_vm_qemu.vm-1", "mode": "managed", "type": "proxmox_vm_qemu",
            "action_reason": "replace_by_request",
            "change": {"actions": ["delete", "create"], "before": values | more, "after": planned},
        }],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("disks", "more", "violation"),
    [
        ({"scsi0": [{"disk": [{"size": "8G"}]}]}, {}, None),
        ({"scsi0": [{"disk": [{"size": "8G"}]}], "scsi1": [{"disk": [{"size": "1T"}]}]}, {},
         "scsi1 (1T) has no image"),
        ({"scsi0": [{"disk": [{"size": "8G"}]}],
          "scsi1": [{"passthrough": [{"file": "/dev/sdb"}]}]}, {}, None),
        ({"scsi0": [{"disk": [{"size": "8G"}]}]},
         {"unused_disk": [{"slot": 0, "storage": "l", "file": "vm-111-disk-5"}]},
         "unused0 (size unknown, l:vm-111-disk-5) is detached"),
        ({}, {"disks": [], "disk": [{"slot": "scsi0", "type": "disk"},
                                    {"slot": "scsi2", "type": "disk", "size": "9G"},
                                    {"slot": "ide2", "type": "cloudinit"}]},
         "scsi2 (9G) is not in the planned VM"),
    ],
)  # fmt: skip
def test_telmate_disks(disks: Any, more: Any, violation: Any) -> None:
    found = judge_plan(telmate(disks, more), address="proxmox_vm_qemu.vm-1", vmid=111)
    assert found.accepted is (violation is None), found.violations
    assert violation is None or violation in found.violations[0]
    assert found.mac_pinned is False


def test_cloned_vm_disks_are_a_map() -> None:
    plan = recorded("replace")
    before(disk={"scsi0": {"size_gb": 8}, "scsi1": {"size_gb": 5}})(plan)
    after(disk={"scsi0": {"size_gb": 8}})(plan)
    assert judge(plan).violations == (
        "scsi1 (5 GB) is not in the planned VM: its content is lost",
    )


def paths(found: Any, prefix: Any = ()) -> Any:
    if isinstance(found, (dict, list)):
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield (*prefix, key)
            yield from paths(value, (*prefix, key))


PLAN = recorded("replace")
PATHS = sorted(
    (path for path in paths(PLAN) if path[0] in {"resource_changes", "format_version"}), key=str
)
JUNK: Any = st.sampled_from([None, 7, -1.5, "x", [], {}, ["x"], [{}], [[]], {"a": 1}, True])


@given(path=st.sampled_from(PATHS), junk=JUNK)
def test_never_raises_on_a_plan_with_junk_in_it(path: Any, junk: Any) -> None:
    plan = copy.deepcopy(PLAN)
    place = plan
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = junk
    judge(plan)
    ours = PLAN["resource_changes"].index(entry(PLAN))
    if path[1:2] in {(), (ours,)} and path[2:] in {(), ("address",), ("action_reason",),
                                                  ("change",), ("change", "actions")}:  # fmt: skip
        assert not judge(plan).accepted
