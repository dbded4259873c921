"""Read the output of ping: iputils' with ``-n`` and any ``-D`` or ``-O``, and busybox's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from pytest_vmnet.core.facts import PingResult
from pytest_vmnet.errors import ParseError

_ANSWER = re.compile(
    r"bytes from [0-9a-fA-F.:]{2,45}(?:%[^\s:]{1,15})?: (icmp_)?seq=([0-9]{1,9}) "
    r".*?time[=<]([0-9]{1,9}(?:\.[0-9]{1,9})?) ms(.*)"
)
_ERROR = re.compile(
    r"^From ([0-9a-fA-F.:]{2,45}?)(?:%[^\s:]{1,15})?:?(?=\s|$)(?: icmp_seq=[0-9]+)? ?(.*)"
)
_SIZE = re.compile(
    r"^PING [^\n]{1,200}?\):?(?: from [^\n]{1,100}?)? ([0-9]{1,6})(?:\([0-9]+\))? (?:data )?bytes",
    re.M,
)
_SUMMARY = re.compile(
    r"^([0-9]{1,9}) packets transmitted, ([0-9]{1,9})(?: packets)? received", re.MULTILINE
)
_NO_ROUTE = re.compile(
    r"^(?:ping: )?connect: (?:Network is unreachable|No route to host)|^ping: sendto: [^\n]{1,80}",
    re.M,
)
"""iputils without a route ends at once; busybox ends at the first packet that it may not send."""

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
            answered = _rtts(text.splitlines())[0]
            return PingResult(transmitted=count, rtt_ms=answered, complaint=refused[0])
        said = " / ".join(text.split("\n")[-4:]).strip()[:300] or "nothing"
        raise ParseError(
            source,
            text.count("\n") + 1,
            f"ping printed no summary; it ended with: {said}",
            unit="line",
        )
    rtt, duplicates, others = _rtts(text.splitlines())
    errors: Counter[tuple[str, str]] = Counter()
    complaints: list[str] = []
    for line in others:
        if error := _ERROR.match(line):
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
        size=int(size[1]) if (size := _SIZE.search(text)) else None,
    )


def _rtts(lines: Iterable[str]) -> tuple[dict[int, float], int, list[str]]:
    """Return round-trip times by sequence number from 1, duplicates, and the other lines."""
    rtt: dict[int, float] = {}
    duplicates = 0
    others = []
    for line in lines:
        answer = _ANSWER.search(line)
        if answer is None or "BAD CHECKSUM" in answer[4]:
            others.append(line)
            continue
        seq = int(answer[2]) + (0 if answer[1] else 1)  # busybox counts from 0
        if seq in rtt:
            duplicates += 1
        else:
            rtt[seq] = float(answer[3])
    return rtt, duplicates, others
