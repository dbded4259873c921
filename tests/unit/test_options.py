"""Settings: which source wins, what is refused, and what the header may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.errors import ConfigError
from pytest_vmnet.options import option
from pytest_vmnet.options.settings import resolve
from pytest_vmnet.options.table import TABLE

HOSTS = (
    "VMNET_PROXMOX_HOST", "PROXMOX_VE_ENDPOINT", "PM_API_URL", "PROXMOX_URL", "PROXMOX_HOST",
)  # fmt: skip


def complaint(given=None, environment=None, ini=None) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(given or {}, environment or {}, ini or {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "environment", "ini", "expected"),
    [
        pytest.param({"vmnet_count": "10"}, {"VMNET_COUNT": "20"}, {"vmnet_count": "30"},
                     (10, "command line"), id="command-line"),
        pytest.param({"vmnet_count": None}, {"VMNET_COUNT": "20"}, {"vmnet_count": "30"},
                     (20, "environment VMNET_COUNT"), id="environment"),
        pytest.param({}, {"VMNET_COUNT": ""}, {"vmnet_count": "30"}, (30, "ini"), id="ini"),
        pytest.param({}, {}, {"vmnet_count": ""}, (None, "default"), id="default"),
    ],
)  # fmt: skip
def test_the_strongest_source_wins(given, environment, ini, expected) -> None:
    settings = resolve(given, environment, ini)
    assert (settings["vmnet_count"], settings.sources["vmnet_count"]) == expected


@pytest.mark.parametrize("number", range(len(HOSTS)))
def test_the_families_come_in_their_order(number) -> None:
    same = "https://192.0.2.2:8006/api2/json"
    settings = resolve({}, dict.fromkeys(HOSTS[number:], same), {})
    assert settings.sources["proxmox_host"] == f"environment {HOSTS[number]}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://pve1:8006/", "pve1"),
        ("https://PVE1:8006/api2/json", "pve1:8006"),
        ("pve1", "https://pve1/"),
    ],
)
def test_two_spellings_of_an_endpoint_agree(one, other) -> None:
    settings = resolve({}, {"PROXMOX_VE_ENDPOINT": one, "PM_API_URL": other}, {})
    assert settings["proxmox_host"] == one


def test_two_spellings_of_yes_agree() -> None:
    environment = {"PROXMOX_VE_INSECURE": "true", "PM_TLS_INSECURE": "1"}
    assert resolve({}, environment, {})["proxmox_insecure"] is True


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"PROXMOX_VE_ENDPOINT": "https://pve1:8006", "PROXMOX_HOST": "pve2"},
            "--proxmox-host: PROXMOX_VE_ENDPOINT and PROXMOX_HOST are both set and disagree; "
            "unset one of them, or pass --proxmox-host",
        ),
        (
            {"PROXMOX_VE_INSECURE": "true", "PM_TLS_INSECURE": "0"},
            "PROXMOX_VE_INSECURE and PM_TLS_INSECURE are both set and disagree",
        ),
        (
            {"PROXMOX_VE_INSECURE": "true", "PM_TLS_INSECURE": "perhaps"},
            "PROXMOX_VE_INSECURE and PM_TLS_INSECURE are both set and disagree",
        ),
    ],
)
def test_families_that_disagree_are_both_named(environment, said) -> None:
    assert said in complaint(environment=environment)
    given = {"proxmox_host": "pve3", "proxmox_insecure": True}
    assert resolve(given, environment, {}).sources["proxmox_host"] == "command line"


def test_a_variable_of_the_whole_system_only_fills_a_gap() -> None:
    system = {"SSL_CERT_FILE": "/etc/ssl/cert.pem"}
    assert resolve({}, system, {})["proxmox_ca"] == Path("/etc/ssl/cert.pem")
    settings = resolve({}, system | {"VMNET_PROXMOX_CA": "/ca.pem"}, {})
    assert settings["proxmox_ca"] == Path("/ca.pem")


ARMING = (
    "proxmox_node", "vmnet_rebuild", "vmnet_rebuildable", "vmnet_lab", "vmnet_ladder",
    "vmnet_taint", "vmnet_max_unhealthy", "vmnet_rebuild_interval", "vmnet_dry_run",
)  # fmt: skip


@pytest.mark.parametrize("dest", ARMING)
def test_what_arms_the_gate_never_comes_from_the_environment(dest) -> None:
    (found,) = [each for each in TABLE if each.dest == dest]
    assert found.env == ()
    names = {
        dest.upper(),
        f"VMNET_{dest.upper()}",
        dest.upper().replace("PROXMOX_", "PROXMOX_VE_"),
    }
    assert resolve({}, dict.fromkeys(names, "pve9"), {}).sources[dest] == "default"


BUDGET_EXPECTED = (
    "expected none, or PART=PACKETS/S,... with a part of guest, target, node and at least 10"
)


@pytest.mark.parametrize(
    ("dest", "text", "said"),
    [
        ("vmnet_count", "4", "expected a whole number from 5 to 60000"),
        ("vmnet_count", "many", "expected a whole number from 5 to 60000"),
        ("vmnet_interval", "0.001", "expected a number from 0.002 to 10"),
        ("vmnet_interval", "nan", "expected a number from 0.002 to 10"),
        ("vmnet_max_loss", "100%", "expected a share such as 0.01 or 1%"),
        ("vmnet_max_loss", "little", "expected a share such as 0.01 or 1%"),
        ("vmnet_peers", "-1", "expected segment, all or a number of peers"),
        ("vmnet_budget", "guests=5", BUDGET_EXPECTED),
        ("vmnet_budget", "guest=5", BUDGET_EXPECTED),
        ("vmnet_budget", "node=none", BUDGET_EXPECTED),
        ("vmnet_budget", ",", BUDGET_EXPECTED),
        ("vmnet_inconclusive", "pass", "choose one of error, fail, skip"),
        ("vmnet_rebuild", "always", "choose one of never, plan, diagnosed, unhealthy"),
        ("vmnet_ladder", "restart,nuke", "unknown rung 'nuke': choose of restart, remac, rebuild"),
        ("vmnet_ladder", ",", "expected at least one of restart, remac, rebuild"),
        ("vmnet_strict", "perhaps", "expected true or false"),
    ],
)
def test_a_bad_value_is_told_with_its_option_and_source(dest, text, said) -> None:
    assert complaint(ini={dest: text}) == f"{dest} = {text!r} (from ini): {said}"


def test_all_problems_are_told_at_once() -> None:
    said = complaint(
        {"vmnet_rebuild": "always"}, {"VMNET_COUNT": "1"}, {"vmnet_peers": "some"}
    ).splitlines()
    assert [line.split(" = ")[0] for line in said] == [
        "vmnet_count", "vmnet_peers", "vmnet_rebuild",
    ]  # fmt: skip
    assert "(from environment VMNET_COUNT)" in said[0]
    assert "(from command line)" in said[2]


@pytest.mark.parametrize(
    ("dest", "value", "expected"),
    [
        ("vmnet_max_loss", "1%", 0.01),
        ("vmnet_max_loss", "2.5 %", 0.025),
        ("vmnet_max_loss", "0", 0.0),
        ("vmnet_guest", ["vm-1,vm-2", " tag:web "], ("vm-1", "vm-2", "tag:web")),
        ("vmnet_guest", "vm-1, vm-2", ("vm-1", "vm-2")),
        ("vmnet_ladder", "restart, rebuild", ("restart", "rebuild")),
        ("vmnet_strict", True, True),
        ("vmnet_strict", "off", False),
        ("vmnet_peers", "0", "0"),
        ("vmnet_journal", "/tmp/j", Path("/tmp/j")),  # noqa: S108 - never opened
    ],
)
def test_values_are_read(dest, value, expected) -> None:
    assert resolve({dest: value}, {}, {})[dest] == expected


@pytest.mark.parametrize("empty", [None, False, []])
def test_what_was_not_given_does_not_count(empty) -> None:
    assert resolve({"vmnet_guest": empty}, {}, {}).sources["vmnet_guest"] == "default"


def test_the_header_never_shows_a_secretive_value() -> None:
    settings = resolve({}, {"VMNET_PROXMOX_TOKEN_FILE": "/secret/place"}, {"vmnet_guest": "a,b"})
    shown = {row.name: (row.value, row.source) for row in settings.shown()}
    assert len(shown) == len(TABLE)
    assert shown["proxmox-token-file"] == (
        "(not shown)", "environment VMNET_PROXMOX_TOKEN_FILE",
    )  # fmt: skip
    assert shown["vmnet-guest"] == ("a,b", "ini")
    assert "/secret/place" not in str(settings.shown())
    assert settings.describe("vmnet_guest") == "vmnet_guest = ('a', 'b') (from ini)"


def test_ini_names_are_the_options_names() -> None:
    names = {each.flag: each.ini for each in TABLE}
    assert names["--proxmox-node"] == "vmnet_proxmox_node"
    assert names["--vmnet-max-loss"] == "vmnet_max_loss"
    assert len(set(names.values())) == len(TABLE)


PARSERS = [option.number(0, 9), option.number(0, 9, int), option.fraction, option.truth,
           option.peers, option.ladder, option.one_of("a", "b")]  # fmt: skip


@given(st.text(max_size=30), st.sampled_from(PARSERS))
def test_a_parser_refuses_with_value_error_only(text, parse) -> None:
    said = "expected"
    try:
        parse(text)
    except ValueError as problem:
        said = str(problem)
    assert said.startswith(("expected", "choose", "unknown"))
