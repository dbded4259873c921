"""The HTML is well formed, says what the terminal says, and runs nothing of a guest's."""

from __future__ import annotations

import runpy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from pytest_vmnet.report.html import flow_html, guest_html, safe_cells, summary_html
from pytest_vmnet.report.markup import Markup, element, join
from pytest_vmnet.report.svg import path_svg

SAMPLES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "report" / "samples.py"))
TAGS = {
    "style", "div", "h3", "h4", "p", "b", "ul", "li", "table", "tr", "th", "td", "span", "code",
    "details", "summary", "svg", "g", "title", "desc", "rect", "line", "text", "path", "circle",
    "polygon",
}  # fmt: skip


class Reader(HTMLParser):
    """Collects tags, attributes and text, and fails on a tag that is not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data.replace("\xa0%", " %"))


def sample(name: str) -> Any:
    return SAMPLES["EVERY"][name]()


def pages(name: str) -> list[str]:
    run = sample(name)
    flows = [flow for outcome in run.guests for flow in outcome.flows]
    return [summary_html(run), *map(guest_html, run.guests), *map(flow_html, flows)]


@pytest.mark.parametrize("name", sorted(SAMPLES["EVERY"]))
def test_only_our_own_elements_and_no_handlers(name: str) -> None:
    for page in pages(name):
        reader = Reader(page)
        assert reader.tags <= TAGS
        assert not [each for each in reader.names if each.startswith("on") or each == "href"]


def test_a_hostile_name_is_shown_as_text() -> None:
    reader = Reader(guest_html(sample("hostile").guests[0]))

    assert "script" not in reader.tags
    assert "<script>alert(1)</script>|`x`\\x1b[31m\\u202e  " in "".join(reader.text)
    assert "\x1b" not in "".join(reader.text)
    assert "\u202e" not in "".join(reader.text)


def test_the_story_of_the_incident() -> None:
    text = "".join(Reader(guest_html(sample("healed").guests[0])).text)

    for part in (
        "✓ healthy, healed",
        "165 of 300 lost, 55.0 % (at least 50.0 %, at most 59.9 %, each at 95 %)",
        "165 replies between enp4s0 and tap111i0 died",
        "MacReflected (error, scope uplink)",
        "GuestFirewall: inside the guest no reply arrived at eth0",
        "rebuild: cured in 3 min 20 s",
        "proof: siblings: pids unchanged",
        "terraform plan -replace=proxmox_vm_qemu.vm-1",
        "0 of 300 lost, at most 1.0 % (95 %)",
        "may still be out there",
    ):
        assert part in text


def test_the_summary_has_the_style_the_table_and_what_may_be_touched() -> None:
    page = summary_html(sample("refused"))
    text = "".join(Reader(page).text)

    assert page.startswith("<style>")
    assert "prefers-color-scheme:dark" in page
    assert "@media print" in page
    assert "✗ unhealthy" in text
    assert "power: 0 of 300 lost: at most 1.0 % at 95 %" in text
    assert "vmnet-rebuild: never (default)" in text


def test_a_run_that_could_not_look_says_so() -> None:
    text = "".join(Reader(summary_html(sample("broken_run"))).text)

    assert "could not look: Proxmox API: GET /nodes: 401: no such token" in text


def svg_parts(markup: str) -> list[ET.Element]:
    return list(ET.fromstring(f"<all>{markup}</all>"))  # noqa: S314 - our own markup


def texts(svg: ET.Element) -> list[str]:
    return [each.text or "" for each in svg.iter() if each.tag.endswith("text")]


def test_the_picture_has_the_points_both_legs_and_the_death() -> None:
    (svg,) = svg_parts(path_svg(SAMPLES["sick_flows"]()[0]))

    assert texts(svg) == [
        "vm-1", "guest:eth0", "tap111i0", "enp4s0", "gateway",
        "request", "300", "300", "300", "300",
        "reply", "135", "135", "135", "165 died", "300",
    ]  # fmt: skip
    assert svg.attrib["fill"] == "currentColor"
    assert svg[0].text is not None
    assert svg[0].text.endswith("Died: 165 replies between enp4s0 and tap111i0")


def test_the_cross_stands_between_its_two_points() -> None:
    (svg,) = svg_parts(path_svg(SAMPLES["sick_flows"]()[0]))
    places = {each.text: float(each.attrib["x"]) for each in svg.iter() if "x" in each.attrib}

    assert places["tap111i0"] < places["165 died"] < places["enp4s0"]


def test_a_long_path_is_drawn_in_pieces_that_fit() -> None:
    flow = sample("between_guests").guests[1].flows[1]

    pieces = svg_parts(path_svg(flow))

    assert len(pieces) == 2
    assert len({piece.attrib["width"] for piece in pieces}) == 1
    assert int(pieces[0].attrib["width"]) <= 1020
    last_of_first = [each for each in texts(pieces[0]) if each.startswith("fw")][-1]
    assert texts(pieces[1])[0] == last_of_first
    assert "300 died" in texts(pieces[1])
    assert "300 died" not in texts(pieces[0])


def test_a_point_that_is_not_trusted_says_why() -> None:
    markup = path_svg(sample("inconclusive").guests[0].flows[0])

    assert "<title>the kernel dropped 812 packets of this capture</title>" in markup
    assert "?" in texts(svg_parts(markup)[0])


def test_a_number_and_its_unit_stay_on_one_line() -> None:
    assert "55.0\xa0% (at least 50.0\xa0%," in guest_html(sample("refused").guests[0])


def test_markup_escapes_all_but_itself() -> None:
    assert join("<a>", Markup("<b>"), None) == "&lt;a&gt;<b>"
    assert element("p", "x", title='"&', class_="c", id=None) == (
        '<p title="&quot;&amp;" class="c">x</p>'
    )
    assert Markup("<b>") + "<i>" == "<b>&lt;i&gt;"


def test_the_ids_of_tests_are_escaped_in_their_cells() -> None:
    nodeid = "t.py::test[<img src=x onerror=alert(1)>]"
    cells = ['<td class="col-result">Passed</td>', f'<td class="col-testId">{nodeid}::setup</td>']

    safe = safe_cells(cells, nodeid)

    assert safe[0] == cells[0]
    assert safe[1] == (
        '<td class="col-testId">t.py::test[&lt;img src=x onerror=alert(1)&gt;]::setup</td>'
    )
