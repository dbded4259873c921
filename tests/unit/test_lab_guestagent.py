"""The namespace guest's agent speaks as qemu-ga does; here its guest is this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vmnet.lab.agent import Agent, AgentError, exec_arguments
from pytest_vmnet.lab.pve.guestagent import GuestAgent, _interface


def ask(tmp_path: Path, body: Callable[[Agent], None]) -> list[str]:
    """Run *body* with a client of an agent; return what the agent was told to end."""
    ended: list[str] = []

    async def run() -> None:
        path = tmp_path / "qga.sock"
        agent = await GuestAgent.start(path, ["env"], lambda: ended.append("off"))
        try:
            await asyncio.to_thread(body, Agent(path))
        finally:
            agent.close()
        assert not path.exists()

    asyncio.run(run())
    return ended


def test_a_command_with_input_output_and_exit_code(tmp_path) -> None:
    def body(agent: Agent) -> None:
        assert agent.ping()
        done = agent.run(["sh", "-c", "cat; echo oops >&2; exit 3"], b"\x00\xff\n" * 30_000)
        assert (done.exitcode, done.stdout, done.stderr) == (3, b"\x00\xff\n" * 30_000, b"oops\n")
        done = agent.run(["sh", "-c", "kill -TERM $$"])
        assert (done.exitcode, done.signal) == (None, 15)
        assert agent.run(["no-such-command"]).exitcode == 127

    ask(tmp_path, body)


def test_a_status_is_told_once_and_a_foreign_pid_refused(tmp_path) -> None:
    def body(agent: Agent) -> None:
        pid = agent.call("guest-exec", exec_arguments(["true"]))["pid"]
        while not agent.call("guest-exec-status", {"pid": pid})["exited"]:
            pass
        with pytest.raises(AgentError, match=f"no command {pid} was started"):
            agent.call("guest-exec-status", {"pid": pid})
        with pytest.raises(AgentError, match="no command 999999999 was started"):
            agent.call("guest-exec-status", {"pid": 999999999})
        with pytest.raises(AgentError, match="guest-file-open has not been found"):
            agent.call("guest-file-open", {"path": "/etc/passwd"})

    ask(tmp_path, body)


def test_output_beyond_the_limit_is_cut_and_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("pytest_vmnet.lab.pve.guestagent._OUTPUT_LIMIT", 1000)

    def body(agent: Agent) -> None:
        done = agent.run(["head", "-c", "5000", "/dev/zero"])
        assert (len(done.stdout), done.truncated) == (1000, True)

    ask(tmp_path, body)


def test_shutdown_ends_the_guest(tmp_path) -> None:
    def body(agent: Agent) -> None:
        agent.call("guest-shutdown", {"mode": "powerdown"})

    assert ask(tmp_path, body) == ["off"]


def test_interfaces_are_shown_as_qemu_ga_shows_them() -> None:
    info = [
        {"family": "inet", "local": "192.0.2.11", "prefixlen": 24},
        {"family": "inet6", "local": "2001:db8::11", "prefixlen": 64},
    ]
    row = {"ifname": "eth0", "address": "bc:24:11:00:00:01", "addr_info": info}
    assert _interface(row) == {
        "name": "eth0",
        "hardware-address": "bc:24:11:00:00:01",
        "ip-addresses": [
            {"ip-address": "192.0.2.11", "ip-address-type": "ipv4", "prefix": 24},
            {"ip-address": "2001:db8::11", "ip-address-type": "ipv6", "prefix": 64},
        ],
    }
