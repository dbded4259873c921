"""Messages of failed tests: all that the reader of a CI log needs, in few lines."""

from __future__ import annotations

from pytest_vmnet.core.outcome import Flow, GuestOutcome, NeighbourCheck
from pytest_vmnet.core.words import Action, Rebuild, Verdict
from pytest_vmnet.report import story
from pytest_vmnet.report.path import death_sentence, doubts
from pytest_vmnet.report.wording import level, percent, plain


def flow_message(flow: Flow, outcome: GuestOutcome) -> str:
    """Return why this flow fails its test: seen, expected, where it died, diagnosis, next step."""
    lines = [
        story.symptom(flow, outcome),
        f"expected: at most {percent(flow.max_loss)} lost, proven at {level(flow.confidence)}",
    ]
    if flow.deaths:
        lines.append("died: " + "; ".join(death_sentence(death) for death in flow.deaths[:3]))
    elif flow.lost:
        lines.append("died: at a place that is not known")
    lines += [f"not trusted: {doubt}" for doubt in doubts(flow)[:3]]
    return "\n".join(lines + _tail(outcome))


def neighbour_message(check: NeighbourCheck, outcome: GuestOutcome) -> str:
    """Return why this neighbour entry fails its test."""
    against = check.counted_against
    lines = [f"{plain(outcome.guest.ident, 80)}: {story.neighbour_sentence(check)}"]
    lines.append("expected: an entry that resolves to the host's own MAC address")
    if against and against != outcome.guest.ident:
        lines.append(f"counts against: {plain(against, 80)}")
    return "\n".join(lines + _tail(outcome))


def guest_message(outcome: GuestOutcome) -> str:
    """Return why this guest's verdict fails its test, or makes it an error."""
    lines = [f"{story.title(outcome)}: {story.state(outcome)}: {plain(outcome.reason)}"]
    lines += [f"seen: {line}" for line in story.symptoms(outcome)[:4]]
    flow = story.telling_flow(outcome)
    if flow and outcome.verdict is Verdict.INCONCLUSIVE:
        lines += [f"not trusted: {doubt}" for doubt in doubts(flow)[:3]]
    return "\n".join(lines + _tail(outcome))


def _tail(outcome: GuestOutcome) -> list[str]:
    lines = []
    if outcome.findings:
        first = outcome.findings[0]
        place = story.place(first)
        where = f" [{place}]" if place else ""
        lines.append(f"diagnosis: {story.finding_head(first)}: {plain(first.message)}{where}")
    lines.append(f"decision: {story.decision_sentence(outcome)}")
    lines += [f"attempt: {story.attempt_head(attempt)}" for attempt in outcome.attempts]
    lines.append(f"next: {_next_step(outcome)}")
    return lines


def _next_step(outcome: GuestOutcome) -> str:
    if outcome.verdict is Verdict.INCONCLUSIVE:
        return "remove what kept the gate from looking and run it again; do not rebuild on this"
    if outcome.verdict is Verdict.FLAPPING:
        return (
            "run again with a larger --vmnet-count; a loss that comes and goes is never acted upon"
        )
    if not outcome.findings:
        return "run again with --vmnet-bundle DIR and look at the captures"
    first = outcome.findings[0]
    helps = story.rebuild_sentence(first)
    if outcome.decision.action is Action.HOLD:
        return f"a person has to decide; {helps}"
    if first.rebuild in {Rebuild.CURES, Rebuild.MAY_CURE}:
        return f"{helps}; the cause itself lies in scope {first.scope.value}"
    return f"mend the cause in scope {first.scope.value}; {helps}"
