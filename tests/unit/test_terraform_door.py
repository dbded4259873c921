"""The door to Terraform, against the real program and its builtin provider."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import python_terraform  # type: ignore[import-untyped]

from pytest_vmnet.backends.clock import SYSTEM, Clock
from pytest_vmnet.backends.terraform import Grace, TerraformDoor, TimeLimits
from pytest_vmnet.backends.terraform.diagnostic import explain
from pytest_vmnet.backends.terraform.door import FOREIGN_ERRORS
from pytest_vmnet.backends.terraform.process import run
from pytest_vmnet.backends.terraform.redact import HIDDEN, redact, secret_values
from pytest_vmnet.core.terraform.plan import judge_plan
from pytest_vmnet.errors import ConfigError, TerraformError

TOKEN = "root@pam!gate=01234567-89ab-cdef-0123-456789abcdef"
needs_terraform = pytest.mark.skipif(
    not shutil.which("terraform"), reason="terraform is not on PATH"
)


def write(folder: Any, **more: Any) -> None:
    config = {
        "resource": {
            "terraform_data": {
                "vm": {"for_each": '${toset(["vm-1", "vm-2"])}', "input": "${each.key}"},
                "slow": {"input": "a", "provisioner": {"local-exec": {"command": "true"}}},
            }
        }
    }
    (folder / "main.tf.json").write_text(json.dumps(config | more))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: Any) -> None:
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PROXMOX_VE_API_TOKEN", TOKEN)


@pytest.fixture
def root(tmp_path: Any) -> Any:
    folder = tmp_path / "root"
    folder.mkdir()
    write(folder)
    return folder


def applied(door: Any, tmp_path: Any) -> None:
    plan = tmp_path / "first.tfplan"
    assert door.plan_tainted(plan)
    door.apply_file(plan)


@needs_terraform
def test_initialises_only_if_needed(root: Any) -> None:
    door = TerraformDoor(root)
    assert not door.init()
    assert not (root / ".terraform").exists()
    assert door.version().count(".") == 2


@needs_terraform
@pytest.mark.parametrize("locked", [False, True])
def test_initialises_if_a_provider_is_missing(
    root: Any, tmp_path: Any, monkeypatch: Any, locked: Any
) -> None:
    rc = tmp_path / "rc"
    rc.write_text(
        f'provider_installation {{\n filesystem_mirror {{\n path = "{tmp_path}"\n }}\n}}\n'
    )
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(rc))
    write(root, terraform={"required_providers": {"proxmox": {"source": "bpg/proxmox"}}})
    if locked:
        (root / ".terraform.lock.hcl").write_text("")
    door = TerraformDoor(root)
    with pytest.raises(TerraformError, match="bpg/proxmox") as caught:
        door.init()
    assert caught.value.command == "init"
    assert ("-lockfile=readonly" in door.commands[-1]) is locked


@needs_terraform
def test_initialises_a_backend_as_well(root: Any, tmp_path: Any) -> None:
    state = tmp_path / "elsewhere.tfstate"
    write(root, terraform={"backend": {"local": {"path": str(state)}}})
    door = TerraformDoor(root)
    assert door.init()
    assert not door.init()
    applied(door, tmp_path)
    assert state.exists()


@needs_terraform
def test_a_replacement_from_plan_to_proof(root: Any, tmp_path: Any) -> None:
    door = TerraformDoor(root)
    door.init()
    assert door.state_pull() == b""
    applied(door, tmp_path)
    old = door.state_pull()
    assert json.loads(old)["version"] == 4
    assert not door.has_changes()
    file = tmp_path / "plan"
    lines: list[str] = []
    assert door.plan_replace('terraform_data.vm["vm-1"]', file, lines.append)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert any("will be replaced, as requested" in line for line in lines)
    assert door.state_pull() == old
    plan = door.show_plan(file)
    found = judge_plan(plan, address='terraform_data.vm["vm-1"]', vmid=111)
    assert found.violations == (
        'terraform_data.vm["vm-1"] is a terraform_data, not a VM resource that the gate knows',
        'terraform_data.vm["vm-1"] is VMID None, not 111',
    )
    lines.clear()
    door.apply_file(file, lines.append)
    assert any(
        "Apply complete! Resources: 1 added, 0 changed, 1 destroyed." in one for one in lines
    )
    assert not door.has_changes()
    with pytest.raises(TerraformError, match="Saved plan is stale"):
        door.apply_file(file)


@needs_terraform
def test_an_address_that_is_not_there_plans_nothing(root: Any, tmp_path: Any) -> None:
    door = TerraformDoor(root)
    door.init()
    applied(door, tmp_path)
    assert not door.plan_replace('terraform_data.vm["vm-9"]', tmp_path / "plan")
    assert not judge_plan(
        door.show_plan(tmp_path / "plan"), address='terraform_data.vm["vm-9"]', vmid=1
    ).accepted


@needs_terraform
def test_taint_and_back(root: Any, tmp_path: Any) -> None:
    door = TerraformDoor(root)
    door.init()
    applied(door, tmp_path)
    door.taint('terraform_data.vm["vm-1"]')
    assert door.has_changes()
    assert door.plan_tainted(tmp_path / "plan")
    (change,) = [one for one in door.show_plan(tmp_path / "plan")["resource_changes"]
                 if one["change"]["actions"] != ["no-op"]]  # fmt: skip
    assert change["action_reason"] == "replace_because_tainted"
    door.untaint('terraform_data.vm["vm-1"]')
    assert not door.has_changes()
    with pytest.raises(TerraformError, match=r"(?s)terraform taint ended with 1.*vm-9"):
        door.taint('terraform_data.vm["vm-9"]')


@needs_terraform
def test_commands_are_told_as_a_person_would_type_them(root: Any, tmp_path: Any) -> None:
    door = TerraformDoor(root)
    with contextlib.suppress(TerraformError):
        door.plan_replace('a.b["c"]', tmp_path / "p")
    assert door.commands == [
        f"terraform -chdir={root} plan -no-color -input=false -detailed-exitcode -lock-timeout=0s "
        f"'-replace=a.b[\"c\"]' -out={tmp_path / 'p'}"
    ]


@needs_terraform
def test_a_locked_state_names_its_holder_and_stays_locked(root: Any, tmp_path: Any) -> None:
    door = TerraformDoor(root)
    door.init()
    applied(door, tmp_path)
    wait = {"local-exec": {"command": f"touch {tmp_path}/here; sleep 30"}}
    write(root, resource={"terraform_data": {"wait": {"provisioner": wait}}})
    holder = subprocess.Popen(
        ["terraform", "apply", "-auto-approve"], cwd=root, start_new_session=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert SYSTEM.wait_for((tmp_path / "here").exists, timeout_s=20)
        with pytest.raises(TerraformError) as caught:
            door.plan_replace("terraform_data.wait", tmp_path / "p")
    finally:
        os.killpg(holder.pid, signal.SIGINT)
        holder.wait(20)
    assert "the state is locked by " in caught.value.diagnostics
    assert "(OperationTypeApply since 20" in caught.value.diagnostics
    assert "never forces a lock" in caught.value.diagnostics


def test_a_lock_message_without_its_parts_still_says_what_to_do() -> None:
    assert "locked by someone" in explain("\x1b[31mError acquiring the state lock\x1b[0m")
    assert "\x1b" not in explain("\x1b[31mError acquiring the state lock\x1b[0m")


@needs_terraform
def test_an_error_in_the_configuration_is_told_without_secrets(root: Any) -> None:
    (root / "bad.tf").write_text(f'resource "x" "{TOKEN}" {{')
    door = TerraformDoor(root)
    with pytest.raises(TerraformError) as caught:
        door.has_changes()
    assert caught.value.command == "plan"
    assert caught.value.returncode == 1
    assert TOKEN not in str(caught.value)
    assert HIDDEN in str(caught.value)


@needs_terraform
def test_python_terraform_keeps_quiet(root: Any, tmp_path: Any, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("python_terraform", "python_terraform.tfstate"):
        caplog.set_level(logging.DEBUG, logger=name)
    door = TerraformDoor(root)
    with pytest.raises(TerraformError):
        door.show_plan(tmp_path / "none")
    with pytest.raises(TerraformError):
        door.taint("no.such")
    assert caplog.records == []


@needs_terraform
def test_reads_no_state_file(root: Any) -> None:
    (root / "terraform.tfstate").write_text("not JSON")
    door = TerraformDoor(root)
    door.version()
    with pytest.raises(TerraformError):
        door.state_pull()


def test_a_folder_that_is_not_there(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"--vmnet-terraform-dir = .*no such folder"):
        TerraformDoor(tmp_path / "none")


def test_a_program_that_is_not_there(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="'no-such-terraform' is not on PATH"):
        TerraformDoor(tmp_path, binary="no-such-terraform")


def test_every_error_of_python_terraform_is_mapped() -> None:
    theirs = [
        kind
        for _, kind in inspect.getmembers(python_terraform, inspect.isclass)
        if issubclass(kind, BaseException)
    ]
    assert theirs
    assert all(issubclass(kind, FOREIGN_ERRORS) for kind in theirs)


def script(folder: Any, body: Any) -> Any:
    path = folder / "terraform"
    path.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_that_prints_nonsense(tmp_path: Any) -> None:
    door = TerraformDoor(tmp_path, binary=script(tmp_path, "print('[1]')"))
    with pytest.raises(TerraformError, match="not a plan"):
        door.show_plan(tmp_path / "x")
    door = TerraformDoor(
        tmp_path, binary=script(tmp_path, "sys.stdout.buffer.write(b'\\xff'); sys.exit(1)")
    )
    with pytest.raises(TerraformError, match="could not be run"):
        door.taint("a.b")


def test_a_program_that_cannot_be_started(tmp_path: Any) -> None:
    binary = script(tmp_path, "")
    door = TerraformDoor(tmp_path, binary=binary)
    Path(binary).unlink()
    with pytest.raises(TerraformError, match="plan did not end: could not be run"):
        door.has_changes()
    with pytest.raises(TerraformError, match="untaint did not end: could not be run"):
        door.untaint("a.b")


@pytest.mark.parametrize(
    ("body", "fate"),
    [
        ("print('up', flush=True); time.sleep(60)", "it was interrupted and wound up"),
        ("signal.signal(2, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
         "it ignored SIGINT and was terminated"),
        ("signal.signal(2, signal.SIG_IGN); signal.signal(15, signal.SIG_IGN); "
         "print('up', flush=True); time.sleep(60)", "was killed"),
    ],
)  # fmt: skip
def test_a_time_limit_ends_it_with_manners(tmp_path: Any, body: Any, fate: Any) -> None:
    late: list[str] = []
    door = TerraformDoor(
        tmp_path,
        binary=script(tmp_path, body),
        clock=Clock(monotonic=lambda: time.monotonic() + (1000 if late else 0)),
        limits=TimeLimits(apply_s=500),
        grace=Grace(interrupt_s=0.6, terminate_s=0.6),
    )
    begun = time.monotonic()
    with pytest.raises(TerraformError, match=f"did not end within 500 s; .*{fate}") as caught:
        door.apply_file(tmp_path / "plan", late.append)
    assert caught.value.returncode is None
    assert time.monotonic() - begun < 60


def ctrl_c(when: Any, times: Any = 1) -> Any:
    def press() -> None:
        SYSTEM.wait_for(when, timeout_s=10)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.7)  # noqa: TID251 - a person's second key press

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_ctrl_c_is_forwarded_once_and_waited_for(tmp_path: Any) -> None:
    log = tmp_path / "log"
    body = f"""
