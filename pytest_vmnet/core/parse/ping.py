"""Read the output of iputils' ping, run with ``-n`` and any ``-D`` or ``-O``."""

from __future__ import annotations

import re
from collections import Counter

from pytest_vmnet.core.facts import PingResult
from pytest_vmnet.errors import ParseError

_ANSWER = re.compile(r"bytes from [0-9.]+: icmp_seq=(\d+) .*?time[=<]([\d.]+) ms(.*)")
_ERROR = re.compile(r"^From ([0-9.]+)(?: icmp_seq=\d+|:)? ?(.*)")
_SUMMARY = re.compile(r"^(\d+) packets transmitted, (\d+)(?: packets)? received", re.MULTILINE)
_MAX_KINDS = 20


def parse_ping(text: str, source: str) -> PingResult:
    """Read what one ping printed, both streams together.

    Args:
        text: The output.
        source: Name for error messages, for example ``"vm-1, flow 3"``.

    Raises:
        ParseError: There is no summary line: ping did not start or was killed.
    """
    summary = _SUMMARY.search(text)
    if not summary:
        said = " / ".join(text.split("\n")[-4:]).strip()[:300] or "nothing"
        raise ParseError(
            source,
            text.count("\n") + 1,
            f"ping printed no summary; it ended with: {said}",
            unit="line",
        )
    rtt: dict[int, float] = {}
    duplicates = 0
    errors: Counter[tuple[str, str]] = Counter()
    complaints: list[str] = []
    for line in text.splitlines():
        if answer := _ANSWER.search(line):
            seq = int(answer[1])
            if seq in rtt:
                duplicates += 1
            else:
                rtt[seq] = float(answer[2])
        elif error := _ERROR.match(line):
            key = (error[1], error[2].strip()[:80])
            if key in errors or len(errors) < _MAX_KINDS:
                errors[key] += 1
        elif line.startswith("ping:") and len(complaints) < 3 and line[:200] not in complaints:
            complaints.append(line[:200])
    return PingResult(
        transmitted=int(summary[1]),
        rtt_ms=rtt,
        duplicates=duplicates,
        errors=dict(errors),
        complaint="; ".join(complaints),
    )
