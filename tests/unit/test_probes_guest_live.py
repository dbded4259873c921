"""The guest's own script, run for real: with tcpdump, with python3 alone, with neither.

The guest has a folder of programs of its own, so that what is not in it is not there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_address
from pathlib import Path

import pytest

from pytest_vmnet.core.facts import FlowSpec, HostFacts, Sweep
from pytest_vmnet.core.ledger.book import build_ledger
from pytest_vmnet.core.site.topology import Guest, Inventory, Nic, Node
from pytest_vmnet.core.words import IPV6_LANE, LARGE_LANE, FlowKind, PingKind
from pytest_vmnet.probes import script
from pytest_vmnet.probes.guest import guest_facts, guest_script
from pytest_vmnet.probes.program import PING_KIND, parse_ping_kind

MARK, TOKEN, MAC = "abcdefghijkl", "0123456789ab", "bc:24:11:00:01:0b"
GUEST = Guest(
    vmid=111, name="vm-1", ident="vm-1", node="pve1", agent=True,
    nics=(Nic(index=0, model="virtio", mac=MAC, bridge="vmbr0"),),
    interface=IPv4Interface("192.0.2.11/24"), interface6=IPv6Interface("2001:db8::11/64"),
    gateway=IPv4Interface("192.0.2.1/24").ip, gateway6=IPv6Address("fe80::1"),
)  # fmt: skip
SITE = Inventory(nodes=(Node(name="pve1", address=None),), guests=(GUEST,))
BASE = (
    "sh", "base64", "cat", "date", "grep", "gzip", "head", "ip", "mktemp", "nft", "rm", "sleep",
    "tail", "timeout", "tr", "wc",
)  # fmt: skip
NAMESPACES = f"""\
set -e
mount -t tmpfs none /run
mount -t sysfs none /sys
ip link set lo up
ip link add port type veth peer name eth0 address {MAC}
ip address add 192.0.2.1/24 dev port
ip address add fe80::1/64 dev port nodad
ip address add 2001:db8::1/64 dev port nodad
ip link set port up
unshare -n sleep 120 &
guest=$!
while [ "$(readlink /proc/$guest/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link set eth0 netns $guest
in="nsenter -t $guest -n"
$in ip link set lo up
$in ip address add 192.0.2.11/24 dev eth0
$in ip address add 2001:db8::11/64 dev eth0 nodad
$in ip link set eth0 up
while ! $in ip -6 address show dev eth0 scope link | grep -q inet6; do sleep 0.05; done
while $in ip -6 address show dev eth0 tentative | grep -q inet6; do sleep 0.05; done
echo $guest
while sleep 0.05; do :; done
"""


@dataclass
class Place:
    """A guest's namespace beside a gateway's, and the guest's folder of programs."""

    pid: int
    guest: int
    programs: Path

    def gateway(self, *argv: str) -> str:
        return self._run(["nsenter", "-t", str(self.pid), "-n", *argv])

    def inside(self, *argv: str) -> str:
        return self._run(["nsenter", "-t", str(self.guest), "-n", *argv])

    def _run(self, argv: list[str]) -> str:
        done = subprocess.run(argv, capture_output=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def has(self, *names: str) -> None:
        for name in names:
            found = sys.executable if name == "python3" else shutil.which(name)
            if found is None:
                pytest.skip(f"{name} is not installed")
            (self.programs / name).symlink_to(Path(found).resolve())

    def has_busybox_ping(self) -> None:
        found = shutil.which("busybox")
        if found is None:
            pytest.skip("busybox is not installed")
        (self.programs / "ping").symlink_to(Path(found).resolve())

    def run(self, text: str) -> bytes:
        """Run a script as the guest's agent does, with the guest's own programs."""
        text = text.replace("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                            f"PATH={self.programs}")  # fmt: skip
        sysfs = "mount -t sysfs none /sys; exec sh -s"
        argv = [
            "nsenter",
            "-t",
            str(self.guest),
            "-n",
            "-m",
            "-p",
            "unshare",
            "-m",
            "sh",
            "-c",
            sysfs,
        ]
        done = subprocess.run(
            argv, input=text.encode(), capture_output=True, timeout=60, check=False
        )
        assert not done.returncode, done.stderr
        return done.stdout

    def probe(self, *flows: FlowSpec) -> HostFacts:
        text = guest_script(flows, mark=MARK, token=TOKEN, mac=MAC, hold_s=0.5)
        found = script.sections(self.run(text), TOKEN, "vm-1")
        return guest_facts(GUEST, flows, found, MARK)


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(child) for child in listed.split() if Path(f"/proc/{child}/ns/net").exists()]


@pytest.fixture
def place(tmp_path):
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in ("nsenter", "ip", "nft")):
        pytest.skip("needs root, nsenter, ip and nft")
    words = ["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c"]
    with subprocess.Popen([*words, NAMESPACES], stdout=subprocess.PIPE) as process:
        try:
            said = process.stdout.readline()
            if not said.strip():
                pytest.skip("no namespaces here")
            (inner,) = children(process.pid)
            own = Path(f"/proc/{inner}/ns/net").readlink()
            guest = next(
                pid for pid in children(inner) if Path(f"/proc/{pid}/ns/net").readlink() != own
            )
            programs = tmp_path / "programs"
            programs.mkdir()
            made = Place(inner, guest, programs)
            made.has(*BASE)
            yield made
        finally:
            process.kill()


def flow(number: int = 3, count: int = 20, **more) -> FlowSpec:
    usual = {
        "source": "vm-1", "target": "192.0.2.1", "kind": FlowKind.GATEWAY,
        "address": GUEST.gateway, "count": count, "interval_s": 0.01,
    }  # fmt: skip
    return FlowSpec(number=number, **usual | more)


def deaths(spec: FlowSpec, facts: HostFacts) -> list[tuple[str, str | None, str | None, int]]:
    (ledger,) = build_ledger(Sweep(flows=(spec,), hosts={"vm-1": facts}, duration_s=1), SITE)
    return [(str(d.leg), d.last_seen, d.next_point, d.packets) for d in ledger.deaths()]


@pytest.mark.parametrize("program", ["tcpdump", "python3"])
def test_each_packet_is_seen_at_the_guests_own_nic(place, program) -> None:
    place.has("ping", program)
    facts = place.probe(flow(3), flow(4, address=IPv6Address("2001:db8::1"), lane=IPV6_LANE))
    assert facts.capture is not None, facts.unwatched
    assert (facts.ifname, facts.capture.doubts, facts.unwatched) == ("eth0", {}, None)
    rows = facts.capture.packets.sightings
    assert {number: ping.transmitted for number, ping in facts.pings.items()} == {3: 20, 4: 20}
    for number in (3, 4):
        mine = rows[rows["flow"] == number]
        assert sorted(mine["seq"][~mine["reply"]].tolist()) == list(range(1, 21))
        assert sorted(mine["seq"][mine["reply"]].tolist()) == list(range(1, 21))
        assert mine["out"][~mine["reply"]].all()
        assert not mine["out"][mine["reply"]].any()
    assert (
        facts.capture.since_ns < rows["t_ns"].min() < rows["t_ns"].max() < facts.capture.until_ns
    )


@pytest.mark.parametrize("program", ["tcpdump", "python3"])
def test_what_never_left_the_guest_is_told_from_what_came_back_and_was_dropped(
    place, program
) -> None:
    place.has("ping", program)
    rules = "add table inet t; add chain inet t c {{ type filter hook {} priority 0; }}; "
    place.inside("nft", rules.format("output") + "add rule inet t c icmp type echo-request drop")
    gone = place.probe(flow())
    assert (gone.pings[3].transmitted, len(gone.pings[3].rtt_ms)) == (20, 0)
    assert deaths(flow(), gone) == [("request", None, "guest:eth0", 20)]
    place.inside("nft", "delete table inet t")
    place.inside("nft", rules.format("input") + "add rule inet t c icmp type echo-reply drop")
    back = place.probe(flow())
    assert deaths(flow(), back) == [("reply", "guest:eth0", "guest:stack", 20)]


@pytest.mark.parametrize("program", ["tcpdump", "python3"])
def test_what_arrived_and_was_not_answered_is_seen_to_have_arrived(place, program) -> None:
    place.has("ping", program)
    place.inside("nft", "add table inet t; add chain inet t c { type filter hook input priority 0;"
                 " }; add rule inet t c icmp type echo-request drop")  # fmt: skip
    spec = flow(9, source="workstation", target="vm-1", kind=FlowKind.INBOUND,
                address=GUEST.address)  # fmt: skip
    text = guest_script((), mark=MARK, token=TOKEN, mac=MAC, hold_s=1.5)
    outside = ["nsenter", "-t", str(place.pid), "-n", "sh", "-c",
               "sleep 0.7; exec " + " ".join(script.ping_argv(spec, MARK))]  # fmt: skip
    with subprocess.Popen(outside, stdout=subprocess.DEVNULL) as pinging:
        found = script.sections(place.run(text), TOKEN, "vm-1")
        pinging.wait()
    rows = guest_facts(GUEST, (), found, MARK).capture.packets.sightings
    mine = rows[rows["flow"] == 9]
    assert (len(mine[~mine["reply"]]), len(mine[mine["reply"]])) == (20, 0)


def test_with_neither_the_point_is_unknown_and_counters_are_facts(place) -> None:
    place.has("ping")
    spec = flow()
    facts = place.probe(spec)
    assert facts.capture is None
    assert "neither tcpdump nor python3 is in the guest" in facts.unwatched
    assert facts.counters["Icmp.OutEchos"] == facts.counters["Icmp.InEchoReps"] == 20
    assert facts.counters["nic.tx_packets"] >= 20
    (ledger,) = build_ledger(Sweep(flows=(spec,), hosts={"vm-1": facts}, duration_s=1), SITE)
    assert ledger.counts()[0].doubt == facts.unwatched


def test_a_capture_that_cannot_start_says_why(place) -> None:
    place.has("ping")
    (place.programs / "python3").write_text("#!/bin/sh\necho broken >&2; exit 1\n", "ascii")
    (place.programs / "python3").chmod(0o755)
    facts = place.probe(flow(count=3))
    assert facts.capture is None
    assert "did not start: broken" in facts.unwatched


def test_a_flood_of_other_packets_neither_fills_nor_blinds_the_small_capture(place) -> None:
    place.has("ping", "python3")
    flood = [
        "nsenter",
        "-t",
        str(place.pid),
        "-n",
        "ping",
        "-n",
        "-f",
        "-q",
        "-w",
        "3",
        "192.0.2.11",
    ]
    with subprocess.Popen(flood, stdout=subprocess.DEVNULL) as other:
        facts = place.probe(flow(count=50))
        other.wait()
    rows = facts.capture.packets.sightings
    assert facts.capture.packets.records < 400
    assert len(rows) == 100 or facts.capture.doubts


def test_ipv6_to_a_link_local_gateway_and_a_packet_of_the_guests_own_mtu(place) -> None:
    place.has("ping", "python3")
    place.inside("ip", "link", "set", "eth0", "mtu", "1400")
    six = flow(4, address=GUEST.gateway6, lane=IPV6_LANE)
    large = flow(5, count=2, size=1472, lane=LARGE_LANE)
    facts = place.probe(six, large)
    assert [(ping.transmitted, len(ping.rtt_ms)) for ping in facts.pings.values()] == [
        (20, 20), (2, 2),
    ]  # fmt: skip
    assert facts.pings[5].size == 1372
    sizes = facts.capture.packets.sightings
    assert set(sizes[sizes["flow"] == 5]["size"].tolist()) == {1400}
    table = {str(entry.address): entry for entry in facts.neighbours}
    assert table["fe80::1"].state in {"reachable", "delay", "stale"}


def test_a_gateway_that_takes_no_full_sized_packet_loses_them_all(place) -> None:
    place.has("ping", "python3")
    place.gateway("nft", "add table inet t; add chain inet t c { type filter hook input priority"
                  " 0; }; add rule inet t c meta length > 1400 drop")  # fmt: skip
    large = flow(5, count=3, size=1472, lane=LARGE_LANE)
    facts = place.probe(flow(3), large)
    assert [len(ping.rtt_ms) for ping in facts.pings.values()] == [20, 0]
    assert deaths(large, facts) == [("unknown", "guest:eth0", "gateway", 3)]


def test_which_ping_a_guest_has(place) -> None:
    def kind() -> PingKind:
        return parse_ping_kind(place.run(f"PATH={place.programs}; {PING_KIND}").decode())

    place.has("ping")
    assert kind() is PingKind.IPUTILS
    (place.programs / "ping").unlink()
    assert kind() is PingKind.IPUTILS  # it will say by itself that there is none
    place.has_busybox_ping()
    assert kind() is PingKind.BUSYBOX


def test_a_real_busybox_ping_is_read(place) -> None:
    place.has("python3")
    place.has_busybox_ping()
    main = flow(3, ping=PingKind.BUSYBOX)
    six = flow(4, ping=PingKind.BUSYBOX, address=ip_address("2001:db8::1"), lane=IPV6_LANE)
    facts = place.probe(main, six)
    assert {n: (p.transmitted, sorted(p.rtt_ms)) for n, p in facts.pings.items()} == {
        3: (20, list(range(1, 21))), 4: (20, list(range(1, 21))),
    }  # fmt: skip
    slow = replace(main, ping=PingKind.BUSYBOX_SLOW, count=2, interval_s=1.0)
    assert place.probe(slow).pings[3].transmitted == 2
