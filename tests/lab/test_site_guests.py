"""The lab with its guests: what is there, `exec` over the agent, the workstation's toolbox."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.lab import spec

pytestmark = pytest.mark.lab


def test_status_tells_the_guests(lab: Any) -> None:
    found = json.loads(lab.run("status", "--json").stdout)
    assert found["up"] is True
    assert found["dead"] == []
    expected = [(each.name, each.vmid, each.address, each.tap) for each in spec.GUESTS]
    keys = ("name", "vmid", "address", "tap")
    assert [tuple(guest[key] for key in keys) for guest in found["guests"]] == expected
    assert len({guest["mac"] for guest in found["guests"]}) == len(spec.GUESTS)
    for guest in found["guests"]:
        assert guest["mac"].startswith("bc:24:11:")
        name = Path(f"/proc/{guest['pid']}/cmdline").read_bytes().split(b"\0")
        assert name[0] == b"qemu-system-x86_64"
        assert any(word.startswith(guest["name"].encode()) for word in name)


def test_the_token_is_told_on_the_workstation_only(lab: Any) -> None:
    token = lab.out("workstation", "printenv", "PROXMOX_VE_API_TOKEN").strip()
    assert token.startswith(f"{spec.TOKEN_ID}=")
    secret = token.partition("=")[2]
    assert secret not in lab.run("status", "--json").stdout.decode()
    assert secret in lab.run("env").stdout.decode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret.encode() not in path.read_bytes()
        except OSError:
            continue


def test_the_workstation_reaches_the_api_with_what_its_environment_says(
    lab: Any, tmp_path: Path
) -> None:
    script = tmp_path / "ask.py"
    script.write_text(
        "import os, requests\n"
        "answer = requests.get(os.environ['PROXMOX_VE_ENDPOINT'] + 'api2/json/nodes', headers="
        "{'Authorization': 'PVEAPIToken=' + os.environ['PROXMOX_VE_API_TOKEN']})\n"
        "print(answer.json()['data'][0]['node'])\n"
    )
    # The caller's own certificates must not get in the way.
    env = {**lab.env, "REQUESTS_CA_BUNDLE": "/nowhere", "CURL_CA_BUNDLE": "/nowhere"}
    done = lab.exec("workstation", sys.executable, str(script), env=env)
    assert done.stdout.decode() == f"{spec.NODE}\n", done.stderr.decode()


def test_terraform_finds_nothing_to_change(lab: Any) -> None:
    script = 'cd "$VMNET_TERRAFORM_DIR" && terraform plan -detailed-exitcode -no-color'
    done = lab.exec("workstation", "sh", "-c", script)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def test_ssh_leads_to_a_guest_too(lab: Any) -> None:
    assert lab.out("workstation", "ssh", "vm-2", "hostname; id -un").split() == ["vm-2", "root"]


def test_guest_commands_keep_bytes_and_exit_code(lab: Any) -> None:
    data = bytes(range(256)) * 64
    done = lab.exec("vm-1", "sh", "-c", "cat; echo oops >&2; exit 42", stdin=data)
    assert (done.returncode, done.stdout, done.stderr) == (42, data, b"oops\n")


def test_guest_commands_tell_their_signal(lab: Any) -> None:
    assert lab.exec("vm-1", "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


def test_a_guest_answers_like_a_shell_for_what_it_cannot_run(lab: Any) -> None:
    missing = lab.exec("vm-1", "no-such-program")
    assert missing.returncode == 127
    assert b"no-such-program" in missing.stderr
    assert lab.exec("vm-1", "/etc/passwd").returncode == 126


def test_a_guests_input_may_trickle_in(lab: Any) -> None:
    command = lab.popen("exec", "vm-1", "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for piece in (b"one\n", b"two\n"):
        SYSTEM.sleep(0.6)
        command.stdin.write(piece)
        command.stdin.flush()
    command.stdin.close()
    assert command.stdout.read() == b"one\ntwo\n"
    command.stdout.close()
    assert command.wait(10) == 0


def test_a_guest_command_does_not_wait_for_a_silent_stdin(lab: Any) -> None:
    reader, writer = os.pipe()
    command = lab.popen("exec", "vm-1", "--", "hostname", stdin=reader, stdout=subprocess.PIPE)
    assert command.communicate(timeout=20)[0] == b"vm-1\n"
    os.close(reader)
    os.close(writer)


def test_a_guest_command_gets_our_signals(lab: Any) -> None:
    command = lab.popen("exec", "vm-1", "--", "sleep", "987")
    running = ("sh", "-c", "pidof sleep >/dev/null")
    assert SYSTEM.wait_for(lambda: lab.exec("vm-1", *running).returncode == 0, timeout_s=20)
    command.send_signal(signal.SIGTERM)
    assert command.wait(20) == 128 + signal.SIGTERM


def test_a_killed_qemu_is_told_and_repaired(lab: Any) -> None:
    victim = next(each for each in lab.status()["guests"] if each["name"] == "vm-5")
    os.kill(victim["pid"], signal.SIGKILL)
    assert SYSTEM.wait_for(lambda: lab.status()["dead"] == ["vm-5"], timeout_s=5)
    done = lab.run("up")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().startswith(f"lab {lab.name!r} is whole again: vm-5;")
    after = next(each for each in lab.status()["guests"] if each["name"] == "vm-5")
    assert after["pid"] != victim["pid"]
    assert after["mac"] == victim["mac"]
    assert lab.loss("vm-5", spec.GATEWAY_ADDRESS, count=5) == 0
