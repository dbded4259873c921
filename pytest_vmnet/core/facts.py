"""What was seen, where and when: frozen, serialisable, without judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import numpy.typing as npt

from pytest_vmnet.core.site.topology import CapturePoint
from pytest_vmnet.core.words import MAIN_LANE, FlowKind, PingKind

GATE = "workstation"
"""The host that the gate itself runs on, as an end of a flow."""

SIGHTING = np.dtype(
    [
        ("t_ns", "<i8"),
        ("flow", "<u2"),
        ("seq", "<u2"),
        ("ifindex", "<u4"),
        ("mac", "<u8"),
        ("reply", "?"),
        ("out", "?"),
        ("ttl", "u1"),
        ("src", "<u8"),
        ("size", "<u2"),
    ]
)
"""One probe packet at one interface: time since the epoch in ns, the flow's number, ICMP
sequence number, ifindex (0 in a guest's own capture), source MAC as an integer, whether it is
an echo reply, whether it was leaving through the interface, its TTL (IPv6: hop limit), the last
64 bits of its source address (IPv4: all 32) as an integer, and its IP length in bytes."""

Sightings = npt.NDArray[np.void]

Address = IPv4Address | IPv6Address

SMALL_SIZE = 56
"""Payload bytes of a probe behind its ICMP header, as ``ping`` sends them by itself."""


def mac_text(number: int) -> str:
    """Return a MAC address given as an integer in its usual spelling, lower case."""
    return ":".join(f"{number >> shift & 0xFF:02x}" for shift in range(40, -8, -8))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSpec:
    """One flow of probes to be sent.

    Attributes:
        number: Number of the flow, 0..65500; travels in each probe's payload.
        source: Guest id, node name or ``workstation``.
        target: Guest id or address, as reports name it.
        kind: What the far end is.
        address: Address that is probed.
        count: Probes.
        interval_s: Seconds between two probes.
        size: Payload bytes behind the ICMP header.
        lane: Tells flows between the same two ends apart: ``main``, ``ipv6``, ``large``.
        ping: The prober's ping; one that is not iputils' cannot carry the run's mark.
    """

    number: int
    source: str
    target: str
    kind: FlowKind
    address: Address
    count: int
    interval_s: float
    size: int = SMALL_SIZE
    lane: str = MAIN_LANE
    ping: PingKind = PingKind.IPUTILS


@dataclass(frozen=True, slots=True, kw_only=True)
class PingResult:
    """What ``ping`` said of one flow.

    Attributes:
        transmitted: Probes that it sent.
        rtt_ms: Round-trip time by sequence number, first answer only.
        duplicates: Number of further answers.
        errors: (source address, text) of ICMP errors, with how often each came.
        complaint: What it wrote to its error output, at most a few lines.
        size: Payload bytes of its probes as it said them, or None.
    """

    transmitted: int
    rtt_ms: Mapping[int, float]
    duplicates: int = 0
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)
    complaint: str = ""
    size: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArpFrame:
    """An ARP frame at a capture point (RFC 826)."""

    t_ns: int
    ifindex: int
    out: bool
    oper: int
    sha: str
    spa: IPv4Address
    tpa: IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class NdFrame:
    """A neighbour solicitation or advertisement at a capture point (RFC 4861).

    Attributes:
        t_ns: When it was seen, in ns since the epoch.
        ifindex: Where.
        out: Whether it was leaving through the interface.
        type: ICMPv6 type: solicitation 135, advertisement 136.
        source: IPv6 source address; ``::`` while an address is being tested.
        target: The address that is asked for, or that is claimed.
        lladdr: MAC in its link-layer option, or that of the frame's sender.
    """

    t_ns: int
    ifindex: int
    out: bool
    type: int
    source: IPv6Address
    target: IPv6Address
    lladdr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """The packet that an ICMP error is about, as far as the error quotes it.

    Attributes:
        source: Source address of that packet.
        destination: Destination address of it.
        size: Its IP length in bytes.
        seq: Its ICMP sequence number, None if it was no echo message, or not one of this run.
        reply: Whether it was an echo reply.
        flow: Number of its flow, None unless the run's mark is quoted too.
    """

    source: Address
    destination: Address
    size: int
    seq: int | None = None
    reply: bool = False
    flow: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpError:
    """An ICMP or ICMPv6 error at a capture point: who sent it, to whom, what about."""

    t_ns: int
    ifindex: int
    out: bool
    source: Address
    destination: Address
    type: int
    code: int
    quoted: Quoted | None = None


@dataclass(frozen=True, slots=True)
class Packets:
    """What a capture file held.

    Attributes:
        records: Its whole records.
        sightings: The run's probes among them.
        arps: ARP frames.
        errors: ICMP and ICMPv6 errors.
        nds: Neighbour solicitations and advertisements.
        damage: Why the file ends too early, with the place, or None; what is before it counts.
        left_out: ARP, discovery and error frames beyond the number that is kept.
    """

    records: int
    sightings: Sightings
    arps: tuple[ArpFrame, ...] = ()
    errors: tuple[IcmpError, ...] = ()
    nds: tuple[NdFrame, ...] = ()
    damage: str | None = None
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """A capture on one host and how far it can be trusted.

    Attributes:
        host: Node name or guest id.
        points: Interface name by ifindex.
        packets: What it held.
        doubts: Reason by interface name for points whose "not seen" counts for nothing.
        since_ns: Time on the host's own clock from which it is known to have listened, in ns since
            the epoch; None if that is not known.
        until_ns: Time until which it is known to have listened; likewise.
        time_doubt: Why its times count for nothing, or None; what was seen counts all the same.
    """

    host: str
    points: Mapping[int, CapturePoint]
    packets: Packets
    doubts: Mapping[CapturePoint, str] = field(default_factory=dict)
    since_ns: int | None = None
    until_ns: int | None = None
    time_doubt: str | None = None

    def doubt(self, ifname: CapturePoint) -> str | None:
        """Return why "not seen" at an interface counts for nothing, or None if it counts."""
        if ifname not in self.points.values():
            return self.doubts.get(ifname, f"{ifname} was not among the captured interfaces")
        if self.packets.damage:
            return f"its capture is damaged: {self.packets.damage}"
        return self.doubts.get(ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a node's counters said at one moment of a sweep.

    Attributes:
        t_ns: When, in ns since the epoch; exact to about 10 ms.
        kind: ``counters`` of a device, ``qdisc`` of a device, ``neighbour``, ``softnet`` (all
            CPUs) or ``pressure``.
        ifname: The device, or None for the node as a whole.
        values: What it said, under the tool's own names; counters since the device was made.
    """

    t_ns: int
    kind: str
    ifname: str | None
    values: Mapping[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """One line of ``ip neigh``; the state exactly as it says it, in lower case."""

    address: Address
    ifname: str
    lladdr: str | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FdbMove:
    """An event of ``bridge monitor fdb``: an entry was learnt, moved or removed."""

    t_ns: int
    mac: str
    ifname: str
    deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NftRule:
    """A rule of ``nft -a list ruleset`` that can take a packet away.

    Attributes:
        family: Table family.
        table: Table name.
        chain: Chain name.
        hook: Hook of the chain, None for a chain that is jumped to.
        device: Device of a netdev chain, or None.
        text: The rule as nft prints it, without its handle.
        handle: Its handle.
    """

    family: str
    table: str
    chain: str
    hook: str | None
    device: str | None
    text: str
    handle: int | None

    def quote(self) -> str:
        """Return the rule with its place, as reports quote it."""
        where = f"table {self.family} {self.table}, chain {self.chain}"
        tail = f" (handle {self.handle})" if self.handle is not None else ""
        return f"{where}: {self.text}{tail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What one host (a guest, a node or the gate's own) said of itself during a sweep.

    Attributes:
        host: Guest id, node name or ``workstation``.
        pings: Results by flow number.
        neighbours: Its neighbour table after the probes.
        rules: Rules that can drop, or None if they could not be read.
        capture: Its capture, or None.
        moves: FDB events, nodes only.
        problem: Why the host could not be asked, or None; then the rest is empty.
        ifname: The guest's own name of the NIC under test, or None.
        counters: What its ICMP and NIC counters grew by during the probes, guests only.
        unwatched: Why a guest's own NIC was not captured, or None.
        samples: Time-lapse of the devices on the paths, nodes only; a value holds until the next
            sample of its kind and device.
    """

    host: str
    pings: Mapping[int, PingResult] = field(default_factory=dict)
    neighbours: tuple[Neighbour, ...] = ()
    rules: tuple[NftRule, ...] | None = None
    capture: Capture | None = None
    moves: tuple[FdbMove, ...] = ()
    problem: str | None = None
    ifname: str | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    unwatched: str | None = None
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Everything that one sweep saw.

    Attributes:
        flows: Flows that were planned.
        hosts: Facts by host.
        duration_s: How long it took.
    """

    flows: tuple[FlowSpec, ...]
    hosts: Mapping[str, HostFacts]
    duration_s: float

    def ping(self, flow: FlowSpec) -> PingResult | None:
        """Return what the prober of *flow* said, or None if it could not say."""
        host = self.hosts.get(flow.source)
        return host.pings.get(flow.number) if host else None


def latest_facts(sweeps: Sequence[Sweep], host: str) -> HostFacts | None:
    """Return what a host said last, or None if it never could; a second sweep asks only some."""
    said = (sweep.hosts.get(host) for sweep in reversed(sweeps))
    return next((facts for facts in said if facts and not facts.problem), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waypoint:
    """A capture point on the way of a flow's request.

    Attributes:
        host: Node name or guest id whose capture covers it.
        ifname: Interface name in that capture.
        point: Name in reports.
        request_out: Whether a request leaves through it (a reply then enters).
        guest: Guest id that the point belongs to, None for a shared one.
    """

    host: str
    ifname: str
    point: CapturePoint
    request_out: bool
    guest: str | None
