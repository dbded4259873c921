"""Captures: every probe is found, look-alikes are not, and damage raises ParseError only."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.facts import mac_text
from pytest_vmnet.core.parse.pcap import parse_capture
from pytest_vmnet.errors import ParseError

FRAMES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "frames.py"))
KINDS, MAC, MARK, OTHER = (FRAMES[name] for name in ("KINDS", "MAC", "MARK", "OTHER"))
icmp, ipv4, arp, sll2, ethernet, pcap = (
    FRAMES[name] for name in ("icmp", "ipv4", "arp", "sll2", "ethernet", "pcap")
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
        (WHOLE[:30], "byte 24: the last record's header is cut off"),
        (WHOLE[:-1], "the last record is cut off"),
        (pcap(linktype=113), "byte 20: link type 113: expected LINUX_SLL2 or Ethernet"),
        (pcap() + b"\xff" * 16, "byte 24: a record claims 4294967295 bytes"),
    ],
)
def test_damage_is_told_with_its_place(data, said) -> None:
    with pytest.raises(ParseError) as caught:
        parse_capture(data, "pve1 capture", MARK)
    assert said in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))
def test_hostile_bytes_raise_nothing_else(noise, start, end) -> None:
    for data in (noise, WHOLE[:24] + noise, WHOLE[:start] + noise + WHOLE[end:]):
        try:
            parse_capture(data, "x", MARK, own_mac="bc:24:11:00:01:0b")
        except ParseError:
            continue
