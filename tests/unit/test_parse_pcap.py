"""Captures: every probe is found, look-alikes are not, and damage raises ParseError only."""

from __future__ import annotations

import runpy
import struct
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vmnet.core.facts import mac_text
from pytest_vmnet.core.parse.aside import MOST
from pytest_vmnet.core.parse.frame import CHUNK
from pytest_vmnet.core.parse.pcap import parse_capture
from pytest_vmnet.core.parse.record import find_records
from pytest_vmnet.errors import ParseError

FRAMES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "frames.py"))
KINDS, MAC, MARK, OTHER = (FRAMES[name] for name in ("KINDS", "MAC", "MARK", "OTHER"))
icmp, ipv4, arp, sll2, ethernet, pcap = (
    FRAMES[name] for name in ("icmp", "ipv4", "arp", "sll2", "ethernet", "pcap")
)
icmp6, ipv6, discovery, error, tagged, SOURCE6, TARGET6 = (
    FRAMES[name]
    for name in ("icmp6", "ipv6", "discovery", "error", "tagged", "SOURCE6", "TARGET6")
)


def read(*frames: bytes, **more):
    return parse_capture(pcap(*frames, **more), "pve1 capture", MARK)


@pytest.mark.parametrize("kind", KINDS)
def test_each_byte_order_and_resolution_is_read(kind) -> None:
    packets = read(sll2(ipv4(icmp())), sll2(ipv4(icmp(reply=True)), kind=4), kind=kind)
    assert packets.records == 2
    rows = [tuple(row) for row in packets.sightings.tolist()]
    number = int.from_bytes(MAC)
    assert rows == [
        (1_000_000_000_000, 3, 7, 4, number, False, False, 64, 0xC000020B, 60),
        (1_000_000_001_000, 3, 7, 4, number, True, True, 64, 0xC000020B, 60),
    ]
    assert mac_text(number) == "bc:24:11:00:01:0b"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 65535), st.integers(0, 65535), st.booleans(), st.booleans(),
            st.integers(1, 2**32 - 1),
        ),
        max_size=20,
    ),
    st.sampled_from(sorted(KINDS)),
)  # fmt: skip
def test_what_is_built_is_read_back(rows, kind) -> None:
    frames = [
        sll2(ipv4(icmp(flow, seq, reply=reply)), ifindex=ifindex, kind=4 if out else 3)
        for flow, seq, reply, out, ifindex in rows
    ]
    seen = read(*frames, kind=kind).sightings
    found = list(zip(*(seen[k].tolist() for k in ("flow", "seq", "reply", "out", "ifindex")),
                     strict=True))  # fmt: skip
    assert found == rows


def test_in_a_guest_its_own_mac_tells_the_direction() -> None:
    data = pcap(ethernet(ipv4(icmp())), ethernet(ipv4(icmp(reply=True)), source=OTHER), linktype=1)
    packets = parse_capture(data, "vm-1", MARK, own_mac="bc:24:11:00:01:0b")
    assert packets.sightings["out"].tolist() == [True, False]
    assert packets.sightings["ifindex"].tolist() == [0, 0]
    assert parse_capture(data, "vm-1", MARK).sightings["out"].tolist() == [False, False]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(sll2(ipv4(icmp(mark=b"abcdefghijkX"))), id="other-mark"),
        pytest.param(sll2(ipv4(icmp()[:16] + MARK + bytes(20))), id="mark-elsewhere"),
        pytest.param(sll2(ipv4(icmp(), protocol=17)), id="udp"),
        pytest.param(sll2(ipv4(icmp(kind=13))), id="other-icmp-type"),
        pytest.param(sll2(ipv4(icmp(), fragment=0x00B9)), id="later-fragment"),
        pytest.param(sll2(ipv4(icmp(), version=6)), id="not-version-4"),
        pytest.param(sll2(ipv4(icmp(), ihl=0)), id="header-without-length"),
        pytest.param(sll2(ipv4(icmp(), ihl=15)), id="header-beyond-the-packet"),
        pytest.param(sll2(ipv4(icmp())[:55]), id="cut-in-the-mark"),
        pytest.param(sll2(ipv4(icmp()), ethertype=0x86DD), id="ipv6"),
        pytest.param(sll2(b""), id="empty"),
        pytest.param(b"\x08\x00", id="no-link-header"),
    ],
)
def test_a_look_alike_is_counted_and_nothing_more(frame) -> None:
    packets = read(frame)
    assert packets.records == 1
    assert not len(packets.sightings)
    assert packets.arps == packets.errors == ()


def test_a_first_fragment_and_ip_options_are_read() -> None:
    frames = sll2(ipv4(icmp(seq=1), fragment=0x2000)), sll2(ipv4(icmp(seq=2), options=bytes(8)))
    assert read(*frames).sightings["seq"].tolist() == [1, 2]


