"""Canaries in a capture: each counts once, whatever is around them."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.parse.canary import canaries

PCAP = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "frames.py"))
)
TOKEN = b"0123456789aD"


def frame(seq: int, token: bytes = TOKEN, *, reply: bool = False) -> bytes:
    """Return a canary as iputils sends it: the pattern fills the payload, over and over."""
    packet = PCAP.icmp(mark=token, seq=seq, reply=reply)
    return PCAP.sll2(PCAP.ipv4(packet + packet[24:40] + packet[24:32]), ifindex=9)


def test_each_canary_counts_once_in_the_files_order() -> None:
    data = PCAP.pcap(frame(1), frame(3), frame(2))
    assert canaries(data, TOKEN) == [1, 3, 2]


def test_others_tokens_and_answers_are_none() -> None:
    data = PCAP.pcap(frame(1, b"0123456789aB"), frame(2, reply=True))
    assert canaries(data, TOKEN) == []
    assert canaries(TOKEN, TOKEN) == []


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_bytes_around_them_hide_none_and_add_none(before, after) -> None:
    data = before.replace(TOKEN, b"") + frame(7) + after
    assert 7 in canaries(data, TOKEN)
    assert len(canaries(before + after, TOKEN)) <= (before + after).count(TOKEN)


def test_a_cut_file_has_the_canaries_that_are_whole() -> None:
    data = PCAP.pcap(frame(1), frame(2))
    assert canaries(data[: len(data) - len(frame(2)) + 40], TOKEN) == [1]
