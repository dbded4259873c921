"""Numbers, messages of failed tests and JUnit properties say what they must."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.core.words import Rebuild, Verdict
from pytest_vmnet.report import wording
from pytest_vmnet.report.failure import flow_message, guest_message, neighbour_message
from pytest_vmnet.report.junit import properties

SAMPLES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "report" / "samples.py"))
NOT_XML = re.compile("[^\x09\x0a\x0d\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def sample(name: str) -> Any:
    return SAMPLES["EVERY"][name]()


@pytest.mark.parametrize(
    ("share", "rounding", "expected"),
    [
        (0.0, "nearest", "0.0 %"),
        (1.0, "nearest", "100.0 %"),
        (0.55, "nearest", "55.0 %"),
        (1 / 3000, "nearest", "0.03 %"),
        (2999 / 3000, "nearest", "99.97 %"),
        (0.009936, "up", "1.0 %"),
        (0.0100001, "up", "1.1 %"),
        (0.01, "up", "1.0 %"),
        (0.0199, "down", "1.9 %"),
        (0.99006, "down", "99.0 %"),
        (1e-9, "up", "0.0001 %"),
        (float("nan"), "up", "? %"),
    ],
)
def test_percent(share: float, rounding: str, expected: str) -> None:
    assert wording.percent(share, rounding) == expected


def test_loss_in_words() -> None:
    clean, bad = SAMPLES["to_gateway"](1), SAMPLES["to_gateway"](1, 165)

    assert wording.loss_sentence(clean) == "0 of 300 lost, at most 1.0 % (95 %)"
    assert wording.loss_sentence(bad) == (
        "165 of 300 lost, 55.0 % (at least 50.0 %, at most 59.9 %, each at 95 %)"
    )
    assert wording.loss_sentence(replace(clean, transmitted=0, received=0)) == (
        "no probe was sent"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a\r\nb\tc\u2028d", "a  b c d"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\u202eevil\u200b\ufeff", "\\u202eevil\\u200b\\ufeff"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("\ud800", "\\ud800"),
        ("Grüße 网络", "Grüße 网络"),
    ],
)
def test_plain_shows_what_hides(given: str, expected: str) -> None:
    assert wording.plain(given) == expected


def test_plain_is_bounded() -> None:
    assert wording.plain("x" * 3_000_000) == "x" * 1999 + "~"
    assert len(wording.plain("\x00" * 500, 100)) == 100


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [(0.44, "0.4 s"), (42.2, "42 s"), (200.4, "3 min 20 s"), (float("inf"), "? s")],
)
def test_seconds(duration_s: float, expected: str) -> None:
    assert wording.seconds(duration_s) == expected


def test_a_failed_flow_says_seen_expected_place_cause_decision_and_next_step() -> None:
    outcome = sample("refused").guests[0]

    assert flow_message(outcome.flows[0], outcome).splitlines() == [
        "vm-1 -> gateway 192.0.2.1: 165 of 300 lost, 55.0 % (at least 50.0 %, at most 59.9 %, "
        "each at 95 %), limit 1.0 %",
        "expected: at most 1.0 % lost, proven at 95 %",
        "died: 165 replies between enp4s0 and tap111i0",
        "diagnosis: MacReflected (error, scope uplink): Frames with the guest's MAC address come "
        "back in through the uplink: a twin with the same address or a loop beyond enp4s0. The "
        "bridge then takes the guest to be outside and drops its replies. [165 replies between "
        "enp4s0 and tap111i0]",
        "decision: refuse: --vmnet-rebuild is never",
        "next: a rebuild cures it: the new VM gets a new MAC address; the cause itself lies in "
        "scope uplink",
    ]


def test_a_failed_flow_without_a_place_says_so() -> None:
    outcome = sample("refused").guests[0]

    assert "died: at a place that is not known" in flow_message(outcome.flows[2], outcome)


def test_a_flow_that_counts_against_another_guest_names_it() -> None:
    first = sample("between_guests").guests[0]

    assert "; counts against vm-2" in flow_message(first.flows[1], first)


def test_a_failed_neighbour() -> None:
    outcome = sample("refused").guests[0]

    lines = neighbour_message(outcome.neighbours[0], outcome).splitlines()

    assert lines[0] == ("vm-1: neighbour vm-2 (192.0.2.12): FAILED, expected bc:24:11:00:00:02")
    assert lines[1] == "expected: an entry that resolves to the host's own MAC address"
    assert lines[2].startswith("diagnosis: MacReflected")


@pytest.mark.parametrize(
    ("verdict", "step"),
    [
        (Verdict.INCONCLUSIVE, "next: remove what kept the gate from looking and run it again"),
        (Verdict.FLAPPING, "next: run again with a larger --vmnet-count"),
        (Verdict.UNHEALTHY, "next: run again with --vmnet-bundle DIR"),
    ],
)
def test_the_next_step_without_a_finding(verdict: Verdict, step: str) -> None:
    outcome = replace(sample("inconclusive").guests[0], verdict=verdict)

    assert step in guest_message(outcome)


def test_an_inconclusive_guest_says_what_was_not_trusted() -> None:
    message = guest_message(sample("inconclusive").guests[0])

    assert message.startswith("vm-4 (VMID 114, 192.0.2.14, node pve1): inconclusive: gateway:")
    assert "not trusted: tap114i0: the kernel dropped 812 packets of this capture" in message


def test_a_rebuild_that_does_not_help_is_not_offered() -> None:
    outcome = sample("firewall").guests[1]

    assert outcome.findings[0].rebuild is Rebuild.NO
    assert guest_message(outcome).endswith(
        "next: mend the cause in scope guest; a rebuild does not help: provisioning would write "
        "the same rule again"
    )


def test_a_held_guest_needs_a_person() -> None:
    assert "next: a person has to decide; a rebuild may cure it" in guest_message(
        sample("between_guests").guests[1]
    )


def test_messages_are_few_visible_lines_whatever_a_guest_says() -> None:
    outcome = sample("hostile").guests[0]

    for message in (
        flow_message(outcome.flows[0], outcome),
        neighbour_message(outcome.neighbours[0], outcome),
        guest_message(outcome),
    ):
        assert len(message.splitlines()) <= 10
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ud800-\udfff]", message)


def test_properties_of_the_healed_incident() -> None:
    found = dict(properties(sample("healed").guests[0]))

    assert found["vmnet_vmid"] == "111"
    assert found["vmnet_verdict"] == "healthy"
    assert found["vmnet_healed"] == "true"
    assert found["vmnet_gateway_loss"] == "0"
    assert found["vmnet_gateway_loss_upper_bound"] == "0.009936"
    assert found["vmnet_before_loss"] == "0.55"
    assert found["vmnet_finding"] == "MacReflected"
    assert (found["vmnet_last_seen"], found["vmnet_next_point"]) == ("enp4s0", "tap111i0")
    assert found["vmnet_decision"] == "rebuild"
    assert found["vmnet_attempt"] == "rebuild cured"


@pytest.mark.parametrize("name", sorted(SAMPLES["EVERY"]))
def test_properties_hold_only_what_xml_allows(name: str) -> None:
    for outcome in sample(name).guests:
        for item in properties(outcome):
            assert all(isinstance(part, str) for part in item)
            assert not NOT_XML.search("".join(item))
