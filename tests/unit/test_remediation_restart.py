"""A restart: stop, start, and never a guest that is left stopped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.core.guardrails.journal import Signature
from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.core.words import Action, AttemptOutcome
from pytest_vmnet.errors import ProxmoxError, VmnetError
from pytest_vmnet.remediation.act import Order
from pytest_vmnet.remediation.journal import FileJournal
from pytest_vmnet.remediation.restart import RestartLimits, restart

ORDER = Order(
    guest=Guest(vmid=111, name="vm-1", ident="vm-1", node="pve1"),
    rung=Action.RESTART,
    run_id="abc",
    signature=Signature(reason="VirtioRingStuck", last_seen="tap111i0", next_point="guest:eth0"),
    mac_before="bc:24:11:74:5a:6d",
)


class FakeClock:
    def __init__(self) -> None:
        self.time = 100.0
        self.clock = Clock(
            monotonic=lambda: self.time,
            now=lambda: datetime(2026, 11, 23, tzinfo=UTC),
            sleep=self.sleep,
        )

    def sleep(self, for_s: Any) -> None:
        self.time += for_s


class FakePower:
    """A VM that takes *stop_s* to stop and *start_s* to start; None means never."""

    def __init__(
        self, clock: Any, stop_s: Any = 3.0, start_s: Any = 2.0, fails: Any = None
    ) -> None:
        self.clock, self.stop_s, self.start_s = clock, stop_s, start_s
        self.fails = fails or {}
        self.state, self.turn_to = "running", ""
        self.turn_at: float | None = None
        self.calls: list[str] = []

    def _call(self, name: Any, takes_s: Any, turn_to: Any) -> Any:
        self.calls.append(name)
        if name in self.fails:
            raise self.fails[name]
        self.turn_at = None if takes_s is None else self.clock.time + takes_s
        self.turn_to = turn_to
        return f"UPID:pve1:0000AAAA:00BBBBBB:6560CCCC:qm{name}:111:root@pam:"

    def stop(self, node: Any, vmid: Any, *, timeout_s: Any) -> Any:
        assert (node, vmid, timeout_s) == ("pve1", 111, 60.0)
        return self._call("stop", self.stop_s, "stopped")

    def start(self, node: Any, vmid: Any) -> Any:
        assert (node, vmid) == ("pve1", 111)
        return self._call("start", self.start_s, "running")

    def status(self, node: Any, vmid: Any) -> Any:
        assert (node, vmid) == ("pve1", 111)
        if self.turn_at is not None and self.clock.time >= self.turn_at:
            self.state, self.turn_at = self.turn_to, None
        return self.state


class Scene:
    def __init__(self, tmp_path: Any, **power: Any) -> None:
        self.clock = FakeClock()
        self.power = FakePower(self.clock, **power)
        self.journal = FileJournal(tmp_path / "journal")
        self.said: list[str] = []

    def go(self, wait: Any = lambda: None) -> Any:
        return restart(
            ORDER,
            power=self.power,
            journal=self.journal,
            clock=self.clock.clock,
            wait_ready=wait,
            say=self.said.append,
            limits=RestartLimits(),
        )

    @property
    def steps(self) -> Any:
        return [
            f"{entry.step}:{entry.outcome or entry.phase}" for entry in self.journal.read().entries
        ]


def test_stops_starts_and_waits(tmp_path: Any) -> None:
    scene = Scene(tmp_path)
    act = scene.go()
    assert act.outcome is None
    assert scene.power.calls == ["stop", "start"]
    assert scene.power.state == "running"
    assert scene.steps == [
        "stop:before", "stop:ok", "start:before", "start:ok", "ready:before", "ready:ok",
    ]  # fmt: skip
    assert [upid.split(":")[5] for upid in act.upids] == ["qmstop", "qmstart"]
    assert act.duration_s == pytest.approx(5, abs=0.5)
    assert act.commands == ("qm shutdown 111 && qm start 111",)
    assert scene.said == ["vm-1: restart: stopping", "vm-1: restart: starting"]


def test_a_guest_that_does_not_stop(tmp_path: Any) -> None:
    scene = Scene(tmp_path, stop_s=None)
    act = scene.go()
    assert act.outcome is AttemptOutcome.FAILED
    assert "vm-1 is not stopped after 120 s" in act.message
    assert "`qm start 111`" in act.message
    assert scene.steps[1] == "stop:failed"


def test_a_guest_that_does_not_start(tmp_path: Any) -> None:
    scene = Scene(tmp_path, start_s=None)
    act = scene.go()
    assert act.outcome is AttemptOutcome.FAILED
    assert "vm-1 does not run after 120 s" in act.message
    assert scene.steps[-1] == "start:failed"


def test_a_guest_that_is_not_ready(tmp_path: Any) -> None:
    def wait() -> None:
        raise VmnetError("no agent after 300 s")

    act = Scene(tmp_path).go(wait)
    assert act.outcome is AttemptOutcome.FAILED
    assert "no agent after 300 s" in act.message


def test_an_api_that_refuses_to_stop(tmp_path: Any) -> None:
    refusal = ProxmoxError("POST", "/status/shutdown", status=403, reason="Permission denied")
    scene = Scene(tmp_path, fails={"stop": refusal})
    act = scene.go()
    assert act.outcome is AttemptOutcome.FAILED
    assert "Permission denied" in act.message
    assert scene.power.calls == ["stop"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_guest_that_was_stopped_is_started_whatever_happens(
    tmp_path: Any, monkeypatch: Any, error: Any
) -> None:
    scene = Scene(tmp_path)
    status = scene.power.status

    def interrupted(*_: Any) -> None:
        monkeypatch.setattr(scene.power, "status", status)
        raise error

    monkeypatch.setattr(scene.power, "status", interrupted)
    with pytest.raises(error):
        scene.go()
    assert scene.power.calls == ["stop", "start"]
    assert scene.steps == ["stop:before", "stop:failed", "start:before", "start:ok"]
