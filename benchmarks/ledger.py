"""From pcap bytes to deaths per segment: the ledger, and dpkt, scapy and tshark doing the same.

The capture is one node's: each guest's probes to the gateway, requests and replies, at its tap and
at the uplink, with every tenth reply lost between the two. All four read frames, find the
run's mark, note which point saw which packet, and count where the lost ones died.
"""

from __future__ import annotations

import resource
import shutil
import struct
import subprocess
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from tempfile import TemporaryDirectory

from pytest_vmnet.core.facts import Capture, FlowSpec, HostFacts, PingResult, Sweep
from pytest_vmnet.core.ledger.book import build_ledger
from pytest_vmnet.core.parse.pcap import LINKTYPE_SLL2, MARK_OFFSET, parse_capture
from pytest_vmnet.core.site.topology import Bridge, Guest, Inventory, Nic, Node
from pytest_vmnet.core.words import FlowKind

_MARK = b"a1b2c3d4e5f6"
_COUNT = 300
_NODE, _UPLINK, _GATEWAY = "pve1", "enp4s0", IPv4Address("192.0.2.1")
_GATEWAY_MAC = bytes.fromhex("dc62795f4a92")
_SIZES = (250_000, 500_000, 1_000_000, 2_000_000)
_SMALL = 40_000
_RUNS = 3
_SNAPLEN = 96

Deaths = Counter[tuple[int, str]]
"""How many packets died between which point and the next one; requests 0, replies 1."""


@dataclass(frozen=True)
class _Site:
    """A capture and what a sweep knows beside it."""

    data: bytes
    sightings: int
    inventory: Inventory
    flows: tuple[FlowSpec, ...]
    points: Mapping[int, str]

    @classmethod
    def of(cls, sightings: int) -> _Site:
        """Return a node with so many guests that about *sightings* come together."""
        seen = 2 * _COUNT + _COUNT + _COUNT * 9 // 10
        number = max(1, sightings // seen)
        guests = tuple(_guest(at) for at in range(number))
        bridge = Bridge(name="vmbr0", node=_NODE, ports=(_UPLINK,))
        node = Node(name=_NODE, address=None, bridges=(bridge,))
        flows = tuple(
            FlowSpec(
                number=at, source=guest.ident, target=str(_GATEWAY), kind=FlowKind.GATEWAY,
                address=_GATEWAY, count=_COUNT, interval_s=0.02,
            )
            for at, guest in enumerate(guests)
        )  # fmt: skip
        points = {2: _UPLINK} | {at + 3: guest.tap for at, guest in enumerate(guests)}
        inventory = Inventory(nodes=(node,), guests=guests)
        return cls(_capture(guests), number * seen, inventory, flows, points)


def _guest(at: int) -> Guest:
    mac = (0xBC2411000000 + at).to_bytes(6, "big").hex(":")
    return Guest(
        vmid=1000 + at, name=f"vm-{at}", ident=f"vm-{at}", node=_NODE,
        nics=(Nic(index=0, model="virtio", mac=mac, bridge="vmbr0"),),
        interface=IPv4Interface(f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}/8"),
    )  # fmt: skip


def _capture(guests: tuple[Guest, ...]) -> bytes:
    """Return the capture file, in the order of time as a node would write it."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAPLEN, LINKTYPE_SLL2)]
    frames = [_frames(at, guest) for at, guest in enumerate(guests)]
    for seq in range(1, _COUNT + 1):
        stamp = struct.pack("<II", 1_790_000_000 + seq // 50, seq % 50 * 20_000)
        for rows in frames:
            for leg, row in enumerate(rows):
                if leg == 3 and seq % 10 == 0:
                    continue  # the reply left the uplink and never came to the tap
                head, tail = row
                parts += [stamp, head, seq.to_bytes(2, "big"), tail]
    return b"".join(parts)


def _frames(number: int, guest: Guest) -> list[tuple[bytes, bytes]]:
    """Return a guest's four frames, each cut at its sequence number."""
    mac = bytes.fromhex(guest.nic.mac.replace(":", ""))
    own = (guest.address or _GATEWAY).packed
    rows = []
    for reply, ifindex, out in ((0, number + 3, 0), (0, 2, 1), (1, 2, 0), (1, number + 3, 1)):
        ends = _GATEWAY.packed + own if reply else own + _GATEWAY.packed
        link = struct.pack("!HHIHBB", 0x0800, 0, ifindex, 1, 4 if out else 0, 6)
        link += (_GATEWAY_MAC if reply else mac) + b"\0\0"
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 84, 1, 0, 64, 1, 0) + ends
        packet += struct.pack("!BBHH", 0 if reply else 8, 0, 0, 4711)
        payload = bytes(16) + _MARK + number.to_bytes(2, "big") + b"vn" + bytes(24)
        length = len(link) + len(packet) + 2 + len(payload)
        cut = _SNAPLEN - len(link) - len(packet) - 2
        head = struct.pack("<II", min(length, _SNAPLEN), length) + link + packet
        rows.append((head, payload[:cut]))
    return rows


