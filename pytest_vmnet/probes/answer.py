"""What came back from a sweep's hosts, before anything is made of it.

This is the seam between asking and reading: a bundle keeps these records, and a replay reads them
by the same functions as a run of its own does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_vmnet.core.facts import FlowSpec
from pytest_vmnet.core.site.topology import CapturePoint
from pytest_vmnet.errors import ParseError
from pytest_vmnet.probes import script

OUTPUT = "output"
"""Name under which an output without sections is kept, as it came back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """What came back from one host.

    Attributes:
        host: Guest id, node name or ``workstation``.
        sections: The framed sections of its script's output, by name.
        points: Interfaces that it was asked to capture, nodes only.
        problem: Why it could not be asked, or None.
    """

    host: str
    sections: Mapping[str, bytes] = field(default_factory=dict)
    points: tuple[CapturePoint, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSweep:
    """What came back from one sweep.

    Attributes:
        flows: Flows that were planned.
        mark: The mark in its probes.
        token: The token of its scripts' frames.
        answers: One for each host that took part.
        duration_s: How long it took.
        notes: What is worth saying of how it was planned.
    """

    flows: tuple[FlowSpec, ...]
    mark: str
    token: str
    answers: tuple[RawAnswer, ...]
    duration_s: float
    notes: tuple[str, ...] = ()


def split_output(
    output: bytes, token: str, *, host: str, source: str, points: tuple[CapturePoint, ...] = ()
) -> RawAnswer:
    """Return a script's output as an answer; one that is no frames is kept with the problem.

    Args:
        output: What the script printed.
        token: The token that its frames carry.
        host: The host that it ran on.
        source: Name for error messages.
        points: Interfaces that it was asked to capture.
    """
    try:
        found = script.sections(output, token, source)
    except ParseError as problem:
        return RawAnswer(host=host, sections={OUTPUT: output}, points=points, problem=str(problem))
    return RawAnswer(host=host, sections=found, points=points)
