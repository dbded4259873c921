"""The glue to pytest-html: the only module that imports it."""

from __future__ import annotations

import pytest
from pytest_html import extras

from pytest_vmnet.core.outcome import GuestOutcome
from pytest_vmnet.plugin_state import STATE
from pytest_vmnet.report.html import flow_html, guest_html, safe_cells, summary_html
from pytest_vmnet.report.story import telling_flow
from pytest_vmnet.report.wording import needs_telling


def attach(report: pytest.TestReport, outcome: GuestOutcome) -> None:
    """Attach the picture of the flow that tells a guest's story to a test that did not pass."""
    flow = telling_flow(outcome)
    if report.outcome == "failed" and flow is not None:
        found = [*getattr(report, "extras", []), extras.html(flow_html(flow))]
        vars(report)["extras"] = found  # where pytest-html looks for them


def pytest_html_results_table_row(report: pytest.TestReport, cells: list[str]) -> None:
    """Make test ids inert: pytest-html does not escape them."""
    cells[:] = safe_cells(cells, report.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix: list[str], session: pytest.Session) -> None:
    """Put the table of guests and the sick guests' stories on top of the report."""
    state = session.config.stash.get(STATE, None)
    if state is not None and state.outcome is not None:
        prefix.append(summary_html(state.outcome))
        prefix += [guest_html(guest) for guest in state.outcome.guests if needs_telling(guest)]
