"""The site without guests: its wiring, `vmnet lab exec`, and what the machine sees of it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.lab import spec

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("workstation", spec.GATEWAY_ADDRESS),
        ("workstation", spec.NODE_ADDRESS),
        ("workstation", spec.EXTERNAL_ADDRESS),
        ("node", spec.GATEWAY_ADDRESS),
        ("node", spec.EXTERNAL_ADDRESS),
        ("external", spec.NODE_ADDRESS),
    ],
)
def test_hosts_reach_each_other(bare_lab: Any, host: Any, address: Any) -> None:
    assert bare_lab.exec(host, "ping", "-c", "1", "-W", "2", address).returncode == 0


def test_there_is_no_way_out(bare_lab: Any) -> None:
    assert bare_lab.exec("workstation", "ping", "-c", "1", "-W", "1", "203.0.113.1").returncode
    assert bare_lab.exec("workstation", "getent", "hosts", "example.org").returncode


@pytest.mark.parametrize("target", ["pve1", spec.NODE_ADDRESS])
def test_ssh_leads_to_the_node(bare_lab: Any, target: Any) -> None:
    said = bare_lab.out("workstation", "ssh", target, "hostname; ls /sys/class/net; id -u")
    assert said.split() == [spec.NODE, spec.UPLINK, "lo", spec.BRIDGE, "0"]


def test_bridges_are_as_on_a_node(bare_lab: Any) -> None:
    ports = bare_lab.out("node", "ls", f"/sys/class/net/{spec.BRIDGE}/brif").split()
    assert ports == [spec.UPLINK]
    assert bare_lab.out("node", "cat", f"/sys/class/net/{spec.BRIDGE}/bridge/stp_state") == "0\n"
    ports = bare_lab.out("switch", "ls", "/sys/class/net/sw0/brif").split()
    assert ports == ["sw-gw", "sw-node", "sw-ws"]


def test_up_on_a_lab_that_is_up_does_nothing(bare_lab: Any) -> None:
    before = bare_lab.status()
    done = bare_lab.run("up", "--no-guests")
    assert done.returncode == 0
    assert done.stdout.decode() == f"lab {bare_lab.name!r} is up\n"
    assert bare_lab.status() == before


@pytest.mark.parametrize("host", ["node", "pve1", "switch", "gateway", "external", "workstation"])
def test_exec_passes_the_exit_code(bare_lab: Any, host: Any) -> None:
    assert bare_lab.exec(host, "sh", "-c", "exit 42").returncode == 42


def test_exec_passes_bytes_through(bare_lab: Any) -> None:
    data = os.urandom(2_000_000) + b"\0\xff\r\n"
    done = bare_lab.exec("gateway", "sh", "-c", "tee /dev/stderr", stdin=data)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    assert done.stderr == done.stdout


def test_exec_says_which_signal_ended_the_command(bare_lab: Any) -> None:
    assert bare_lab.exec("node", "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL
    assert bare_lab.exec("node", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_exec_answers_like_a_shell_for_what_it_cannot_run(bare_lab: Any) -> None:
    missing = bare_lab.exec("node", "no-such-program")
    assert missing.returncode == 127
    assert b"'no-such-program': No such file or directory" in missing.stderr
    assert bare_lab.exec("node", "/etc/hosts").returncode == 126


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_exec_forwards_signals(bare_lab: Any, number: Any) -> None:
    script = f"trap 'exit 7' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    command = bare_lab.popen("exec", "node", "--", "sh", "-c", script, stdout=subprocess.PIPE)
    assert command.stdout.readline() == b"ready\n"
    command.send_signal(number)
    assert command.wait(10) == 7
    command.stdout.close()


def test_a_signal_to_the_whole_group_arrives_once(bare_lab: Any) -> None:
    script = "trap 'echo got' INT; echo ready; read line; exit 0"
    command = bare_lab.popen(
        "exec",
        "node",
        "--",
        "bash",
        "-c",
        f"{script}",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert command.stdout.readline() == b"ready\n"
    os.killpg(command.pid, signal.SIGINT)
    SYSTEM.sleep(0.3)
    command.send_signal(signal.SIGINT)
    SYSTEM.sleep(0.3)
    assert command.communicate(b"\n", timeout=10)[0] == b"got\ngot\n"
    assert command.returncode == 0


def test_a_killed_exec_takes_its_command_along(bare_lab: Any) -> None:
    marker = f"4{os.getpid()}.25"
    command = bare_lab.popen("exec", "node", "--", "sleep", marker)
    assert SYSTEM.wait_for(lambda: _is_there(marker), timeout_s=5)
    command.kill()
    command.wait()
    assert SYSTEM.wait_for(lambda: not _is_there(marker), timeout_s=5)


def _is_there(marker: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", marker.encode()]:
            return True
    return False


def test_the_workstation_has_the_callers_folder_files_and_environment(
    bare_lab: Any, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("here")
    env = {
        **bare_lab.env,
        "MINE": "1",
        "PROXMOX_VE_USERNAME": "someone@pam",
        "PM_API_URL": "https://elsewhere",
        "https_proxy": "http://proxy",
    }
    script = "pwd; cat in; echo; echo out >out; env | grep -E '^(MINE|P(ROXMOX|M)_|https_proxy)'"
    done = bare_lab.exec("workstation", "sh", "-c", script, env=env, cwd=tmp_path)
    assert done.stdout.decode().split() == [str(tmp_path), "here", "MINE=1"]
    assert (tmp_path / "out").read_text() == "out\n"


def test_other_hosts_have_a_clean_environment(bare_lab: Any) -> None:
    env = {**bare_lab.env, "MINE": "1"}
    done = bare_lab.exec("node", "env", env=env)
    names = {line.partition("=")[0] for line in done.stdout.decode().splitlines()}
    assert names - {"TERM"} == {"PATH", "HOME", "LANG", "USER", "LOGNAME"}


def test_what_the_node_writes_stays_in_the_lab(bare_lab: Any, tmp_path: Path) -> None:
    folders = ["/etc", "/root", "/tmp", "/var/lib", "/var/tmp", str(tmp_path)]  # noqa: S108
    places = [f"{folder}/vmnet-{os.getpid()}" for folder in folders]
    bare_lab.out("node", "touch", *places)
    assert bare_lab.out("node", "ls", *places).split() == sorted(places)
    assert [place for place in places if Path(place).exists()] == []


@pytest.mark.parametrize("host", ["mars", ""])
def test_an_unknown_host_is_a_usage_error_with_the_list(bare_lab: Any, host: Any) -> None:
    done = bare_lab.exec(host, "true")
    assert done.returncode == 2
    for known in ("pve1", "switch", "gateway", "external", "workstation", "vm-5"):
        assert known in done.stderr.decode()


def test_a_guest_that_is_not_there_is_said_to_be_missing(bare_lab: Any) -> None:
    done = bare_lab.exec("vm-1", "true")
    assert done.returncode == 1
    assert "no host 'vm-1' in this lab" in done.stderr.decode()


def test_exec_costs_little(bare_lab: Any) -> None:
    bare_lab.exec("node", "true")
    began = SYSTEM.monotonic()
    for _ in range(5):
        bare_lab.exec("node", "true")
    assert (SYSTEM.monotonic() - began) / 5 < 0.5
