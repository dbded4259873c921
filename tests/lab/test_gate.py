"""The gate on a real lab: healthy, each fault against its ground truth, healed, and held back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab

FAULTS = (
    "reflected-mac",
    "tap-egress-drop",
    "guest-firewall",
    "uplink-loss",
    "gateway-loss",
    "duplicate-ip",
)
TRUTH = ("reason", "scope", "leg", "last_seen", "next_point", "rebuild")
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--proxmox-node", "pve1")


def gate(lab: Any, folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Run the gate on the workstation; return its exit code, JSON and output."""
    report = folder / "out.json"
    argv = [*PYTEST, f"--vmnet-json={report}", *options]
    done = lab.exec("workstation", *argv, timeout_s=600, cwd=folder)
    told = done.stdout.decode() + done.stderr.decode()
    assert report.exists(), told
    return done.returncode, json.loads(report.read_text(encoding="utf-8")), told


def verdicts(told: dict[str, Any]) -> dict[str, str]:
    return {guest["name"]: guest["verdict"] for guest in told["guests"]}


def ground_truth(lab: Any) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(lab.run("fault", "list", "--json").stdout)}


@pytest.fixture
def faulty(lab):
    """Inject faults; all of them are cleared afterwards, whatever happens."""

    def inject(name: str) -> None:
        done = lab.run("fault", "inject", name)
        assert done.returncode == 0, done.stderr.decode()

    yield inject
    cleared = lab.run("fault", "clear")
    assert cleared.returncode == 0, cleared.stderr.decode()


def test_the_list_of_faults_is_complete(lab):
    assert tuple(ground_truth(lab)) == FAULTS


def test_a_healthy_site_passes_with_schema_1(lab, tmp_path):
    code, told, output = gate(lab, tmp_path)
    assert code == 0, output
    assert told["schema"] == 1
    assert told["run"]["error"] is None
    assert verdicts(told) == dict.fromkeys([f"vm-{n}" for n in range(1, 6)], "healthy")
    for guest in told["guests"]:
        kinds = {flow["kind"] for flow in guest["flows"]}
        assert kinds == {"gateway", "peer", "external", "inbound"}
        assert all(flow["loss_upper_bound"] <= 0.01 for flow in guest["flows"])
        assert guest["findings"] == []
    assert [row["vmid"] for row in told["skipped"]] == [9000]


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_told_as_its_ground_truth_says(lab, faulty, tmp_path, name):
    truth = ground_truth(lab)[name]
    faulty(name)
    code, told, output = gate(lab, tmp_path)
    assert code == 1, output
    healthy = dict.fromkeys([f"vm-{n}" for n in range(1, 6)], "healthy")
    assert verdicts(told) == healthy | truth["verdicts"], output
    for guest in told["guests"]:
        if guest["name"] in truth["verdicts"]:
            finding = guest["findings"][0]
            assert {key: finding[key] for key in TRUTH} == {key: truth[key] for key in TRUTH}
            assert guest["decision"]["action"] == "refuse"
            assert "never" in guest["decision"]["reason"]
        else:
            assert guest["findings"] == []
            assert guest["decision"]["action"] == "none"


def test_the_incident_is_healed_by_a_rebuild_and_proven(lab, faulty, tmp_path):
    faulty("reflected-mac")
    before = {guest["name"]: guest for guest in lab.status()["guests"]}
    html = tmp_path / "report.html"
    code, told, output = gate(
        lab,
        tmp_path,
        "--vmnet-rebuild",
        "diagnosed",
        "--vmnet-ladder",
        "rebuild",
        f"--html={html}",
        f"--junitxml={tmp_path / 'junit.xml'}",
    )
    assert code == 0, output
    after = {guest["name"]: guest for guest in lab.status()["guests"]}
    sick = next(guest for guest in told["guests"] if guest["name"] == "vm-1")
    assert sick["healed"] is True
    assert sick["verdict"] == "healthy"
    assert sick["findings"][0]["reason"] == "MacReflection"
    (attempt,) = sick["attempts"]
    assert (attempt["rung"], attempt["outcome"]) == ("rebuild", "cured")
    assert attempt["mac_before"] == before["vm-1"]["mac"] != attempt["mac_after"]
    assert attempt["mac_after"] == after["vm-1"]["mac"]
    assert after["vm-1"]["pid"] != before["vm-1"]["pid"]
    for name in ("vm-2", "vm-3", "vm-4", "vm-5"):
        assert after[name] == before[name]
    assert "MacReflection" in html.read_text(encoding="utf-8")
    assert 'name="vmnet_verdict" value="healthy"' in (tmp_path / "junit.xml").read_text()


def test_a_sick_gateway_never_leads_to_an_act(lab, faulty, tmp_path):
    faulty("gateway-loss")
    before = lab.status()["guests"]
    code, told, output = gate(lab, tmp_path, "--vmnet-rebuild", "unhealthy")
    assert code == 1, output
    for guest in told["guests"]:
        assert guest["decision"]["action"] == "refuse", output
        assert "5 of 5" in guest["decision"]["reason"]
        assert guest["attempts"] == []
    assert lab.status()["guests"] == before


def test_workers_share_one_sweep(lab, tmp_path):
    code, told, output = gate(lab, tmp_path, "-n", "2")
    assert code == 0, output
    assert output.count("vmnet: probing") == 1
    assert set(verdicts(told).values()) == {"healthy"}
