"""What a node's watch proves: for which points "not seen" counts, and whether its times do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from pytest_vmnet.core.facts import SIGHTING, Capture, Packets, Sample
from pytest_vmnet.core.ledger.clocks import Reading, parse_reading, step_ns
from pytest_vmnet.core.parse.canary import canaries
from pytest_vmnet.core.parse.linkevents import changes
from pytest_vmnet.core.parse.pcap import parse_capture
from pytest_vmnet.core.parse.samples import parse_qdisc, parse_samples
from pytest_vmnet.core.site.topology import CapturePoint
from pytest_vmnet.errors import ParseError
from pytest_vmnet.probes import script
from pytest_vmnet.probes.guest import capture_problem
from pytest_vmnet.probes.node_script import canary_token

_SENT = re.compile(r"^(\d{1,9}) packets transmitted", re.MULTILINE | re.ASCII)


def read_capture(
    found: Mapping[str, bytes],
    *,
    node: str,
    points: Sequence[CapturePoint],
    mark: str,
    token: str,
) -> Capture:
    """Return the capture in a watch's output, with a doubt for each point that is not proven.

    Args:
        found: The sections of the output.
        node: The node's name.
        points: Interfaces that were to be captured.
        mark: The run's mark.
        token: Token of the sweep.
    """
    source = f"{node}, capture"
    data, packets, damage = b"", Packets(0, np.zeros(0, dtype=SIGHTING)), None
    try:
        data = script.unpack(found.get("capture", b""), source)
        packets = parse_capture(data, source, mark.encode())
    except ParseError as problem:
        damage = str(problem)
    there = dict(_points(script.text(found, "points")))
    return Capture(
        host=node,
        points=there,
        packets=packets,
        doubts=_doubts(found, points, there, damage or _silence(found, data, token)),
        time_doubt=_time_doubt(found),
    )


def _doubts(
    found: Mapping[str, bytes],
    points: Sequence[CapturePoint],
    there: Mapping[int, CapturePoint],
    general: str | None,
) -> dict[CapturePoint, str]:
    """Return the reason for every point whose "not seen" proves nothing."""
    doubts = dict.fromkeys(points, "the interface did not exist")
    after = dict(_points(script.text(found, "points.after")))
    changed = changes(script.text(found, "links.before"), script.text(found, "links"))
    for ifindex, name in there.items():
        if general:
            doubts[name] = general
        elif name in changed:
            doubts[name] = f"the interface changed during the sweep: {changed[name]}"
        elif after.get(ifindex) != name:
            doubts[name] = "the interface changed during the sweep"
        else:
            doubts.pop(name, None)
    return doubts


def _silence(found: Mapping[str, bytes], data: bytes, token: str) -> str | None:
    """Return why the capture as a whole proves nothing, or None."""
    if problem := capture_problem(script.text(found, "capture.err")):
        return problem
    for when, word in (("B", "before"), ("A", "after")):
        if not canaries(data, canary_token(token, when).encode()):
            return f"the canary sent {word} the probes was not captured"
    sent = _SENT.search(script.text(found, "beat"))
    if sent is None:
        return "the canary that beats during the probes did not end by itself"
    count = int(sent[1])
    heard = set(canaries(data, canary_token(token, "D").encode()))
    missed = count - len(heard & set(range(1, count + 1))) if count < 100_000 else 0
    if missed:
        return f"{missed} of the {count} canaries sent during the probes were not captured"
    return None


def _points(listing: str) -> list[tuple[int, CapturePoint]]:
    rows = [line.split() for line in listing.splitlines()]
    return [(int(row[0]), row[1]) for row in rows if len(row) == 2 and row[0].isdigit()]


def _clock(found: Mapping[str, bytes], when: str) -> Reading | None:
    return parse_reading(script.text(found, f"clock.{when}"))


def _time_doubt(found: Mapping[str, bytes]) -> str | None:
    before, after = _clock(found, "before"), _clock(found, "after")
    if before is None or after is None:
        return "its clock could not be read before and after the probes"
    if step := step_ns(before, after):
        return f"its clock stepped by {step / 1e9:+.3f} s during the probes"
    return None


def read_samples(found: Mapping[str, bytes], node: str) -> tuple[Sample, ...]:
    """Return the time-lapse in a watch's output; empty where there was no sampler or no clock."""
    before, after = _clock(found, "before"), _clock(found, "after")
    if before is None:
        return ()
    samples = parse_samples(script.text(found, "samples"), before)
    devices = {sample.ifname for sample in samples if sample.kind == "counters"}
    named = {name for name in devices if name}
    for when, clock in (("before", before), ("after", after)):
        try:
            told = script.text(found, f"qdisc.{when}")
            samples += (
                parse_qdisc(told, f"{node}, tc qdisc", clock.real_ns, named) if clock else ()
            )
        except ParseError:
            continue
    return tuple(sorted(samples, key=lambda sample: sample.t_ns))
