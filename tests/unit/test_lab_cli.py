"""`vmnet lab` without a lab: its words, its answers, what it costs to start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from pytest_vmnet import cli
from pytest_vmnet.core.words import Leg, Rebuild, Scope, Verdict
from pytest_vmnet.errors import ConfigError, LabError
from pytest_vmnet.lab import environment, faults, preflight, settings, spec, wire
from pytest_vmnet.lab.faults.announce import gratuitous_arp


@pytest.fixture(autouse=True)
def no_lab(monkeypatch: Any) -> Any:
    monkeypatch.setenv("VMNET_LAB_NAME", "unit-no-such-lab")


def run(capsys: Any, *words: Any) -> Any:
    code = cli.main(["lab", *words])
    return code, capsys.readouterr()


def test_fault_list_is_the_contract(capsys: Any) -> None:
    code, said = run(capsys, "fault", "list", "--json")
    assert code == 0
    listed = json.loads(said.out)
    assert [each["name"] for each in listed] == [
        "reflected-mac",
        "tap-egress-drop",
        "guest-firewall",
        "uplink-loss",
        "gateway-loss",
        "duplicate-ip",
    ]
    keys = ["name", "summary", "verdicts", "scope", "leg", "last_seen", "next_point", "reason"]
    for each in listed:
        assert list(each) == [*keys, "rebuild"]
        Scope(each["scope"])
        Leg(each["leg"])
        Rebuild(each["rebuild"])
        assert each["verdicts"]["vm-1"] == Verdict.UNHEALTHY


def test_the_incidents_ground_truth() -> None:
    assert faults.find("reflected-mac").truth() == {
        "name": "reflected-mac",
        "summary": "the switch reflects 70 % of the guest's frames to the node",
        "verdicts": {"vm-1": "unhealthy"},
        "scope": "uplink",
        "leg": "reply",
        "last_seen": "enp4s0",
        "next_point": "tap111i0",
        "reason": "MacReflection",
        "rebuild": "cures",
    }


def test_a_faults_truth_follows_its_guest() -> None:
    truth = faults.find("tap-egress-drop").truth(spec.GUESTS[2])
    assert truth["verdicts"] == {"vm-3": "unhealthy"}
    assert truth["next_point"] == "tap113i0"


@pytest.mark.parametrize("name", ["uplink-loss", "gateway-loss"])
def test_a_site_wide_fault_names_all_guests(name: Any) -> None:
    verdicts = faults.find(name).truth()["verdicts"]
    assert verdicts == {guest.name: "unhealthy" for guest in spec.GUESTS}


def test_an_uplink_is_one_nodes() -> None:
    guests = spec.TWO_NODES.guests
    assert list(faults.find("uplink-loss").truth(guests[4], guests)["verdicts"]) == [
        "vm-4",
        "vm-5",
    ]
    assert len(faults.find("gateway-loss").truth(guests[4], guests)["verdicts"]) == 5


def test_a_faults_truth_names_the_firewalls_devices() -> None:
    guest = spec.TWO_NODES.guests[3]
    for name, points in (
        ("reflected-mac", ("enp4s0", "fwpr114p0")),
        ("tap-egress-drop", ("fwln114i0", "tap114i0")),
        ("uplink-loss", ("enp4s0", "gateway")),
    ):
        truth = faults.find(name).truth(guest, spec.TWO_NODES.guests)
        assert (truth["last_seen"], truth["next_point"]) == points


def test_several_nodes_need_the_root_that_has_them() -> None:
    with pytest.raises(LabError, match=r"2 nodes: only the bpg provider's root has them"):
        settings.gather("telmate", print, nodes=2)


def test_fault_list_for_people_names_each(capsys: Any) -> None:
    _, said = run(capsys, "fault", "list")
    for fault in faults.FAULTS:
        assert f"{fault.name}: {fault.summary}" in said.out


def test_a_gratuitous_arp_is_one() -> None:
    mac, address = bytes.fromhex("02766d00026f"), bytes([192, 0, 2, 11])
    frame = gratuitous_arp(mac, address)
    assert frame[:14] == b"\xff" * 6 + mac + b"\x08\x06"
    assert frame[14:22] == bytes.fromhex("0001080006040001")
    assert frame[22:] == mac + address + bytes(6) + address


def test_status_without_a_lab_is_an_answer(capsys: Any) -> None:
    code, said = run(capsys, "status", "--json")
    assert code == 0
    assert json.loads(said.out) == {"up": False, "guests": [], "faults": [], "dead": []}


@pytest.mark.parametrize("words", [("exec", "node", "--", "true"), ("fault", "clear")])
def test_without_a_lab_a_command_ends_with_3(capsys: Any, words: Any) -> None:
    code, said = run(capsys, *words)
    assert code == 3
    assert said.err == ("vmnet: no lab 'unit-no-such-lab' is up; `vmnet lab up` brings it up\n")


@pytest.mark.parametrize(
    ("words", "listed"),
    [
        (("exec", "mars", "--", "true"), ("pve1", "workstation", "vm-5")),
        (("exec", "node"), ("no command",)),
        (("fault", "inject", "gremlins"), ("reflected-mac", "duplicate-ip")),
        (("fault", "inject", "reflected-mac", "--guest", "vm-9"), ("vm-1", "vm-5")),
        (("up", "--terraform", "other"), ("bpg", "telmate")),
        (("up", "--nodes", "3"), ("choose from 1, 2",)),
    ],
)
def test_usage_errors_end_with_2_and_the_choices(capsys: Any, words: Any, listed: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["lab", *words])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert [word for word in listed if word not in said] == []


def test_the_commands_own_options_are_not_ours() -> None:
    arguments = cli.parser("lab").parse_args(["lab", "exec", "node", "--", "ip", "--json", "-h"])
    assert arguments.argv[-3:] == ["ip", "--json", "-h"]


@pytest.mark.parametrize("name", ["a b", "x" * 49, "../x"])
def test_a_labs_name_must_be_a_name(monkeypatch: Any, name: Any) -> None:
    monkeypatch.setenv("VMNET_LAB_NAME", name)
    with pytest.raises(ConfigError, match="VMNET_LAB_NAME = "):
        wire.lab_name()


def test_the_workstations_environment_is_the_callers_and_the_labs() -> None:
    lab = {
        "PROXMOX_VE_ENDPOINT": "https://192.0.2.2:8006/",
        "SSL_CERT_FILE": "/run/vmnet/ca.pem",
        "VMNET_PATH": "/cache/terraform",
    }
    caller = {
        "MINE": "1",
        "PATH": "/mine:/usr/bin",
        "SSL_CERT_FILE": "/etc/ssl/mine.pem",
        "PM_API_URL": "https://elsewhere",
        "PROXMOX_VE_USERNAME": "someone@pam",
        "HTTPS_PROXY": "http://proxy",
        "no_proxy": "*",
    }
    made = environment.workstation_environment(lab, caller)
    path = made.pop("PATH").split(":")
    assert made == {
        "MINE": "1",
        "PROXMOX_VE_ENDPOINT": "https://192.0.2.2:8006/",
        "SSL_CERT_FILE": "/run/vmnet/ca.pem",
    }
    assert path[1:4] == ["/cache/terraform", "/mine", "/usr/bin"]
    assert sys.executable.startswith(path[0])
    assert len(path) == len(set(path))


def test_what_is_missing_is_told_at_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError) as refused:
        preflight.check(guests=True, which=lambda _: None)
    lines = str(refused.value).splitlines()
    assert lines[0] == "this machine cannot hold a lab:"
    assert lines[1] == "  - not root: in this version a lab needs root; try sudo"
    assert "qemu-system-x86_64" in lines[2]
    assert "apt-get install" in lines[2]
    assert "nftables" in lines[2]


def test_the_command_line_starts_light() -> None:
    script = (
        "import sys, pytest_vmnet.cli as cli; cli.parser('lab');"
        "heavy = {'asyncio', 'numpy', 'requests', 'subprocess', 'pytest', 'aiohttp', 'ssl'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
