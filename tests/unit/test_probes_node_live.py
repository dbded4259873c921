"""The node's own scripts, run for real in namespaces of their own: they watch, and leave nothing.

A bridge with two veth ports stands in for the node's: ``tap111i0`` leads to a guest's namespace.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from pytest_vmnet.backends.hosts import Output
from pytest_vmnet.core.facts import FlowSpec
from pytest_vmnet.core.site.topology import Guest, Nic
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.errors import CaptureError
from pytest_vmnet.probes import script
from pytest_vmnet.probes.guest import guest_facts, guest_script
from pytest_vmnet.probes.node import NodeWatch

MARK, TOKEN = "abcdefghijkl", "0123456789ab"
TOOLS = ("unshare", "nsenter", "ip", "bridge", "tcpdump", "ping", "gzip", "pgrep")
SITE = """\
set -e
mount -t tmpfs none /run
mount -t sysfs none /sys
ip link set lo up
ip link add vmbr0 type bridge
ip link set vmbr0 up
ip link add tap111i0 type veth peer name eth0
ip link set tap111i0 master vmbr0
ip link set tap111i0 up
ip address add 192.0.2.1/24 dev vmbr0
unshare -n sleep 60 &
guest=$!
while [ "$(readlink /proc/$guest/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link set eth0 netns $guest
nsenter -t $guest -n ip address add 192.0.2.11/24 dev eth0
nsenter -t $guest -n ip link set eth0 up
echo $guest
while sleep 0.05; do :; done
"""


def run(argv: list[str], **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, capture_output=True, timeout=30, check=False, **more)  # type: ignore[call-overload,no-any-return]


class NamespaceShell:
    """The shell of the "node": a process in the namespaces."""

    name = "pve1"

    def __init__(self, pid: int, guest: int) -> None:
        self.pid, self.guest = pid, guest

    def run(self, text: str) -> Output:
        done = run(["nsenter", "-t", str(self.pid), "-n", "-m", "-p", "sh", "-c", text])
        return Output(done.returncode, done.stdout, done.stderr)

    def in_guest(self, argv: list[str]) -> str:
        words = ["nsenter", "-t", str(self.guest), "-n", *argv]
        return self.run(" ".join(words)).text


@pytest.fixture
def site():
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'}")
    words = ["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c", SITE]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            said = process.stdout.readline()
            if not said.strip():
                process.kill()
                pytest.skip(f"no namespaces here: {process.stderr.read().decode()[-200:]}")
            children = f"/proc/{process.pid}/task/{process.pid}/children"
            inner = int(run(["cat", children]).stdout.split()[0])
            yield NamespaceShell(inner, int(said))
        finally:
            process.kill()


def control(count: int) -> FlowSpec:
    return FlowSpec(
        number=7, source="pve1", target="192.0.2.11", kind=FlowKind.CONTROL,
        address=IPv4Address("192.0.2.11"), count=count, interval_s=0.01,
    )  # fmt: skip


def watch(*points: str, count: int = 0) -> NodeWatch:
    flows = (control(count),) if count else ()
    return NodeWatch(node="pve1", points=points, flows=flows, mark=MARK, token=TOKEN, limit_s=20)


def left_behind(site: NamespaceShell) -> list[str]:
    """Return folders, ports and processes that a watch left on the node."""
    names = site.run("ls -d /run/vmnet-gate-* 2>/dev/null; ls /sys/class/net").text.split()
    running = site.run("pgrep -l 'tcpdump|bridge|ping|timeout|perl|^ip$'").text.splitlines()
    return [name for name in names if "vmn" in name.replace("vmbr", "")] + running


def test_a_watch_sees_its_probes_and_leaves_nothing(site) -> None:
    made = watch("tap111i0", "tap999i0", count=20)
    made.start(site)
    assert len(left_behind(site)) > 3
    words = script.ping_argv(control(10), MARK)
    assert "10 received" in site.in_guest([*words[:-1], "192.0.2.1"])
    facts = made.read(made.fetch(site))
    assert facts.problem is None
    assert facts.capture.doubts == {"tap999i0": "the interface did not exist"}
    rows = facts.capture.packets.sightings
    assert set(facts.capture.points.values()) == {"tap111i0"}
    seen = {
        (bool(reply), bool(out)): int(((rows["reply"] == reply) & (rows["out"] == out)).sum())
        for reply in (False, True)
        for out in (False, True)
    }
    # 20 of the node's own leave by the tap, 10 of the guest's come in by it.
    assert seen == {(False, True): 20, (True, False): 20, (False, False): 10, (True, True): 10}
    assert set(rows["flow"].tolist()) == {7}
    assert (facts.pings[7].transmitted, len(facts.pings[7].rtt_ms)) == (20, 20)
    assert [str(n.address) for n in facts.neighbours] == ["192.0.2.11"]
    assert left_behind(site) == []


def test_an_interface_that_is_made_anew_is_in_doubt(site) -> None:
    made = watch("tap111i0")
    made.start(site)
    site.run("ip link del tap111i0; ip tuntap add dev tap111i0 mode tap")
    facts = made.read(made.fetch(site))
    assert set(facts.capture.doubts) == {"tap111i0"}
    assert facts.capture.doubts["tap111i0"].startswith("the interface changed during the sweep: ")
    assert left_behind(site) == []


def capture_pid(site: NamespaceShell) -> int:
    """Return the id of the running tcpdump, as the node knows it."""
    return int(site.run("pgrep -x tcpdump").text.split()[0])


def doubt(site: NamespaceShell, made: NodeWatch) -> str:
    """End the watch and return the one doubt that all its points share."""
    facts = made.read(made.fetch(site))
    assert facts.problem is None
    assert left_behind(site) == []
    (why,) = set(facts.capture.doubts.values())
    assert set(facts.capture.doubts) == set(made.points)
    return why


def test_a_capture_that_is_killed_half_way_proves_nothing(site) -> None:
    made = watch("tap111i0", "vmbr0", count=5)
    made.start(site)
    site.run(f"sleep 0.3; kill -9 {capture_pid(site)}")
    why = doubt(site, made)
    assert why.startswith("tcpdump did not end by itself: ")


@pytest.mark.parametrize("works", [True, False])
def test_the_capture_runs_in_a_scope_of_its_own_where_there_is_systemd(site, works) -> None:
    fake = 'echo "$@" >>/run/asked; while [ $1 != true ] && [ $1 != timeout ]; do shift; done; '
    fake += 'exec "$@"' if works else "exit 1"
    site.run(
        "mount -t tmpfs none /usr/local/sbin; cd /usr/local/sbin; "
        f"printf '#!/bin/sh\\n%s\\n' {shlex.quote(fake)} >systemd-run; chmod +x systemd-run"
    )
    made = watch("tap111i0", count=5)
    made.start(site)
    facts = made.read(made.fetch(site))
    assert facts.capture.doubts == {}
    assert len(facts.capture.packets.sightings) == 10
    asked = site.run("cat /run/asked").text.splitlines()
    assert all("--scope -p MemoryMax=256M" in line for line in asked)
    assert [line.split()[-1] == "true" for line in asked] == [True, False][: 1 + works]
    assert left_behind(site) == []


def test_a_capture_that_ends_early_by_itself_proves_nothing(site) -> None:
    made = watch("tap111i0")
    made.start(site)
    site.run(f"sleep 0.3; kill -INT {capture_pid(site)}; sleep 0.5")
    assert doubt(site, made) == "the canary sent after the probes was not captured"


def test_a_capture_that_only_sleeps_for_a_while_misses_nothing(site) -> None:
    made = watch("tap111i0", count=20)
    made.start(site)
    pid = capture_pid(site)
    site.run(f"kill -STOP {pid}; sleep 1; kill -CONT {pid}")
    facts = made.read(made.fetch(site))
    assert facts.capture.doubts == {}
    assert len(facts.capture.packets.sightings) == 40


FLOOD = """\
import socket, struct
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
port.bind(("eth0", 0))
arp = struct.pack("!6s6sHHHBBH6s4s6s4s", b"\\xff" * 6, b"\\x02" * 6, 0x806, 1, 0x800, 6, 4, 1,
                  b"\\x02" * 6, bytes(4), bytes(6), bytes(4))
for _ in range(120_000):
    port.send(arp)
"""


def test_a_capture_whose_buffer_overflows_proves_nothing(site) -> None:
    made = watch("tap111i0")
    made.start(site)
    pid = capture_pid(site)
    site.run(f"kill -STOP {pid}")
    site.in_guest(["python3", "-c", shlex.quote(FLOOD)])
    site.run(f"kill -CONT {pid}")
    why = doubt(site, made)
    assert "dropped by kernel" in why


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("ip link set tap111i0 down; ip link set tap111i0 up", "it was set down"),
        ("ip link set tap111i0 nomaster; ip link set tap111i0 master vmbr0",
         "its master changed from vmbr0 to none"),
    ],
)  # fmt: skip
def test_a_point_that_changes_and_is_as_before_at_the_end_is_in_doubt(site, act, why) -> None:
    made = watch("tap111i0")
    made.start(site)
    site.run(act)
    assert doubt(site, made) == f"the interface changed during the sweep: {why}"


def test_what_does_not_keep_frames_from_a_capture_is_no_doubt(site) -> None:
    made = watch("tap111i0")
    made.start(site)
    site.run(
        "ip link set tap111i0 mtu 1400; ip link set tap111i0 promisc on; ip link set vmbr0 down"
    )
    assert made.read(made.fetch(site)).capture.doubts == {}


def test_counters_are_sampled_while_the_watch_runs(site) -> None:
    made = replace(watch("tap111i0", count=50), devices=("tap111i0", "vmbr0", "tap999i0"))
    made.start(site)
    facts = made.read(made.fetch(site))
    assert facts.capture.time_doubt is None
    kinds = {sample.kind for sample in facts.samples}
    assert {"counters", "qdisc", "softnet", "neighbour"} <= kinds
    sent = [
        int(s.values["tx_packets"]) for s in facts.samples
        if (s.kind, s.ifname) == ("counters", "tap111i0")
    ]  # fmt: skip
    assert sent[-1] - sent[0] >= 45
    assert sent == sorted(sent)
    stamps = facts.capture.packets.sightings["t_ns"]
    counted = [s.t_ns for s in facts.samples if s.kind == "counters" and s.ifname == "tap111i0"]
    assert counted[0] - 1e9 < stamps.min() < counted[-1] + 0.5e9
    assert {s.ifname for s in facts.samples if s.kind == "counters"} == {"tap111i0", "vmbr0"}


def test_a_watch_of_nothing_does_not_start_and_leaves_nothing(site) -> None:
    with pytest.raises(CaptureError, match="none of its interfaces exists"):
        watch("tap999i0").start(site)
    assert left_behind(site) == []


def test_a_guest_sees_its_own_probes_and_leaves_nothing(site) -> None:
    mac = site.in_guest(["ip -o link show eth0"]).partition("link/ether ")[2].split()[0]
    guest = Guest(
        vmid=111, name="vm-1", ident="vm-1", node="pve1",
        nics=(Nic(index=0, model="virtio", mac=mac, bridge="vmbr0"),),
    )  # fmt: skip
    flow = replace(control(10), address=IPv4Address("192.0.2.1"), kind=FlowKind.GATEWAY)
    text = guest_script([flow], mark=MARK, token=TOKEN, mac=mac, hold_s=0.5)
    inside = f"mount -t sysfs none /sys; export TMPDIR=/run; {text}"
    words = ["nsenter", "-t", str(site.guest), "-n", "unshare", "-m", "sh", "-c", inside]
    done = site.run(shlex.join(words))
    facts = guest_facts(guest, [flow], script.sections(done.stdout, TOKEN, "vm-1"), MARK)
    assert facts.ifname == "eth0"
    assert len(facts.pings[7].rtt_ms) == 10
    assert facts.capture.doubts == {}
    rows = facts.capture.packets.sightings
    assert sorted(zip(rows["reply"].tolist(), rows["out"].tolist(), strict=True)) == sorted(
        [(False, True), (True, False)] * 10
    )
    assert [str(n.address) for n in facts.neighbours] == ["192.0.2.1"]
    assert facts.rules == ()
    assert site.run("ls /run | grep tmp").text == ""
    assert left_behind(site) == []
