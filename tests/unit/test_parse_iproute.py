"""iproute2's JSON and its event stream, recorded from 6.1."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.facts import FdbMove
from pytest_vmnet.core.parse import iproute
from pytest_vmnet.errors import ParseError

NEIGH = """[
 {"dst":"192.0.2.1","dev":"eth0","lladdr":"DC:62:79:5f:4a:92","state":["REACHABLE"]},
 {"dst":"192.0.2.12","state":["FAILED"]},
 {"dst":"192.0.2.13","dev":"eth0","lladdr":"02:00:00:00:00:01","state":"PERMANENT"},
 {"dst":"192.0.2.14","dev":"eth0"},
 {"dst":"fe80::1","dev":"eth0","state":["STALE"]},
 {"dst":"nonsense"}, 7
]"""
MONITOR = """\
Timestamp: Mon Nov 23 20:26:38 2026 407659 usec
bc:24:11:00:01:0b dev enp4s0 master vmbr0
Timestamp: Sun Nov  1 00:00:00 2026 000000 usec
Deleted bc:24:11:00:01:0b dev tap111i0 master vmbr0 stale
something else that it prints
"""


def test_neighbours_keep_the_words_of_ip() -> None:
    found = iproute.parse_neighbours(NEIGH, "vm-1, ip neigh")
    assert [(str(n.address), n.ifname, n.lladdr, n.state) for n in found] == [
        ("192.0.2.1", "eth0", "dc:62:79:5f:4a:92", "reachable"),
        ("192.0.2.12", "", None, "failed"),
        ("192.0.2.13", "eth0", "02:00:00:00:00:01", "permanent"),
        ("192.0.2.14", "eth0", None, "none"),
        ("fe80::1", "eth0", None, "stale"),
    ]


@pytest.mark.parametrize("text", ["", "\n", "[]"])
def test_nothing_is_no_neighbours(text) -> None:
    assert iproute.parse_neighbours(text, "x") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('Cannot find device "eth0"', "expected iproute2's JSON, got 'Cannot find device"),
        ('{"dst": 1}', "expected a JSON list, got dict"),
        ("[" * 100_000, "expected iproute2's JSON"),
    ],
)
def test_what_is_no_list_is_told(text, said) -> None:
    with pytest.raises(ParseError, match=r"^vm-1, ip neigh, byte 0: ") as caught:
        iproute.parse_neighbours(text, "vm-1, ip neigh")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]}]', "192.0.2.1"),
        (
            '[{"dst":"default","gateway":"192.0.2.2","metric":200},'
            '{"dst":"default","gateway":"192.0.2.3","metric":100}]',
            "192.0.2.3",
        ),
        ('[{"dst":"default","dev":"ppp0"},{"dst":"192.0.2.0/24","gateway":"192.0.2.9"}]', "None"),
        (
            '[{"dst":"default","gateway":"fe80::1"},'
            '{"dst":"default","gateway":"192.0.2.4","metric":9}]',
            "192.0.2.4",
        ),
        ('[{"dst":"default","gateway":"192.0.2.1","metric":"much"}]', "None"),
        ("", "None"),
    ],
)
def test_the_default_route_with_the_lowest_metric_counts(text, expected) -> None:
    assert str(iproute.default_gateway(text, "x")) == expected


def test_fdb_events_have_their_time_and_port() -> None:
    def ns(*parts: int) -> int:
        return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000_000

    assert iproute.parse_fdb_monitor(MONITOR, "pve1, fdb events") == (
        FdbMove(
            t_ns=ns(2026, 11, 23, 20, 26, 38) + 407_659_000,
            mac="bc:24:11:00:01:0b",
            ifname="enp4s0",
            deleted=False,
        ),
        FdbMove(t_ns=ns(2026, 11, 1), mac="bc:24:11:00:01:0b", ifname="tap111i0", deleted=True),
    )


def test_a_stamp_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(ParseError, match="pve1, line 1: stamp 'Mo 23"):
        iproute.parse_fdb_monitor("Timestamp: Mo 23. Nov 20:26:38 2026 1 usec\n", "pve1")


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dst", "gateway", "metric", "state", "lladdr", "dev"]), inner
        )
    ),
    max_leaves=20,
)


ROUTES = st.fixed_dictionaries(
    {"dst": st.just("default"), "gateway": JSON_LIKE.filter(bool), "metric": JSON_LIKE}
)


@given(st.lists(JSON_LIKE | ROUTES, max_size=4) | JSON_LIKE)
def test_hostile_json_raises_nothing_else(data) -> None:
    for read in (iproute.parse_neighbours, iproute.default_gateway):
        try:
            read(json.dumps(data), "x")
        except ParseError:
            continue


STAMPS = st.sampled_from(
    [
        "Timestamp: Mon Nov 23 20:26:38 2026 " + "9" * 5000 + " usec",
        "Timestamp: Mon Nov 23 20:26:38 0001 1 usec",
        "Timestamp: Mo 23. Nov 20:26:38 2026 1 usec",
        *MONITOR.splitlines(),
    ]
)


@given(st.lists(STAMPS | st.text(max_size=50), max_size=5).map("\n".join))
def test_hostile_events_raise_nothing_else(text) -> None:
    try:
        iproute.parse_fdb_monitor(text, "x")
    except ParseError:
        return
