"""What a flow's packets show beside their loss, in one sentence: times, bursts, strangers."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_vmnet.core.outcome import ErrorCount, Flow
from pytest_vmnet.core.words import LossPattern
from pytest_vmnet.report.wording import plain

_MOST_ERRORS = 3
_ICMP = {
    (3, 0): "network unreachable", (3, 1): "host unreachable", (3, 3): "port unreachable",
    (3, 4): "fragmentation needed", (3, 9): "network prohibited", (3, 10): "host prohibited",
    (3, 13): "filtered", (5, 0): "redirect", (5, 1): "redirect", (11, 0): "TTL exceeded",
}  # fmt: skip
"""IANA, "ICMP Parameters"."""
_ICMPV6 = {
    (1, 0): "no route", (1, 1): "prohibited", (1, 3): "address unreachable",
    (1, 4): "port unreachable", (2, 0): "packet too big", (3, 0): "hop limit exceeded",
}  # fmt: skip
"""IANA, "ICMPv6 Parameters"."""


def numbers(flow: Flow) -> str | None:
    """Return what a sick flow's packets show, or None if the flow is clean or nothing is known."""
    return "; ".join(_parts(flow)) or None if flow.is_bad else None


def _parts(flow: Flow) -> Iterator[str]:
    if pattern := _pattern(flow):
        yield pattern
    if quantiles := flow.rtt_quantiles_ms:
        shown = ", ".join(f"{plain(name, 20)} {ms:.1f}" for name, ms in quantiles.items())
        jitter = f", jitter {flow.jitter_ms:.1f} ms" if flow.jitter_ms is not None else ""
        yield f"rtt {shown} ms{jitter}"
    if flow.duplicates:
        yield f"{_some(flow.duplicates, 'packet')} seen more than once at one point"
    if flow.reordered:
        yield f"{_some(flow.reordered, 'answer')} overtook another one"
    if flow.foreign:
        yield f"{_some(flow.foreign, 'reply', 'replies')} from another address than was probed"
    for error in flow.icmp_errors[:_MOST_ERRORS]:
        yield _error(error)
    if (rest := len(flow.icmp_errors) - _MOST_ERRORS) > 0:
        yield f"and {_some(rest, 'further kind')} of ICMP errors"


def _pattern(flow: Flow) -> str | None:
    bursts = flow.bursts
    if bursts is None or not flow.lost or not flow.received:
        return None
    if bursts.pattern is LossPattern.BURSTS:
        return (
            f"lost in bursts: {_some(bursts.stretches, 'stretch', 'stretches')}, "
            f"{bursts.longest} in a row at most"
        )
    if bursts.pattern is LossPattern.REGULAR:
        return "lost more evenly than by chance"
    return "lost at random" if bursts.pattern is LossPattern.RANDOM else None


def _error(error: ErrorCount) -> str:
    known = _ICMPV6 if ":" in error.source else _ICMP
    code = f"type {error.type} code {error.code}"
    name = known.get((error.type, error.code))
    words = f"{name} ({code})" if name else code
    return f"{error.packets} ICMP {words} from {plain(error.source, 60)}"


def _some(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"
