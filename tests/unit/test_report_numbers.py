"""One line says what is remarkable of a sick flow's packets, and nothing of a clean one's."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.core.outcome import Bursts, ErrorCount, Flow
from pytest_vmnet.core.words import LossPattern, Verdict
from pytest_vmnet.report.html import flow_html, guest_html
from pytest_vmnet.report.markdown import to_markdown
from pytest_vmnet.report.numbers import numbers
from pytest_vmnet.report.story import changes, symptoms, telling_flow
from pytest_vmnet.report.terminal import summary_lines
from pytest_vmnet.report.wording import flow_name

SAMPLES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "report" / "samples.py"))


def sick(**more: Any) -> Flow:
    flow: Flow = SAMPLES["to_gateway"](1, 165)
    return replace(flow, **more)


def bursts(pattern: LossPattern) -> Bursts:
    return Bursts(pattern=pattern, stretches=12, longest=31, mean=13.8, p_value=1e-9)


def error(source: str, kind: int, code: int) -> ErrorCount:
    return ErrorCount(source=source, type=kind, code=code, packets=4)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, None),
        ({"bursts": bursts(LossPattern.BURSTS)},
         "lost in bursts: 12 stretches, 31 in a row at most"),
        ({"bursts": bursts(LossPattern.REGULAR)}, "lost more evenly than by chance"),
        ({"bursts": bursts(LossPattern.RANDOM)}, "lost at random"),
        ({"bursts": bursts(LossPattern.NONE)}, None),
        ({"bursts": bursts(LossPattern.BURSTS), "received": 0}, None),
        ({"rtt_quantiles_ms": {"p50": 0.61, "max": 12.0}, "jitter_ms": 0.25},
         "rtt p50 0.6, max 12.0 ms, jitter 0.2 ms"),
        ({"duplicates": 1, "reordered": 2, "foreign": 1},
         "1 packet seen more than once at one point; 2 answers overtook another one; 1 reply from "
         "another address than was probed"),
        ({"icmp_errors": (error("192.0.2.1", 3, 1), error("fe80::1", 3, 0))},
         "4 ICMP host unreachable (type 3 code 1) from 192.0.2.1; 4 ICMP hop limit exceeded (type "
         "3 code 0) from fe80::1"),
        ({"icmp_errors": tuple(error(f"192.0.2.{n}", 40, 9) for n in range(1, 6))},
         "4 ICMP type 40 code 9 from 192.0.2.1; 4 ICMP type 40 code 9 from 192.0.2.2; 4 ICMP type "
         "40 code 9 from 192.0.2.3; and 2 further kinds of ICMP errors"),
    ],
)  # fmt: skip
def test_what_is_said(more: dict[str, Any], expected: str | None) -> None:
    assert numbers(sick(**more)) == expected


def test_a_clean_flow_has_nothing_to_say() -> None:
    assert numbers(replace(SAMPLES["to_gateway"](1), duplicates=3)) is None


def test_a_hostile_source_is_shown_as_text() -> None:
    flow = sick(icmp_errors=(error(SAMPLES["HOSTILE"], 3, 1),))

    assert "<script>" not in flow_html(flow)
    assert "\x1b" not in str(numbers(flow))


def test_every_face_has_it_once() -> None:
    run = SAMPLES["EVERY"]["refused"]()
    terminal = " ".join(" ".join(summary_lines(run)).split())

    for text in (terminal, to_markdown(run), guest_html(run.guests[0])):
        assert text.count("rtt p50 0.6, p90 1.1, p99 2.8, max 3.1 ms, jitter 0.2 ms") == 1


def large(verdict: Verdict, lost: int = 0) -> Flow:
    flow: Flow = SAMPLES["flow"]("vm-1", "192.0.2.1", SAMPLES["FlowKind"].GATEWAY, sent=30)
    return replace(flow, lane="large", size=1472, verdict=verdict, received=30 - lost)


def test_full_sized_packets_are_named_and_are_no_symptom_if_none_is_lost() -> None:
    outcome = SAMPLES["EVERY"]["refused"]().guests[0]
    few = replace(outcome, flows=(*outcome.flows, large(Verdict.INCONCLUSIVE)))
    bad = replace(outcome, flows=(*outcome.flows, large(Verdict.UNHEALTHY, 30)))

    assert flow_name(large(Verdict.HEALTHY)) == "vm-1 -> gateway 192.0.2.1 (1472 bytes)"
    assert not [line for line in symptoms(few) if "1472" in line]
    assert "2 further flows are clean" in symptoms(few)
    assert [line for line in symptoms(bad) if "1472" in line]
    assert telling_flow(bad) == outcome.flows[0]


def test_lanes_are_compared_with_themselves() -> None:
    outcome = SAMPLES["EVERY"]["healed"]().guests[0]
    both = replace(
        outcome,
        flows=(large(Verdict.HEALTHY), *outcome.flows),
        flows_before=(*outcome.flows_before, large(Verdict.UNHEALTHY, 30)),
    )
    change = next(each for each in changes(both) if "1472" in each.name)

    assert change.after.startswith("0 of 30 lost")