def test_arp_frames_and_icmp_errors_are_kept() -> None:
    packets = read(
        sll2(arp(), ethertype=0x0806, kind=4),
        sll2(arp(hlen=8), ethertype=0x0806),
        sll2(arp()[:27], ethertype=0x0806),
        sll2(ipv4(icmp(kind=3, code=3))),
    )
    (seen,) = packets.arps
    assert (seen.oper, seen.sha, str(seen.spa), str(seen.tpa), seen.out, seen.ifindex) == (
        2, "bc:24:11:00:01:0b", "192.0.2.11", "192.0.2.11", True, 4,
    )  # fmt: skip
    (error,) = packets.errors
    assert (str(error.source), str(error.destination), error.type, error.code) == (
        "192.0.2.11", "192.0.2.1", 3, 3,
    )  # fmt: skip


def test_an_empty_capture_is_one() -> None:
    packets = read()
    assert packets.records == 0
    assert len(packets.sightings) == 0


WHOLE = pcap(sll2(ipv4(icmp())), sll2(arp(), ethertype=0x0806))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "pve1 capture, byte 0: expected a 24-byte pcap header, got 0"),
        (b"\x0a\x0d\x0d\x0a" + bytes(30), "byte 0: not a pcap file: magic number 0a0d0d0a"),
        (pcap(linktype=113), "byte 20: link type 113: expected LINUX_SLL2 or Ethernet"),
    ],
)
def test_what_is_no_capture_is_refused(data, said) -> None:
    with pytest.raises(ParseError) as caught:
        parse_capture(data, "pve1 capture", MARK)
    assert said in str(caught.value)


def test_a_mark_of_another_length_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="a mark has 12 bytes, not 11"):
        parse_capture(pcap(), "x", MARK[:-1])


PROBE = sll2(ipv4(icmp()))


@pytest.mark.parametrize("whole", [0, 1, 3, 500, CHUNK + 1])
@pytest.mark.parametrize(
    ("rest", "said"),
    [
        pytest.param(pcap(PROBE)[24:-1], "the last record is cut off", id="in-a-frame"),
        pytest.param(pcap(PROBE)[24:32], "the last record's header is cut off", id="in-a-header"),
        pytest.param(b"\xff" * 16, "a record claims 4294967295 bytes", id="noise"),
        pytest.param(b"\xff" * 15, "the last record's header is cut off", id="short-noise"),
    ],
)
def test_what_is_before_a_damage_is_kept(whole, rest, said) -> None:
    data = pcap(*[PROBE] * whole)
    packets = parse_capture(data + rest, "pve1 capture", MARK)
    assert packets.damage == f"byte {len(data)}: {said}"
    assert packets.records == len(packets.sightings) == whole
    assert parse_capture(data, "pve1 capture", MARK).damage is None


@given(st.lists(st.sampled_from([0, 1, 14, 20, 78, 80, 80, 80, 98]), max_size=300), st.data())
def test_records_of_any_lengths_are_walked_from_header_to_header(lengths, data) -> None:
    """Runs of equal records are taken at once; the same walk step by step is the proof."""
    lengths = [each for length in lengths for each in [length] * data.draw(st.integers(1, 40))]
    raw = pcap(*map(bytes, lengths))
    cut = data.draw(st.integers(24, len(raw)))
    ends = list(accumulate(lengths, lambda at, length: at + 16 + length, initial=24))
    starts = find_records(raw[:cut], "x").starts.tolist()
    assert starts == [start for start, end in pairwise(ends) if end <= cut]


@pytest.mark.parametrize("tags", [1, 2])
@pytest.mark.parametrize("link", ["sll2", "ethernet"])
def test_tagged_frames_are_read(tags, link) -> None:
    packet = tagged(ipv4(icmp(seq=9), options=bytes(8)))
    packet = tagged(packet, ethertype=0x8100) if tags == 2 else packet
    frame = (sll2 if link == "sll2" else ethernet)(packet, ethertype=0x8100)
    six = (sll2 if link == "sll2" else ethernet)(
        tagged(ipv6(icmp6(seq=8)), ethertype=0x86DD), ethertype=0x88A8
    )
    data = pcap(frame, six, linktype=276 if link == "sll2" else 1)
    assert parse_capture(data, "x", MARK).sightings["seq"].tolist() == [9, 8]


