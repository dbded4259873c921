"""A sweep: watch first, then probe everybody at once, then fetch; trouble becomes facts."""

from __future__ import annotations

import runpy
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.hosts import Output
from pytest_vmnet.backends.proxmox import AgentResult
from pytest_vmnet.core.facts import GATE
from pytest_vmnet.core.flow.plan import Pace, Targets, plan_flows
from pytest_vmnet.errors import CommandError, ProxmoxError
from pytest_vmnet.probes import sweep
from pytest_vmnet.probes.answer import OUTPUT, split_output
from pytest_vmnet.probes.reading import read_sweep

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
TARGETS = Targets(
    peers="segment", external=None, inbound=True, nodes_with_shell=frozenset({"pve1"})
)


class Fakes:
    """All hosts of a sweep in one; they note the order in which they are asked."""

    def __init__(
        self, *, deaf: str | None = None, start: Output | Exception | None = None
    ) -> None:
        self.order: list[str] = []
        self.deaf, self.start = deaf, start or Output(0, b"ready\n", b"")
        self.lock = threading.Lock()
        self.scripts: dict[str, str] = {}
        self.cancelled = False
        self.slowest_exec_s = 0.0

    def cancel(self) -> None:
        self.cancelled = True

    def note(self, what: str, script: str) -> None:
        with self.lock:
            self.order.append(what)
            self.scripts[what] = script

    def agent_exec(self, _node, vmid, _argv, *, stdin, **_more) -> AgentResult:
        self.note(f"vm-{vmid - 110}", stdin.decode())
        if self.deaf == f"vm-{vmid - 110}":
            raise ProxmoxError("POST", "exec", status=500, reason="no agent")
        return AgentResult(0, self.framed(stdin.decode(), neigh=b""), b"", truncated=False)

    def framed(self, script: str, **parts: bytes) -> bytes:
        token = script.partition("\nT=")[2].partition("\n")[0]
        return b"".join(
            f"@@{token} {name} {len(data)}\n".encode() + data + b"\n"
            for name, data in parts.items()
        )

    def shell(self, name: str) -> SimpleNamespace:
        def run(script: str) -> Output:
            what = "start" if "echo ready" in script else "clean"
            what = "fetch" if "points.after" in script else what
            self.note(f"{name} {what}" if name == "pve1" else name, script)
            if what == "start" and isinstance(self.start, Exception):
                raise self.start
            if what == "fetch":
                return Output(73, b"", b"its folder is gone")
            return (
                self.start if what == "start" else Output(0, self.framed(script, neigh=b""), b"")
            )

        return SimpleNamespace(name=name, run=run)


def run(fakes: Fakes, guests=None, *, shells=True, targets=TARGETS):
    guests = guests or [W.guest(1), W.guest(2)]
    site = W.inventory(*guests)
    flows = plan_flows(site, [g.ident for g in guests], targets, Pace(count=5, interval_s=0.02))
    lines: list[str] = []
    raw = sweep.run_sweep(
        site,
        flows,
        proxmox=fakes,
        shells={"pve1": fakes.shell("pve1")} if shells else {},
        local=fakes.shell(GATE),
        clock=Clock(),
        progress=lines.append,
    )
    return read_sweep(raw, site), lines


def test_the_watch_starts_before_the_probes_and_is_fetched_after_them() -> None:
    fakes = Fakes()
    made, lines = run(fakes)
    assert fakes.order[0] == "pve1 start"
    assert sorted(fakes.order[1:4]) == ["vm-1", "vm-2", GATE]
    assert fakes.order[4:] == ["pve1 fetch", "pve1 clean"]
    assert sorted(made.hosts) == ["pve1", "vm-1", "vm-2", GATE]
    assert made.hosts["pve1"].problem.startswith("pve1: the capture was lost: its folder is gone")
    assert made.hosts["vm-1"].problem is None
    assert lines == ["probing: 8 flows, 2 guests, 5 probes per flow, one per 20 ms, 0.1 s"]


def test_all_hosts_share_mark_and_token_of_this_sweep_only() -> None:
    def tokens(fakes: Fakes) -> set[str]:
        run(fakes)
        texts = [text for what, text in fakes.scripts.items() if what != "pve1 clean"]
        return {text.partition("\nT=")[2].partition("\n")[0] for text in texts}

    first, second = tokens(Fakes()), tokens(Fakes())
    assert len(first) == len(second) == 1
    assert first != second


