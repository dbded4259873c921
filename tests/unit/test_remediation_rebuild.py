"""A rebuild: in order, journalled, and never by another plan than the judged one."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.core.guardrails.journal import Phase, Signature, Step
from pytest_vmnet.core.site.topology import Guest, ResourceAddress
from pytest_vmnet.core.words import Action, AttemptOutcome
from pytest_vmnet.errors import ConfigError, TerraformError, VmnetError
from pytest_vmnet.remediation.act import Order, close
from pytest_vmnet.remediation.journal import FileJournal
from pytest_vmnet.remediation.rebuild import RebuildSettings, rebuild

DATA = Path(__file__).parents[1] / "data" / "terraform"
ADDRESS = 'proxmox_virtual_environment_vm.vm["vm-1"]'
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MAC = "bc:24:11:74:5a:6d"


class FakeTerraform:
    """Terraform as far as a rebuild sees it; writes down what it is told."""

    def __init__(self, plan: Any = "replace", fails: Any = None, changes: Any = False) -> None:
        self.folder = Path("/srv/site")
        self.commands = ["terraform from before"]
        self.plan = json.loads((DATA / f"plan_bpg_{plan}.json").read_text())
        self.fails = fails or {}
        self.changes = changes
        self.calls: list[str] = []
        self.files: list[Path] = []

    def _called(self, name: Any) -> None:
        self.calls.append(name)
        self.commands.append(f"terraform {name}")
        if name in self.fails:
            raise self.fails[name]

    def plan_replace(self, address: Any, out: Any, on_line: Any = lambda _: None) -> Any:
        assert address == ADDRESS
        self._called("plan -replace")
        self._write(out)
        on_line("will be replaced, as requested")
        return True

    def plan_tainted(self, out: Any, on_line: Any = lambda _: None) -> Any:
        self._called("plan")
        self._write(out)
        on_line("is tainted")
        return True

    def _write(self, out: Any) -> None:
        assert stat.S_IMODE(out.parent.stat().st_mode) == 0o700
        out.write_text("secret plan")
        self.files.append(out)

    def show_plan(self, file: Any) -> Any:
        assert file in self.files
        self._called("show")
        return self.plan

    def apply_file(self, file: Any, on_line: Any = lambda _: None) -> None:
        assert file == self.files[-1]
        self._called("apply")
        on_line("Destroying...")

    def has_changes(self) -> Any:
        self._called("second plan")
        return self.changes

    def taint(self, address: Any) -> None:
        assert address == ADDRESS
        self._called("taint")

    def untaint(self, address: Any) -> None:
        assert address == ADDRESS
        self._called("untaint")


def guest(kind: Any = "proxmox_virtual_environment_vm") -> Any:
    return Guest(
        vmid=111,
        name="vm-1",
        ident="vm-1",
        node="pve1",
        resource=ResourceAddress(address=ADDRESS, type=kind, vmid=111, name="vm-1", node="pve1"),
    )


def order(who: Any = None) -> Any:
    return Order(
        guest=who or guest(),
        rung=Action.REBUILD,
        run_id="abc",
        signature=Signature(reason="MacReflection", last_seen="enp4s0", next_point="tap111i0"),
        mac_before=MAC,
    )


class Scene:
    def __init__(self, tmp_path: Any, **terraform: Any) -> None:
        self.terraform = FakeTerraform(**terraform)
        self.journal = FileJournal(tmp_path / "journal")
        self.ticks = iter(range(0, 1000, 5))
        self.clock = Clock(monotonic=lambda: next(self.ticks), now=lambda: NOW)
        self.said: list[str] = []
        self.ready: list[list[str]] = []

    def go(self, who: Any = None, wait: Any = None, config: Any = None, **settings: Any) -> Any:
        return rebuild(
            order(who),
            terraform=self.terraform,
            journal=self.journal,
            clock=self.clock,
            wait_ready=wait or (lambda: self.ready.append(list(self.terraform.calls))),
            say=self.said.append,
            settings=RebuildSettings(**settings),
            config=config,
        )

    @property
    def steps(self) -> Any:
        return [
            f"{entry.step}:{entry.outcome or entry.phase}" for entry in self.journal.read().entries
        ]


@pytest.fixture
def scene(tmp_path: Any) -> Any:
    return Scene(tmp_path)


FULL = [
    "plan:before", "plan:ok", "apply:before", "apply:ok", "verify:before", "verify:ok",
    "ready:before", "ready:ok",
]  # fmt: skip


def test_plans_judges_applies_that_file_and_plans_again(scene: Any) -> None:
    act = scene.go()
    assert scene.terraform.calls == ["plan -replace", "show", "apply", "second plan"]
    assert scene.steps == FULL
    assert scene.ready == [scene.terraform.calls]
    assert act.outcome is None
    assert act.duration_s == 5
    assert act.judgement.accepted
    assert act.commands == tuple(f"terraform {name}" for name in scene.terraform.calls)
    assert "vm-1: Destroying..." in scene.said
    assert not scene.terraform.files[0].parent.exists()


def test_every_entry_says_who_why_and_where(scene: Any) -> None:
    scene.go()
    for entry in scene.journal.read().entries:
        assert (entry.vmid, entry.name, entry.node) == (111, "vm-1", "pve1")
        assert (entry.run_id, entry.rung, entry.address) == ("abc", Action.REBUILD, ADDRESS)
        assert (entry.signature, entry.mac_before) == (order().signature, MAC)


@pytest.mark.parametrize("plan", ["two", "unknown_address", "cbd", "besides"])
def test_a_plan_that_is_refused_is_never_applied(tmp_path: Any, plan: Any) -> None:
    scene = Scene(tmp_path, plan=plan)
    act = scene.go()
    assert act.outcome is AttemptOutcome.REFUSED
    assert act.message.startswith("the plan was refused: ")
    assert act.judgement.violations[0] in act.message
    assert scene.terraform.calls == ["plan -replace", "show"]
    assert scene.steps == ["plan:before", "plan:ok"]
    assert not scene.terraform.files[0].parent.exists()


def test_what_the_user_allows_and_what_the_api_knows_reach_the_judge(tmp_path: Any) -> None:
    assert Scene(tmp_path, plan="besides").go(allow=["terraform_data.net"]).outcome is None
    act = Scene(tmp_path).go(config={"unused0": "l:vm-111-disk-1"})
    assert "unused0" in act.message


def test_plan_mode_keeps_the_plan_and_prints_the_command(tmp_path: Any) -> None:
    scene = Scene(tmp_path)
    act = scene.go(plan_only=True, keep_in=tmp_path, use_taint=True)
    assert act.held
    assert scene.terraform.calls == ["plan -replace", "show"]
    assert stat.S_IMODE(act.plan_file.stat().st_mode) == 0o600
    assert f"`terraform -chdir=/srv/site apply {act.plan_file}`" in act.message


def test_plan_mode_keeps_no_refused_plan(tmp_path: Any) -> None:
    scene = Scene(tmp_path, plan="two")
    act = scene.go(plan_only=True, keep_in=tmp_path)
    assert not act.held
    assert act.plan_file is None
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]


def failure(command: Any, text: Any, code: Any = 1) -> Any:
    return TerraformError(command, returncode=code, diagnostics=text)


def test_prevent_destroy_is_told_in_plain_words(tmp_path: Any) -> None:
    text = (DATA / "prevent_destroy.txt").read_text()
    scene = Scene(tmp_path, fails={"plan -replace": failure("plan", text)})
    act = scene.go()
    assert act.outcome is AttemptOutcome.REFUSED
    assert act.message == (
        f"{ADDRESS} has prevent_destroy: Terraform refuses to plan its replacement"
    )
    assert scene.steps == ["plan:before", "plan:failed"]


def test_a_plan_that_fails_changed_nothing(tmp_path: Any) -> None:
    scene = Scene(tmp_path, fails={"plan -replace": failure("plan", "no route to host")})
    act = scene.go()
    assert "nothing was changed: terraform plan ended with 1: no route to host" in act.message


@pytest.mark.parametrize(
    ("kind", "ident"),
    [("proxmox_virtual_environment_vm", "pve1/111"), ("proxmox_vm_qemu", "pve1/qemu/111")],
)
def test_an_apply_that_fails_says_what_to_type(tmp_path: Any, kind: Any, ident: Any) -> None:
    scene = Scene(tmp_path, fails={"apply": failure("apply", "no space left")})
    act = scene.go(guest(kind))
    assert act.outcome is AttemptOutcome.FAILED
    assert "no space left" in act.message
    assert f"`terraform import '{ADDRESS}' {ident}`" in act.message
    assert f"`terraform untaint '{ADDRESS}'`" in act.message
    assert "qm status 111" in act.message
    assert scene.steps == ["plan:before", "plan:ok", "apply:before", "apply:failed"]
    assert scene.ready == []


def test_a_stale_plan_changed_nothing(tmp_path: Any) -> None:
    scene = Scene(tmp_path, fails={"apply": failure("apply", "Error: Saved plan is stale")})
    assert "nothing was changed: run the gate again" in scene.go().message


def test_a_second_plan_with_changes_is_a_failure(tmp_path: Any) -> None:
    scene = Scene(tmp_path, changes=True)
    act = scene.go()
    assert act.outcome is AttemptOutcome.FAILED
    assert "a second plan is not empty" in act.message
    assert scene.steps[-1] == "verify:failed"
    assert scene.ready == []


def test_a_guest_that_does_not_come_back_is_a_failure(scene: Any) -> None:
    def wait() -> None:
        raise VmnetError("vm-1: no agent after 300 s")

    act = scene.go(wait=wait)
    assert act.outcome is AttemptOutcome.FAILED
    assert "state holds the new VM, but: vm-1: no agent after 300 s" in act.message
    assert scene.steps[-1] == "ready:failed"


def test_ctrl_c_is_in_the_journal_and_leaves_no_plan(tmp_path: Any) -> None:
    scene = Scene(tmp_path, fails={"apply": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        scene.go()
    assert scene.steps[-1] == "apply:failed"
    assert not scene.terraform.files[0].parent.exists()


def test_without_a_journal_nothing_happens(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    scene = Scene(tmp_path)
    scene.journal = FileJournal(tmp_path / "file" / "journal")
    with pytest.raises(ConfigError, match="cannot be written"):
        scene.go()
    assert scene.terraform.calls == []


def test_a_guest_without_a_resource_cannot_be_rebuilt(scene: Any) -> None:
    with pytest.raises(ConfigError, match="vm-1 has no resource"):
        scene.go(Guest(vmid=111, name="vm-1", ident="vm-1", node="pve1"))


def test_taint_is_journalled_first_and_used_up_by_the_rebuild(tmp_path: Any) -> None:
    scene = Scene(tmp_path, plan="tainted")
    act = scene.go(use_taint=True)
    assert act.outcome is None
    assert scene.terraform.calls == ["taint", "plan", "show", "apply", "second plan"]
    assert scene.steps == ["taint:before", "taint:ok", *FULL]


@pytest.mark.parametrize(
    ("fails", "plan", "error"),
    [
        ({}, "two", None),
        ({"plan": failure("plan", "x")}, "tainted", None),
        ({"apply": failure("apply", "x")}, "tainted", None),
        ({"show": KeyboardInterrupt()}, "tainted", KeyboardInterrupt),
        ({"taint": failure("taint", "x")}, "tainted", None),
        ({"show": RuntimeError("bug")}, "tainted", RuntimeError),
    ],
)
def test_whatever_happens_the_mark_is_taken_back(
    tmp_path: Any, fails: Any, plan: Any, error: Any
) -> None:
    scene = Scene(tmp_path, plan=plan, fails=fails)
    if error is None:
        assert scene.go(use_taint=True).outcome is not None
    else:
        with pytest.raises(error):
            scene.go(use_taint=True)
    assert scene.terraform.calls[-1] == "untaint"
    assert scene.steps[-2:] == ["untaint:before", "untaint:ok"]


def test_a_mark_that_stays_is_told(tmp_path: Any) -> None:
    fails = {"apply": failure("apply", "boom"), "untaint": failure("untaint", "no such resource")}
    scene = Scene(tmp_path, plan="tainted", fails=fails)
    act = scene.go(use_taint=True)
    assert act.outcome is AttemptOutcome.FAILED
    assert "boom" in act.message
    assert "the mark could not be taken back" in act.message
    assert "no such resource" in act.message


@pytest.mark.parametrize(
    ("cured", "broken", "outcome"),
    [(True, None, "cured"), (False, None, "not-cured"), (True, "vm-2 changed", "failed")],
)
def test_the_probes_have_the_last_word(scene: Any, cured: Any, broken: Any, outcome: Any) -> None:
    act = scene.go()
    attempt = act.attempt(
        cured=cured, mac_after="aa:bb:cc:dd:ee:ff", proof=("p",), proof_s=2.5, failure=broken
    )
    assert attempt.outcome == outcome
    assert (attempt.mac_before, attempt.mac_after) == (MAC, "aa:bb:cc:dd:ee:ff")
    assert attempt.duration_s == act.duration_s + 2.5
    assert (broken is None) or attempt.message.endswith(f"; {broken}")
    close(act, attempt=attempt, journal=scene.journal, clock=scene.clock, address=ADDRESS)
    last = scene.journal.read().entries[-1]
    assert (last.step, last.phase, last.outcome) == (Step.PROVE, Phase.AFTER, outcome)
    assert last.mac_after == "aa:bb:cc:dd:ee:ff"


def test_a_failed_act_stays_failed_whatever_the_probes_say(tmp_path: Any) -> None:
    act = Scene(tmp_path, changes=True).go()
    assert act.attempt(cured=True, mac_after=None).outcome is AttemptOutcome.FAILED
