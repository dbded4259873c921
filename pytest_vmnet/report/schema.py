"""The machine-readable report: schema 1, which grows and never changes its meaning."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pytest_vmnet.core.outcome import Attempt, Finding, Flow, GuestOutcome, RunOutcome
from pytest_vmnet.core.words import LARGE_LANE, MAIN_LANE
from pytest_vmnet.report.writing import write_text

SCHEMA = 1

_NUMBERS = re.compile(r"\[\n\s+-?\d+(?:,\n\s+-?\d+)*\n\s+\]")
"""A list of whole numbers, one a line; a string holds no line end, so it is never meant."""


def to_json(run: RunOutcome) -> dict[str, Any]:
    """Return *run* in the shape of schema 1, made of plain dicts, lists, strings and numbers.

    Losses are fractions 0..1, MAC addresses lower case or None. Strings are as they were seen:
    whoever prints them has to neutralise them.

    Args:
        run: The whole run; one that could not look has an ``error`` and mostly no guests.

    Returns:
        The public keys, plus further keys that later versions may add to.
    """
    return {
        "schema": SCHEMA,
        "run": {
            "id": run.run_id,
            "started_at": run.started_at,
            "duration_s": round(run.duration_s, 3),
            "nodes": list(run.nodes),
            "versions": dict(run.versions),
            "error": run.error,
            "sweep_s": round(run.sweep_s, 3),
            "settings": _plain(run.settings),
            "notes": list(run.notes),
        },
        "guests": [_guest(outcome) for outcome in run.guests],
        "skipped": _plain(run.skipped),
        "controls": [_flow(flow) for flow in run.controls],
    }


def dumps(run: RunOutcome) -> str:
    """Return *run* as JSON text: ASCII only, so that a terminal shows nothing but text.

    A list of whole numbers, such as a timeline's, takes one line.
    """
    text = json.dumps(to_json(run), indent=2, allow_nan=False)
    return _NUMBERS.sub(lambda found: re.sub(r"\s+", "", found[0]), text) + "\n"


def write_json(path: Path, run: RunOutcome) -> None:
    """Write *run* to *path*, all of it or nothing.

    Raises:
        ConfigError: The path cannot be written to.
        VmnetError: Writing failed on the way.
    """
    write_text(path, dumps(run), option="--vmnet-json")


def _guest(outcome: GuestOutcome) -> dict[str, Any]:
    guest = outcome.guest
    nic = next((nic for nic in guest.nics if nic.bridge), None)
    return {
        "vmid": guest.vmid,
        "name": guest.name,
        "node": guest.node,
        "address": str(guest.address) if guest.address else None,
        "verdict": outcome.verdict.value,
        "healed": outcome.healed,
        "flows": [_flow(flow) for flow in outcome.flows if _counts(flow)],
        "findings": [_finding(finding) for finding in outcome.findings],
        "ruled_out": _plain(outcome.ruled_out),
        "decision": _plain(outcome.decision),
        "attempts": [_attempt(attempt) for attempt in outcome.attempts],
        "ident": guest.ident,
        "reason": outcome.reason,
        "mac": _mac(nic.mac) if nic else None,
        "bridge": nic.bridge if nic else None,
        "tap": nic.tap(guest.vmid) if nic else None,
        "tags": list(guest.tags),
        "gateway": str(guest.gateway) if guest.gateway else None,
        "resource": guest.resource.address if guest.resource else None,
        "neighbours": _plain(outcome.neighbours),
        "flows_before": [_flow(flow) for flow in outcome.flows_before],
        "side_flows": [_flow(flow) for flow in outcome.flows if not _counts(flow)],
    }


def _counts(flow: Flow) -> bool:
    """Tell whether a flow has a say in the verdict: the large lane has one only by a failure."""
    return flow.lane != LARGE_LANE or flow.is_bad


def _flow(flow: Flow) -> dict[str, Any]:
    public = {
        "target": flow.target,
        "kind": flow.kind.value,
        "transmitted": flow.transmitted,
        "received": flow.received,
        "loss": round(flow.loss, 9),
        "loss_upper_bound": flow.loss_upper_bound,
        "confidence": flow.confidence,
    }
    more = {key: value for key, value in _fields(flow).items() if key not in public}
    if flow.lane == MAIN_LANE:  # size and lane are said of further flows
        del more["size"], more["lane"]
    return {**public, **more}


def _finding(finding: Finding) -> dict[str, Any]:
    return _fields(finding)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        **_fields(attempt),
        "mac_before": _mac(attempt.mac_before),
        "mac_after": _mac(attempt.mac_after),
    }


def _mac(mac: str | None) -> str | None:
    return mac.lower() if mac else None


def _fields(record: Any) -> dict[str, Any]:  # noqa: ANN401 - any of our dataclasses
    return {field.name: _plain(getattr(record, field.name)) for field in fields(record)}


def _plain(value: Any) -> Any:  # noqa: ANN401 - what JSON can hold has no better type
    """Turn our records into what JSON can hold; a number that is none becomes None."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