def test_a_guest_that_does_not_answer_does_not_stop_the_others() -> None:
    made, _ = run(Fakes(deaf="vm-1"))
    assert made.hosts["vm-1"].problem.startswith("vm-1 could not be asked: ")
    assert made.hosts["vm-2"].problem is None


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (Output(69, b"", b"tcpdump is not installed"), "did not start: tcpdump is not installed"),
        (CommandError(["ssh"], where="pve1", returncode=255), "pve1: `ssh` ended with 255"),
    ],
)
def test_a_node_that_cannot_watch_is_a_problem_and_nothing_is_fetched(start, said) -> None:
    fakes = Fakes(start=start)
    made, _ = run(fakes)
    assert said in made.hosts["pve1"].problem
    assert "pve1 fetch" not in fakes.order
    assert made.hosts["vm-1"].problem is None


def test_without_a_shell_a_node_is_not_watched() -> None:
    fakes = Fakes()
    made, _ = run(fakes, shells=False)
    assert "pve1" not in made.hosts
    assert not [what for what in fakes.order if what.startswith("pve1")]


def test_a_guest_without_an_agent_is_not_asked() -> None:
    made, _ = run(Fakes(), [W.guest(1, agent=False), W.guest(2)])
    assert sorted(made.hosts) == ["pve1", "vm-2", GATE]


def test_the_gate_sends_nothing_unless_it_has_flows() -> None:
    quiet = Targets(
        peers="segment", external=None, inbound=False, nodes_with_shell=frozenset({"pve1"})
    )
    made, _ = run(Fakes(), targets=quiet)
    assert sorted(made.hosts) == ["pve1", "vm-1", "vm-2"]


def test_a_bug_is_not_swallowed_and_the_watch_is_cleaned_away() -> None:
    fakes = Fakes()
    fakes.agent_exec = lambda *_words, **_more: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run(fakes)
    assert "pve1 fetch" not in fakes.order
    assert "pve1 clean" in fakes.order
    assert fakes.cancelled
    fakes = Fakes(start=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run(fakes)


def test_an_output_without_frames_is_kept_as_it_came_back() -> None:
    answer = split_output(b"no frame", "T" * 12, host="vm-1", source="vm-1, probe output")
    assert answer.sections == {OUTPUT: b"no frame"}
    assert answer.problem.startswith("vm-1, probe output, byte 0: no section")


class Hanging(Fakes):
    """One guest's agent takes the command and says nothing until somebody gives it up."""

    def __init__(self, hung: str, *, at_once: bool = False) -> None:
        super().__init__()
        self.hung, self.at_once, self.given_up = hung, at_once, threading.Event()

    def agent_exec(self, node, vmid, argv, *, stdin, on_start=lambda: None, **more):
        if self.hung != f"vm-{vmid - 110}":
            return super().agent_exec(node, vmid, argv, stdin=stdin, on_start=on_start, **more)
        if not self.at_once:
            on_start()
        assert self.given_up.wait(20)
        self.note(f"{self.hung} given up", "")
        raise ProxmoxError("GET", "exec-status", status=None, reason="did not end within 84 s")

    def shell(self, name: str) -> SimpleNamespace:
        inner = super().shell(name)

        def run(script: str) -> Output:
            done = inner.run(script)
            if "points.after" in script:
                self.given_up.set()
            return done

        return SimpleNamespace(name=name, run=run)


def test_a_guest_that_hangs_costs_neither_the_others_nor_the_captures(monkeypatch) -> None:
    monkeypatch.setattr(sweep.script, "time_limit_s", lambda _flows: 1)
    fakes = Hanging("vm-1")
    made, _ = run(fakes)
    assert fakes.order.index("pve1 fetch") < fakes.order.index("vm-1 given up")
    assert "did not end within 84 s" in made.hosts["vm-1"].problem
    assert made.hosts["vm-2"].problem is made.hosts[GATE].problem is None


def test_an_agent_that_was_silent_before_is_asked_last_and_not_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(sweep.script, "time_limit_s", lambda _flows: 1)
    fakes = Hanging("vm-1", at_once=True)
    guests = [W.guest(1, address_source="ipconfig0"), W.guest(2, address_source="agent")]
    made, _ = run(fakes, guests)
    assert fakes.order.index(GATE) < fakes.order.index("vm-1 given up")
    assert made.hosts["vm-2"].problem is made.hosts[GATE].problem is None


def test_an_agent_that_refuses_is_not_waited_for_either(monkeypatch) -> None:
    monkeypatch.setattr(sweep, "_START_S", 20.0)
    begun = time.monotonic()
    made, _ = run(Fakes(deaf="vm-1"), [W.guest(n, address_source="agent") for n in (1, 2)])
    assert time.monotonic() - begun < 15
    assert made.hosts[GATE].problem is None
