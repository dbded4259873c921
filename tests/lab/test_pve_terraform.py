"""Real Terraform makes, keeps, replaces and destroys the five guests through the lab's API."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.lab import spec
from pytest_vmnet.lab.image import guest_image
from pytest_vmnet.lab.toolchain import (
    MIRROR_VARIABLE,
    bpg_provider,
    terraform_binary,
    write_cli_config,
)

ROOT = Path(__file__).parents[2]
SECRET = "0123456789abcdef"
APPLY_LIMIT_S = 120.0
BOOT_LIMIT_S = 180.0
"""An idle machine with two cores takes 18 s and a few more; a busy one is no failure."""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root"),
    *(
        pytest.mark.skipif(not shutil.which(tool), reason=f"no {tool}: run `make setup`")
        for tool in ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "ip", "nsenter")
    ),
]

NODE = """
set -e
mount -t tmpfs -o mode=755 run /run
mkdir -m 700 /run/vmnet
printf %s "$SECRET" >/run/vmnet/token
ip link set lo up
ip link add vmbr0 type bridge
ip address add 192.0.2.2/24 dev vmbr0
ip link set vmbr0 up
exec "$PYTHON" -m pytest_vmnet.lab.pve --run-dir /run/vmnet --token-file /run/vmnet/token
"""


class Node:
    """The API in namespaces of its own, and a way to run commands there."""

    def __init__(self, process: subprocess.Popen[str], work: Path) -> None:
        self.process = process
        self.work = work
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        self.pid = children.read_text("ascii").split()[0]
        token = f"{spec.TOKEN_ID}={SECRET}"
        self.environment = {
            **os.environ,
            "PROXMOX_VE_ENDPOINT": "https://192.0.2.2:8006/",
            "PROXMOX_VE_API_TOKEN": token,
            "PM_API_URL": "https://192.0.2.2:8006/api2/json",
            "PM_API_TOKEN_ID": spec.TOKEN_ID,
            "PM_API_TOKEN_SECRET": SECRET,
            "SSL_CERT_FILE": "/run/vmnet/ca.pem",
            "TF_CLI_CONFIG_FILE": str(work / "terraformrc"),
            "CHECKPOINT_DISABLE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *argv: str, expect: Sequence[int] = (0,), cwd: Path | None = None) -> str:
        """Run a command on the node; return what it printed."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid"]
        done = subprocess.run(
            [*enter, "--", "env", f"--chdir={cwd or self.work}", *argv],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in expect, f"{argv}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def python(self, code: str, *arguments: str) -> Any:
        """Run *code* on the node; return the JSON that it prints."""
        return json.loads(self.run(sys.executable, "-c", code, *arguments, cwd=ROOT))

    def guests(self) -> dict[str, Any]:
        """Return the guests' records by name."""
        code = (
            "import json, pathlib; from pytest_vmnet.lab.pve.guests import read_guests;"
            "print(json.dumps(read_guests(pathlib.Path('/run/vmnet'))))"
        )
        return {guest["name"]: guest for guest in self.python(code)}

    def in_guest(self, name: str, *argv: str) -> tuple[int, str]:
        """Run a command in a guest once its agent answers."""
        code = (
            "import json, pathlib, sys; from pytest_vmnet.lab.agent import Agent\n"
            "agent = Agent(pathlib.Path(sys.argv[1]))\n"
            "for _ in range(600):\n"
            "    if agent.ping(): break\n"
            "done = agent.run(sys.argv[2:])\n"
            "print(json.dumps([done.exitcode, done.stdout.decode()]))"
        )
        exitcode, stdout = self.python(code, self.guests()[name]["agent_socket"], *argv)
        return exitcode, stdout


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    guest_image(spec.cache_dir(), print)
    environment = {**os.environ, "SECRET": SECRET, "PYTHON": sys.executable}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    with subprocess.Popen(
        [
            *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", NODE),
        ],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready https://192.0.2.2:8006\n"
            yield Node(process, tmp_path)
        finally:
            process.kill()


def root(node: Node, provider: str) -> tuple[Path, str]:
    """Return a copy of a Terraform root, initialised, and the Terraform to use."""
    if provider == "telmate" and not os.environ.get(MIRROR_VARIABLE):
        pytest.skip(f"{MIRROR_VARIABLE} names no mirror with Telmate's provider")
    mirror = bpg_provider(spec.cache_dir(), print)
    write_cli_config(node.work / "terraformrc", [mirror])
    folder = node.work / provider
    shutil.copytree(
        ROOT / "terraform" / provider,
        folder,
        ignore=shutil.ignore_patterns(".terraform*", "*state*"),
    )
    terraform = str(terraform_binary(spec.cache_dir()))
    node.run(terraform, "init", "-input=false", "-no-color", cwd=folder)
    return folder, terraform


@pytest.mark.parametrize(
    ("provider", "address"),
    [("bpg", "proxmox_virtual_environment_vm"), ("telmate", "proxmox_vm_qemu")],
)
def test_terraform_builds_replaces_and_destroys(node: Node, provider: str, address: str) -> None:
    folder, terraform = root(node, provider)
    quiet = ("-input=false", "-no-color")
    begun = time.monotonic()
    node.run(terraform, "apply", *quiet, "-auto-approve", cwd=folder)
    assert time.monotonic() - begun < APPLY_LIMIT_S
    names = [guest.name for guest in spec.GUESTS]
    for guest, peer in zip(spec.GUESTS, (*spec.GUESTS[1:], spec.GUESTS[0]), strict=True):
        assert node.in_guest(guest.name, "hostname") == (0, f"{guest.name}\n")
        code, said = node.in_guest(guest.name, "ping", "-c3", "-i0.2", "-W5", peer.address)
        assert code == 0, said
        assert " 0% packet loss" in said
    assert time.monotonic() - begun < BOOT_LIMIT_S
    node.run(terraform, "plan", *quiet, "-detailed-exitcode", cwd=folder)

    before = node.guests()
    assert sorted(before) == names
    replace = f'-replace={address}.vm["vm-1"]'
    node.run(terraform, "apply", *quiet, "-auto-approve", replace, cwd=folder)
    after = node.guests()
    assert after["vm-1"]["mac"] != before["vm-1"]["mac"]
    assert after["vm-1"]["pid"] != before["vm-1"]["pid"]
    assert {name: after[name] for name in names[1:]} == {name: before[name] for name in names[1:]}
    code, mac = node.in_guest("vm-1", "cat", "/sys/class/net/eth0/address")
    assert (code, mac.strip()) == (0, after["vm-1"]["mac"])
    node.run(terraform, "plan", *quiet, "-detailed-exitcode", cwd=folder)

    node.run(terraform, "apply", *quiet, "-auto-approve", "-destroy", cwd=folder)
    assert node.guests() == {}
    assert "tap" not in node.run("ip", "-o", "link")
    assert node.run("ls", "/run/vmnet/guests").split() == [str(spec.TEMPLATE_VMID)]


def test_machine_that_dies_is_a_stopped_guest(node: Node) -> None:
    folder, terraform = root(node, "bpg")
    guests = '-var=guests={vm-1={vmid=111,address="192.0.2.11"}}'
    node.run(terraform, "apply", "-input=false", "-auto-approve", guests, cwd=folder)
    guest = node.guests()["vm-1"]
    assert guest["tap"] in node.run("ip", "-o", "link", "show", "master", "vmbr0")
    node.run("kill", f"-{signal.SIGKILL.value}", str(guest["pid"]))
    deadline = time.monotonic() + 10
    while node.guests()["vm-1"]["status"] != "stopped" and time.monotonic() < deadline:
        pass
    assert node.guests()["vm-1"]["pid"] is None
    assert guest["tap"] not in node.run("ip", "-o", "link")
