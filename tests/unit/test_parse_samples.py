"""The sampler's lines and the queueing disciplines, also broken and hostile ones."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.ledger.clocks import Reading
from pytest_vmnet.core.parse import samples
from pytest_vmnet.core.parse.samples import parse_qdisc, parse_samples
from pytest_vmnet.errors import ParseError

CLOCK = Reading(real_ns=1_764_000_000_000_000_000, mono_ns=100_000_000_000, error_ns=10_000_000)
TEXT = """\
D tap111i0 9 9 9 9 9 9 9 9
T 100.50
D tap111i0 1 2 3 4 5 6 7 8
S 1 2
P cpu 77
N 192.0.2.1 vmbr0 0x2 02:00:00:00:00:01
T 100.70
T 1o0.9
D tap111i0 1 2 3 4 5 6 7 8
T 100.90
D tap111i0 11 2 3 4 5 6 7 8
D tap112i0 1 2 3
"""


def test_what_changed_is_kept_with_the_nodes_own_time() -> None:
    found = parse_samples(TEXT, CLOCK)
    assert [(s.t_ns - CLOCK.real_ns, s.kind, s.ifname) for s in found] == [
        (500_000_000, "counters", "tap111i0"),
        (500_000_000, "softnet", None),
        (500_000_000, "pressure", None),
        (500_000_000, "neighbour", "vmbr0"),
        (900_000_000, "counters", "tap111i0"),
    ]
    assert found[0].values == {
        "rx_bytes": 1, "rx_packets": 2, "rx_errors": 3, "rx_dropped": 4,
        "tx_bytes": 5, "tx_packets": 6, "tx_errors": 7, "tx_dropped": 8,
    }  # fmt: skip
    assert found[1].values == {"dropped": 1, "time_squeeze": 2}
    assert found[2].values == {"cpu": 77}
    assert found[3].values["lladdr"] == "02:00:00:00:00:01"
    assert found[4].values["rx_bytes"] == 11


@pytest.mark.parametrize("stamp", ["", "x", "²", "1 2", "9" * 30, "1.2.3"])
def test_a_stamp_that_is_none_opens_no_sample(stamp) -> None:
    assert parse_samples(f"T {stamp}\nS 1 2\n", CLOCK) == ()


@pytest.mark.parametrize(
    "line",
    ["D x 1", "D x 1 2 3 4 5 6 7 -8", "S 1 x", "P cpu", "N 1 2", "X", "", "D x" + " 9" * 40],
)
def test_a_line_that_is_not_understood_is_left_out(line) -> None:
    assert parse_samples(f"T 100.5\n{line}\n", CLOCK) == ()


def test_a_flood_of_samples_is_cut(monkeypatch) -> None:
    monkeypatch.setattr(samples, "MAX_SAMPLES", 3)
    assert len(parse_samples("T 1.0\n" + "S 1 2\n" * 9, CLOCK)) == 3


def test_only_the_paths_devices_queues_are_kept() -> None:
    text = json.dumps([
        {"kind": "htb", "handle": "1:", "dev": "tap111i0", "drops": 18, "qlen": 2, "options": {}},
        {"kind": "noqueue", "dev": "eno9", "drops": 1},
        {"dev": ["tap111i0"]},
    ])  # fmt: skip
    (found,) = parse_qdisc(text, "pve1, tc", 7, {"tap111i0"})
    assert (found.t_ns, found.kind, found.ifname) == (7, "qdisc", "tap111i0")
    assert found.values == {"drops": 18, "qlen": 2, "kind": "htb", "handle": "1:"}
    with pytest.raises(ParseError, match="pve1, tc"):
        parse_qdisc("qdisc noqueue 0: dev lo", "pve1, tc", 7, {"tap111i0"})


_WORD = st.sampled_from(["T", "D", "S", "P", "N", "1", "1.5", "tap1i0", "٣", "9" * 30, "\x1b[31m"])


@given(st.one_of(st.text(), st.lists(_WORD | st.just("\n"), max_size=60).map(" ".join)))
def test_any_text_is_read(text) -> None:
    for sample in parse_samples(text, CLOCK):
        assert sample.kind in {"counters", "softnet", "pressure", "neighbour"}
    with contextlib.suppress(ParseError):
        parse_qdisc(text, "x", 1, {"tap1i0"})
