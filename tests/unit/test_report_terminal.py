"""The terminal says all of it, in the columns that there are, and obeys no guest."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.core.outcome import Setting
from pytest_vmnet.report.picture import columns
from pytest_vmnet.report.terminal import can_draw, header_lines, summary_lines

SAMPLES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "report" / "samples.py"))


def sample(name: str) -> Any:
    return SAMPLES["EVERY"][name]()


def one_line(lines: list[str]) -> str:
    return re.sub(r"\s+", " ", " ".join(lines))


@pytest.mark.parametrize("drawing", [True, False])
@pytest.mark.parametrize("width", [80, 98, 140])
@pytest.mark.parametrize("name", sorted(SAMPLES["EVERY"]))
def test_every_line_fits(name: str, width: int, *, drawing: bool) -> None:
    lines = summary_lines(sample(name), width, drawing=drawing)

    assert lines
    assert max(columns(line) for line in lines) <= width
    assert not [line for line in lines if line.lstrip().startswith("%")]


@pytest.mark.parametrize("name", sorted(SAMPLES["EVERY"]))
def test_nothing_in_it_moves_the_cursor_or_turns_the_writing(name: str) -> None:
    text = "".join(summary_lines(sample(name)) + header_lines(sample(name).settings))

    assert not re.search("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\ud800-\udfff]", text)


def test_without_drawing_it_is_ascii() -> None:
    lines = summary_lines(sample("healed"), drawing=False)

    assert "".join(lines).isascii()
    assert "  reply   135 <-- 135 <-------- 135 <------ X 165 -- 300 <----" in lines


def test_the_table_and_the_power() -> None:
    lines = summary_lines(sample("refused"))

    assert lines[:3] == [
        "guest  verdict    gateway loss      worst peer  external  inbound  decision",
        "-----  ---------  ----------------  ----------  --------  -------  --------",
        "vm-1   unhealthy  55.0 % <= 59.9 %  vm-2 1.3 %  46.7 %    0.0 %    refuse",
    ]
    assert "power: 0 of 300 lost: at most 1.0 % at 95 %" in lines
    assert "power: 0 of 100 lost: at most 3.0 % at 95 %" in lines
    assert "guests: 1 unhealthy, 4 healthy; sweep 6.4 s, run 4 min 2 s" in lines


def test_the_incident_is_told_with_its_path_and_its_cure() -> None:
    lines = summary_lines(sample("healed"))
    text = one_line(lines)

    at = lines.index("          vm-1    guest:eth0    tap111i0             enp4s0    gateway")
    assert lines[at + 1 : at + 3] == [
        "  request 300 ──▶ 300 ────────▶ 300 ───────────────▶ 300 ────▶",
        "  reply   135 ◀── 135 ◀──────── 135 ◀────── ✗ 165 ── 300 ◀────",
    ]
    assert "vm-1 (VMID 111, 192.0.2.11, node pve1): healthy, healed" in text
    assert "165 of 300 lost, 55.0 % (at least 50.0 %, at most 59.9 %, each at 95 %)" in text
    assert "died: 165 replies between enp4s0 and tap111i0" in text
    assert "diagnosis: MacReflected (error, scope uplink): Frames with" in text
    assert "* 162 of the 165 lost replies arrived while the entry was on enp4s0" in text
    assert "ruled out: QdiscDrop: tap111i0: 0 drops in tc -s before and after" in text
    assert "decision: rebuild (rungs: rebuild): MacReflected is cured" in text
    assert "cured in 3 min 20 s; MAC bc:24:11:74:5a:6d -> bc:24:11:0f:0e:0d" in text
    assert "proof: QEMU pid 4411 -> 5120" in text
    assert (
        "proven: vm-1 -> gateway 192.0.2.1: 165 of 300 lost -> 0 of 300 lost, at most 1.0 % (95 %)"
    ) in text
    assert text.count("remains: cured, but the MAC changed: the other source of") == 1
    assert text.count("out there") == 1


def test_a_healthy_run_tells_no_story() -> None:
    lines = summary_lines(sample("all_healthy"))

    assert not [line for line in lines if "seen:" in line or "decision:" in line]
    assert lines[-1] == "skipped: db (VMID 120): locked: backup"


def test_a_cause_beyond_the_guests_is_told_once() -> None:
    text = one_line(summary_lines(sample("uplink")))

    assert text.count("diagnosis: UplinkLoss") == 1
    assert text.count(": the same; vm-") == 4
    assert "died: 121 packets (request or reply) between enp4s0 and gateway" in text


def test_what_was_not_trusted_is_said() -> None:
    lines = summary_lines(sample("inconclusive"))

    assert "  reply   295 ◀── 295 ◀──────── ✗ 5 ── ? ◀──────── 300 ◀────" in lines
    text = one_line(lines)
    assert "not trusted: tap114i0: the kernel dropped 812 packets of this capture" in text
    assert "vm-4 is neither cleared nor blamed" in text


def test_a_flow_of_another_guest_is_named_as_its() -> None:
    rows = summary_lines(sample("between_guests"))[2:4]

    assert rows[0].startswith("vm-2   unhealthy  0.0 % <= 1.0 %  vm-1 100.0 %  ")
    assert rows[1].startswith("vm-1   healthy    0.0 % <= 1.0 %  vm-2 100.0 % (vm-2's)")


def test_colour_adds_nothing_but_colour() -> None:
    plain = summary_lines(sample("refused"))
    coloured = summary_lines(sample("refused"), colour=True)

    assert coloured[2].startswith("vm-1   \x1b[31munhealthy\x1b[0m")
    assert [re.sub(r"\x1b\[\d+m", "", line).rstrip() for line in coloured] == plain


def test_many_healthy_guests_are_folded() -> None:
    run = sample("refused")
    run = replace(run, guests=run.guests[:1] + run.guests[1:2] * 200)

    lines = summary_lines(run)

    assert "and 170 more healthy guests" in lines
    assert lines[2].startswith("vm-1   unhealthy")


def test_a_run_that_could_not_look_says_why_first() -> None:
    lines = summary_lines(sample("broken_run"))

    assert lines[0] == "could not look: Proxmox API: GET /nodes: 401: no such token"


def test_wide_characters_count_twice() -> None:
    run = replace(sample("all_healthy"), notes=("网" * 100,))

    lines = summary_lines(run, 80)

    assert max(map(columns, lines)) <= 80
    assert "".join(lines).count("网") == 100


def test_the_header_says_that_nothing_will_be_touched() -> None:
    lines = header_lines(sample("all_healthy").settings)

    assert lines[-1] == "vmnet-rebuild: never (default) - no guest will be touched"
    assert "proxmox-node pve1 (command line)" in one_line(lines)
    assert "vmnet-interval 0.1 (environment VMNET_INTERVAL)" in one_line(lines)
    assert "vmnet-lock-timeout" not in one_line(lines)


def test_the_header_says_when_it_is_armed() -> None:
    text = one_line(header_lines(SAMPLES["settings"]("unhealthy", "command line")))

    assert (
        "vmnet-rebuild: unhealthy (command line) - ARMED: an unhealthy guest may be rebuilt if "
        "tag:vmnet-rebuild (default) names it"
    ) in text


def test_a_mode_that_is_not_known_is_not_called_harmless() -> None:
    lines = header_lines([Setting(name="vmnet-rebuild", value="yes", source="ini")])

    assert lines == ["vmnet-rebuild: yes (ini) - not a mode that is known"]


@pytest.mark.parametrize(
    ("encoding", "able"), [("utf-8", True), ("ascii", False), ("latin-1", False), (None, False)]
)
def test_what_an_encoding_can_draw(encoding: str | None, *, able: bool) -> None:
    assert can_draw(encoding) is able


def test_an_encoding_that_is_not_known_draws_nothing() -> None:
    assert can_draw("no-such-codec") is False
