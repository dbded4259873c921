"""The same flows by hand: pytest, testinfra, ``ping`` and ``tcpdump``, one flow after the other.

Run by ``python -m benchmarks sequential``, or alone on a lab's workstation with ``VMNET_FLOWS``
naming a file of flows. This is what a careful suite without the gate looks like: per flow two
captures on the node (testinfra's SSH, with its persistent connection), the ping where it belongs
(guest agent, node or here), then the packets counted at both points and compared.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import testinfra
from proxmoxer import ProxmoxAPI
from testinfra.host import Host

NODE = "192.0.2.2"
_WAIT_S = 0.1
_LISTEN = """\
rm -rf {folder}; mkdir {folder}; cd {folder}
for p in {points}; do
  tcpdump -i $p -U --immediate-mode -w $p.pcap 'icmp and host {address}' \\
    2>$p.err >/dev/null </dev/null &
done
for p in {points}; do until grep -q 'listening on' $p.err; do sleep 0.02; done; done
"""
_COUNT = """\
cd {folder}; sleep 0.1; pkill -INT -f '^tcpdump .* icmp and host {address}$'
for p in {points}; do
  while pgrep -f "^tcpdump -i $p .* icmp and host {address}$" >/dev/null; do sleep 0.02; done
  tcpdump -n -r $p.pcap 2>/dev/null | awk -v p=$p '
    /echo request/ {{ q++ }} /echo reply/ {{ r++ }} END {{ print p, q + 0, r + 0 }}'
done
"""


@dataclass(frozen=True)
class Flow:
    """A flow as the gate plans it.

    Attributes:
        source: Who sends: a guest, the node or the workstation.
        vmid: The sending guest's VMID, or None.
        argv: Its ping command.
        points: Node's interfaces that its packets pass.
    """

    source: str
    vmid: int | None
    argv: tuple[str, ...]
    points: tuple[str, ...]

    @property
    def address(self) -> str:
        """What is probed."""
        return self.argv[-1]

    @property
    def count(self) -> int:
        """Probes."""
        return int(self.argv[self.argv.index("-c") + 1])


def _flows() -> list[Flow]:
    """Return the flows of the file that the environment names; without one there are none."""
    named = os.environ.get("VMNET_FLOWS")
    rows = json.loads(Path(named).read_text(encoding="utf-8")) if named else []
    return [
        Flow(row["source"], row["vmid"], tuple(row["argv"]), tuple(row["points"])) for row in rows
    ]


@pytest.fixture(scope="session")
def node() -> Host:
    """The node's shell: testinfra keeps one SSH connection open for all commands."""
    return testinfra.get_host(f"ssh://root@{NODE}")


@pytest.fixture(scope="session")
def api() -> ProxmoxAPI:
    """The Proxmox API."""
    ident, _, secret = Path(os.environ["VMNET_TOKEN"]).read_text("ascii").strip().partition("=")
    user, _, name = ident.partition("!")
    return ProxmoxAPI(
        NODE, user=user, token_name=name, token_value=secret, verify_ssl=os.environ["VMNET_CA"]
    )


def _in_guest(api: ProxmoxAPI, vmid: int, argv: tuple[str, ...]) -> str:
    agent = api.nodes("pve1").qemu(vmid).agent
    pid = agent("exec").post(command=list(argv))["pid"]
    while not (status := agent("exec-status").get(pid=pid))["exited"]:
        time.sleep(_WAIT_S)
    return str(status.get("out-data", ""))


def _ping(flow: Flow, api: ProxmoxAPI, node: Host) -> str:
    if flow.vmid is not None:
        return _in_guest(api, flow.vmid, flow.argv)
    if flow.source == "workstation":
        return subprocess.run(flow.argv, capture_output=True, text=True, check=False).stdout
    return str(node.run(shlex.join(flow.argv)).stdout)


@pytest.mark.parametrize("flow", _flows(), ids=lambda flow: f"{flow.source}-{flow.address}")
def test_flow(flow: Flow, api: ProxmoxAPI, node: Host) -> None:
    """Nothing is lost, and both points of the node saw every request and every reply."""
    words = {
        "folder": "/run/by-hand",
        "points": shlex.join(flow.points),
        "address": flow.address,
    }
    assert node.run(_LISTEN.format(**words)).rc == 0
    said = _ping(flow, api, node)
    counted = node.run(_COUNT.format(**words))
    sent, received = re.search(r"(\d+) packets transmitted, (\d+) received", said).groups()
    assert (int(sent), int(received)) == (flow.count, flow.count), said[-300:]
    seen = {row.split()[0]: row.split()[1:] for row in counted.stdout.splitlines()}
    for point in flow.points:
        assert int(seen[point][0]) >= flow.count, f"{point}: requests {seen[point]}"
        assert int(seen[point][1]) >= flow.count, f"{point}: replies {seen[point]}"
