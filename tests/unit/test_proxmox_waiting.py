"""Many guests are waited for at once: few sessions, two agent calls at a time, polite polling."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_vmnet.backends import proxmox
from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.proxmox import Endpoint, Proxmox

ENDPOINT = Endpoint(host="pve1", user="vmnet@pve", token_name="gate", token_value="s3cret")


class Time:
    """A clock that is slept away; each agent call takes *call_s*."""

    def __init__(self, call_s: float) -> None:
        self.now, self.call_s = 0.0, call_s
        self.asked: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def agent(self, _node, _vmid, verb, **_more):
        self.asked.append(self.now)
        self.now += self.call_s
        if verb == "exec":
            return {"pid": 7}
        return {"exited": len(self.asked) > 12, "exitcode": 0}


def polls(call_s: float, **more) -> list[float]:
    """Return the times between the end of a poll and the next one."""
    time = Time(call_s)
    door = Proxmox(ENDPOINT, clock=Clock(monotonic=lambda: time.now, sleep=time.sleep))
    door.agent = time.agent
    door.agent_exec("pve1", 111, ["true"], **more)
    starts = time.asked[1:]
    return [round(b - a - call_s, 3) for a, b in itertools.pairwise(starts)]


def test_a_short_command_is_asked_for_again_soon_and_a_long_one_seldom() -> None:
    assert polls(0.0)[:7] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.32, 0.32]


def test_where_a_call_waits_long_for_its_turn_polls_are_rarer() -> None:
    assert set(polls(0.5)) == {1.0}


def test_nothing_is_asked_before_it_can_have_ended() -> None:
    time = Time(0.0)
    door = Proxmox(ENDPOINT, clock=Clock(monotonic=lambda: time.now, sleep=time.sleep))
    door.agent = time.agent
    door.agent_exec("pve1", 111, ["true"], expect_s=6.3)
    assert [round(at, 3) for at in time.asked[:3]] == [0.0, 6.3, 6.32]


@pytest.fixture
def sessions(monkeypatch):
    """Every session that is opened, and the most that were in use at once."""
    opened: list[object] = []
    busy: list[int] = [0, 0]
    lock = threading.Lock()
    release = threading.Event()

    class Resource:
        def get(self, **_):
            with lock:
                busy[0] += 1
                busy[1] = max(busy)
            release.wait(0.01)
            with lock:
                busy[0] -= 1
            return {}

    def connect(*_words, **_more):
        opened.append(object())
        return lambda _path: Resource()

    monkeypatch.setattr(proxmox, "ProxmoxAPI", connect)
    return opened, busy


def test_there_are_as_many_sessions_as_calls_at_once_not_as_threads(sessions) -> None:
    opened, busy = sessions
    door = Proxmox(ENDPOINT)
    with ThreadPoolExecutor(30) as pool:
        list(pool.map(lambda n: door.agent("pve1", n, "network-get-interfaces"), range(60)))
    assert busy[1] == 2, "two agent calls per node are in flight"
    assert len(opened) == 2
