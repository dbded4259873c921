"""pytest-html's page holds the pictures as markup, and a hostile name only as text."""

from __future__ import annotations

import json
import re
import runpy
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parents[1] / "data" / "report" / "samples.py"
HOSTILE = runpy.run_path(str(SAMPLES))["HOSTILE"]
_CONFTEST = f"""
import runpy
import pytest
from pytest_vmnet.plugin_html import attach, pytest_html_results_table_row
from pytest_vmnet.report.html import guest_html, summary_html

RUN = runpy.run_path({str(SAMPLES)!r})["EVERY"]["NAME"]()

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    attach(report, RUN.guests[0])
    return report

@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix):
    prefix += [summary_html(RUN), guest_html(RUN.guests[0])]
"""


class Tags(HTMLParser):
    """The elements of a page, and their attributes' names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def page(pytester: pytest.Pytester, name: str) -> tuple[str, str]:
    """Return the page, and what pytest-html puts beside the test that failed."""
    pytester.makeconftest(_CONFTEST.replace("NAME", name))
    pytester.makepyfile(
        f"import pytest\n@pytest.mark.parametrize('name', [{HOSTILE[:-1]!r}])\n"
        "def test_it(name): assert False"
    )
    pytester.runpytest_subprocess("--html=out.html", "--self-contained-html", "-p", "no:vmnet")
    text = (pytester.path / "out.html").read_text(encoding="utf-8", errors="replace")
    blob = re.search(r'data-jsonblob="([^"]*)"', text)
    assert blob is not None
    tests: dict[str, Any] = json.loads(unescape(blob[1]))["tests"]
    extras = [extra["content"] for rows in tests.values() for row in rows
              for extra in row["extras"]]  # fmt: skip
    return text, "".join(extras)


def test_the_pictures_are_in_the_page_as_markup(pytester: pytest.Pytester) -> None:
    text, beside = page(pytester, "refused")

    tags = Tags(text)
    assert tags.tags.count("svg") == 2
    assert 'class="vmnet-path"' in text
    assert 'class="vmnet-time"' in text
    assert "<svg " in beside
    assert "165 of 165 deaths within 2 ms of the FDB entry" in beside


def test_hostile_names_are_text_wherever_they_come(pytester: pytest.Pytester) -> None:
    text, beside = page(pytester, "hostile")

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert" not in text
    for part, own in ((text, {"onclick"}), (beside, set())):  # pytest-html's own handler
        assert {name for name in Tags(part).attributes if name.startswith("on")} <= own
    assert Tags(beside).tags.count("svg") == 1
    assert "script" not in Tags(beside).tags
