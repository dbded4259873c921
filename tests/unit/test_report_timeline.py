"""Packets over FDB moves: drawn where they belong, readable as text, by machines and by ear."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from pytest_vmnet.core.outcome import Death, Flow, Timeline
from pytest_vmnet.core.words import FlowKind, Leg
from pytest_vmnet.report.html import flow_html, guest_html
from pytest_vmnet.report.markdown import to_markdown
from pytest_vmnet.report.terminal import summary_lines
from pytest_vmnet.report.timeline import (
    Stay,
    Window,
    enlarged,
    leg_of,
    legend,
    packets_in,
    stays,
    timeline_lines,
    timing,
    whole,
)
from pytest_vmnet.report.timeline_svg import timeline_svg

SAMPLES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "report" / "samples.py"))
SVG = "{http://www.w3.org/2000/svg}"


def made(fates: str, moves: str = "", *, step: int = 20_000, ports: int = 2) -> Timeline:
    """Return a timeline: a packet each *step* us, and a move at "time:letter" in ms."""
    events = [each.split(":") for each in moves.split()]
    return Timeline(
        started_ns=1,
        sent_us=tuple(at * step for at in range(len(fates))),
        fates=fates,
        packets=len(fates),
        ports=("tap111i0", "enp4s0", "fwpr112p0")[:ports],
        moved_us=tuple(int(float(moment) * 1000) for moment, _ in events),
        moved_to="".join(letter for _, letter in events),
        moves=len(events),
    )


def flow(timeline: Timeline, *legs: Leg) -> Flow:
    deaths = tuple(Death(leg=leg, last_seen="enp4s0", next_point="tap111i0", packets=1)
                   for leg in legs)  # fmt: skip
    bare: Flow = SAMPLES["flow"]("vm-1", "192.0.2.1", FlowKind.GATEWAY, lost=165)
    return replace(bare, timeline=timeline, deaths=deaths)


def drawn(timeline: Timeline, *legs: Leg) -> ET.Element:
    return ET.fromstring(timeline_svg(flow(timeline, *legs), timeline))  # noqa: S314 - our own


def paths(svg: ET.Element, pattern: str) -> list[str]:
    """Return the matches of *pattern* in all paths, in their order."""
    return [found for each in svg.iter(f"{SVG}path") for found in
            re.findall(pattern, each.attrib["d"])]  # fmt: skip


def test_the_text_has_a_row_for_packets_and_one_for_the_port() -> None:
    timeline = made(".a.b....", "25:b 45:a 105:b 106:a 125:-")

    assert timeline_lines(timeline, 52) == [
        "  time      0.000 s                          0.160 s",
        "  packets   .    X    .    X    .    .    .    .",
        f"  fdb port  {'?' * 6}{'u' * 5}{'t' * 15}*tttt{'?' * 9}",
    ]
    assert legend(timeline) == (
        "`.` answered, `x` some died, `X` all died; FDB entry: `t` on tap111i0, `u` on enp4s0, "
        "`*` moved there and back, `?` not known"
    )


def test_several_packets_in_one_column() -> None:
    lines = timeline_lines(made("...aa..b" * 100), 32)

    assert lines[1] == "  packets   xxxxxxxxxxxxxxxxxxxx"
    assert (
        timeline_lines(made("." * 400 + "a" * 400), 32)[1] == f"  packets   {'.' * 10}{'X' * 10}"
    )


def test_no_moves_no_row() -> None:
    timeline = made(".a" * 50)

    assert len(timeline_lines(timeline)) == 2
    assert legend(timeline).endswith("; the FDB entry did not move")
    assert timing(timeline) == ["the FDB entry of the guest's MAC did not move during the probes"]
    assert enlarged(timeline) is None


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (0, 10_000, [Stay(0, 10_000, None)]),
        (0, 40_000, [Stay(0, 25_000, None), Stay(25_000, 40_000, 1)]),
        (30_000, 50_000, [Stay(30_000, 45_000, 1), Stay(45_000, 50_000, 0)]),
        (45_000, 60_000, [Stay(45_000, 50_000, 0), Stay(50_000, 60_000, None)]),
        (90_000, 95_000, [Stay(90_000, 95_000, None)]),
    ],
)
def test_where_the_entry_was(begin: int, end: int, expected: list[Stay]) -> None:
    timeline = made("....", "25:b 45:a 50:-")

    assert list(stays(timeline, Window(begin, end))) == expected


def test_a_move_before_the_first_packet_tells_where_it_began() -> None:
    timeline = made("....", "-5:b 45:a")

    assert next(stays(timeline, Window(0, 10_000))) == Stay(0, 10_000, 1)


def test_the_enlarged_stretch_has_both_fates() -> None:
    timeline = made("." * 40 + "a" * 6 + "." * 40, "5:b")

    found = enlarged(timeline)

    assert found is not None
    fates = [fate for _, fate in packets_in(timeline, found)]
    assert (len(fates), fates.count("a")) == (12, 6)


def test_the_enlarged_stretch_does_not_span_a_pause_between_two_sweeps() -> None:
    timeline = made("." * 20 + "a" * 20, "5:b")
    sent = tuple(at + (3_600_000_000 if n >= 20 else 0) for n, at in enumerate(timeline.sent_us))
    found = enlarged(replace(timeline, sent_us=sent))

    assert found is not None
    assert found.length < 1_000_000


def test_what_is_left_out_is_said() -> None:
    timeline = replace(made(".a" * 50, "5:b"), packets=5_000, moves=3_000)

    assert timing(timeline) == [
        "3000 FDB moves; that the deaths follow them is not proven",
        "100 of 5000 probes are drawn, evenly",
        "1 of 3000 FDB moves are drawn: the shortest stays are left out",
    ]


def test_a_fate_without_a_group_has_no_leg() -> None:
    assert leg_of(flow(made("a"), Leg.REPLY), "a") is Leg.REPLY
    assert leg_of(flow(made("a"), Leg.REPLY), "?") is Leg.UNKNOWN
    assert leg_of(flow(made("a"), Leg.REPLY), "b") is Leg.UNKNOWN


def test_the_shape_of_a_mark_says_how_a_probe_ended() -> None:
    svg = drawn(made(".abc"), Leg.REQUEST, Leg.REPLY, Leg.UNKNOWN)
    middle = 24 + 34 / 2
    marks = [mark for mark in paths(svg, r"M[\d.]+ ([\d.]+v\d+)") if not mark.endswith("v5")]

    short, up, down, both = marks[:4]
    assert short == f"{middle - 5:g}v10"
    assert up == f"{middle - 16:g}v16"
    assert down == f"{middle:g}v16"
    assert both == f"{middle - 16:g}v32"
    words = [each.text for each in svg.iter(f"{SVG}text")]
    for label in ("answered", "request died", "reply died", "request or reply died"):
        assert label in words


def test_every_packet_and_every_stay_is_drawn() -> None:
    timeline = SAMPLES["EVERY"]["refused"]().guests[0].flows[0].timeline
    svg = drawn(timeline, Leg.REPLY)
    first = list(svg.iter(f"{SVG}path"))

    def found(pattern: str) -> int:
        return sum(len(re.findall(pattern, each.attrib["d"])) for each in first)

    window = enlarged(timeline)
    assert window is not None
    near = packets_in(timeline, window)
    short, tall = 300 - 165, 165
    assert found(r"v10(?=M|$)") == short + sum(fate == "." for _, fate in near) + 1
    assert found(r"v16(?=M|$)") == tall + sum(fate == "a" for _, fate in near) + 1
    boxes = [stay for part in (whole(timeline), window) for stay in stays(timeline, part)
             if stay.port is not None]  # fmt: skip
    assert found(r"v14H") == len(boxes)


def test_the_picture_is_read_to_who_cannot_see_it() -> None:
    timeline = SAMPLES["EVERY"]["refused"]().guests[0].flows[0].timeline
    svg = drawn(timeline, Leg.REPLY)

    assert svg.attrib["role"] == "img"
    assert svg[0].text == "vm-1 -> gateway 192.0.2.1: its probes in time"
    assert svg[1].text == (
        "300 probes, 165 of them died. The bridge's FDB entry of bc:24:11:74:5a:6d moved 330 times"
        f" between tap111i0, enp4s0. {timeline.alignment.sentence}."
    )


@pytest.mark.parametrize(
    ("step", "labels"),
    [
        (20_000, ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"]),
        (1_000_000, ["0", "2", "4", "6", "8", "10", "12", "14"]),
        (50, ["0.0000", "0.0001", "0.0002", "0.0003", "0.0004", "0.0005", "0.0006", "0.0007"]),
    ],
)
def test_the_axis_has_round_numbers(step: int, labels: list[str]) -> None:
    svg = drawn(made("." * 16, step=step))
    texts = [each.text or "" for each in svg.iter(f"{SVG}text")]

    assert [text for text in texts if re.fullmatch(r"[\d.]+", text)] == labels
    assert "seconds" in texts


def test_a_single_packet_has_a_picture() -> None:
    assert drawn(made("a"), Leg.REPLY).tag == f"{SVG}svg"
    assert timeline_lines(made("a"))[1] == "  packets   X"
    assert drawn(made("")).tag == f"{SVG}svg"


def test_every_face_shows_it_and_a_test_of_one_flow_only_says_it() -> None:
    run = SAMPLES["EVERY"]["refused"]()
    story, test = guest_html(run.guests[0]), flow_html(run.guests[0].flows[0])
    sentence = "165 of 165 deaths within 2 ms of the FDB entry of"

    assert story.count('class="vmnet-time"') == 1
    assert f"<p>{sentence}" in story
    assert 'class="vmnet-time"' not in test
    assert f"<li>{sentence}" in test
    markdown = to_markdown(run)
    assert "\n```text\n  time      0.0 s" in markdown
    assert f"- {sentence}" in markdown
    assert sum(line.startswith("  fdb port  ") for line in summary_lines(run)) == 2


def test_the_text_is_ascii_whatever_the_ports_are_called() -> None:
    run: Any = SAMPLES["EVERY"]["hostile"]()
    timeline = run.guests[0].flows[0].timeline

    assert "".join(timeline_lines(timeline)).isascii()
    assert "```" not in "".join(timeline_lines(timeline))
    svg = timeline_svg(run.guests[0].flows[0], timeline)
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


def test_a_long_timeline_is_drawn_to_its_end() -> None:
    moves = " ".join(f"{20 * at}:{'ba'[at % 2]}" for at in range(2_000))
    svg = drawn(made("." * 2_000, moves))

    def last(pattern: str) -> float:
        return max(float(found) for found in paths(svg, pattern))

    edge = last(r"M([\d.]+) [\d.]+v5")
    assert last(r"M([\d.]+) [\d.]+v10") > edge - 40
    assert last(r"M([\d.]+) [\d.]+h[\d.]+v14") > edge - 40
    assert not [each for each in svg.iter(f"{SVG}path") if "~" in each.attrib["d"]]
