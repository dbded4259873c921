"""The guest agent's client against an agent that misbehaves in the ways agents do."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_vmnet.lab.agent import Agent, AgentError, AgentUnavailableError, completed

Reply = Callable[[str, dict[str, object]], bytes]


def _line(value: object) -> bytes:
    return json.dumps({"return": value}).encode() + b"\n"


@contextmanager
def _agent(path: Path, reply: Reply) -> Iterator[Agent]:
    """Serve *reply* on *path*, one client at a time as QEMU does."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line.lstrip(b"\xff"))
                    arguments = message.get("arguments", {})
                    if message["execute"] == "guest-sync-delimited":
                        # What an earlier client did not read comes first.
                        stale = b'{"return": "stale"}\n\xff{"return": -1}\n\xff'
                        answer = stale + _line(arguments["id"])
                    else:
                        answer = reply(message["execute"], arguments)
                    try:
                        connection.sendall(answer)
                    except OSError:
                        break

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Agent(path, timeout_s=2)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_call_skips_what_another_client_left_behind(tmp_path: Path) -> None:
    with _agent(tmp_path / "qga.sock", lambda _c, _a: _line({"host-name": "vm-1"})) as agent:
        assert agent.call("guest-get-host-name") == {"host-name": "vm-1"}
        assert agent.ping()


def test_run_passes_bytes_through(tmp_path: Path) -> None:
    seen: list[dict[str, object]] = []
    polls = iter([{"exited": False}, {"exited": False}])

    def reply(command: str, arguments: dict[str, object]) -> bytes:
        if command == "guest-exec":
            seen.append(arguments)
            return _line({"pid": 7})
        done = {"exited": True, "exitcode": 3, "out-data": base64.b64encode(b"\xff\n").decode()}
        return _line(next(polls, done))

    with _agent(tmp_path / "qga.sock", reply) as agent:
        done = agent.run(["cat", "-"], b"\x00in")
    assert (done.exitcode, done.stdout, done.stderr) == (3, b"\xff\n", b"")
    assert seen == [
        {
            "path": "cat",
            "arg": ["-"],
            "capture-output": True,
            "input-data": base64.b64encode(b"\x00in").decode(),
        }
    ]


def test_refusal_is_told_in_the_agents_words(tmp_path: Path) -> None:
    refusal = b'{"error": {"class": "GenericError", "desc": "it has been disabled"}}\n'
    with (
        _agent(tmp_path / "qga.sock", lambda _c, _a: refusal) as agent,
        pytest.raises(AgentError, match="it has been disabled"),
    ):
        agent.call("guest-exec")


def test_silent_agent_runs_into_the_time_limit(tmp_path: Path) -> None:
    with _agent(tmp_path / "qga.sock", lambda _c, _a: b"") as agent:
        assert not agent.ping(timeout_s=0.2)
        with pytest.raises(AgentUnavailableError, match="no answer in time"):
            agent.call("guest-info", timeout_s=0.2)


def test_no_agent(tmp_path: Path) -> None:
    with pytest.raises(AgentUnavailableError, match="No such file"):
        Agent(tmp_path / "qga.sock").call("guest-ping")


def test_callers_take_turns(tmp_path: Path) -> None:
    with _agent(tmp_path / "qga.sock", lambda _c, _a: _line({})) as agent:
        answers: list[bool] = []
        threads = [
            threading.Thread(target=lambda: answers.append(agent.ping())) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert answers == [True] * 12


def test_overlong_command_is_killed(tmp_path: Path) -> None:
    started: list[object] = []

    def reply(command: str, arguments: dict[str, object]) -> bytes:
        if command == "guest-exec":
            started.append(arguments["path"])
            return _line({"pid": 7})
        return _line({"exited": False})

    with (
        _agent(tmp_path / "qga.sock", reply) as agent,
        pytest.raises(AgentUnavailableError, match=r"`sleep 9` did not end in 0.3 s"),
    ):
        agent.run(["sleep", "9"], timeout_s=0.3)
    assert started == ["sleep", "kill"]


def test_signal_and_truncation() -> None:
    done = completed({"exited": True, "signal": 9, "err-truncated": True})
    assert done is not None
    assert (done.exitcode, done.signal, done.truncated) == (None, 9, True)
    assert completed({"exited": False}) is None
    with pytest.raises(AgentError, match="no base64"):
        completed({"exited": True, "out-data": "x"})