def measure() -> Iterator[tuple[str, str]]:
    """Yield the ledger's speed and memory at four sizes, and the others' as ratios to it.

    Speeds are in sightings for each second of CPU time, so that what else runs does not count;
    the speed by the clock stands beside the ledger's.
    """
    for size in _SIZES:
        site = _Site.of(size)
        clock, cpu = _least(lambda site=site: _ours(site), _RUNS)  # type: ignore[misc]
        yield (
            f"ledger, {site.sightings} sightings, best of {_RUNS}",
            f"{_speed(site, cpu)}, {cpu / site.sightings * 1e9:.0f} ns each; "
            f"by the clock {_speed(site, clock)}",
        )
        yield "  peak memory beside the file", f"{_peak(site) / site.sightings:.0f} B a sighting"
    yield from _compared(_Site.of(_SMALL))


def _compared(site: _Site) -> Iterator[tuple[str, str]]:
    expected = _ours(site)
    _, ours = _least(lambda: _ours(site), _RUNS)
    yield f"ledger, {site.sightings} sightings", _speed(site, ours)
    for name, run in {"dpkt": _dpkt, "scapy": _scapy, "tshark": _tshark}.items():
        if name == "tshark" and not shutil.which(name):
            yield name, "not installed"
            continue
        found: list[Deaths] = []
        _, cpu = _least(lambda run=run, found=found: found.append(run(site)), 1)  # type: ignore[misc]
        same = "same deaths" if found[0] == expected else f"OTHER DEATHS: {found[0]}"
        yield (
            f"{name} {_version(name)}, the same capture",
            f"{_speed(site, cpu)}, {same}; the ledger is {cpu / ours:.0f} x as fast",
        )


def _speed(site: _Site, seconds: float) -> str:
    return f"{site.sightings / seconds / 1e6:.3g} M/s"


def _version(name: str) -> str:
    if name != "tshark":
        return metadata.version(name)
    told = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split()[2]


def _least(run: Callable[[], object], times: int) -> tuple[float, float]:
    """Return the least seconds of a few runs: by the clock, and of CPU with child processes."""
    clocks, cpus = [], []
    for _ in range(times):
        begun, spent = time.monotonic(), _cpu_s()
        run()
        clocks.append(time.monotonic() - begun)
        cpus.append(_cpu_s() - spent)
    return min(clocks), min(cpus)


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak(site: _Site) -> int:
    """Return the most memory in use at a time, without the file itself, in bytes."""
    tracemalloc.start()
    try:
        _ours(site)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _ours(site: _Site) -> Deaths:
    packets = parse_capture(site.data, "benchmark", _MARK)
    capture = Capture(host=_NODE, points=site.points, packets=packets)
    answers = dict.fromkeys((seq for seq in range(1, _COUNT + 1) if seq % 10), 0.5)
    hosts = {_NODE: HostFacts(host=_NODE, capture=capture)}
    for flow in site.flows:
        ping = PingResult(transmitted=_COUNT, rtt_ms=answers)
        hosts[flow.source] = HostFacts(host=flow.source, pings={flow.number: ping})
    sweep = Sweep(flows=site.flows, hosts=hosts, duration_s=6.0)
    found = Deaths()
    for ledger in build_ledger(sweep, site.inventory):
        for death in ledger.deaths():
            found[_named(death.last_seen), _named(death.next_point)] += death.packets
    return found


