"""What the terminal shows: a few header lines before, a table and the sick guests after."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby

from pytest_vmnet.core.outcome import Flow, GuestOutcome, RunOutcome
from pytest_vmnet.core.words import Scope, Verdict
from pytest_vmnet.options.settings import Setting
from pytest_vmnet.report import story, table
from pytest_vmnet.report.numbers import numbers
from pytest_vmnet.report.path import by_prober, death_sentence, doubts, probes_sentence
from pytest_vmnet.report.picture import columns, pad, path_lines
from pytest_vmnet.report.timeline import legend, timeline_lines, timing
from pytest_vmnet.report.wording import (
    flow_name,
    loss_sentence,
    needs_telling,
    plain,
    seconds,
    urgency,
)

_HEADER = (
    "proxmox-node", "proxmox-host", "vmnet-guest", "vmnet-count", "vmnet-interval",
    "vmnet-max-loss", "vmnet-confidence", "vmnet-replay", "vmnet-lab", "vmnet-journal",
)  # fmt: skip
_REBUILD = {
    "never": "no guest will be touched",
    "plan": "rebuilds are planned and checked, none is carried out",
    "diagnosed": "ARMED: a guest whose diagnosis says that it cures may be rebuilt",
    "unhealthy": "ARMED: an unhealthy guest may be rebuilt",
}
_NARROWEST = 80  # the table needs it
_SHARED = frozenset((Scope.BRIDGE, Scope.NODE, Scope.UPLINK, Scope.GATEWAY, Scope.OBSERVER))
_COLOUR = {
    Verdict.HEALTHY: "32", Verdict.UNHEALTHY: "31", Verdict.FLAPPING: "31",
    Verdict.INCONCLUSIVE: "33", Verdict.SKIPPED: "2",
}  # fmt: skip


def can_draw(encoding: str | None) -> bool:
    """Tell whether a terminal of that encoding can show our arrows and marks."""
    try:
        "✗─▶◀·".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def header_lines(settings: Sequence[Setting], width: int = 98) -> list[str]:
    """Return the few settings that matter, each with its source, and what may be touched.

    Args:
        settings: Settings of the run, none of them secret.
        width: Most columns that a line may take.
    """
    known = {setting.name: setting for setting in settings}
    by_source: dict[str, list[str]] = {}
    for name in _HEADER:
        if name in known and known[name].value:
            source = plain(known[name].source, 60)
            by_source.setdefault(source, []).append(f"{name} {plain(known[name].value, 60)}")
    parts = [f"{', '.join(values)} ({source})" for source, values in by_source.items()]
    lines = _wrapped("vmnet: ", "; ".join(parts), width) if parts else []
    if mode := known.get("vmnet-rebuild"):
        meaning = _REBUILD.get(mode.value, "not a mode that is known")
        if known.get("vmnet-replay") and known["vmnet-replay"].value != "not set":
            meaning = "decided as of then, and nothing is carried out: this is a replay"
        line = f"{plain(mode.value, 40)} ({plain(mode.source, 60)}) - {meaning}"
        names = known.get("vmnet-rebuildable")
        if "ARMED" in meaning and names:
            line += f" if {plain(names.value, 60)} ({plain(names.source, 60)}) names it"
        lines += _wrapped("vmnet-rebuild: ", line, width)
    return lines


def summary_lines(
    run: RunOutcome, width: int = 98, *, colour: bool = False, drawing: bool = True
) -> list[str]:
    """Return the whole result: what kept us from looking, the table, the sick guests, notes.

    Args:
        run: The run.
        width: Most columns that a line may take; less than 80 counts as 80.
        colour: Whether verdicts are coloured with ANSI codes; nothing is said by colour alone.
        drawing: Whether arrows and marks may be other than ASCII; if not, all text is ASCII.

    Returns:
        Lines without line ends. Text from outside is neutralised.
    """
    width = max(width, _NARROWEST)
    lines: list[str] = []
    if run.error:
        lines += _wrapped("could not look: ", plain(run.error), width)
    if run.guests:
        lines += _table(run, width, colour=colour)
    lines += [f"power: {sentence}" for sentence in table.power_sentences(run)]
    total = f"{table.tally(run)}; sweep {seconds(run.sweep_s)}, run {seconds(run.duration_s)}"
    lines += _wrapped("guests: ", total, width)
    for flow in run.controls:
        lines += _wrapped("control: ", f"{flow_name(flow)}: {loss_sentence(flow)}", width)
    for item in run.skipped:
        text = f"{plain(item.name, 80)} (VMID {item.vmid}): {plain(item.reason, 400)}"
        lines += _wrapped("skipped: ", text, width)
    for note in run.notes:
        lines += _wrapped("note: ", plain(note), width)
    lines += _notices(run, width)
    for group in _groups(run):
        lines += ["", *_guest_lines(group[0], width, drawing=drawing)]
        lines += [line for other in group[1:] for line in _same(other, width)]
    if not drawing:
        lines = [line.encode("ascii", "backslashreplace").decode("ascii") for line in lines]
        return [part for line in lines for part in _fit(line, width)]
    return lines


def _table(run: RunOutcome, width: int, *, colour: bool) -> list[str]:
    shown, left_out = table.fold(table.rows(run))
    grid = [table.HEAD, *(row.cells for row in shown)]
    sizes = [max(columns(line[at]) for line in grid) for at in range(len(table.HEAD))]
    for at in (0, 3, 6):  # what can be long: names and the decision
        spare = sum(sizes) + 2 * len(sizes) - 2 - width
        sizes[at] -= max(0, min(spare, sizes[at] - len(table.HEAD[at])))
    lines = [_line(table.HEAD, sizes), "  ".join("-" * size for size in sizes)]
    lines += [_line(row.cells, sizes, _COLOUR[row.verdict] if colour else "") for row in shown]
    return [*lines, f"and {left_out} more healthy guests"] if left_out else lines


def _line(cells: Sequence[str], sizes: Sequence[int], paint: str = "") -> str:
    fitted = [pad(_cut(cell, size), size) for cell, size in zip(cells, sizes, strict=True)]
    if paint:
        fitted[1] = f"\x1b[{paint}m{fitted[1]}\x1b[0m"
    return "  ".join(fitted).rstrip()


def _cut(text: str, size: int) -> str:
    if columns(text) <= size:
        return text
    while columns(text) > size - 1:
        text = text[:-1]
    return f"{text}~"


def _groups(run: RunOutcome) -> list[list[GuestOutcome]]:
    """Return the guests to tell of; those that share a cause beyond them stand together."""
    told = [outcome for outcome in sorted(run.guests, key=urgency) if needs_telling(outcome)]
    return [list(group) for _, group in groupby(sorted(told, key=_cause), key=_cause)]


def _cause(outcome: GuestOutcome) -> tuple[int, str, str, int]:
    first = outcome.findings[0] if outcome.findings else None
    if first is None or outcome.attempts or first.scope not in _SHARED:
        return (*urgency(outcome)[:1], "", "", outcome.guest.vmid)
    return (urgency(outcome)[0], first.reason, f"{first.scope} {first.leg}", 0)


def _guest_lines(outcome: GuestOutcome, width: int, *, drawing: bool) -> list[str]:
    head = f"{story.title(outcome)}: {story.state(outcome)}: {plain(outcome.reason)}"
    lines = _wrapped("", head, width)
    for text in story.symptoms(outcome):
        lines += _wrapped("  seen: ", text, width)
    if flow := story.telling_flow(outcome):
        lines += _flow_lines(flow, width, drawing=drawing)
    for at, finding in enumerate(outcome.findings):
        label = "  also: " if at else "  diagnosis: "
        lines += _wrapped(label, f"{story.finding_head(finding)}: {plain(finding.message)}", width)
        for text in finding.evidence:
            lines += _wrapped("    * ", plain(text), width)
    for item in outcome.ruled_out:
        text = f"{plain(item.reason, 80)}: {plain(item.message)}"
        lines += _wrapped("  ruled out: ", text, width)
    lines += _wrapped("  decision: ", story.decision_sentence(outcome), width)
    lines += _attempts(outcome, width)
    for text in story.remains(outcome):
        lines += _wrapped("  remains: ", text, width)
    return lines


def _flow_lines(flow: Flow, width: int, *, drawing: bool) -> list[str]:
    lines: list[str] = []
    for part in by_prober(flow):
        if flow.sides:
            lines += _wrapped("  ", probes_sentence(part), width)
        if part.points:
            lines += path_lines(part, width, drawing=drawing)
        for text in map(death_sentence, part.deaths[:4]):
            lines += _wrapped("  died: ", text, width)
        for text in doubts(part):
            lines += _wrapped("  not trusted: ", text, width)
    if said := numbers(flow):
        lines += _wrapped("  packets: ", said, width)
    if flow.timeline is None:
        return lines
    lines += timeline_lines(flow.timeline, width)
    for text in (legend(flow.timeline), *timing(flow.timeline)):
        lines += _wrapped("  in time: ", text, width)
    return lines


def _attempts(outcome: GuestOutcome, width: int) -> list[str]:
    lines: list[str] = []
    for attempt in outcome.attempts:
        lines += _wrapped("  tried: ", story.attempt_head(attempt), width)
        if attempt.message:
            lines += _wrapped("    ", plain(attempt.message), width)
        for text in attempt.proof:
            lines += _wrapped("    proof: ", plain(text), width)
    changes = story.changes(outcome)
    for change in changes:
        if not change.clean:
            before = change.before.partition(",")[0]
            lines += _wrapped("  proven: ", f"{change.name}: {before} -> {change.after}", width)
    if rest := sum(change.clean for change in changes):
        lines.append(f"  {rest} further flow{'s' * (rest > 1)}: clean before and after")
    return lines


def _same(outcome: GuestOutcome, width: int) -> list[str]:
    flow = story.telling_flow(outcome)
    seen = f"{flow_name(flow)}: {loss_sentence(flow)}" if flow else plain(outcome.reason)
    return _wrapped(f"{plain(outcome.guest.ident, 80)}: ", f"the same; {seen}", width)


def _notices(run: RunOutcome, width: int) -> list[str]:
    lines: list[str] = []
    for outcome in run.guests:
        if not needs_telling(outcome):
            for finding in outcome.findings:
                text = f"{plain(finding.reason, 80)}: {plain(finding.message)}"
                lines += _wrapped(f"{plain(outcome.guest.ident, 80)}: ", text, width)
    return lines


def _wrapped(label: str, text: str, width: int) -> list[str]:
    """Return *text* after *label*, wrapped, further lines under the text's first column."""
    room = max(width - columns(label), 30)
    whole = text.replace(" %", "\xa0%")  # a number and its unit stay on one line
    parts = [
        part.replace("\xa0", " ")
        for each in textwrap.wrap(whole, room, break_on_hyphens=False)
        for part in _fit(each, room)
    ] or [""]
    return [f"{label}{parts[0]}", *(" " * columns(label) + part for part in parts[1:])]


def _fit(line: str, width: int) -> Iterable[str]:
    """Cut a line of wide characters, which `textwrap` counts as narrow, into ones that fit."""
    while columns(line) > width:
        at = width
        while columns(line[:at]) > width:
            at -= 1
        yield line[:at]
        line = line[at:]
    yield line
