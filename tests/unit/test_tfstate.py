"""Terraform's state: which address is which VMID."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.parse.tfstate import instance_key, parse_state, resource_for
from pytest_vmnet.core.site.topology import ResourceAddress
from pytest_vmnet.errors import ConfigError, ParseError

DATA = Path(__file__).parents[1] / "data" / "terraform"


def state(*resources: Any) -> Any:
    return json.dumps({"version": 4, "resources": resources})


def resource(
    kind: Any, *instances: Any, mode: Any = "managed", name: Any = "vm", module: Any = None
) -> Any:
    found = {"mode": mode, "type": kind, "name": name, "instances": list(instances)}
    return found | ({"module": module} if module else {})


TELMATE = {
    "id": "pve1/qemu/111",
    "vmid": 111,
    "name": "vm-1",
    "target_node": "pve2",
    "current_node": "pve1",
    "network": [{"id": 0, "macaddr": "BC:24:11:74:5A:6D"}, {"id": 1, "macaddr": ""}],
    "cipassword": "hunter2",
}
BPG = {
    "id": "112",
    "vm_id": 112,
    "name": "vm-2",
    "node_name": "pve1",
    "network_device": [{"mac_address": "BC:24:11:00:00:02"}],
}


def test_reads_what_real_terraform_and_bpg_wrote() -> None:
    found = parse_state((DATA / "state_bpg.json").read_bytes(), "state")
    assert found == (
        ResourceAddress(
            address='proxmox_virtual_environment_vm.vm["vm-1"]',
            type="proxmox_virtual_environment_vm",
            vmid=111,
            name="vm-1",
            node="pve1",
            macs=("bc:24:11:74:5a:6d",),
        ),
        ResourceAddress(
            address='proxmox_virtual_environment_vm.vm["vm-2"]',
            type="proxmox_virtual_environment_vm",
            vmid=112,
            name="vm-2",
            node="pve1",
            macs=("bc:24:11:74:5a:6e",),
        ),
    )


def test_telmate_says_where_the_guest_is_not_where_it_was_wanted() -> None:
    (found,) = parse_state(
        state(resource("proxmox_vm_qemu", {"attributes": TELMATE}, module='module.k8s["a"]')), "s"
    )
    assert found == ResourceAddress(
        address='module.k8s["a"].proxmox_vm_qemu.vm',
        type="proxmox_vm_qemu",
        vmid=111,
        name="vm-1",
        node="pve1",
        macs=("bc:24:11:74:5a:6d",),
    )
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("kind", "values", "vmid", "macs"),
    [
        ("proxmox_vm_qemu", {"id": "pve1/qemu/113"}, 113, ()),
        ("proxmox_virtual_environment_vm", {"id": "114"}, 114, ()),
        ("proxmox_virtual_environment_vm2", {"id": 115}, 115, ()),
        ("proxmox_vm", {"id": 116}, 116, ()),
        (
            "proxmox_cloned_vm",
            {"id": 117, "network": {"net0": {"mac_address": "AA:BB:CC:00:00:01"}}},
            117,
            ("aa:bb:cc:00:00:01",),
        ),
    ],
)
def test_reads_every_kind_of_vm(kind: Any, values: Any, vmid: Any, macs: Any) -> None:
    (found,) = parse_state(state(resource(kind, {"attributes": values})), "s")
    assert (found.vmid, found.macs, found.type) == (vmid, macs, kind)


def test_counts_names_and_sorts() -> None:
    text = state(
        resource(
            "proxmox_vm_qemu",
            {"index_key": 1, "attributes": {"vmid": 121}},
            {"index_key": 0, "attributes": {"vmid": 120}, "status": "tainted"},
            {"index_key": 0, "deposed": "abcd", "attributes": {"vmid": 99}},
        ),
        resource("proxmox_vm_qemu", {"attributes": {"vmid": 98}}, mode="data"),
        resource("terraform_data", {"attributes": {"id": "x"}}),
    )
    found = parse_state(text, "s")
    assert [(one.address, one.vmid, one.tainted) for one in found] == [
        ("proxmox_vm_qemu.vm[0]", 120, True),
        ("proxmox_vm_qemu.vm[1]", 121, False),
    ]


def test_reads_the_shown_form_with_modules() -> Any:
    def shown(kind: Any, values: Any, **more: Any) -> Any:
        address = f"{kind}.vm"
        return {"mode": "managed", "type": kind, "address": address, "values": values, **more}

    text = json.dumps(
        {
            "format_version": "1.0",
            "values": {
                "root_module": {
                    "resources": [
                        shown("proxmox_vm_qemu", TELMATE, tainted=True),
                        shown("proxmox_vm_qemu", {"vmid": 1}, deposed_key="ab"),
                        shown("proxmox_vm_qemu", {"vmid": 2}, mode="data"),
                    ],
                    "child_modules": [
                        {"child_modules": [{"resources": [shown("proxmox_vm", BPG)]}]}
                    ],
                }
            },
        }
    )
    found = parse_state(text, "s")
    assert [(one.vmid, one.tainted) for one in found] == [(111, True), (112, False)]


@pytest.mark.parametrize("text", ["", " \n", '{"version": 4, "resources": []}',
                                  '{"format_version": "1.0"}'])  # fmt: skip
def test_an_empty_state_is_no_error(text: Any) -> None:
    assert parse_state(text, "s") == ()


@pytest.mark.parametrize(
    "text",
    [
        "Error: no state", b"\xff\xfe\x00", "[]", "null", '"x"', "{}", '{"version": 3}',
        '{"version": 4, "resources": 7}', '{"version": 4, "resources": [{}]}', "[" * 100_000,
        state(resource("proxmox_vm_qemu", {"attributes": {"name": "no vmid"}})),
        state(resource("proxmox_vm_qemu", {"attributes": {"vmid": 1}, "index_key": [1]})),
        state(resource("proxmox_vm_qemu", {"attributes": {"vmid": 1, "network": 7}})),
    ],
)  # fmt: skip
def test_garbage_is_a_parse_error(text: Any) -> None:
    with pytest.raises(ParseError, match=r"^the state, byte"):
        parse_state(text, "the state")


def test_a_creation_that_failed_is_no_guest() -> None:
    broken = {"attributes": {"name": "vm-1"}, "status": "tainted"}
    assert parse_state(state(resource("proxmox_vm_qemu", broken)), "s") == ()


def test_an_error_never_quotes_the_state() -> None:
    with pytest.raises(ParseError) as caught:
        parse_state('{"password": "hunter2", oops', "s")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@given(st.binary() | st.text() | st.from_regex(r'\{"version": 4, "resources": .*\}'))
def test_raises_nothing_but_parse_errors(text: Any) -> None:
    with contextlib.suppress(ParseError):
        parse_state(text, "s")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["resources", "mode", "type", "name", "instances", "attributes", "vmid",
                         "network", "module", "index_key", "values", "root_module"]), inner),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["resources", "values"]), JSON),
       st.sampled_from([{"version": 4}, {"format_version": "1.0"}]))  # fmt: skip
def test_json_of_any_shape_raises_nothing_but_parse_errors(body: Any, head: Any) -> None:
    with contextlib.suppress(ParseError):
        parse_state(json.dumps(head | body), "s")


def make(address: Any, vmid: Any) -> Any:
    return ResourceAddress(
        address=address, type="proxmox_vm_qemu", vmid=vmid, name=None, node=None
    )


def test_finds_the_one_resource() -> None:
    known = (make("a.b", 111), make("a.c", 112))
    assert resource_for(112, known).address == "a.c"


def test_two_addresses_for_one_vmid_are_both_named() -> None:
    with pytest.raises(ConfigError, match=r"VMID 111 is in .* 2 times: a\.b and a\.c"):
        resource_for(111, (make("a.b", 111), make("a.c", 111)))


def test_a_missing_vmid_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"113 is not in .* a\.b is 111"):
        resource_for(113, (make("a.b", 111),))
    with pytest.raises(ConfigError, match="no VM at all"):
        resource_for(113, ())


KEYS = ["plain", 'a "quoted" ${one} %{two} $x', "new\nline\ttab\\back", "é \u200b \U0001f600 \x07"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (None, ""), (0, "[0]"), (12, "[12]"), (3.0, "[3]"), ("", '[""]'), ("a", '["a"]'),
        (KEYS[1], r'["a \"quoted\" $${one} %%{two} $x"]'),
        (KEYS[2], r'["new\nline\ttab\\back"]'),
        (KEYS[3], r'["é \u200b 😀 \u0007"]'),
        ("\U000e0001", r'["\U000e0001"]'),
    ],
)  # fmt: skip
def test_writes_keys_as_terraform_does(key: Any, text: Any) -> None:
    assert instance_key(key) == text


@pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not on PATH")
def test_real_terraform_writes_keys_as_we_do(tmp_path: Any, monkeypatch: Any) -> Any:
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/dev/null")
    (tmp_path / "main.tf.json").write_text(
        json.dumps(
            {
                "variable": {"keys": {"type": "set(string)"}},
                "resource": {"terraform_data": {"vm": {"for_each": "${var.keys}"}}},
            }
        )
    )
    (tmp_path / "keys.auto.tfvars.json").write_text(json.dumps({"keys": KEYS}))

    def terraform(*words: Any) -> Any:
        done = subprocess.run(
            ["terraform", *words], cwd=tmp_path, capture_output=True, check=True, text=True
        )
        return done.stdout

    terraform("init", "-no-color")
    terraform("apply", "-auto-approve", "-no-color")
    listed = terraform("state", "list").splitlines()
    assert sorted(listed) == sorted(f"terraform_data.vm{instance_key(key)}" for key in KEYS)
