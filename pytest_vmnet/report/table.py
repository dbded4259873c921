"""One line per guest: verdict, losses and decision; the numbers are the final ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vmnet.core.outcome import Flow, GuestOutcome, RunOutcome
from pytest_vmnet.core.words import LARGE_LANE, Action, FlowKind, Verdict
from pytest_vmnet.report.wording import percent, plain, power, severity, urgency

HEAD = ("guest", "verdict", "gateway loss", "worst peer", "external", "inbound", "decision")
MOST_HEALTHY_ROWS = 30
_TALLY = (
    Verdict.UNHEALTHY, Verdict.FLAPPING, Verdict.INCONCLUSIVE, Verdict.SKIPPED, Verdict.HEALTHY,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One guest as the table shows it.

    Attributes:
        ident: The guest's id.
        verdict: Its verdict.
        cells: Texts in the order of `HEAD`.
    """

    ident: str
    verdict: Verdict
    cells: tuple[str, ...]


def rows(run: RunOutcome) -> list[Row]:
    """Return a row for each guest, those that need a person first."""
    return [_row(outcome) for outcome in sorted(run.guests, key=urgency)]


def fold(all_rows: Sequence[Row], most: int = MOST_HEALTHY_ROWS) -> tuple[list[Row], int]:
    """Return the rows to show and how many healthy ones are left out."""
    healthy = [row for row in all_rows if row.verdict is Verdict.HEALTHY]
    kept = set(map(id, healthy[:most]))
    shown = [row for row in all_rows if row.verdict is not Verdict.HEALTHY or id(row) in kept]
    return shown, len(all_rows) - len(shown)


def power_sentences(run: RunOutcome, most: int = 3) -> list[str]:
    """Return what a clean flow proves, for each number of probes in this run."""
    sizes = {
        (flow.transmitted, flow.confidence)
        for outcome in run.guests
        for flow in outcome.flows
        if flow.transmitted and flow.lane != LARGE_LANE
    }
    return [power(*size) for size in sorted(sizes, reverse=True)[:most]]


def tally(run: RunOutcome) -> str:
    """Return how many guests have which verdict: ``1 skipped, 5 healthy (1 of them healed)``."""
    counts = Counter(outcome.verdict for outcome in run.guests)
    counts[Verdict.SKIPPED] += len(run.skipped)
    text = ", ".join(f"{counts[each]} {each.value}" for each in _TALLY if counts[each])
    healed = sum(outcome.healed for outcome in run.guests)
    return f"{text or 'none'}{f' ({healed} of them healed)' if healed else ''}"


def _row(outcome: GuestOutcome) -> Row:
    peer = _worst(outcome, FlowKind.PEER)
    return Row(
        ident=plain(outcome.guest.ident, 80),
        verdict=outcome.verdict,
        cells=(
            plain(outcome.guest.ident, 80),
            outcome.verdict.value,
            _loss(_worst(outcome, FlowKind.GATEWAY), bound=True),
            _peer(peer, outcome),
            _loss(_worst(outcome, FlowKind.EXTERNAL)),
            _loss(_worst(outcome, FlowKind.INBOUND)),
            _act(outcome),
        ),
    )


def _worst(outcome: GuestOutcome, kind: FlowKind) -> Flow | None:
    flows = [f for f in outcome.flows if f.kind is kind and (f.is_bad or f.lane != LARGE_LANE)]
    return min(flows, key=severity, default=None)


def _peer(flow: Flow | None, outcome: GuestOutcome) -> str:
    """Return the other end and its loss, with the name of the guest that it counts against."""
    if flow is None:
        return "-"
    ident = outcome.guest.ident
    other = plain(flow.source if flow.target == ident else flow.target, 40)
    against = flow.counted_against
    theirs = f" ({plain(against, 40)}'s)" if against not in {None, ident} else ""
    return f"{other} {_loss(flow)}{theirs}"


def _loss(flow: Flow | None, *, bound: bool = False) -> str:
    if flow is None:
        return "-"
    if not flow.transmitted:
        return "not sent"
    upper = f" <= {percent(flow.loss_upper_bound, 'up')}" if bound else ""
    return percent(flow.loss) + upper


def _act(outcome: GuestOutcome) -> str:
    if outcome.healed:
        return f"{outcome.decision.action.value}, healed"
    if outcome.attempts:
        return f"{outcome.decision.action.value}, {outcome.attempts[-1].outcome.value}"
    return outcome.decision.action.value if outcome.decision.action is not Action.NONE else "-"
