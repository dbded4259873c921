"""Find the canaries of a watch in its capture: the proof that it was listening."""

from __future__ import annotations

_TOKEN_AT = 24
"""Where a canary's token stands behind the start of the ICMP header, as the mark of a probe."""

_MOST = 100_000


def canaries(data: bytes, token: bytes) -> list[int]:
    """Return the ICMP sequence numbers of the canaries with that token, in the file's order.

    The file's own structure is not looked at, so that a damaged one can be searched as well. Only
    the watch itself knows the token.

    Args:
        data: A capture file.
        token: What the canary's payload carries.
    """
    found: list[int] = []
    at = data.find(token)
    while at >= 0 and len(found) < _MOST:
        icmp = at - _TOKEN_AT
        if icmp >= 0 and data[icmp : icmp + 2] == b"\x08\x00":  # echo request
            found.append(int.from_bytes(data[icmp + 6 : icmp + 8]))
            at = data.find(token, at + len(token))
        else:  # the pattern repeats in the payload behind its first place
            at = data.find(token, at + 1)
    return found
