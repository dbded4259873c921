"""How labs begin and end: whatever dies, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.lab import client

pytestmark = pytest.mark.lab


def processes(name: str) -> list[int]:
    """Return the lab's outer process, its init and whoever is their child, oldest first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"pytest_vmnet.lab.supervisor" in words and name.encode() in words:
            found.append(int(path.parent.name))
    return sorted(found)


def in_namespace(inode: int) -> list[str]:
    """Return the processes of a PID namespace."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "ns/pid").stat().st_ino == inode:
                found.append(path.name)
        except OSError:
            continue
    return found


def traces() -> dict[str, object]:
    """Return what a lab could leave behind on the machine."""
    return {
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "devices": sorted(Path("/sys/class/net").iterdir()),
        "run": sorted(Path("/run").iterdir()),
        "etc/ssh": sorted(Path("/etc/ssh").iterdir()),
        "netns": subprocess.run(["ip", "netns"], capture_output=True, check=True).stdout,
    }


def is_gone(lab: Any, inode: int) -> bool:
    return not processes(lab.name) and not in_namespace(inode)


def namespace_of(lab: Any) -> int:
    # The youngest is a host's holder, inside.
    return (Path("/proc") / str(processes(lab.name)[-1]) / "ns/pid").stat().st_ino


@pytest.mark.parametrize(
    ("which", "nodes"),
    [(0, 1), (1, 1), (2, 1), (0, 2)],
    ids=["outer", "init", "supervisor", "outer-of-two-nodes"],
)
def test_kill_9_of_any_half_leaves_nothing(new_lab: Any, which: Any, nodes: Any) -> None:
    before = traces()
    assert new_lab.run("up", "--no-guests", "--nodes", str(nodes)).returncode == 0
    inode = namespace_of(new_lab)
    assert len(in_namespace(inode)) > 5
    os.kill(processes(new_lab.name)[which], signal.SIGKILL)
    assert SYSTEM.wait_for(lambda: is_gone(new_lab, inode), timeout_s=5, interval_s=0.02)
    assert new_lab.status()["up"] is False
    assert traces() == before


@pytest.mark.parametrize("nodes", ["1", "2"])
def test_down_returns_when_everything_is_gone(new_lab: Any, nodes: Any) -> None:
    before = traces()
    assert new_lab.run("up", "--no-guests", "--nodes", nodes).returncode == 0
    inode = namespace_of(new_lab)
    command = new_lab.popen("exec", "workstation", "--", "sleep", "1000")
    assert new_lab.exec("node", "true").returncode == 0
    done = new_lab.run("down")
    assert (done.returncode, is_gone(new_lab, inode)) == (0, True)
    assert command.wait(5) == 128 + signal.SIGKILL
    assert traces() == before


def test_down_without_a_lab_is_fine(new_lab: Any) -> None:
    done = new_lab.run("down")
    assert done.returncode == 0
    assert done.stdout.decode() == f"no lab {new_lab.name!r} was up\n"


@pytest.mark.parametrize("words", [("exec", "node", "--", "true"), ("env",), ("fault", "clear")])
def test_without_a_lab_a_command_says_so(new_lab: Any, words: Any) -> None:
    done = new_lab.run(*words)
    assert done.returncode == 3
    assert f"no lab {new_lab.name!r} is up; `vmnet lab up`" in done.stderr.decode()


def test_one_of_several_ups_wins_and_the_others_wait(new_lab: Any) -> None:
    ups = [new_lab.popen("up", "--no-guests", stdout=subprocess.PIPE) for _ in range(4)]
    said = [up.communicate(timeout=60)[0].decode() for up in ups]
    assert [up.returncode for up in ups] == [0, 0, 0, 0]
    assert sum("after" in line for line in said) == 1
    assert new_lab.status()["up"] is True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_up_that_ends_early_takes_the_lab_along(new_lab: Any, number: Any) -> None:
    up = new_lab.popen("up", "--no-guests", stderr=subprocess.PIPE)
    assert up.stderr.readline() == b"lab: site: hosts, switch, cables, SSH\n"
    up.send_signal(number)
    up.communicate(timeout=10)
    assert SYSTEM.wait_for(lambda: not processes(new_lab.name), timeout_s=5, interval_s=0.02)


def test_a_held_lab_ends_with_its_holder(new_lab: Any) -> None:
    script = (
        "import sys; from pytest_vmnet.lab.up import bring_up;"
        "held = bring_up(sys.argv[1], lambda line: None, provider=None, hold=True);"
        "print(held.started, flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, new_lab.name],
        env=new_lab.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    assert new_lab.exec("node", "true").returncode == 0
    holder.kill()
    holder.communicate()
    assert SYSTEM.wait_for(lambda: not processes(new_lab.name), timeout_s=5, interval_s=0.02)


def test_a_dead_sshd_is_told_and_repaired(new_lab: Any) -> None:
    assert new_lab.run("up", "--no-guests").returncode == 0
    assert new_lab.exec("node", "sh", "-c", "kill -9 $(pgrep -o sshd)").returncode == 0
    assert SYSTEM.wait_for(lambda: new_lab.status()["dead"] == ["sshd"], timeout_s=5)
    done = new_lab.run("up", "--no-guests")
    assert done.stdout.decode().startswith(f"lab {new_lab.name!r} is whole again: sshd;")
    assert "lab: sshd is dead\n" in done.stderr.decode()
    assert new_lab.status()["dead"] == []
    assert new_lab.exec("workstation", "ssh", "pve1", "true").returncode == 0


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_dead_host_means_a_new_lab(new_lab: Any, nodes: Any) -> None:
    assert new_lab.run("up", "--no-guests", "--nodes", str(nodes)).returncode == 0
    old = processes(new_lab.name)
    os.kill(old[-1], signal.SIGKILL)
    assert SYSTEM.wait_for(lambda: new_lab.status()["dead"] == ["workstation"], timeout_s=5)
    done = new_lab.run("up", "--no-guests")
    assert done.returncode == 0
    assert "it cannot be repaired" in done.stderr.decode()
    assert not set(old) & set(processes(new_lab.name))
    assert new_lab.status()["dead"] == []
    assert len(new_lab.status()["nodes"]) == nodes


def test_labs_of_different_names_live_side_by_side(new_lab: Any, bare_lab: Any) -> None:
    assert new_lab.run("up", "--no-guests").returncode == 0
    new_lab.out("node", "ip", "link", "add", "mine", "type", "bridge")
    assert bare_lab.exec("node", "ip", "link", "show", "mine").returncode == 1
    assert client.take_down(new_lab.name)
    assert bare_lab.exec("workstation", "ssh", "pve1", "true").returncode == 0
