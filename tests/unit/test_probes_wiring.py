"""Reading a node's devices: once per node, by its shell; without one there are none."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.backends.hosts import Output
from pytest_vmnet.errors import CommandError
from pytest_vmnet.probes.wiring import links_of, read_script, with_links

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
LINK = '[{"ifname":"enp4s0","ifindex":2}]'


class Shell:
    def __init__(self, stdout: str = "", *, error: bool = False, stderr: str = "") -> None:
        self.name, self.stdout, self.stderr, self.error = "pve1", stdout, stderr, error
        self.asked = 0

    def run(self, _script: str) -> Output:
        self.asked += 1
        if self.error:
            raise CommandError(["ssh", "pve1"], where="pve1", returncode=255, stderr="refused")
        return Output(0, self.stdout.encode(), self.stderr.encode())


def framed(text: str) -> str:
    return f"@@wiring link {len(text)}\n{text}\n"


def test_each_node_is_asked_once_and_what_cannot_be_read_is_noted() -> None:
    site = W.inventory(W.guest(1), nodes=tuple(W.node(f"pve{n}") for n in (1, 2, 3, 4)))
    shells = {
        "pve1": Shell(framed(LINK)),
        "pve2": Shell(error=True),
        "pve3": Shell("", stderr="ip: not found"),
        "elsewhere": Shell(framed(LINK)),
    }
    found, notes = with_links(site, shells)
    assert {name: [x.ifname for x in links] for name, links in found.links.items()} == {
        "pve1": ["enp4s0"]
    }
    assert [shell.asked for shell in shells.values()] == [1, 1, 1, 0]
    assert [note.partition(":")[0] for note in notes] == ["pve2", "pve3"]
    assert "refused" in notes[0]
    assert "ip: not found" in notes[1]
    assert all("paths are as configured" in note for note in notes)


def test_without_shells_there_are_no_devices() -> None:
    found, notes = with_links(W.inventory(W.guest(1)), {})
    assert (found.links, notes) == ({}, [])


def test_the_script_reads_real_devices() -> None:
    if os.geteuid() != 0 or any(shutil.which(t) is None for t in ("unshare", "ip", "bridge")):
        pytest.skip("needs root, unshare and iproute2")
    make = "ip link add vmbr0 type bridge; ip tuntap add tap1i0 mode tap; "
    make += "ip link set tap1i0 master vmbr0; " + read_script()
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", make], capture_output=True, timeout=30, check=False
    )
    shell = Shell(done.stdout.decode(), stderr=done.stderr.decode())
    links = {link.ifname: link for link in links_of(shell, "pve1")}  # type: ignore[arg-type]
    assert links["tap1i0"].master == "vmbr0"
    assert links["tap1i0"].state == "disabled"
    assert links["vmbr0"].kind == "bridge"
