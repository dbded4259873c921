"""Settings that are missing, wrong or contradict: exit 4, and the message says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

USAGE = pytest.ExitCode.USAGE_ERROR


def _complaint(result: Any) -> str:
    assert result.ret == USAGE
    return " ".join(str(result.stderr.str() + result.stdout.str()).split())


def test_ini_twins(site: Any, pytester: Any) -> None:
    pytester.makeini("[pytest]\nvmnet_count = 17\nvmnet_max_loss = 5%\nvmnet_guest = vm-1\n")
    env = {"VMNET_COUNT": "", "VMNET_MAX_LOSS": "2%"}
    result = site.gate("--collect-only", "--vmnet-confidence=0.9", env=env)
    assert result.ret == 0
    head = " ".join(result.stdout.str().split())
    assert "vmnet-count 17 (ini)" in head
    assert "vmnet-max-loss 0.02 (environment VMNET_MAX_LOSS)" in head
    assert "vmnet-confidence 0.9 (command line)" in head
    assert "vmnet-rebuild: never (default) - no guest will be touched" in head
    assert "test_verdict[vm-1]" in head
    assert "test_verdict[vm-2]" not in head


def test_node_in_ini_switches_the_gate_on(site: Any, run: Any, pytester: Any) -> None:
    pytester.makeini("[pytest]\nvmnet_proxmox_node = pve1\n")
    result = run("--collect-only", "-q", env=site.environment)
    assert result.ret == 0
    assert "test_verdict[vm-1]" in result.stdout.str()


def test_command_line_wins(site: Any) -> None:
    wrong = {"PROXMOX_VE_ENDPOINT": "https://127.0.0.1:1/"}
    result = site.gate("--collect-only", "--proxmox-host", site.pve.url, env=wrong)
    assert result.ret == 0
    assert "(command line)" in result.stdout.str()


def test_families_that_disagree(site: Any) -> None:
    said = _complaint(site.gate(env={"PM_API_URL": "https://pve9:8006/api2/json"}))
    assert "--proxmox-host: PROXMOX_VE_ENDPOINT and PM_API_URL are both set and disagree" in said
    assert not site.pve.requests


def test_families_that_agree(site: Any) -> None:
    result = site.gate("--collect-only", env={"PM_API_URL": f"{site.pve.url}/api2/json"})
    assert result.ret == 0


def test_tokens_that_disagree(site: Any) -> None:
    other = {"PM_API_TOKEN_ID": "root@pam!other", "PM_API_TOKEN_SECRET": "s3cret2"}
    said = _complaint(site.gate(env=other))
    assert "PROXMOX_VE_API_TOKEN and PM_API_TOKEN_SECRET are both set and disagree" in said


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"PROXMOX_VE_ENDPOINT": ""}, "no API endpoint: pass --proxmox-host, or set PROXMOX_VE_E"),
        ({"PROXMOX_VE_ENDPOINT": "https://"}, "names no host"),
        ({"PROXMOX_VE_ENDPOINT": "https://pve:port/"}, "'https://pve:port/'"),
        ({"PROXMOX_VE_ENDPOINT": "https://[::1/"}, "'https://[::1/'"),
        ({"PROXMOX_VE_API_TOKEN": ""}, "no API token: set PROXMOX_VE_API_TOKEN to USER@REALM!"),
        ({"PROXMOX_VE_API_TOKEN": "root@pam!=s3cret"}, "is not of the form USER@REALM!NAME=SEC"),
        ({"PROXMOX_VE_API_TOKEN": "s3cret"}, "no API user: put USER@REALM!NAME=SECRET into"),
        ({"PROXMOX_VE_USERNAME": "me@pve"}, "'me@pve' by its option and 'root@pam' by PROXMOX_"),
        ({"VMNET_PROXMOX_CA": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
        ({"VMNET_EXTERNAL": "192.0.2.8,192.0.2.9"}, "two IPv4 addresses; give one, or one of"),
        ({"VMNET_EXTERNAL": "example.org"}, "vmnet_external = 'example.org' (from environment V"),
    ],
)
def test_connection_that_cannot_be(site: Any, changes: dict[str, str], wanted: str) -> None:
    said = _complaint(site.gate("--vmnet-json=out.json", env=changes))
    assert wanted in said
    assert not site.pve.requests
    written = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert written["guests"] == []
    assert wanted[:40] in written["run"]["error"]


def test_token_file(site: Any, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("root@pam!vmnet=s3cret\n", encoding="utf-8")
    words = ("--collect-only", "--proxmox-token-file", str(file))
    assert site.gate(*words, env={"PROXMOX_VE_API_TOKEN": ""}).ret == 0
    said = _complaint(site.gate("--proxmox-token-file", str(tmp_path / "none")))
    assert "No such file" in said


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("--vmnet-count=4", "vmnet_count = '4' (from command line): expected a"),
        ("--vmnet-count=many", "vmnet_count = 'many' (from command line)"),
        ("--vmnet-max-loss=100%", "expected a share such as 0.01 or 1%"),
        ("--vmnet-max-loss=nan", "expected a share such as 0.01 or 1%"),
        ("--vmnet-confidence=1", "expected a number from 0.5 to 0.999999"),
        ("--vmnet-interval=nan", "expected a number from 0.002 to 10"),
        ("--vmnet-peers=some", "expected segment, all or a number of peers"),
        ("--vmnet-inbound=perhaps", "choose one of auto, off"),
        ("--vmnet-inconclusive=pass", "choose one of error, fail, skip"),
        ("--vmnet-rebuild=always", "choose one of never, plan, diagnosed, unhealthy"),
        ("--vmnet-ladder=reboot", "unknown rung 'reboot': choose of restart, remac, rebuild"),
        ("--vmnet-ladder=,", "expected at least one of restart, remac, rebuild"),
        (
            "--vmnet-max-unhealthy=lots",
            "--vmnet-max-unhealthy = 'lots': not a limit; write a number",
        ),
        ("--vmnet-lock-timeout=-1", "expected a number from 0 to 86400"),
        ("--proxmox-ssh=pve1", "expected NODE=TARGET,... or none"),
        ("--proxmox-ssh=pve2=h", "'pve2' is not a tested node (pve1)"),
    ],
)
def test_bad_value(site: Any, word: str, wanted: str) -> None:
    assert wanted in _complaint(site.gate(word))


def test_all_bad_values_are_told_at_once(site: Any) -> None:
    said = _complaint(site.gate("--vmnet-count=0", env={"VMNET_MAX_LOSS": "2"}))
    assert "vmnet_count = '0' (from command line)" in said
    assert "vmnet_max_loss = '2' (from environment VMNET_MAX_LOSS)" in said


def test_rebuild_is_not_taken_from_the_environment(site: Any) -> None:
    env = {"VMNET_REBUILD": "unhealthy", "VMNET_REBUILDABLE": "*", "VMNET_LADDER": "rebuild"}
    result = site.gate("--collect-only", env=env)
    assert "vmnet-rebuild: never (default)" in result.stdout.str()


@pytest.mark.parametrize("option", ["--vmnet-json", "--vmnet-markdown"])
def test_report_into_a_missing_folder(site: Any, option: str) -> None:
    said = _complaint(site.gate(option, "missing/out"))
    assert f"{option}: 'missing/out' cannot be written: its folder" in said
    assert not site.pve.requests
