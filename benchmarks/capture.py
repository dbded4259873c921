"""What a watch costs a node: its capture, also while another port is flooded, and its sampler.

It runs the gate's own scripts in namespaces of their own, so it needs root.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from pytest_vmnet.backends.hosts import Output
from pytest_vmnet.core.facts import FlowSpec
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.probes.node import NodeWatch

_ROUNDS = 3
_SECONDS = 5
_MANY = 500
_SITE = """\
set -e
mount -t tmpfs none /run
mount -t sysfs none /sys
ip link set lo up
unshare -n sleep 3600 & far=$!
while [ "$(readlink /proc/$far/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link add vmbr0 type bridge
ip link set vmbr0 up
for n in tap111i0:eth0 stor0:eth1; do
  ip link add ${n%:*} type veth peer name ${n#*:}
  ip link set ${n#*:} netns $far
  ip link set ${n%:*} up
  nsenter -t $far -n ip link set ${n#*:} up
done
ip link set tap111i0 master vmbr0
ip address add 192.0.2.1/24 dev vmbr0
nsenter -t $far -n ip address add 192.0.2.11/24 dev eth0
i=0
while [ $i -lt MANY ]; do i=$((i+1)); echo "tuntap add dev tap${i}i9 mode tap"; done | ip -batch -
echo $far
while sleep 0.05; do :; done
"""
_FLOOD = """
import socket, sys, time
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
port.bind(("eth1", 0))
frame = b"\\xff" * 6 + b"\\x02" * 6 + b"\\x08\\x00" + bytes(1486)
end, sent = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < end:
    for _ in range(200):
        port.send(frame)
    sent += 200
print(sent, time.process_time())
"""


class _Node:
    """The shell of the node that is made for the measurement."""

    name = "pve1"

    def __init__(self, pid: int, far: int) -> None:
        self._enter = ["nsenter", "-t", str(pid), "-n", "-m", "-p"]
        self._far = far

    def run(self, script: str) -> Output:
        done = subprocess.run([*self._enter, "sh", "-c", script], capture_output=True, check=False)
        return Output(done.returncode, done.stdout, done.stderr)

    def flood(self, seconds: float) -> tuple[float, float]:
        """Send frames into ``stor0`` as fast as one process can.

        Returns:
            Frames per second, and CPU nanoseconds of the sender per frame: the kernel does the
            receiving end's work in its time as well.
        """
        enter = ["nsenter", "-t", str(self._far), "-n"]
        argv = [*self._enter, *enter, sys.executable, "-c", _FLOOD, str(seconds)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        sent, spent_s = done.stdout.split()
        return int(sent) / seconds, float(spent_s) * 1e9 / int(sent)

    def cpu_s(self, program: str) -> float:
        """Return the CPU seconds of the processes of that name in the node, so far."""
        total = 0
        for pid in self.run(f"pgrep -x {program}").text.split():
            total += int(self.run(f"cat /proc/{pid}/schedstat").text.split()[0])
        return total / 1e9


@contextmanager
def _node(many: int = 0) -> Iterator[_Node]:
    words = ["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c"]
    argv = [*words, _SITE.replace("MANY", str(many))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            far = int(process.stdout.readline() if process.stdout else "")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            yield _Node(int(children.split()[0]), far)
        finally:
            process.kill()


def _watch(devices: tuple[str, ...] = ()) -> NodeWatch:
    flow = FlowSpec(
        number=1,
        source="pve1",
        target="192.0.2.11",
        kind=FlowKind.CONTROL,
        address=IPv4Address("192.0.2.11"),
        count=_SECONDS * 100,
        interval_s=0.01,
    )
    return NodeWatch(
        node="pve1",
        points=("tap111i0",),
        devices=devices,
        flows=(flow,),
        mark="abcdefghijkl",
        token="0123456789ab",  # noqa: S106 - it names a folder
        limit_s=60,
    )


def measure() -> Iterator[tuple[str, str]]:
    """Yield the CPU that a watch takes, and what it takes from traffic on another port."""
    quiet, flooded, rates, with_, without = [], [], [], [], []
    with _node() as node:
        for _ in range(_ROUNDS):
            without.append(node.flood(_SECONDS)[1])
            quiet.append(_one(node, _watch())[0])
            cpu, (rate, each) = _one(node, _watch(), flood=True)
            flooded.append(cpu)
            rates.append(rate)
            with_.append(each)
    yield "tcpdump, one port with 200 probe frames/s", _share(quiet)
    yield f"the same, {statistics.median(rates):,.0f} frames/s on another port", _share(flooded)
    yield "a frame on that port without a watch", f"{statistics.median(without):,.0f} ns of CPU"
    yield "a frame on that port with it", f"{statistics.median(with_):,.0f} ns of CPU"
    with _node(_MANY) as node:
        every = tuple(f"tap{number}i9" for number in range(1, _MANY + 1))
        for count in (1, _MANY):
            spent = [
                _one(node, replace(_watch(), devices=("tap111i0", *every[: count - 1])), "perl")[0]
                for _ in range(_ROUNDS)
            ]
            yield f"sampler, {count} of {_MANY + 5} devices", _share(spent)


def _one(
    node: _Node, watch: NodeWatch, program: str = "tcpdump", *, flood: bool = False
) -> tuple[float, tuple[float, float]]:
    """Return a program's share of a core during a watch, and what the flood gave meanwhile."""
    watch.start(node)
    spent, begun = node.cpu_s(program), time.monotonic()
    flooded = node.flood(_SECONDS) if flood else (0.0, 0.0)
    while not flood and time.monotonic() - begun < _SECONDS:
        time.sleep(0.1)
    share = (node.cpu_s(program) - spent) / (time.monotonic() - begun)
    facts = watch.read(watch.fetch(node))
    capture = facts.capture
    if capture is None or capture.doubts:
        raise RuntimeError(f"the capture proves nothing: {facts.problem or capture}")
    if len(capture.packets.sightings) != 2 * watch.flows[0].count:
        raise RuntimeError(f"it saw {len(capture.packets.sightings)} probe frames")
    return share, flooded


def _share(values: list[float]) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.2%} of a core ({low:.2%}, {high:.2%})"
