"""Which ping a host has, asked in the same command as its routes."""

from __future__ import annotations

from pytest_vmnet.core.words import PingKind

PING_KIND = (
    "case $(ping -V 2>&1) in *iputils*) echo iputils ;; *BusyBox*) "
    "if ping -c 1 -W 1 -i 0.02 127.0.0.1 2>&1 | grep -qi -e invalid -e usage; "
    "then echo busybox-slow; else echo busybox; fi ;; esac; true"
)
"""Shell that prints the kind. A busybox says by one packet to itself whether it can be quick."""


def parse_ping_kind(text: str) -> PingKind:
    """Return the kind that was printed; iputils for anything else.

    A ping that is not there, or one that is not known, says so by itself when it runs.
    """
    words = text.split()
    return PingKind(words[0]) if words and words[0] in set(PingKind) else PingKind.IPUTILS
