"""Read ``ip -o link`` and ``ip -o monitor link``: which devices changed their state meanwhile."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(r"^(Deleted )?(\d+): ([^\s:@]+)(?:@\S+)?: <([^>]*)>(.*)$", re.ASCII)
_MASTER = re.compile(r" master (\S+)")


@dataclass(frozen=True, slots=True)
class _State:
    ifindex: int
    is_up: bool
    has_carrier: bool
    master: str | None


def changes(before: str, events: str) -> dict[str, str]:
    """Return what happened to devices since they were listed, by name; the first change counts.

    A change of MTU or of promiscuous mode is none: it keeps no frame from a capture. Lines that
    are not understood are left out.

    Args:
        before: Output of ``ip -o link``.
        events: Output of ``ip -o monitor link``, started before that listing.
    """
    known: dict[str, _State] = {}
    for line in before.splitlines():
        if said := _LINE.match(line):
            known[said[3]] = _state(said)
    found: dict[str, str] = {}
    for line in events.splitlines():
        said = _LINE.match(line)
        # The bridge's own words for a port come beside the device's, and have no group.
        if said is None or said[3] not in known or " group " not in said[5]:
            continue
        what = "it was removed" if said[1] else _difference(known[said[3]], _state(said))
        if what:
            found.setdefault(said[3], what)
    return found


def _state(said: re.Match[str]) -> _State:
    flags = said[4].split(",")
    master = _MASTER.search(said[5])
    return _State(
        ifindex=int(said[2]),
        is_up="UP" in flags,
        has_carrier="LOWER_UP" in flags,
        master=master[1] if master else None,
    )


def _difference(old: _State, new: _State) -> str | None:
    if new.ifindex != old.ifindex:
        return "it was made anew"
    if new.master != old.master:
        return f"its master changed from {old.master or 'none'} to {new.master or 'none'}"
    if new.is_up != old.is_up:
        return f"it was set {'up' if new.is_up else 'down'}"
    if new.has_carrier != old.has_carrier:
        return f"it {'got' if new.has_carrier else 'lost'} its carrier"
    return None
