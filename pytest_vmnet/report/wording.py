"""How numbers and foreign text are worded in every face of the report.

Names, notes and captured text come from guests and may be hostile. `plain` makes them one line
of visible characters; each face then escapes what its own format gives a meaning to.
"""

from __future__ import annotations

import math
import unicodedata

from pytest_vmnet.core.outcome import Flow, GuestOutcome
from pytest_vmnet.core.words import IPV6_LANE, LARGE_LANE, MAIN_LANE, FlowKind, Verdict

_MOST_DECIMALS = 4
_SHORT_S = 10  # a duration below has a decimal
_HIDDEN = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
_RANK = {
    Verdict.UNHEALTHY: 0,
    Verdict.FLAPPING: 1,
    Verdict.INCONCLUSIVE: 2,
    Verdict.SKIPPED: 3,
    Verdict.HEALTHY: 4,
}
_KIND = {
    FlowKind.GATEWAY: 0,
    FlowKind.EXTERNAL: 1,
    FlowKind.PEER: 2,
    FlowKind.INBOUND: 3,
    FlowKind.SERVICE: 4,
    FlowKind.CONTROL: 5,
}


def plain(text: object, limit: int = 2000) -> str:
    r"""Return *text* as one line in which every character is visible.

    Line ends become spaces; control and formatting characters (terminal escapes, marks that
    turn the writing direction) are shown as their code.

    >>> plain("vm\x1b[31m-1\nup")
    'vm\\x1b[31m-1 up'

    Args:
        text: Anything with a `str`.
        limit: Longest result; ``~`` stands for what is cut off.
    """
    shown = "".join(_visible(char) for char in str(text)[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}~"


def _visible(char: str) -> str:
    if char.isspace():
        return " "
    if unicodedata.category(char) in _HIDDEN:
        return char.encode("unicode_escape").decode("ascii")
    return char


def percent(share: float, rounding: str = "nearest") -> str:
    """Return a share of 0..1 as a percentage that never says 0 or 100 where it is neither.

    >>> percent(0.55), percent(0.00033), percent(1.0), percent(0.0)
    ('55.0 %', '0.03 %', '100.0 %', '0.0 %')
    >>> percent(0.0101, "up"), percent(0.5019, "down")
    ('1.1 %', '50.1 %')

    Args:
        share: The share; what is no number is shown as ``?``.
        rounding: ``nearest``, or ``up`` for an upper and ``down`` for a lower bound, so that a
            bound on paper still holds.
    """
    if not math.isfinite(share):
        return "? %"
    value = 100 * share
    distance = min(abs(value), abs(100 - value))
    decimals = 1
    while decimals < _MOST_DECIMALS and 0 < distance < 10.0**-decimals:
        decimals += 1
    scaled = value * 10**decimals
    if rounding == "up":
        scaled = math.ceil(scaled - 1e-6)
    elif rounding == "down":
        scaled = math.floor(scaled + 1e-6)
    else:
        scaled = round(scaled)
    return f"{scaled / 10**decimals:.{decimals}f} %"


def level(confidence: float) -> str:
    """Return a confidence of 0..1 as a short percentage: ``95 %``, ``99.9 %``."""
    return f"{100 * confidence:.6g} %"


def loss_sentence(flow: Flow) -> str:
    """Return what was lost, what that proves, and how sure it is."""
    if not flow.transmitted:
        return "no probe was sent"
    counted = f"{flow.lost} of {flow.transmitted} lost"
    upper = f"at most {percent(flow.loss_upper_bound, 'up')}"
    if not flow.lost:
        return f"{counted}, {upper} ({level(flow.confidence)})"
    lower = f"at least {percent(flow.loss_lower_bound, 'down')}"
    return f"{counted}, {percent(flow.loss)} ({lower}, {upper}, each at {level(flow.confidence)})"


def power(transmitted: int, confidence: float) -> str:
    """Return what a clean flow of that many probes proves.

    >>> power(300, 0.95)
    '0 of 300 lost: at most 1.0 % at 95 %'
    """
    bound = 1 - (1 - confidence) ** (1 / transmitted)
    return f"0 of {transmitted} lost: at most {percent(bound, 'up')} at {level(confidence)}"


def flow_name(flow: Flow) -> str:
    """Return who talks to whom: ``vm-1 -> gateway 192.0.2.1``, and the lane beside the main."""
    kind = f"{flow.kind.value} " if flow.kind in {FlowKind.GATEWAY, FlowKind.EXTERNAL} else ""
    lane = {MAIN_LANE: "", LARGE_LANE: f" ({flow.size} bytes)", IPV6_LANE: " (IPv6)"}
    which = lane.get(flow.lane, f" ({plain(flow.lane, 40)})")
    return f"{plain(flow.source, 80)} -> {kind}{plain(flow.target, 80)}{which}"


def severity(flow: Flow) -> tuple[int, float, int, str]:
    """Return a key that sorts the worst flow first."""
    rank = _RANK[flow.verdict if flow.is_bad else Verdict.HEALTHY]
    return rank, -flow.loss, _KIND[flow.kind], flow.target


def urgency(outcome: GuestOutcome) -> tuple[int, int]:
    """Return a key that sorts the guests that need a person first, then by VMID."""
    return _RANK[outcome.verdict], outcome.guest.vmid


def needs_telling(outcome: GuestOutcome) -> bool:
    """Tell whether there is more to say of a guest than its line in the table."""
    return bool(
        outcome.verdict not in {Verdict.HEALTHY, Verdict.SKIPPED}
        or outcome.healed
        or outcome.attempts
    )


def mac_text(mac: str | None) -> str:
    """Return a MAC address in lower case, or ``unknown``."""
    return plain(mac).lower() if mac else "unknown"


def seconds(duration_s: float) -> str:
    """Return a duration: ``0.4 s``, ``42 s``, ``3 min 20 s``."""
    if not math.isfinite(duration_s):
        return "? s"
    if duration_s < _SHORT_S:
        return f"{duration_s:.1f} s"
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
