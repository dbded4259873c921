"""The kernel's counters: what they grew by, and nothing that is not understood."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.parse.counter import counted

BEFORE = """\
Ip: Forwarding DefaultTTL InReceives OutNoRoutes
Ip: 1 64 100 0
Icmp: InMsgs InEchoReps OutEchos
Icmp: 7 3 4
IcmpMsg: InType0 OutType8
IcmpMsg: 3 4
Icmp6InEchos                    \t2
nic.rx_packets 1000
nic.rx_dropped 5
"""
AFTER = (
    BEFORE.replace("Icmp: 7 3 4", "Icmp: 307 303 304").replace("Echos                    \t2",
    "Echos 12").replace("packets 1000", "packets 1600").replace("1 64 100 0", "1 64 400 1")
)  # fmt: skip


def test_what_grew_is_told_and_nothing_else() -> None:
    assert counted(BEFORE, AFTER) == {
        "Ip.InReceives": 300, "Ip.OutNoRoutes": 1, "Icmp.InMsgs": 300, "Icmp.InEchoReps": 300,
        "Icmp.OutEchos": 300, "Icmp6InEchos": 10, "nic.rx_packets": 600,
    }  # fmt: skip


def test_without_a_first_look_there_is_no_difference() -> None:
    assert counted("", AFTER) == {}
    assert counted(AFTER, "") == {}


def test_lines_that_do_not_fit_are_left_out() -> None:
    broken = AFTER.replace("Icmp: 307 303 304", "Icmp: 307 303").replace("1600", "1e9")
    assert set(counted(BEFORE, broken)) == {"Ip.InReceives", "Ip.OutNoRoutes", "Icmp6InEchos"}


@given(st.lists(st.sampled_from([*AFTER.splitlines(), "Icmp:", "x" * 99, "Icmp: a b"])), st.text())
def test_hostile_text_raises_nothing(lines, noise) -> None:
    text = "\n".join([*lines, noise])
    assert all(value > 0 for value in counted(BEFORE, text).values())