def note(number, frame):
    with open({str(log)!r}, "a") as file: file.write(f"{{number}}\\n")
signal.signal(signal.SIGINT, note); signal.signal(signal.SIGTERM, note)
print("up", flush=True)
open({str(tmp_path / "up")!r}, "w")
end = time.monotonic() + 2
while time.monotonic() < end: time.sleep(0.05)
open({str(tmp_path / "state saved")!r}, "w")
"""
    door = TerraformDoor(tmp_path, binary=script(tmp_path, body))
    thread = ctrl_c((tmp_path / "up").exists)
    with pytest.raises(KeyboardInterrupt):
        door.apply_file(tmp_path / "plan")
    thread.join()
    assert (tmp_path / "state saved").exists()
    assert log.read_text() == "2\n"


def test_a_second_ctrl_c_terminates(tmp_path: Any) -> None:
    body = f"""
signal.signal(signal.SIGINT, signal.SIG_IGN)
open({str(tmp_path / "up")!r}, "w")
time.sleep(60)
"""
    door = TerraformDoor(tmp_path, binary=script(tmp_path, body))
    thread = ctrl_c((tmp_path / "up").exists, times=2)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        door.apply_file(tmp_path / "plan")
    thread.join()
    assert time.monotonic() - begun < 15


def test_a_listener_that_fails_leaves_nothing_running(tmp_path: Any) -> None:
    body = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); print('x', flush=True); time.sleep(60)"  # noqa: E501
    door = TerraformDoor(tmp_path, binary=script(tmp_path, body))

    def fail(line: Any) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError, match="x"):
        door.apply_file(tmp_path / "plan", fail)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_progress_comes_while_it_runs_line_by_line(tmp_path: Any) -> None:
    body = "print('one', flush=True); time.sleep(0.8); print('two'); sys.stdout.write('three')"
    seen = []
    ended = run(
        [script(tmp_path, body)],
        folder=tmp_path,
        environ=os.environ,
        timeout_s=20,
        on_line=lambda line: seen.append((line, time.monotonic())),
        clock=SYSTEM,
        grace=Grace(),
    )
    assert [line for line, _ in seen] == ["one", "two", "three"]
    assert seen[1][1] - seen[0][1] > 0.3
    assert ended.stdout == "one\ntwo\nthree"


def test_it_lives_in_a_session_of_its_own_without_our_input(tmp_path: Any) -> None:
    body = "print(os.getsid(0) == os.getpid(), sys.stdin.read() == '', os.environ['TF_INPUT'])"
    door = TerraformDoor(tmp_path, binary=script(tmp_path, body))
    assert door.state_pull() == b"True True 0\n"


def test_it_outlives_us_and_finishes(tmp_path: Any) -> None:
    body = f"""
