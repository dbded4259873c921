"""Namespace guests behind the API: the gate takes them for guests, and finds what is planted."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import client, preflight
from pytest_vmnet.lab.crowd import Crowd, crowd
from pytest_vmnet.lab.pve.crowd import addresses
from pytest_vmnet.lab.wire import address

pytestmark = pytest.mark.lab

# 60 probes prove 5 %: quick, and a busy machine does not fail it.
QUICK = ("--vmnet-max-loss=5%", "--vmnet-interval=0.02")
DROP = (
    "table netdev planted { chain c { type filter hook egress device tap112i0 priority 0; "
    "icmp type echo-reply drop; }; }"
)


def _needs_lab() -> None:
    try:
        preflight.check(guests=False)
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def three() -> Iterator[Crowd]:
    _needs_lab()
    with crowd(f"test-crowd-{os.getpid()}", 3, lambda line: sys.stderr.write(f"{line}\n")) as site:
        yield site


def gate(site: Crowd, folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    report = folder / "out.json"
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *site.connection, *QUICK]
    done = site.run("workstation", [*argv, f"--vmnet-json={report}", *options], cwd=folder)
    told = done.stdout.decode() + done.stderr.decode()
    assert report.exists(), told
    return done.returncode, json.loads(report.read_text(encoding="utf-8")), told


def verdicts(told: dict[str, Any]) -> dict[str, str]:
    return {guest["name"]: guest["verdict"] for guest in told["guests"]}


def test_the_gate_finds_namespace_guests_healthy(three, tmp_path) -> None:
    code, told, shown = gate(three, tmp_path)
    assert verdicts(told) == dict.fromkeys(("vm-1", "vm-2", "vm-3"), "healthy"), shown
    assert code == 0
    flows = [flow for guest in told["guests"] for flow in guest["flows"]]
    assert {flow["kind"] for flow in flows} == {"gateway", "external", "inbound", "peer"}
    assert "guest:eth0" in shown or "vm-1" in shown


def test_a_planted_drop_is_found_at_its_tap(three, tmp_path) -> None:
    planted = three.run("node", ["nft", DROP])
    assert planted.returncode == 0, planted.stderr.decode()
    try:
        code, told, shown = gate(three, tmp_path)
    finally:
        three.run("node", ["nft", "delete table netdev planted"])
    assert verdicts(told) == {"vm-1": "healthy", "vm-2": "unhealthy", "vm-3": "healthy"}, shown
    assert code == 1
    finding = next(g for g in told["guests"] if g["name"] == "vm-2")["findings"][0]
    assert finding["reason"] == "TapEgressDrop"
    assert (finding["leg"], finding["next_point"]) == ("reply", "tap112i0")


def test_commands_in_a_guest_run_in_the_guest(three) -> None:
    done = three.run("vm-2", ["sh", "-c", "hostname; ip -4 -o addr show eth0; ls /sys/class/net"])
    assert done.returncode == 0, done.stderr.decode()
    told = done.stdout.decode()
    assert told.startswith("vm-2\n")
    assert "192.0.2.12/24" in told
    assert told.splitlines()[-2:] == ["eth0", "lo"]
    assert three.run("vm-2", ["sh", "-c", "exit 7"]).returncode == 7
    assert three.run("vm-2", ["sh", "-c", "kill -TERM $$"]).returncode == 128 + signal.SIGTERM


def test_nothing_is_left_after_kill_9() -> None:
    _needs_lab()
    name = f"test-crowd-kill-{os.getpid()}"
    code = (
        "import sys\nfrom pytest_vmnet.lab.crowd import crowd\n"
        f"with crowd({name!r}, 2, lambda _: None) as site:\n"
        "    print('up', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout
    assert holder.stdin
    assert holder.stdout.readline() == b"up\n"
    lab = client.connect(name)
    ended = os.pidfd_open(lab.pid)
    inside = client.status(name)["guests"]
    assert [guest["name"] for guest in inside] == ["vm-1", "vm-2"]
    pids = [guest["pid"] for guest in inside]
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    lab.close()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    holder.stdin.close()
    assert select.select([ended], [], [], 20)[0], f"the lab {address(name)!r} outlives its holder"
    os.close(ended)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not client.status(name)["up"]


def test_more_guests_than_addresses_are_refused() -> None:
    assert addresses(40)[-2:] == ["192.0.2.49", "192.0.2.51"], "the workstation's own is left out"
    with pytest.raises(LabError, match="300 guests: at most 243 fit"):
        addresses(300)
