"""From settings to doors: which token is used, what contradicts, and that no secret is told."""

from __future__ import annotations

import pytest

from pytest_vmnet.errors import ConfigError
from pytest_vmnet.gate import connect
from pytest_vmnet.options.settings import resolve

SECRET = "5ec4e7-12"
TOKEN = f"vmnet@pve!gate={SECRET}"
HOST = {"proxmox_host": "192.0.2.2"}


def endpoint(environment=None, **given):
    environment = environment or {}
    return connect.endpoint(resolve(HOST | given, environment, {}), environment)


def complaint(environment=None, **given) -> str:
    with pytest.raises(ConfigError) as caught:
        endpoint(environment, **given)
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.__cause__)
    return str(caught.value)


@pytest.mark.parametrize(
    ("environment", "given"),
    [
        pytest.param({"VMNET_PROXMOX_API_TOKEN": TOKEN}, {}, id="vmnet"),
        pytest.param({"PROXMOX_VE_API_TOKEN": TOKEN}, {}, id="proxmox-ve"),
        pytest.param(
            {"PM_API_TOKEN_ID": "vmnet@pve!gate", "PM_API_TOKEN_SECRET": SECRET}, {}, id="pm"
        ),
        pytest.param(
            {"PROXMOX_TOKEN_ID": "vmnet@pve!gate", "PROXMOX_TOKEN_SECRET": SECRET},
            {},
            id="proxmox",
        ),
        pytest.param(
            {
                "PROXMOX_TOKEN_ID": "gate",
                "PROXMOX_TOKEN_SECRET": SECRET,
                "PROXMOX_USER": "vmnet@pve",
            },
            {},
            id="id-without-its-user",
        ),
        pytest.param(
            {"PROXMOX_VE_API_TOKEN": SECRET},
            {"proxmox_user": "vmnet@pve", "proxmox_token_name": "gate"},
            id="a-bare-secret",
        ),
        pytest.param(
            {
                "PROXMOX_VE_API_TOKEN": TOKEN,
                "PM_API_TOKEN_ID": "vmnet@pve!gate",
                "PM_API_TOKEN_SECRET": SECRET,
            },
            {},
            id="two-that-agree",
        ),
    ],
)
def test_where_a_token_comes_from(environment, given) -> None:
    found = endpoint(environment, **given)
    assert (found.user, found.token_name, found.token_value) == ("vmnet@pve", "gate", SECRET)
    assert (found.host, found.port) == ("192.0.2.2", 8006)
    assert SECRET not in repr(found)


@pytest.mark.parametrize("text", [f"{TOKEN}\n", f"  {TOKEN}"])
def test_a_token_file_wins_over_the_environment(tmp_path, text) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    other = {"PROXMOX_VE_API_TOKEN": "root@pam!x=y"}
    assert endpoint(other, proxmox_token_file=str(file)).token_value == SECRET


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "no API token: set PROXMOX_VE_API_TOKEN to USER@REALM!NAME=SECRET"),
        (
            {"PROXMOX_VE_API_TOKEN": TOKEN, "VMNET_PROXMOX_API_TOKEN": TOKEN + "x"},
            "VMNET_PROXMOX_API_TOKEN and PROXMOX_VE_API_TOKEN are both set and disagree",
        ),
        (
            {
                "PROXMOX_VE_API_TOKEN": TOKEN,
                "PM_API_TOKEN_ID": "vmnet@pve!other",
                "PM_API_TOKEN_SECRET": SECRET,
            },
            "PROXMOX_VE_API_TOKEN and PM_API_TOKEN_SECRET are both set and disagree",
        ),
        (
            {"PROXMOX_VE_API_TOKEN": f"{SECRET}!gate"},
            "the token in PROXMOX_VE_API_TOKEN is not of the form USER@REALM!NAME=SECRET",
        ),
        ({"PROXMOX_VE_API_TOKEN": f"!gate={SECRET}"}, "is not of the form"),
        ({"PROXMOX_VE_API_TOKEN": "vmnet@pve!gate="}, "is not of the form"),
        ({"PROXMOX_VE_API_TOKEN": f"{TOKEN}\r\nX: y"}, "has characters that no token has"),
        ({"PROXMOX_VE_API_TOKEN": SECRET}, "no API user: put USER@REALM!NAME=SECRET into"),
        (
            {"PM_API_TOKEN_ID": "!gate", "PM_API_TOKEN_SECRET": SECRET},
            "PM_API_TOKEN_ID is neither USER@REALM!NAME nor NAME",
        ),
        (
            {"PM_API_TOKEN_ID": "vmnet@pve!", "PM_API_TOKEN_SECRET": SECRET},
            "PM_API_TOKEN_ID is neither USER@REALM!NAME nor NAME",
        ),
        ({"PM_API_TOKEN_ID": "vmnet@pve!gate"}, "no API token"),
        (
            {"PROXMOX_VE_API_TOKEN": TOKEN, "PROXMOX_VE_USERNAME": "root@pam"},
            "the API user is 'root@pam' by its option and 'vmnet@pve' by PROXMOX_VE_API_TOKEN",
        ),
        (
            {"PROXMOX_VE_API_TOKEN": TOKEN, "VMNET_PROXMOX_TOKEN_NAME": "other"},
            "the API token name is 'other' by its option and 'gate' by PROXMOX_VE_API_TOKEN",
        ),
    ],
)
def test_what_is_wrong_with_a_token_is_told_without_it(environment, said) -> None:
    assert said in complaint(environment)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty, or has characters that no token has"),
        (b"\xff\xfe", "can't decode byte"),
        (f"{TOKEN}\n{TOKEN}".encode(), "has characters that no token has"),
        (None, "No such file or directory"),
    ],
)
def test_a_bad_token_file_is_named(tmp_path, content, said) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    told = complaint(proxmox_token_file=str(file))
    assert said in told
    assert str(file) in told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"proxmox_host": None}, "no API endpoint: pass --proxmox-host"),
        ({"proxmox_host": "https://"}, "proxmox_host = 'https://' (from command line): "),
        ({"proxmox_host": "pve1:port"}, "proxmox_host = 'pve1:port' (from command line): "),
        ({"proxmox_ca": "/no/such.pem"}, "(from command line): there is no such file"),
    ],
)
def test_an_endpoint_that_is_none_is_told(given, said) -> None:
    assert said in complaint({"PROXMOX_VE_API_TOKEN": TOKEN}, **given)
