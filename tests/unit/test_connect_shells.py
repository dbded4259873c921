"""Which nodes have a shell, which shells are of use, and where journal and Terraform are."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from pytest_vmnet.backends.hosts import Output, SshShell
from pytest_vmnet.core.site.topology import Inventory, Node
from pytest_vmnet.errors import CommandError, ConfigError
from pytest_vmnet.gate import connect
from pytest_vmnet.options.settings import resolve
from pytest_vmnet.remediation.journal import FileJournal, HostJournal

SITE = Inventory(
    nodes=(
        Node(name="pve1", address=IPv4Address("192.0.2.2")),
        Node(name="pve2", address=None),
    ),
    guests=(),
)


def shells(*given: str):
    return connect.shells(resolve({"proxmox_ssh": list(given)}, {}, {}), SITE)


@pytest.mark.parametrize(
    ("given", "targets", "notes"),
    [
        ([], {"pve1": "192.0.2.2"}, ["pve2: no shell (its address is not known)"]),
        (["pve2=ops@h:22"], {"pve1": "192.0.2.2", "pve2": "ops@h:22"}, []),
        (
            ["none"],
            {},
            ["pve1: no shell (--proxmox-ssh none)", "pve2: no shell (--proxmox-ssh none)"],
        ),
        (["none,pve2=h"], {"pve2": "h"}, ["pve1: no shell (--proxmox-ssh none)"]),
    ],
)
def test_which_nodes_have_a_shell(given, targets, notes) -> None:
    found, told = shells(*given)
    assert {
        name: shell.target for name, shell in found.items() if isinstance(shell, SshShell)
    } == targets
    assert [note.partition(":")[0] for note in told] == [n.partition(":")[0] for n in notes]
    assert all(text.startswith(note) for text, note in zip(told, notes, strict=True))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("pve9=h", "'pve9' is not a tested node (pve1, pve2)"),
        ("pve1", "expected NODE=TARGET,... or none"),
        ("pve1=", "expected NODE=TARGET,... or none"),
        ("=h", "expected NODE=TARGET,... or none"),
    ],
)
def test_a_shell_that_is_none_is_told(given, said) -> None:
    with pytest.raises(ConfigError) as caught:
        shells(given)
    assert said in str(caught.value)
    assert "(from command line)" in str(caught.value)


class FakeShell:
    name = "pve1"

    def __init__(self, answer: Output | CommandError) -> None:
        self.answer = answer

    def run(self, script: str) -> Output:
        assert script == "id -u"
        if isinstance(self.answer, CommandError):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Output(0, b"0\n", b""), None),
        (Output(0, b"1000\n", b""), "commands do not run as root there (1000)"),
        (
            Output(1, b"", b"sudo: a password is required"),
            "as root there (sudo: a password is required)",
        ),
        (CommandError(["ssh"], where="pve1", returncode=255), "pve1: `ssh` ended with 255"),
    ],
)
def test_a_shell_that_is_no_use_is_dropped_with_its_reason(answer, said) -> None:
    found = {"pve1": FakeShell(answer)}
    notes = connect.check_shells(found)
    assert bool(found) == (said is None) == (not notes)
    assert all(said in note and "--proxmox-ssh NODE=TARGET" in note for note in notes)


def test_without_a_folder_there_is_no_terraform(tmp_path) -> None:
    assert connect.terraform(resolve({}, {}, {})) is None
    settings = resolve({"vmnet_terraform_dir": str(tmp_path)}, {}, {})
    assert connect.terraform(settings) is not None


@pytest.mark.parametrize(
    ("given", "nodes", "kind"),
    [
        ({"vmnet_journal": "/j"}, {"pve1": None}, FileJournal),
        ({}, {"pve1": FakeShell(Output(0, b"", b""))}, HostJournal),
        ({}, {"pve2": None}, type(None)),
    ],
)
def test_where_the_journal_is(given, nodes, kind) -> None:
    assert type(connect.journal(resolve(given, {}, {}), "pve1", nodes)) is kind
