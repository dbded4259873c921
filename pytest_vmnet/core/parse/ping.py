"""Read the output of iputils' ping, run with ``-n`` and any ``-D`` or ``-O``."""

from __future__ import annotations

import re
from collections import Counter

from pytest_vmnet.core.facts import PingResult
from pytest_vmnet.errors import ParseError

_ANSWER = re.compile(
    r"bytes from [0-9.]+: icmp_seq=([0-9]{1,9}) .*?time[=<]([0-9]{1,9}(?:\.[0-9]{1,9})?) ms(.*)"
)
_ERROR = re.compile(r"^From ([0-9.]{1,15}):?(?: icmp_seq=[0-9]+)? ?(.*)")
_SUMMARY = re.compile(
    r"^([0-9]{1,9}) packets transmitted, ([0-9]{1,9})(?: packets)? received", re.MULTILINE
)
_NO_ROUTE = re.compile(r"^(?:ping: )?connect: (?:Network is unreachable|No route to host)", re.M)
_MAX_KINDS = 20


def parse_ping(text: str, source: str, *, count: int) -> PingResult:
    """Read what one ping printed, both streams together.

    Args:
        text: The output.
        source: Name for error messages, for example ``"vm-1, flow 3"``.
        count: Probes that it was asked to send: all are lost where its kernel has no route.

    Raises:
        ParseError: There is no summary line, since ping did not start or was killed; or it
            received more answers than it printed.
    """
    summary = _SUMMARY.search(text)
    if not summary:
        if refused := _NO_ROUTE.search(text):
            return PingResult(transmitted=count, rtt_ms={}, complaint=refused[0])
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
        if (answer := _ANSWER.search(line)) and "BAD CHECKSUM" not in answer[3]:
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
    if len(rtt) < int(summary[2]):
        raise ParseError(
            source,
            text.count("\n") + 1,
            f"ping received {summary[2]} answers and printed {len(rtt)} of them that can be read",
            unit="line",
        )
    return PingResult(
        transmitted=int(summary[1]),
        rtt_ms=rtt,
        duplicates=duplicates,
        errors=dict(errors),
        complaint="; ".join(complaints),
    )
