"""Proof that a guest is another VM, and that its siblings are the same."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_vmnet.core.words import Action
from pytest_vmnet.remediation.proof import Identity, caution, prove

OLD = Identity(
    vmid=111, name="vm-1", node="pve1", smbios_uuid="uuid-a", pid=100, start_time=5000,
    macs=("bc:24:11:74:5a:6d",),
)  # fmt: skip
NEW = dataclasses.replace(
    OLD, smbios_uuid="uuid-b", pid=200, start_time=9000, macs=("bc:24:11:00:00:99",)
)
RESTARTED = dataclasses.replace(OLD, pid=200, start_time=9000)
SIBLING = dataclasses.replace(OLD, vmid=112, name="vm-2", pid=101, macs=("bc:24:11:00:00:02",))
UPID = "UPID:pve1:0000AAAA:00BBBBBB:6560CCCC:qmdestroy:111:root@pam!gate:"


def ask(rung: Any, after: Any, *, sibling: Any = SIBLING, **more: Any) -> Any:
    now = {"vm-2": sibling} if sibling else {}
    return prove(
        rung,
        before=OLD,
        after=after,
        siblings_before={"vm-2": SIBLING},
        siblings_after=now,
        **more,
    )


def test_a_rebuilt_guest_is_another_vm() -> None:
    found = ask(Action.REBUILD, NEW, upids=[UPID, "nonsense"])
    assert found.violations == ()
    assert found.sentences == (
        "SMBIOS UUID uuid-a -> uuid-b",
        "QEMU pid 100 -> 200, start time 5000 -> 9000 ticks",
        "MAC bc:24:11:74:5a:6d -> bc:24:11:00:00:99",
        "untouched (UUID, pid, start time, MAC): vm-2",
        f"tasks: qmdestroy 111 ({UPID})",
    )


def test_a_restarted_guest_is_the_same_vm() -> None:
    found = ask(Action.RESTART, RESTARTED)
    assert found.violations == ()
    assert found.sentences[0] == "SMBIOS UUID is still uuid-a"
    assert found.sentences[2] == "MAC is still bc:24:11:74:5a:6d"
    assert not any(sentence.startswith("tasks") for sentence in found.sentences)


def test_a_process_that_got_the_same_pid_again_is_another_one() -> None:
    again = dataclasses.replace(NEW, pid=OLD.pid)
    assert ask(Action.REBUILD, again).violations == ()


REBUILD, RESTART = Action.REBUILD, Action.RESTART


@pytest.mark.parametrize(
    ("rung", "base", "facts", "text"),
    [
        (REBUILD, NEW, {"smbios_uuid": "uuid-a"}, "its SMBIOS UUID is still uuid-a"),
        (REBUILD, NEW, {"smbios_uuid": None}, "its SMBIOS UUID is not known"),
        (REBUILD, NEW, {"pid": 100, "start_time": 5000}, "QEMU is still pid 100"),
        (REBUILD, NEW, {"pid": None}, "no QEMU process runs it"),
        (REBUILD, NEW, {"start_time": None}, "no QEMU process runs it"),
        (REBUILD, NEW, {"vmid": 120}, "its VMID was 111 and is 120"),
        (REBUILD, NEW, {"name": "web"}, "its name was vm-1 and is web"),
        (REBUILD, NEW, {"node": "pve2"}, "its node was pve1 and is pve2"),
        (REBUILD, NEW, {"macs": ()}, "it had 1 NICs"),
        (RESTART, RESTARTED, {"smbios_uuid": "uuid-b"}, "a restart does not do that"),
        (RESTART, RESTARTED, {"macs": NEW.macs}, "MAC bc:24:11:74:5a:6d -> bc:24:11:00:00:99"),
        (RESTART, RESTARTED, {"pid": 100, "start_time": 5000}, "it was never stopped"),
    ],
)
def test_violations(rung: Any, base: Any, facts: Any, text: Any) -> None:
    found = ask(rung, dataclasses.replace(base, **facts))
    assert len(found.violations) == 1
    assert text in found.violations[0]


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"pid": 300}, "its sibling vm-2 changed: pid 101 -> 300"),
        ({"smbios_uuid": "x", "start_time": 1}, "smbios_uuid uuid-a -> x, start_time 5000 -> 1"),
        ({"macs": ()}, "macs ('bc:24:11:00:00:02',) -> ()"),
    ],
)
def test_a_sibling_that_changed(facts: Any, text: Any) -> None:
    found = ask(Action.REBUILD, NEW, sibling=dataclasses.replace(SIBLING, **facts))
    assert text in found.violations[0]
    assert not any("untouched" in sentence for sentence in found.sentences)


def test_a_sibling_that_is_gone() -> None:
    assert ask(Action.REBUILD, NEW, sibling=None).violations == ("its sibling vm-2 is gone",)


A, B = ("bc:24:11:74:5a:6d",), ("bc:24:11:00:00:99",)


@pytest.mark.parametrize(
    ("reason", "after", "cured", "text"),
    [
        ("MacReflection", B, True,
         "cured, but the MAC changed: the other source of bc:24:11:74:5a:6d may still be out"),
        ("DuplicateMac", B, True, "the other source of bc:24:11:74:5a:6d may still be out there"),
        ("VirtioRingStuck", B, True, "DHCP reservations and port security still name it"),
        ("MacReflection", A, False, "not cured, and the MAC stayed bc:24:11:74:5a:6d: it is"),
        ("MacReflection", B, False, None),
        ("MacReflection", A, True, "cured with the same MAC bc:24:11:74:5a:6d: its other"),
        ("VirtioRingStuck", A, False, None),
    ],
)  # fmt: skip
def test_the_sentence_that_we_owe(reason: Any, after: Any, cured: Any, text: Any) -> None:
    found = caution(reason, A, after, cured=cured)
    assert (found is None) is (text is None)
    assert text is None or text in str(found)
