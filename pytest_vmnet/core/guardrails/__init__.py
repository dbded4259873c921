"""The guard rails that stand before every act. A new one is a module and a line in `RAILS`.

A rail is a pure function from a `Case` to its obstacles; none of them knows another. Rail 7 (the
plan) is in `core.terraform`, as it needs the plan; rail 10 (the proof) in `remediation.proof`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pytest_vmnet.core.guardrails.case import Case, Obstacle
from pytest_vmnet.core.guardrails.crowd import crowd_rail
from pytest_vmnet.core.guardrails.enrolment import enrolment_rail
from pytest_vmnet.core.guardrails.frequency import frequency_rail
from pytest_vmnet.core.guardrails.hindrance import hindrance_rail
from pytest_vmnet.core.guardrails.identity import identity_rail
from pytest_vmnet.core.guardrails.ladder import ladder_rail
from pytest_vmnet.core.guardrails.verdict import verdict_rail

Rail = Callable[[Case], Iterator[Obstacle]]

RAILS: tuple[Rail, ...] = (
    verdict_rail,
    enrolment_rail,
    crowd_rail,
    frequency_rail,
    hindrance_rail,
    identity_rail,
    ladder_rail,
)
