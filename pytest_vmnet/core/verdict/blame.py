"""Against which guest a failing flow counts. Pure.

A flow between two guests counts only against the one at whose own port the packets die; the
other end stays healthy and lists the flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pytest_vmnet.core.facts import FlowSpec
from pytest_vmnet.core.ledger.book import FlowLedger
from pytest_vmnet.core.outcome import Flow
from pytest_vmnet.core.verdict.flows import Part
from pytest_vmnet.core.words import FlowKind, Leg, Verdict


class Blame:
    """Says against which guest a failing flow counts.

    Args:
        drafts: Flows of the tested guests, by id.
    """

    def __init__(self, drafts: Mapping[str, Iterable[Flow]]) -> None:
        self._sick: set[str] = set()
        failing: set[frozenset[str]] = set()
        for ident, flows in drafts.items():
            for flow in flows:
                if flow.verdict is not Verdict.UNHEALTHY:
                    continue
                if flow.kind is FlowKind.PEER:
                    failing.add(frozenset({ident, flow.target}))
                else:
                    self._sick.add(ident)
        # Each pair counts once for both ends, so that an end that is not tested is not
        # innocent for that alone.
        self._failing_pairs = Counter(ident for pair in failing for ident in pair)

    def settle(self, flow: Flow, parts: Sequence[Part], owner: str) -> Flow:
        """Return a flow with the guest that it counts against.

        Where that hangs on points that prove nothing, it is not guessed: the flow is
        inconclusive, for both ends.
        """
        if flow.kind is FlowKind.PEER and flow.verdict is Verdict.UNHEALTHY:
            why = self._open(parts)
            if why is not None:
                note = (
                    f"{flow.source} -> {flow.target}: {flow.lost} of {flow.transmitted} lost, and "
                    f"at whose port is not known: {why}"
                )
                verdict = Verdict.INCONCLUSIVE
                return replace(flow, verdict=verdict, counted_against=owner, note=note)
        return replace(flow, counted_against=self.of(flow, parts, owner))

    def _open(self, parts: Sequence[Part]) -> str | None:
        """Return which point would have to tell the side of most of the deaths, or None."""
        open_: Counter[str] = Counter()
        decided = 0
        for part in parts:
            if part.ledger is None:
                continue
            for seq in np.flatnonzero(part.ledger.lost):
                why = self._unwatched(part.ledger, int(seq))
                if why is None or self._side_by_others(part.ledger.flow) is not None:
                    decided += 1
                else:
                    open_[why] += 1
        return max(open_, key=lambda why: (open_[why], why)) if open_.total() > decided else None

    def _unwatched(self, ledger: FlowLedger, seq: int) -> str | None:
        """Return a point with a doubt where a packet died, if it decides the side."""
        leg, last, following = ledger.death_of(seq)
        points = ledger.path.waypoints
        names = [point.point for point in points]
        here, there = (names.index(n) if n in names else None for n in (last, following))
        if leg is Leg.REPLY:
            here, there = there, here
        first = 0 if here is None else here + 1
        end = len(points) if there is None else there
        owners = {points[at].guest for at in range(max(first - 1, 0), min(end + 1, len(points)))}
        if len(owners) == 1 and None not in owners:
            return None
        for at in range(first, end):
            if doubt := ledger.doubts[at]:
                return f"{names[at]}: {doubt}"
        return None

    def of(self, flow: Flow, parts: Sequence[Part], owner: str) -> str | None:
        """Return the id of the guest that a flow counts against, None if it did not fail.

        Args:
            flow: The flow, as *owner* lists it.
            parts: The probes that it is made of.
            owner: Id of the guest that lists it.
        """
        if flow.verdict is Verdict.HEALTHY:
            return None
        if flow.kind is not FlowKind.PEER:
            return owner
        votes: Counter[str] = Counter()
        for part in parts:
            if part.ledger is not None:
                for seq in np.flatnonzero(part.ledger.lost):
                    votes[self._side(part.ledger, int(seq))] += 1
        if votes:
            return min(votes, key=lambda ident: (-votes[ident], ident))
        silent = {part.spec.source for part in parts if part.ledger is None}
        # Nothing was lost. It stays with the end that could not say what it sent; if both ends
        # could, there were too few probes, and that is either end's own.
        return owner if owner in silent or not silent else silent.pop()

    def _side(self, ledger: FlowLedger, seq: int) -> str:
        source, target = ledger.flow.source, ledger.flow.target
        leg, last, following = ledger.death_of(seq)
        owners = {w.point: w.guest for w in ledger.path.waypoints}
        owners |= {ledger.path.start: source, ledger.path.end: target}
        here = owners.get(last) if last else source
        there = owners.get(following)
        if here == there and here:
            return here
        return self._side_by_others(ledger.flow) or (source if leg is Leg.REPLY else target)

    def _side_by_others(self, flow: FlowSpec) -> str | None:
        """Return the end whose other flows fail, else the one with more failing pairs."""
        ends = (flow.source, flow.target)
        sick = self._sick.intersection(ends)
        if len(sick) == 1:
            return sick.pop()
        failing = [self._failing_pairs[end] for end in ends]
        if failing[0] == failing[1]:
            return None
        return ends[0] if failing[0] > failing[1] else ends[1]