open({str(tmp_path / "up")!r}, "w")
for number in range(20):
    print("x" * 10_000, flush=True); time.sleep(0.05)
open({str(tmp_path / "state saved")!r}, "w")
"""
    binary = script(tmp_path, body)
    code = (
        "from pathlib import Path; from pytest_vmnet.backends.terraform import TerraformDoor; "
        f"TerraformDoor(Path({str(tmp_path)!r}), binary={binary!r}).apply_file(Path('p'))"
    )
    gate = subprocess.Popen([sys.executable, "-c", code])
    assert SYSTEM.wait_for((tmp_path / "up").exists, timeout_s=20)
    gate.kill()
    gate.wait(10)
    assert SYSTEM.wait_for((tmp_path / "state saved").exists, timeout_s=20)


def test_secrets_are_known_by_their_names() -> None:
    environ = {
        "PROXMOX_VE_API_TOKEN": TOKEN,
        "PM_API_TOKEN_SECRET": "s3cr3t-value",
        "PM_PASS": "hunter22",
        "PROXMOX_VE_PASSWORD": 'quo"te',
        "PROXMOX_VE_SSH_PRIVATE_KEY": "-----BEGIN\nAAAAB3Nza\n-----END",
        "TF_VAR_cipassword": "p a s s",
        "PROXMOX_VE_OTP": "12",
        "PROXMOX_VE_ENDPOINT": "https://192.0.2.2:8006/",
        "PATH": "/usr/bin",
    }
    said = (
        f'{TOKEN} {TOKEN.partition("=")[2]} s3cr3t-value hunter22 quo\\"te AAAAB3Nza '
        "p%20a%20s%20s 12 https://192.0.2.2:8006/ /usr/bin"
    )
    told = redact(said, secret_values(environ))
    assert told == (
        f"{HIDDEN} {HIDDEN} {HIDDEN} {HIDDEN} {HIDDEN} {HIDDEN} {HIDDEN} 12 "
        "https://192.0.2.2:8006/ /usr/bin"
    )
