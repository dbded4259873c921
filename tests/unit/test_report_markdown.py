"""The Markdown report has the incident report's chapters and no guest writes in it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.report.markdown import text, to_markdown, write_markdown

SAMPLES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "report" / "samples.py"))


def sample(name: str) -> Any:
    return SAMPLES["EVERY"][name]()


def test_the_chapters_of_the_incident() -> None:
    lines = to_markdown(sample("healed")).splitlines()

    assert [line for line in lines if line.startswith("#")] == [
        "# Network report 5f0c2a9d1e7b4c66",
        "## Summary",
        "## Setting",
        "## vm-1 (VMID 111, 192.0.2.11, node pve1)",
        "### Symptoms",
        "### What was looked at",
        "### What was concluded",
        "### What was ruled out",
        "### What was done",
        "### What remains",
        "## All flows",
    ]


def test_the_path_table_has_the_counts_of_both_legs() -> None:
    report = to_markdown(sample("healed"))

    assert (
        "| leg | vm-1 | guest:eth0 | tap111i0 | enp4s0 | gateway |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| request | 300 | 300 | 300 | 300 |  |\n"
        "| reply | 135 | 135 | 135 | 300 |  |\n"
        "\n"
        "- 165 replies between enp4s0 and tap111i0 died\n"
    ) in report


@pytest.mark.parametrize(
    "part",
    [
        "- vm-1 -> gateway 192.0.2.1: 165 of 300 lost, 55.0 % (at least 50.0 %, at most 59.9 %, "
        "each at 95 %), limit 1.0 %",
        "**MacReflected (error, scope uplink):** Frames with",
        "- where: 165 replies between enp4s0 and tap111i0",
        "- a rebuild cures it: the new VM gets a new MAC address",
        "- QdiscDrop: tap111i0: 0 drops in tc -s before and after",
        "- proof: QEMU pid 4411 -> 5120",
        "each at 95 %) | 0 of 300 lost, at most 1.0 % (95 %) |",
        "- cured, but the MAC changed: the other source",
    ],
)
def test_what_the_incident_says(part: str) -> None:
    assert part in to_markdown(sample("healed"))


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    for name in SAMPLES["EVERY"]:
        width = 0
        for line in to_markdown(sample(name)).splitlines():
            cells = line.count("|") if line.startswith("|") else 0
            assert not (width and cells) or cells == width, line
            width = cells


def test_hostile_text_is_neither_html_nor_markdown() -> None:
    report = to_markdown(sample("hostile")).replace("```text\n", "").replace("```\n", "")

    assert "<" not in report
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ud800-\udfff]", report)
    assert not re.search(r"(?<!\\)[`\[\]]", report)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("- item", r"\- item"),
        ("12. item", r"12\. item"),
        ("> quote", r"\> quote"),
        ("---", r"\---"),
        ("192.0.2.1", "192.0.2.1"),
        ("0.0 %", "0.0 %"),
        ("a -> b", "a -> b"),
        ("# head", r"\# head"),
        ("a|b", "a&#124;b"),
        (r"a\|b", r"a\\&#124;b"),
        ("http://x.example www.x.example", r"http\://x.example www\.x.example"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_text_means_nothing_to_markdown(given: str, expected: str) -> None:
    assert text(given) == expected


def test_a_run_that_could_not_look_says_so() -> None:
    report = to_markdown(sample("broken_run"))

    assert "**The run could not look:** Proxmox API: GET /nodes: 401: no such token" in report


def test_a_flow_between_guests_is_listed_once() -> None:
    report = to_markdown(sample("between_guests"))

    assert report.count("| vm-1 -> vm-2 | peer |") == 1


def test_it_is_written(tmp_path: Path) -> None:
    write_markdown(tmp_path / "out.md", sample("uplink"))

    assert (tmp_path / "out.md").read_text(encoding="utf-8") == to_markdown(sample("uplink"))
