"""Where packets died is drawn where they died, on the right leg."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.core.outcome import Death
from pytest_vmnet.core.words import Leg
from pytest_vmnet.report.html import guest_html
from pytest_vmnet.report.markdown import to_markdown
from pytest_vmnet.report.path import Mark, by_prober, death_sentence, lay_out
from pytest_vmnet.report.picture import path_lines
from pytest_vmnet.report.terminal import summary_lines

SAMPLES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "report" / "samples.py"))


def death(leg: Leg, seen: str | None, wanted: str | None, packets: int = 7) -> Death:
    return Death(leg=leg, last_seen=seen, next_point=wanted, packets=packets)


def marks(*deaths: Death, of: str = "gateway") -> list[tuple[str, int, int]]:
    """Return the marks on vm-1, guest:eth0, tap111i0, enp4s0, gateway as leg, first, last."""
    flow: Any
    if of == "gateway":
        flow = SAMPLES["to_gateway"](1)
    else:
        flow = SAMPLES["between_guests"]().guests[1].flows[1]
    path = lay_out(replace(flow, deaths=deaths))
    return [(mark.leg.value, mark.first, mark.last) for mark in path.marks]


@pytest.mark.parametrize(
    ("leg", "seen", "wanted", "expected"),
    [
        (Leg.REPLY, "enp4s0", "tap111i0", ("reply", 2, 3)),
        (Leg.REQUEST, "tap111i0", "enp4s0", ("request", 2, 3)),
        (Leg.UNKNOWN, "enp4s0", "gateway", ("unknown", 3, 4)),
        (Leg.BOTH, "enp4s0", "tap111i0", ("unknown", 2, 3)),
        (Leg.REPLY, "guest:eth0", "guest:stack", ("reply", 0, 1)),
        (Leg.REPLY, "enp4s0", "guest:eth0", ("reply", 1, 3)),
        (Leg.REQUEST, None, "guest:eth0", ("request", 0, 1)),
        (Leg.REQUEST, "enp4s0", None, ("request", 3, 4)),
        (Leg.REPLY, None, "enp4s0", ("reply", 3, 4)),
        (Leg.REPLY, "guest:eth0", None, ("reply", 0, 1)),
    ],
)
def test_a_death_lies_between_its_points(
    leg: Leg, seen: str | None, wanted: str | None, expected: tuple[str, int, int]
) -> None:
    assert marks(death(leg, seen, wanted)) == [expected]


@pytest.mark.parametrize(
    ("leg", "seen", "wanted"),
    [
        (Leg.REQUEST, "enp4s0", "tap111i0"),  # against the leg's direction
        (Leg.REQUEST, "eth9", "enp4s0"),
        (Leg.REPLY, None, None),
    ],
)
def test_a_death_that_is_not_on_the_path_gets_no_mark(
    leg: Leg, seen: str | None, wanted: str | None
) -> None:
    assert marks(death(leg, seen, wanted)) == []


def test_two_guests_with_a_point_of_one_name_are_kept_apart() -> None:
    far = marks(death(Leg.REQUEST, "tap112i0", "guest:eth0"), of="peer")
    near = marks(death(Leg.REQUEST, "guest:eth0", "tap111i0"), of="peer")
    stack = marks(death(Leg.REQUEST, "guest:eth0", "guest:stack"), of="peer")

    assert far == [("request", 10, 11)]
    assert near == [("request", 1, 2)]
    assert stack == [("request", 11, 12)]


def test_a_long_stretch_is_marked_in_its_middle() -> None:
    assert Mark(leg=Leg.REPLY, first=1, last=4, packets=1).gap == 2
    assert Mark(leg=Leg.REPLY, first=1, last=2, packets=1).gap == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (death(Leg.REPLY, "enp4s0", "tap111i0"), "7 replies between enp4s0 and tap111i0"),
        (death(Leg.REQUEST, "a", None, 1), "1 request after a"),
        (death(Leg.REPLY, "a", "b", 1), "1 reply between a and b"),
        (death(Leg.REQUEST, None, "b"), "7 requests before b"),
        (death(Leg.UNKNOWN, None, None), "7 packets (request or reply) at a place that is not "
         "known"),
    ],
)  # fmt: skip
def test_deaths_in_words(given: Death, expected: str) -> None:
    assert death_sentence(given) == expected


def test_a_long_path_goes_on_below_from_the_last_point() -> None:
    flow = SAMPLES["between_guests"]().guests[1].flows[1]

    lines = path_lines(flow, 98)

    assert len(lines) == 6
    assert lines[0].endswith("vmbr0")
    assert lines[3].startswith("          vmbr0    fwpr112p0")
    assert lines[4].endswith("300 ─────── ✗ 300 ·· 0 ···········")
    assert max(map(len, lines)) <= 98


def test_nothing_goes_on_where_nothing_set_out() -> None:
    flow = SAMPLES["firewall"]().guests[1].flows[3]

    lines = path_lines(flow)

    assert lines == [
        "          workstation    enp4s0    tap113i0    guest:eth0             vm-3",
        "  request 100 ─────────▶ 100 ────▶ 100 ──────▶ 100 ───────── ✗ 100 ─▶",
        "  reply   0 ············ 0 ······· 0 ········· 0 ····················",
    ]


def test_a_death_at_the_far_guests_stack_lies_at_its_end() -> None:
    assert marks(death(Leg.REQUEST, "guest:eth0", "vm-2:stack"), of="peer") == [
        ("request", 11, 12)
    ]


def test_a_flow_that_both_ends_probed_is_drawn_once_for_each() -> None:
    flow = SAMPLES["EVERY"]["long_paths"]().guests[1].flows[1]

    own, other = map(lay_out, by_prober(flow))

    assert [station.name for station in own.stations][:3] == ["vm-4", "guest:eth0", "tap114i0"]
    assert [station.name for station in other.stations][-2:] == ["guest:eth0", "vm-4"]
    assert [(mark.leg.value, mark.first, mark.packets) for mark in own.marks] == [("reply", 6, 4)]
    assert [(mark.leg.value, mark.first, mark.packets) for mark in other.marks] == [
        ("request", 5, 121)
    ]
    assert own.stations[0].requests == own.stations[1].requests == "30"
    assert by_prober(own_flow := SAMPLES["to_gateway"](1)) == (own_flow,)


def test_every_face_shows_whose_probes_died_where() -> None:
    run = SAMPLES["EVERY"]["long_paths"]()
    terminal = "\n".join(summary_lines(run))
    markdown = to_markdown(run)
    page = guest_html(run.guests[1])

    for text in (terminal, markdown, page):
        assert "probes that vm-4 sent: 4 of 30 lost" in text
        assert "probes that vm-2 sent: 121 of 300 lost" in text
        assert text.count("121 requests between pve1:enp4s0 and enp4s0 died") <= 1
    assert terminal.count("died: 121 requests between pve1:enp4s0 and enp4s0") == 1
    assert "pve1:enp4s0 ──▶" not in terminal
    assert " ✗ 121 ─▶ 179" in terminal


def test_a_firewalls_path_shows_every_group_and_what_is_not_known() -> None:
    flow = SAMPLES["EVERY"]["long_paths"]().guests[0].flows[0]

    names, request, reply, either = path_lines(flow, 130)

    assert names.split() == [
        "vm-2", "guest:eth0", "tap112i0", "fwln112i0", "fwpr112p0", "enp4s0", "gateway",
    ]  # fmt: skip
    assert re.sub("─+", "─", request) == (
        "  request 300 ─▶ 300 ─▶ 300 ─ ✗ 4 ─▶ ? ─▶ 296 ─▶ 296 ─▶"
    )
    assert re.sub("─+", "─", reply) == (
        "  reply   240 ◀─ 240 ◀─ ✗ 12 ─ 252 ◀─ ? ◀─ 252 ◀─ ✗ 20 ─ 272 ◀─"
    )
    assert names.index("enp4s0") < either.index("✗ 24") < names.index("gateway")
