"""Read the kernel's ICMP counters and a NIC's statistics: what they grew by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_COUNT = re.compile(r"(nic\.[a-z0-9_]{1,40}|Icmp6[A-Za-z0-9]{1,40})\s+([0-9]{1,19})", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9]{1,40}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_KEPT = frozenset({"Icmp", "Ip"})
_MOST = 400


def counted(before: str, after: str) -> Mapping[str, int]:
    """Return by how much each counter grew, those that did not left out.

    Args:
        before: ``/proc/net/snmp``, ``/proc/net/snmp6`` and lines of ``nic.NAME COUNT``.
        after: The same, later.
    """
    first = dict(_counters(before))
    return {
        name: value - first[name]
        for name, value in _counters(after)
        if name in first and value > first[name]
    }


def _counters(text: str) -> Iterator[tuple[str, int]]:
    """Yield each counter; lines that are not understood are left out."""
    head: list[str] = []
    for line in text.splitlines()[:_MOST]:
        if single := _COUNT.fullmatch(line.strip()):
            yield single[1], int(single[2])
            continue
        group, _, rest = line.partition(":")
        words = rest.split()
        if group in _KEPT and head[:1] == [group] and len(head) == len(words) + 1:
            for name, value in zip(head[1:], words, strict=True):
                if _WORD.fullmatch(name) and _NUMBER.fullmatch(value):
                    yield f"{group}.{name}", int(value)
            head = []
        else:
            head = [group, *words]
