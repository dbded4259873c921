"""The report for people and tickets, in the form of an incident report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_vmnet.core.outcome import Flow, GuestOutcome, RunOutcome
from pytest_vmnet.report import story, table
from pytest_vmnet.report.numbers import numbers
from pytest_vmnet.report.path import by_prober, death_sentence, doubts, lay_out, probes_sentence
from pytest_vmnet.report.timeline import legend, timeline_lines, timing
from pytest_vmnet.report.wording import (
    flow_name,
    loss_sentence,
    needs_telling,
    percent,
    plain,
    seconds,
    urgency,
)
from pytest_vmnet.report.writing import write_text

_SPECIAL = re.compile(r"([\\`*_\[\]#~$])")
_LINK = re.compile(r"(?<=[A-Za-z]):(?=//)|(?<=[Ww]{3})\.")
_BLOCK = re.compile(r"^([-+=>]|\d+[.)])(?=\s|$|[-=>])")


def text(value: object) -> str:
    r"""Return *value* as Markdown text in which nothing has a meaning to Markdown or HTML.

    >>> text("<b>|`x`")
    '&lt;b>&#124;\\`x\\`'
    """
    shown = plain(value).strip().replace("&", "&amp;").replace("<", "&lt;")
    shown = _LINK.sub(r"\\\g<0>", _SPECIAL.sub(r"\\\1", shown)).replace("|", "&#124;")
    return _BLOCK.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", shown)


def to_markdown(run: RunOutcome) -> str:
    """Return the whole run as an incident report in Markdown.

    Each guest that needs a person has its symptoms, what was looked at, what was concluded and
    ruled out, what was done and what remains.
    """
    lines = [
        f"# Network report {text(run.run_id)}",
        "",
        f"{text(run.started_at)}, {seconds(run.duration_s)}: {text(table.tally(run))}",
    ]
    lines += _summary(run) + _setting(run)
    for outcome in sorted(run.guests, key=urgency):
        if needs_telling(outcome) or outcome.findings:
            lines += _guest(outcome)
    flows = [flow for outcome in run.guests for flow in outcome.flows]
    if flows:  # both ends list a flow between guests
        lines += ["", "## All flows", *_flows(dict.fromkeys([*flows, *run.controls]))]
    return "\n".join(lines) + "\n"


def write_markdown(path: Path, run: RunOutcome) -> None:
    """Write the Markdown report of *run* to *path*, all of it or nothing.

    Raises:
        ConfigError: The path cannot be written to.
        VmnetError: Writing failed on the way.
    """
    write_text(path, to_markdown(run), option="--vmnet-markdown")


def _summary(run: RunOutcome) -> list[str]:
    lines = ["", "## Summary"]
    if run.error:
        lines += ["", f"**The run could not look:** {text(run.error)}"]
    if run.guests:
        lines += _grid(table.HEAD, [row.cells for row in table.rows(run)])
    told = [outcome for outcome in sorted(run.guests, key=urgency) if needs_telling(outcome)]
    items = [f"{story.title(each)}: {story.state(each)}: {each.reason}" for each in told]
    items += [f"power: {sentence}" for sentence in table.power_sentences(run)]
    items += [f"skipped: {each.name} (VMID {each.vmid}): {each.reason}" for each in run.skipped]
    items += [f"note: {note}" for note in run.notes]
    return lines + _bullets(items)


def _setting(run: RunOutcome) -> list[str]:
    nodes = ", ".join(run.nodes) or "none"
    versions = (f"{name} {version}" for name, version in sorted(run.versions.items()))
    lines = ["", "## Setting", *_bullets([f"nodes: {nodes}", *versions])]
    rows = [(each.name, each.value, each.source) for each in run.settings]
    return lines + (_grid(("option", "value", "source"), rows) if rows else [])


def _guest(outcome: GuestOutcome) -> list[str]:
    lines = ["", f"## {text(story.title(outcome))}", "", text(outcome.reason)]
    lines += _section("Symptoms", _bullets(story.symptoms(outcome)))
    lines += _section("What was looked at", _looked_at(outcome))
    lines += _section("What was concluded", _concluded(outcome))
    ruled_out = [f"{each.reason}: {each.message}" for each in outcome.ruled_out]
    lines += _section("What was ruled out", _bullets(ruled_out))
    lines += _section("What was done", _done(outcome))
    return lines + _section("What remains", _bullets(story.remains(outcome)))


def _looked_at(outcome: GuestOutcome) -> list[str]:
    """Return a table of each flow that is not clean, or of the telling one."""
    flows = [flow for flow in story.seen_flows(outcome) if flow.is_bad]
    telling = story.telling_flow(outcome)
    lines: list[str] = []
    for flow in flows or [flow for flow in (telling,) if flow]:
        for part in by_prober(flow):
            whose = f", {probes_sentence(part)}" if flow.sides else ""
            lines += _path(part, flow_name(flow) + whose)
        lines += _bullets([said] if (said := numbers(flow)) else [])
        if flow.timeline:
            lines += ["", "```text", *timeline_lines(flow.timeline, 90), "```"]
            lines += _bullets([legend(flow.timeline), *timing(flow.timeline)])
    checks = [story.neighbour_sentence(check) for check in outcome.neighbours]
    return lines + _bullets(checks)


def _path(flow: Flow, name: str) -> list[str]:
    """Return what each capture point saw, as a table, and what died where."""
    if not flow.points:
        return []
    stations = lay_out(flow).stations
    grid = _grid(
        ("leg", *(station.name for station in stations)),
        [
            ("request", *(station.requests for station in stations)),
            ("reply", *(station.replies for station in stations)),
        ],
    )
    items = [f"{death_sentence(death)} died" for death in flow.deaths]
    items += [f"not trusted: {doubt}" for doubt in doubts(flow)]
    return ["", f"{text(name)}, packets seen at each capture point:", *grid, *_bullets(items)]


def _concluded(outcome: GuestOutcome) -> list[str]:
    lines: list[str] = []
    for finding in outcome.findings:
        place = story.place(finding)
        lines += ["", f"**{text(story.finding_head(finding))}:** {text(finding.message)}"]
        items = [f"where: {place}"] if place else []
        lines += _bullets([*items, *finding.evidence, story.rebuild_sentence(finding)])
    return lines


def _done(outcome: GuestOutcome) -> list[str]:
    lines = _bullets([f"decision: {story.decision_sentence(outcome)}"])
    for attempt in outcome.attempts:
        lines += ["", f"**{text(story.attempt_head(attempt))}** {text(attempt.message)}".rstrip()]
        lines += _bullets([f"proof: {proof}" for proof in attempt.proof])
        lines += _bullets([f"command: {command}" for command in attempt.commands])
    if changes := story.changes(outcome):
        lines += _grid(("flow", "before", "after"), [(c.name, c.before, c.after) for c in changes])
    return lines


def _flows(flows: Iterable[Flow]) -> list[str]:
    rows = [
        (flow_name(flow), flow.kind.value, flow.verdict.value, loss_sentence(flow), _limits(flow))
        for flow in flows
    ]
    return _grid(("flow", "kind", "verdict", "loss", "limit"), rows)


def _limits(flow: Flow) -> str:
    against = flow.counted_against
    return percent(flow.max_loss) + (f", counts against {against}" if against else "")


def _section(name: str, content: Sequence[str]) -> list[str]:
    return ["", f"### {name}", *content] if content else []


def _bullets(items: Iterable[object]) -> list[str]:
    lines = [f"- {text(item)}" for item in items]
    return ["", *lines] if lines else []


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table; a cell's own bars are escaped, so they do not end it."""
    lines = [_cells(head), "|" + " --- |" * len(head)]
    return ["", *lines, *(_cells(row) for row in rows)]


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(text(cell) for cell in cells) + " |"
