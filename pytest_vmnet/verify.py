"""What tests say about facts: each function is an assertion without I/O.

A broken network fails the test with a message for the reader of a CI log; what could
not be proven raises `InconclusiveError`, which the plugin turns into a test error.
"""

from __future__ import annotations

from typing import NoReturn

import pytest

from pytest_vmnet.core.outcome import Flow, GuestOutcome, RunOutcome
from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.core.words import FlowKind, Verdict
from pytest_vmnet.errors import ProbeError
from pytest_vmnet.report.failure import flow_message, guest_message, neighbour_message


class InconclusiveError(ProbeError):
    """A test could not be decided either way."""


def _fail(message: str) -> NoReturn:
    """Fail the test with the message alone: no source lines, no values of variables."""
    pytest.fail(message, pytrace=False)


class Ledger:
    """The run's outcome as tests see it: facts after the decision, and no I/O.

    Attributes:
        run: The whole outcome.
    """

    def __init__(self, run: RunOutcome) -> None:
        self.run = run

    def outcome(self, guest: Guest) -> GuestOutcome:
        """Return what the run says of a guest."""
        return self.run.guest(guest.ident)

    def flow(self, guest: Guest, kind: FlowKind, target: Guest | None = None) -> Flow:
        """Return a flow of a guest; the test is skipped, with the reason, if there is none."""
        for flow in self.outcome(guest).flows:
            if flow.kind is kind and (target is None or flow.target == target.ident):
                return flow
        wanted = f"{kind} flow" + (f" to {target.ident}" if target else "")
        told = f": {'; '.join(self.run.notes)}" if self.run.notes else ""
        pytest.skip(f"{guest.ident} has no {wanted}{told}")

    def _telling(self, guest: Guest, kind: FlowKind, target: Guest | None) -> Flow:
        """Return the flow that decides, of all lanes: what is proven against the guest first."""
        first = self.flow(guest, kind, target)
        alike = [
            flow
            for flow in self.outcome(guest).flows
            if flow.kind is kind and (target is None or flow.target == target.ident)
        ]
        own = {None, guest.ident}
        return min(
            (flow for flow in alike if flow.is_bad),
            key=lambda f: (f.counted_against not in own, f.verdict is not Verdict.UNHEALTHY),
            default=first,
        )

    def _is_unwatched_by_choice(self, node: str) -> bool:
        chosen = next((s.value for s in self.run.settings if s.name == "proxmox-ssh"), "")
        words = chosen.split(",")
        return "none" in words and not any(word.startswith(f"{node}=") for word in words)

    def assert_healthy(self, guest: Guest) -> None:
        """Assert that the guest's verdict is healthy."""
        outcome = self.outcome(guest)
        if outcome.verdict is Verdict.INCONCLUSIVE:
            raise InconclusiveError(guest_message(outcome))
        if outcome.verdict is not Verdict.HEALTHY:
            _fail(guest_message(outcome))

    def assert_clean(self, guest: Guest, kind: FlowKind, target: Guest | None = None) -> None:
        """Assert that a flow's loss is proven to be at most the threshold.

        A flow between guests fails only the test of the guest that it counts against; for the
        other end the test is skipped with that reason.
        """
        flow = self._telling(guest, kind, target)
        outcome = self.outcome(guest)
        if flow.verdict is Verdict.HEALTHY:
            return
        against = flow.counted_against
        if against not in {None, guest.ident}:
            pytest.skip(f"the packets die at {against}'s own port: it counts against {against}")
        if flow.verdict is Verdict.INCONCLUSIVE:
            raise InconclusiveError(flow_message(flow, outcome))
        _fail(flow_message(flow, outcome))

    def assert_neighbour(self, guest: Guest, peer: Guest) -> None:
        """Assert that the guest's neighbour table has the peer's own MAC, and not as failed."""
        outcome = self.outcome(guest)
        checks = [check for check in outcome.neighbours if check.target == peer.ident]
        check = min(
            checks, key=lambda c: not (c.broken and c.counted_against == guest.ident), default=None
        )
        if check is None and not guest.agent:
            pytest.skip(f"{guest.ident} has no guest agent: nobody read its neighbour table")
        if check is None:
            if outcome.verdict is Verdict.INCONCLUSIVE:
                raise InconclusiveError(guest_message(outcome))
            pytest.skip(f"{peer.ident} is not on {guest.ident}'s own subnet: there is no ARP")
        if check.broken and check.counted_against != guest.ident:
            pytest.skip(f"it counts against {check.counted_against}")
        if check.broken:
            _fail(neighbour_message(check, outcome))

    def assert_tap_sees_replies(self, guest: Guest) -> None:
        """Assert that every reply that the guest got was seen on its tap, and none died before.

        Loss is judged elsewhere; here the tap is the point: it has to see, from a capture that
        is proven alive, at least the threshold's share of the replies.
        """
        flow = self.flow(guest, FlowKind.GATEWAY)
        outcome = self.outcome(guest)
        cell = next((c for c in flow.points if c.point == guest.tap), None)
        if self._is_unwatched_by_choice(guest.node):
            pytest.skip(f"{guest.tap}: nobody watches {guest.node} (--proxmox-ssh none)")
        if cell is None or cell.replies is None:
            why = cell.doubt if cell else "it is not among the flow's capture points"
            raise InconclusiveError(f"{guest.ident}: {guest.tap} cannot be judged: {why}")
        if cell.replies < flow.received:
            raise InconclusiveError(
                f"{guest.ident}: {guest.tap} saw {cell.replies} replies and the guest got "
                f"{flow.received}: the capture missed some"
            )
        missing = flow.transmitted - cell.replies
        if missing > flow.transmitted * flow.max_loss and flow.verdict is Verdict.UNHEALTHY:
            _fail(
                f"{guest.tap} saw {cell.replies} replies to {flow.transmitted} requests\n"
                + flow_message(flow, outcome)
            )
