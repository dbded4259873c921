"""Fragments for pytest-html: a summary of the run, the story of a guest, one flow's path.

pytest-html puts both summary and extras into the page as they are, so all that comes from
outside goes through `markup.element`, which escapes it. The style sheet comes once, with the
summary; without it the fragments are plainer and say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_vmnet.core.outcome import Attempt, Flow, GuestOutcome, RunOutcome
from pytest_vmnet.core.words import Verdict
from pytest_vmnet.report import story, table
from pytest_vmnet.report.markup import Markup, element, join
from pytest_vmnet.report.numbers import numbers
from pytest_vmnet.report.path import by_prober, death_sentence, doubts, probes_sentence
from pytest_vmnet.report.svg import path_svg
from pytest_vmnet.report.timeline import timing
from pytest_vmnet.report.timeline_svg import timeline_svg
from pytest_vmnet.report.wording import flow_name, loss_sentence, seconds

_SIGN = {
    Verdict.HEALTHY: "✓", Verdict.UNHEALTHY: "✗", Verdict.FLAPPING: "≈",
    Verdict.INCONCLUSIVE: "?", Verdict.SKIPPED: "-",
}  # fmt: skip
_STYLE = Markup("""<style>
.vmnet{--vmnet-fg:#1b1f24;--vmnet-bg:#fff;--vmnet-rule:#c4cad1;--vmnet-bad:#b3261e;
--vmnet-warn:#7a5200;--vmnet-good:#116329;color:var(--vmnet-fg);background:var(--vmnet-bg);
border:1px solid var(--vmnet-rule);border-radius:6px;padding:10px 14px;margin:8px 0;
font:13px/1.45 system-ui,Helvetica,Arial,sans-serif;text-align:left}
@media (prefers-color-scheme:dark){.vmnet{--vmnet-fg:#e6e9ed;--vmnet-bg:#16191d;
--vmnet-rule:#454c55;--vmnet-bad:#ff8a80;--vmnet-warn:#f2c14e;--vmnet-good:#7ddf94}}
@media print{.vmnet{--vmnet-fg:#000;--vmnet-bg:#fff;--vmnet-rule:#999;--vmnet-bad:#000;
--vmnet-warn:#000;--vmnet-good:#000}.vmnet-scroll{overflow:visible}
.vmnet-scroll,.vmnet table,.vmnet li{break-inside:avoid}
.vmnet h3,.vmnet h4,.vmnet-whose{break-after:avoid}}
.vmnet p,.vmnet h3,.vmnet h4{color:inherit;margin:6px 0}.vmnet h3{font-size:15px}
.vmnet h4{font-size:13px;margin-top:12px}.vmnet ul{margin:4px 0;padding-left:20px}
.vmnet table{color:inherit;border-collapse:collapse;margin:6px 0;font-size:12px}
.vmnet table th,.vmnet table td{color:inherit;border:1px solid var(--vmnet-rule)!important;
padding:3px 8px;text-align:left;font-weight:normal;width:auto}.vmnet table th{font-weight:bold}
.vmnet code{font-family:ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.vmnet summary{cursor:pointer}.vmnet-scroll{overflow-x:auto}
.vmnet-path,.vmnet-time{display:block;max-width:100%;height:auto}
@media print{.vmnet-path,.vmnet-time{min-width:0!important}}
.vmnet-dead,.vmnet-unhealthy,.vmnet-flapping{color:var(--vmnet-bad)}
.vmnet-inconclusive{color:var(--vmnet-warn)}.vmnet-healthy{color:var(--vmnet-good)}
.vmnet-verdict{font-weight:bold;white-space:nowrap}</style>""")


def summary_html(run: RunOutcome) -> str:
    """Return the run's summary, with the one style sheet that the other fragments use.

    For the ``prefix`` of pytest-html's ``pytest_html_results_summary``.
    """
    shown, left_out = table.fold(table.rows(run))
    rows = [
        element("tr", *(_cell(cell, row.verdict if at == 1 else None)
                        for at, cell in enumerate(row.cells)))
        for row in shown
    ]  # fmt: skip
    head = element("tr", *(element("th", name) for name in table.HEAD))
    lines = [f"power: {text}" for text in table.power_sentences(run)]
    lines.append(
        f"guests: {table.tally(run)}; sweep {seconds(run.sweep_s)}, run {seconds(run.duration_s)}"
    )
    lines += [f"control: {flow_name(flow)}: {loss_sentence(flow)}" for flow in run.controls]
    lines += [f"skipped: {each.name} (VMID {each.vmid}): {each.reason}" for each in run.skipped]
    lines += [f"note: {note}" for note in run.notes]
    lines += [
        f"{setting.name}: {setting.value} ({setting.source})"
        for setting in run.settings
        if setting.name == "vmnet-rebuild"
    ]
    error = _verdict(Verdict.INCONCLUSIVE, f"could not look: {run.error}") if run.error else None
    more = element("p", f"and {left_out} more healthy guests") if left_out else None
    body = join(
        element("h3", "Guests"),
        element("p", error) if error else None,
        _wide(element("table", head, *rows)) if rows else None,
        more,
        _list(lines),
    )
    return str(join(_STYLE, element("div", body, class_="vmnet")))


def guest_html(outcome: GuestOutcome) -> str:
    """Return the story of one guest as one fragment, for ``pytest_html.extras.html``."""
    flow = story.telling_flow(outcome)
    head = element(
        "h3", story.title(outcome), ": ", _verdict(outcome.verdict, story.state(outcome))
    )
    body = join(
        head,
        element("p", outcome.reason),
        _list(story.symptoms(outcome)),
        _figure(flow) if flow else None,
        _timeline(flow) if flow else None,
        _diagnosis(outcome),
        _section("Decision", element("p", story.decision_sentence(outcome))),
        *(_attempt(attempt) for attempt in outcome.attempts),
        _changes(outcome),
        _section("What remains", _list(story.remains(outcome))),
        _flows(story.seen_flows(outcome)),
    )
    return str(element("div", body, class_="vmnet"))


def flow_html(flow: Flow) -> str:
    """Return what was seen of one flow and its path, for a test of that flow alone.

    Its timeline is drawn once, in the guest's story; here is what it shows, in words.
    """
    head = element("p", _verdict(flow.verdict, flow.verdict.value), " ", story.symptom(flow))
    said = _list(timing(flow.timeline)) if flow.timeline else None
    return str(element("div", head, _figure(flow), said, class_="vmnet"))


def safe_cells(cells: Sequence[str], nodeid: str) -> list[str]:
    """Return pytest-html's table cells with the test's id escaped.

    pytest-html 4.2 puts a test's id into the page as it is, and ours hold names of guests. For
    the hook ``pytest_html_results_table_row``, which changes its list in place.
    """
    return [cell.replace(nodeid, element("i", nodeid)[3:-4]) for cell in cells]


def _verdict(verdict: Verdict, words: str) -> Markup:
    text = f"{_SIGN[verdict]} {words}"
    return element("span", text, class_=f"vmnet-verdict vmnet-{verdict.value}")


def _cell(text: str, verdict: Verdict | None) -> Markup:
    return element("td", _verdict(verdict, text) if verdict else text)


def _list(items: Iterable[object]) -> Markup | None:
    entries = [element("li", item) for item in items]
    return element("ul", *entries) if entries else None


def _section(name: str, *content: Markup | None) -> Markup | None:
    parts = [part for part in content if part]
    return join(element("h4", name), *parts) if parts else None


def _figure(flow: Flow) -> Markup | None:
    """Draw the path, with what died where, and what was not trusted, in words below it."""
    parts: list[Markup | None] = []
    for part in by_prober(flow):
        if part.points:
            words = [f"{death_sentence(death)} died" for death in part.deaths]
            words += [f"not trusted: {doubt}" for doubt in doubts(part)]
            if flow.sides:
                whose = element("b", probes_sentence(part))
                parts.append(element("p", whose, class_="vmnet-whose"))
            parts += [_wide(path_svg(part)), _list(words)]
    said = numbers(flow)
    return join(*parts, element("p", said) if said else None) if parts else None


def _timeline(flow: Flow) -> Markup | None:
    if flow.timeline is None:
        return None
    picture = _wide(timeline_svg(flow, flow.timeline))
    caption = [element("p", sentence) for sentence in timing(flow.timeline)]
    return join(element("h4", "When they died"), picture, *caption)


def _diagnosis(outcome: GuestOutcome) -> Markup | None:
    parts: list[Markup | None] = []
    for finding in outcome.findings:
        parts += [
            element("p", element("b", story.finding_head(finding)), ": ", finding.message),
            _list([*finding.evidence, story.rebuild_sentence(finding)]),
        ]
    ruled = _list(f"{item.reason}: {item.message}" for item in outcome.ruled_out)
    return join(_section("Diagnosis", *parts), _section("Ruled out", ruled))


def _attempt(attempt: Attempt) -> Markup:
    commands = _list(element("code", command) for command in attempt.commands)
    shown = element("details", element("summary", "Commands"), commands) if commands else None
    return join(
        element("h4", "Attempt"),
        element("p", story.attempt_head(attempt)),
        element("p", attempt.message) if attempt.message else None,
        _list(f"proof: {text}" for text in attempt.proof),
        shown,
    )


def _changes(outcome: GuestOutcome) -> Markup | None:
    changes = story.changes(outcome)
    if not changes:
        return None
    return _grid(("flow", "before", "after"), [(c.name, c.before, c.after) for c in changes])


def _flows(flows: Sequence[Flow]) -> Markup | None:
    if not flows:
        return None
    rows = [
        (flow_name(flow), flow.kind.value, flow.verdict.value, loss_sentence(flow), _rtt(flow))
        for flow in flows
    ]
    grid = _grid(("flow", "kind", "verdict", "loss", "rtt"), rows)
    return element("details", element("summary", f"All flows ({len(flows)})"), grid)


def _rtt(flow: Flow) -> str:
    return f"{flow.rtt_avg_ms:.1f} ms" if flow.rtt_avg_ms is not None else "-"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    top = element("tr", *(element("th", name) for name in head))
    lines = (element("tr", *(_cell(c, None) for c in row)) for row in rows)
    return _wide(element("table", top, *lines))


def _wide(content: Markup) -> Markup:
    """Return what is scrolled where the page is too narrow for it."""
    return element("div", content, class_="vmnet-scroll")