def _named(point: str | None) -> str:
    """Return what a point is called in the comparison: taps are not told apart."""
    return "tap" if point and point.startswith("tap") else str(point)


def _deaths(site: _Site, seen: Mapping[tuple[int, int], set[tuple[int, str]]]) -> Deaths:
    """Follow each packet of each flow from point to point, as the ledger does."""
    way = [(8, "tap"), (8, _UPLINK), (0, _UPLINK), (0, "tap")]
    found = Deaths()
    for flow in site.flows:
        for seq in range(1, _COUNT + 1):
            if seq % 10:
                continue  # answered
            passed = seen.get((flow.number, seq), set())
            last = max(at for at, step in enumerate(way) if step in passed)
            found[way[last][1], way[last + 1][1]] += 1
    return found


def _enter(
    site: _Site, seen: dict[tuple[int, int], set[tuple[int, str]]], frame: tuple[int, bytes]
) -> None:
    """Note an ICMP message that was seen at an interface."""
    ifindex, message = frame
    if message[0] in {0, 8} and message[MARK_OFFSET : MARK_OFFSET + 12] == _MARK:
        flow = int.from_bytes(message[MARK_OFFSET + 12 : MARK_OFFSET + 14], "big")
        seq = int.from_bytes(message[6:8], "big")
        seen.setdefault((flow, seq), set()).add((message[0], _named(site.points[ifindex])))


def _dpkt(site: _Site) -> Deaths:
    import io  # noqa: PLC0415 - only where it is measured

    import dpkt  # type: ignore[import-untyped]  # noqa: PLC0415

    seen: dict[tuple[int, int], set[tuple[int, str]]] = {}
    for _, data in dpkt.pcap.Reader(io.BytesIO(site.data)):
        frame = dpkt.sll2.SLL2(data)
        if isinstance(frame.data, dpkt.ip.IP) and isinstance(frame.data.data, dpkt.icmp.ICMP):
            _enter(site, seen, (frame.intindex, bytes(frame.data.data)))
    return _deaths(site, seen)


def _scapy(site: _Site) -> Deaths:
    import io  # noqa: PLC0415

    from scapy.layers.inet import ICMP  # noqa: PLC0415
    from scapy.utils import PcapReader  # noqa: PLC0415

    seen: dict[tuple[int, int], set[tuple[int, str]]] = {}
    for frame in PcapReader(io.BytesIO(site.data)):
        if ICMP in frame:
            _enter(site, seen, (frame.ifindex, bytes(frame[ICMP])))
    return _deaths(site, seen)


def _tshark(site: _Site) -> Deaths:
    seen: dict[tuple[int, int], set[tuple[int, str]]] = {}
    fields = ("sll.ifindex", "icmp.type", "icmp.seq", "data.data", "icmp.data_time")
    with TemporaryDirectory() as folder:
        file = Path(folder, "capture.pcap")
        file.write_bytes(site.data)
        argv = ["tshark", "-n", "-r", str(file), "-Y", "icmp", "-T", "fields"]
        for field in fields:
            argv += ["-e", field]
        told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    for line in told.splitlines():
        ifindex, kind, seq, data, *_ = line.split("\t")
        raw = bytes.fromhex(data)
        at = raw.find(_MARK)
        if at >= 0:
            flow = int.from_bytes(raw[at + 12 : at + 14], "big")
            point = _named(site.points[int(ifindex)])
            seen.setdefault((flow, int(seq)), set()).add((int(kind), point))
    return _deaths(site, seen)