def test_echo_over_ipv6_is_a_sighting() -> None:
    frames = [sll2(ipv6(icmp6(reply=back), hops=63), ethertype=0x86DD) for back in (False, True)]
    rows = read(*frames).sightings
    assert rows["reply"].tolist() == [False, True]
    assert rows["ttl"].tolist() == [63, 63]
    assert rows["size"].tolist() == [80, 80]
    assert rows["src"].tolist() == [0xB, 0xB]
    assert (rows["flow"].tolist(), rows["seq"].tolist()) == ([3, 3], [7, 7])


def test_neighbour_discovery_is_kept() -> None:
    other = b"\x05\x01" + bytes(6)
    named = other + b"\x02\x01" + OTHER
    packets = read(
        sll2(ipv6(discovery(option=named)), ethertype=0x86DD, kind=4),
        sll2(ipv6(discovery(135)), ethertype=0x86DD),
        sll2(ipv6(discovery(135, option=b"\x01\x02" + bytes(14))), ethertype=0x86DD),
        sll2(ipv6(discovery(135, option=bytes(8))), ethertype=0x86DD),
        sll2(ipv6(discovery()[:23]), ethertype=0x86DD),
        sll2(ipv6(discovery(), following=0), ethertype=0x86DD),
    )
    assert [(f.type, f.lladdr, f.out) for f in packets.nds] == [
        (136, "dc:62:79:5f:4a:92", True),
        *[(135, "bc:24:11:00:01:0b", False)] * 3,
    ]
    assert {(f.source, f.target, f.ifindex, f.t_ns // 10**12) for f in packets.nds} == {
        (SOURCE6, SOURCE6, 4, 1)
    }
    assert packets.errors == ()


QUOTES = [
    pytest.param(ipv4(icmp(seq=5)), (5, False, 3), id="whole"),
    pytest.param(ipv4(icmp(seq=5, reply=True)), (5, True, 3), id="an-answer"),
    pytest.param(ipv4(icmp(seq=5), options=bytes(4)), (5, False, 3), id="with-options"),
    pytest.param(ipv4(icmp(seq=5))[:28], (5, False, None), id="eight-bytes"),
    pytest.param(ipv4(icmp(seq=5))[:57], (5, False, None), id="cut-in-the-flow"),
    pytest.param(ipv4(icmp(seq=5, mark=bytes(12))), (None, False, None), id="a-ping-of-theirs"),
    pytest.param(ipv4(icmp(seq=5))[:27], (None, False, None), id="less"),
    pytest.param(ipv4(icmp(seq=5), protocol=17), (None, False, None), id="udp"),
    pytest.param(ipv4(icmp(seq=5, kind=13)), (None, False, None), id="no-echo"),
]


@pytest.mark.parametrize(("packet", "expected"), QUOTES)
def test_what_an_error_is_about_is_kept(packet, expected) -> None:
    (told,) = read(sll2(ipv4(error(packet)))).errors
    quoted = told.quoted
    assert (str(quoted.source), str(quoted.destination)) == ("192.0.2.11", "192.0.2.1")
    assert quoted.size == int.from_bytes(packet[2:4])
    assert (quoted.seq, quoted.reply, quoted.flow) == expected
    assert (told.type, told.code) == (3, 1)


def test_an_error_that_quotes_nothing_is_one_all_the_same() -> None:
    for quote in (b"", ipv4(icmp())[:19], b"\x75" + bytes(40)):
        (told,) = read(sll2(ipv4(error(quote)))).errors
        assert told.quoted is None


@pytest.mark.parametrize(("kind", "code"), [(1, 0), (2, 0), (3, 1), (4, 1)])
def test_an_icmpv6_error_has_its_source(kind, code) -> None:
    packet = ipv6(icmp6(seq=6), source=TARGET6, target=SOURCE6)
    (told,) = read(sll2(ipv6(error(packet, kind, code)), ethertype=0x86DD)).errors
    assert (told.source, told.destination, told.type, told.code) == (SOURCE6, TARGET6, kind, code)
    assert (told.quoted.source, told.quoted.destination) == (TARGET6, SOURCE6)
    assert (told.quoted.seq, told.quoted.flow, told.quoted.size) == (6, 3, 80)
    (short,) = read(sll2(ipv6(error(packet[:39], kind, code)), ethertype=0x86DD)).errors
    assert short.quoted is None


def test_a_flood_beside_the_probes_is_counted_and_not_kept() -> None:
    flood = [sll2(arp(), ethertype=0x0806)] * (MOST - 1)
    errors = [sll2(ipv4(icmp(kind=3)))] * 3
    packets = read(*flood, *errors, PROBE)
    assert (len(packets.arps), len(packets.errors), packets.left_out) == (MOST - 1, 1, 2)
    assert len(packets.sightings) == 1


@pytest.mark.parametrize("kept", [8, 12])
def test_a_mark_that_the_next_record_completes_is_none(kept) -> None:
    """A frame is cut off in the mark, or before the flow; the next header has what is missing."""
    whole = pcap(PROBE)
    cut = 20 + 20 + 24 + kept
    first = whole[24:32] + struct.pack("<II", cut, 98) + PROBE[:cut]
    second = (MARK + b"\0\3vn")[kept : kept + 8].ljust(8, b"\0") + bytes(8)
    packets = parse_capture(whole[:24] + first + second + whole[24:], "x", MARK)
    assert packets.records == 3
    assert packets.sightings["t_ns"].tolist() == [10**12]
    assert simple(whole[:24] + first + second + whole[24:]) == packets.sightings.tolist()


FRAMES_OF_ALL_KINDS = [
    PROBE, sll2(ipv4(icmp(reply=True)), kind=4), sll2(ipv4(icmp(), options=bytes(12))),
    sll2(tagged(ipv4(icmp())), ethertype=0x8100), sll2(ipv6(icmp6()), ethertype=0x86DD),
    sll2(arp(), ethertype=0x0806), sll2(ipv4(icmp(mark=b"abcdefghijkX"))),
    sll2(ipv4(error(ipv4(icmp())))), sll2(ipv6(discovery()), ethertype=0x86DD),
    sll2(ipv6(error(ipv6(icmp6()), 1)), ethertype=0x86DD), sll2(b""), b"\x08\x00",
]  # fmt: skip


def simple(data: bytes) -> list[tuple[int, ...]]:
    """Read probes record by record: the reference, slow and without a trick."""
    rows, at = [], 24
    while at < len(data):
        seconds, micros, length, _ = struct.unpack_from("<IIII", data, at)
        frame, at = data[at + 16 : at + 16 + length], at + 16 + length
        (ethertype, _, ifindex), packet = struct.unpack_from("!HHI", frame.ljust(8)), frame[20:]
        for _ in range(2):
            if ethertype in {0x8100, 0x88A8, 0x9100} and len(packet) >= 4:
                ethertype, packet = int.from_bytes(packet[2:4]), packet[4:]
        version = packet[0] >> 4 if packet else 0
        if (ethertype, version) == (0x0800, 4) and len(packet) >= 20:
            header, protocol = (packet[0] & 15) * 4, packet[9]
            ok = (
                protocol == 1 and header >= 20 and not struct.unpack("!H", packet[6:8])[0] & 0x1FFF
            )
            tail, size = (packet[8], packet[12:16]), int.from_bytes(packet[2:4])
            kinds = (8, 0)
        elif (ethertype, version) == (0x86DD, 6) and len(packet) >= 40:
            header, ok = 40, packet[6] == 58
            tail, size = (packet[7], packet[16:24]), (int.from_bytes(packet[4:6]) + 40) % 65536
            kinds = (128, 129)
        else:
            continue
        message = packet[header:]
        if ok and len(message) >= 38 and message[0] in kinds and message[24:36] == MARK:
            rows.append((
                seconds * 10**9 + micros * 1000, int.from_bytes(message[36:38]),
                int.from_bytes(message[6:8]), ifindex, int.from_bytes(frame[12:18]),
                message[0] == kinds[1], frame[10] == 4, tail[0], int.from_bytes(tail[1]), size,
            ))  # fmt: skip
    return rows


@settings(max_examples=1000)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(FRAMES_OF_ALL_KINDS),
            st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=2),
            st.integers(0, 130),
        ),
        max_size=30,
    )
)
def test_it_reads_what_the_reference_reads(made) -> None:
    frames = []
    for frame, changes, cut in made:
        changed = bytearray(frame)
        for at, value in changes:
            if at < len(changed):
                changed[at] = value
        frames.append(bytes(changed[:cut] if cut < 20 else changed))
    data = pcap(*frames)
    packets = parse_capture(data, "x", MARK)
    assert packets.records == len(frames)
    assert packets.sightings.tolist() == simple(data)


@settings(max_examples=10_000, deadline=None)
@given(
    st.binary(max_size=200),
    st.integers(0, 2),
    st.lists(st.sampled_from(FRAMES_OF_ALL_KINDS), max_size=4),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.sampled_from([1, 276]),
)
def test_hostile_bytes_raise_nothing_else(noise, how, frames, cuts, linktype) -> None:
    whole = pcap(*frames, linktype=linktype)
    start, end = (int(cut * len(whole)) for cut in cuts)
    data = (noise, whole[:24] + noise, whole[:start] + noise + whole[end:])[how]
    try:
        packets = parse_capture(data, "x", MARK, own_mac="bc:24:11:00:01:0b")
    except ParseError:
        return
    assert packets.records <= len(data) // 16
    assert len(packets.sightings) <= packets.records
    assert packets.damage is None or packets.damage.startswith("byte ")
