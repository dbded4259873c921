"""What moved in a node's counters while the probes ran. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pytest_vmnet.core.facts import Sample, Sweep

_DROPS = {
    "counters": ("rx_dropped", "tx_dropped", "rx_errors", "tx_errors"),
    "qdisc": ("drops",),
    "softnet": ("dropped",),
}
"""Counters that say that a frame was lost. Bridges and netfilter have none."""


@dataclass(frozen=True, slots=True)
class Rise:
    """A counter that grew.

    Attributes:
        name: What it counts, with its device: ``tap111i0, queue htb 1:, drops``.
        by: By how much.
        after_ns: Time of the last sample without it; it grew after that.
        before_ns: Time of the first sample with all of it.
    """

    name: str
    by: int
    after_ns: int
    before_ns: int


def rises(samples: Iterable[Sample], devices: Collection[str]) -> tuple[Rise, ...]:
    """Return the counters of lost frames that grew, of those devices and of the node as a whole.

    Args:
        samples: A node's samples in order of time.
        devices: Devices that matter.
    """
    series: dict[str, list[tuple[int, int]]] = {}
    for sample in samples:
        if sample.ifname is not None and sample.ifname not in devices:
            continue
        for counter in _DROPS.get(sample.kind, ()):
            value = sample.values.get(counter)
            if isinstance(value, int):
                series.setdefault(_name(sample, counter), []).append((sample.t_ns, value))
    found = [_rise(name, points) for name, points in sorted(series.items())]
    return tuple(rise for rise in found if rise is not None)


def _name(sample: Sample, counter: str) -> str:
    if sample.kind == "qdisc":
        queue = f"queue {sample.values.get('kind', '')} {sample.values.get('handle', '')}".strip()
        return f"{sample.ifname}, {queue}, {counter}"
    return f"{sample.ifname or 'all CPUs, backlog'}, {counter}"


def _rise(name: str, points: list[tuple[int, int]]) -> Rise | None:
    first, last = points[0][1], points[-1][1]
    if last <= first:
        return None
    after = max(t_ns for t_ns, value in points if value == first)
    before = min(t_ns for t_ns, value in points if value == last)
    return Rise(name, last - first, after, before)


def counters_told(sweeps: Iterable[Sweep], node: str, devices: Collection[str]) -> list[str]:
    """Return sentences on the counters of lost frames on a way; none where nobody sampled."""
    said = [sweep.hosts.get(node) for sweep in sweeps]
    sampled = [facts.samples for facts in said if facts and facts.samples]
    if not sampled:
        return []
    found = [rise for samples in sampled for rise in rises(samples, devices)]
    if not found:
        return [
            f"no counter of lost frames of {', '.join(devices)} moved during the probes (bridges "
            "and netfilter have none)"
        ]
    return [f"during the probes {rise.name} grew by {rise.by}" for rise in found]
