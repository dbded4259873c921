"""Against which guest a failing flow counts. Pure.

A flow between two guests counts only against the one at whose own port the packets die; the
other end stays healthy and lists the flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pytest_vmnet.core.flows import Part
from pytest_vmnet.core.ledger import FlowLedger
from pytest_vmnet.core.outcome import Flow
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
        sick = self._sick & {source, target}
        if len(sick) == 1:
            return sick.pop()
        failing = [self._failing_pairs[source], self._failing_pairs[target]]
        if failing[0] != failing[1]:
            return source if failing[0] > failing[1] else target
        return source if leg is Leg.REPLY else target
