"""iputils' ping as it was recorded: what was lost is data, what could not look is an error."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.facts import PingResult
from pytest_vmnet.core.parse.ping import parse_ping
from pytest_vmnet.errors import ParseError

PINGS = runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "pings.py"))
(
    CLEAN, LOSSY, TWICE, UNREACHABLE, REFUSED, NO_ROUTE, KILLED, BUSYBOX, BUSYBOX_REFUSED, IPV6,
    IPV6_UNREACHABLE, TOO_LONG,
) = (
    PINGS[name]
    for name in (
        "CLEAN", "LOSSY", "TWICE", "UNREACHABLE", "REFUSED", "NO_ROUTE", "KILLED", "BUSYBOX",
        "BUSYBOX_REFUSED", "IPV6", "IPV6_UNREACHABLE", "TOO_LONG",
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            CLEAN, PingResult(transmitted=3, rtt_ms={1: 0.204, 2: 1003.0, 3: 0.034}), id="clean"
        ),
        pytest.param(LOSSY, PingResult(transmitted=5, rtt_ms={2: 0.033, 4: 0.034}), id="lossy"),
        pytest.param(
            TWICE, PingResult(transmitted=2, rtt_ms={1: 0.204, 2: 0.204}, duplicates=1), id="twice"
        ),
        pytest.param(
            UNREACHABLE,
            PingResult(
                transmitted=4,
                rtt_ms={},
                errors={
                    ("192.0.2.11", "Destination Host Unreachable"): 2,
                    ("192.0.2.254", "Redirect Host(New nexthop: 192.0.2.1)"): 2,
                },
            ),
            id="unreachable",
        ),
        pytest.param(
            REFUSED,
            PingResult(
                transmitted=2, rtt_ms={}, complaint="ping: sendmsg: Operation not permitted"
            ),
            id="refused-by-its-kernel",
        ),
        pytest.param(
            NO_ROUTE,
            PingResult(
                transmitted=300, rtt_ms={}, complaint="ping: connect: Network is unreachable"
            ),
            id="no-route-is-all-lost",
        ),
        pytest.param(
            BUSYBOX, PingResult(transmitted=1, rtt_ms={1: 0.071}), id="busybox-counts-from-0"
        ),
        pytest.param(
            BUSYBOX_REFUSED,
            PingResult(
                transmitted=300, rtt_ms={}, complaint="ping: sendto: Operation not permitted"
            ),
            id="busybox-ends-at-the-first-that-it-may-not-send",
        ),
        pytest.param(
            IPV6, PingResult(transmitted=2, rtt_ms={1: 0.039, 2: 0.044}), id="ipv6-link-local"
        ),
        pytest.param(
            IPV6_UNREACHABLE,
            PingResult(
                transmitted=2,
                rtt_ms={},
                errors={("2001:db8::11", "Destination unreachable: Address unreachable"): 2},
            ),
            id="ipv6-unreachable",
        ),
        pytest.param(
            TOO_LONG,
            PingResult(
                transmitted=2, rtt_ms={}, complaint="ping: local error: message too long, mtu=1400"
            ),
            id="too-long",
        ),
    ],
)
def test_what_ping_saw_is_data(text, expected) -> None:
    assert parse_ping(text, "vm-1, flow 3", count=300) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            KILLED, "vm-1, line 4: ping printed no summary; it ended with: ", id="killed"
        ),
        pytest.param("", "it ended with: nothing", id="silent"),
        pytest.param("sh: ping: not found\n", "sh: ping: not found", id="not-installed"),
        pytest.param(
            "ping: socket: Operation not permitted\n", "Operation not permitted", id="no-socket"
        ),
        pytest.param(
            BUSYBOX.replace(" seq=", " nr="), "received 1 answers and printed 0 of them",
            id="another-ping",
        ),
        pytest.param(
            CLEAN.replace("icmp_seq=2", "icmp_seq=2" + "0" * 20),
            "received 3 answers and printed 2",
            id="a-number-without-end",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_an_error(text, said) -> None:
    with pytest.raises(ParseError) as caught:
        parse_ping(text, "vm-1", count=300)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"), [(CLEAN, 56), (BUSYBOX, 56), (IPV6, 56), (TOO_LONG, 1472), (NO_ROUTE, None)]
)
def test_a_ping_says_how_large_its_probes_are(text, size) -> None:
    assert parse_ping(text, "vm-1", count=2).size == size


def test_a_damaged_answer_is_none() -> None:
    text = LOSSY.replace("2 received", "1 received").replace(
        "0.034 ms\n", "0.034 ms (BAD CHECKSUM!)\n"
    )
    assert parse_ping(text, "vm-1", count=5).rtt_ms == {2: 0.033}


def test_the_noise_of_a_flood_is_bounded() -> None:
    noise = "".join(f"From 192.0.2.{n % 256} icmp_seq=1 text {n}\nping: {n}\n" for n in range(500))
    found = parse_ping(noise + CLEAN, "vm-1", count=3)
    assert len(found.errors) == 20
    assert len(found.complaint) < 1000


LINES = st.sampled_from(
    [*CLEAN.splitlines(), *UNREACHABLE.splitlines(),
     "64 bytes from 1.2.3.4: icmp_seq=1 x time=1.2.3 ms",
     "9" * 5000 + " packets transmitted, 1 received", "٣ packets transmitted, ٣ received"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=200), st.lists(LINES, max_size=8).map("\n".join)))
def test_hostile_text_raises_nothing_else(text) -> None:
    try:
        found = parse_ping(text, "x", count=3)
    except ParseError:
        return
    assert found.transmitted >= 0
