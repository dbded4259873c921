"""Counters of lost frames that moved during the probes, and what an unknown cause says of them."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

from pytest_vmnet.core.facts import Sample
from pytest_vmnet.core.timelapse import Rise, rises
from pytest_vmnet.core.words import FlowKind

W = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "world.py"))
)
WAY = ("tap111i0", "vmbr0", "enp4s0")


def counters(t_ns: int, ifname: str, **values: int) -> Sample:
    return Sample(t_ns=t_ns, kind="counters", ifname=ifname, values=values)


def queue(t_ns: int, drops: int) -> Sample:
    values: dict[str, int | str] = {"kind": "htb", "handle": "1:", "drops": drops, "bytes": t_ns}
    return Sample(t_ns=t_ns, kind="qdisc", ifname="tap111i0", values=values)


QUIET = (counters(1, "tap111i0", rx_packets=1, tx_dropped=7), queue(0, 2))


def test_what_grew_is_told_with_the_time_in_which_it_did() -> None:
    samples = (
        queue(0, 2),
        counters(1, "tap111i0", rx_packets=1, tx_dropped=7),
        counters(2, "tap111i0", rx_packets=9, tx_dropped=7),
        counters(3, "tap111i0", rx_packets=10, tx_dropped=12),
        counters(4, "tap111i0", rx_packets=11, tx_dropped=12),
        Sample(t_ns=4, kind="softnet", ifname=None, values={"dropped": 5, "time_squeeze": 1}),
        Sample(t_ns=5, kind="softnet", ifname=None, values={"dropped": 6, "time_squeeze": 9}),
        queue(9, 20),
    )
    assert rises(samples, WAY) == (
        Rise("all CPUs, backlog, dropped", 1, 4, 5),
        Rise("tap111i0, queue htb 1:, drops", 18, 0, 9),
        Rise("tap111i0, tx_dropped", 5, 2, 3),
    )


def test_other_devices_and_what_was_lost_before_do_not_count() -> None:
    other = (counters(1, "tap112i0", tx_dropped=1), counters(2, "tap112i0", tx_dropped=9))
    anew = (counters(1, "enp4s0", tx_dropped=9), counters(2, "enp4s0", tx_dropped=0))
    assert rises((*QUIET, *other, *anew), WAY) == ()


def evidence(*samples: Sample) -> tuple[str, ...]:
    world = W.lose(W.World(samples=samples), 1, "enp4s0", source="vm-1", kind=FlowKind.GATEWAY)
    (finding,) = world.diagnose()[1]
    assert finding.reason == "Unknown"
    return tuple(finding.evidence[1:])


def test_an_unknown_cause_says_which_counters_moved_on_its_way() -> None:
    assert evidence(queue(0, 2), queue(9, 20)) == (
        "during the probes tap111i0, queue htb 1:, drops grew by 18",
    )
    assert evidence(*QUIET) == (
        "no counter of lost frames of tap111i0, vmbr0, enp4s0 moved during the probes (bridges "
        "and netfilter have none)",
    )
    assert evidence() == ()
