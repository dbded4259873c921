"""The POSIX shell that probes are made of, and the frames that their output comes back in.

Every script bounds itself in time and size, works in a private folder that it removes, and
prints sections of stated length, so that nothing inside of a section can pass for another one.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import shlex
import zlib
from collections.abc import Mapping, Sequence

from pytest_vmnet.core.facts import FlowSpec
from pytest_vmnet.core.parse.pcap import MARK_BYTES
from pytest_vmnet.core.words import LARGE_LANE, PingKind
from pytest_vmnet.errors import ParseError, ProbeError
from pytest_vmnet.probes import sniffer

PING_WAIT_S = 2
CAPTURE = "capture.pcap"
"""Name of a capture file: the AppArmor profile of Debian's tcpdump lets it write no other."""

_SNAPLEN = 112
"""Enough for mark and number in IPv6 behind two VLAN tags: 20 of SLL2, 8, 40, 8, 16, and 14."""

_MAX_SECTION = 8_000_000
_MAX_DIGITS = 9
_MAX_UNPACKED = 256_000_000

PREAMBLE = """\
set -u
umask 077
export LC_ALL=C TZ=UTC PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
T={token}
read -r begun _ </proc/uptime; begun=${{begun%.*}}${{begun#*.}}
emit() {{
  [ -e "$2" ] || return 0
  head -c {limit} "$2" >"$2.cut"
  printf '@@%s %s %s\\n' "$T" "$1" "$(wc -c <"$2.cut" | tr -d ' ')"
  cat "$2.cut"
  echo
}}
pack() {{ gzip -1 -c "$1" | base64 | tr -d '\\n' >"$1.b64"; }}
listening() {{
  i=0
  until grep -q 'listening on' "$1" 2>/dev/null; do
    i=$((i+1))
    [ $i -ge 100 ] && return 1
    kill -0 "$2" 2>/dev/null || return 1
    sleep 0.1
  done
}}
"""


def preamble(token: str, *, limit: int = _MAX_SECTION) -> str:
    """Return the functions that every script starts with; no section is longer than *limit*."""
    return PREAMBLE.format(token=token, limit=limit)


def pattern(mark: str, number: int) -> str:
    """Return the 16 payload bytes of a flow's probes in hex, as ``ping -p`` takes them.

    They are the run's mark, the flow's number (two bytes, big endian), and two bytes of filling.
    """
    raw = mark.encode("ascii")
    if len(raw) != MARK_BYTES:
        raise ValueError(f"a mark has {MARK_BYTES} ASCII characters, not {len(raw)}")
    return (raw + number.to_bytes(2, "big") + b"vn").hex()


def duration_s(flows: Sequence[FlowSpec]) -> float:
    """Return the nominal duration of the longest flow in seconds."""
    return max((flow.count * flow.interval_s for flow in flows), default=0.0)


def time_limit_s(flows: Sequence[FlowSpec]) -> int:
    """Return when a sweep of these flows ends whatever happens, in whole seconds."""
    return int(duration_s(flows) * 3 + 30)


def ping_argv(flow: FlowSpec, mark: str) -> list[str]:
    """Return the ping command of a flow, in the words of the ping that its prober has."""
    family = ["-6"] if flow.address.version == 6 else []
    bounds = ["-c", str(flow.count), "-W", str(PING_WAIT_S), "-s", str(flow.size)]
    interval = ["-i", f"{flow.interval_s:g}"]
    if flow.ping is PingKind.IPUTILS:
        whole = ["-M", "do"] if flow.lane == LARGE_LANE else []
        mark_words = ["-p", pattern(mark, flow.number)]
        return [
            *("ping", *family, "-n", *bounds[:2], *interval, *bounds[2:]),
            *(*whole, *mark_words, str(flow.address)),
        ]
    quick = interval if flow.ping is PingKind.BUSYBOX else []
    byte = ["-p", pattern(mark, flow.number)[:2]]
    return ["ping", *family, *bounds, *quick, *byte, str(flow.address)]


def start_pings(flows: Sequence[FlowSpec], mark: str) -> str:
    """Return lines that start every flow's ping; output goes to ``ping.N``, ids to $pings."""
    limit = time_limit_s(flows)
    lines = ["pings="]
    for flow in flows:
        words = shlex.join(["timeout", "-k", "2", str(limit), *ping_argv(flow, mark)])
        if flow.address.is_link_local:
            words += '%"$ifname"'
        if flow.lane == LARGE_LANE:
            words = words.replace(f"-s {flow.size} ", f'-s "$(fit {flow.size})" ', 1)
        lines.append(f'{words} >ping.{flow.number} 2>&1 & pings="$pings $!"')
    return "\n".join(lines) + "\n"


def wait_for_others(lead_s: float) -> str:
    """Return a line that waits until *lead_s* seconds after the script's start.

    Scripts on several hosts start a little apart; none sends before the captures of all listen.
    """
    return (
        "read -r up _ </proc/uptime; up=${up%.*}${up#*.}\n"
        f"left=$(({round(lead_s * 100)} + ${{begun#0}} - ${{up#0}}))\n"
        'if [ $left -gt 0 ]; then sleep "$((left / 100)).$(printf %02d $((left % 100)))"; fi\n'
    )


def probe_filter(mark: str) -> str:
    """Return the part of a capture filter that takes this run's probes, ARP and ICMP errors.

    Of IPv6, neighbour discovery and redirects are taken for ARP's part.
    """
    marked = _marked("icmp", 24, mark)
    marked6 = _marked("ip6", 64, mark)
    return (
        f"arp or (icmp and ((icmp[0] = 3) or ({marked}))) "
        f"or (icmp6 and ((ip6[40] < 5) or (ip6[40] >= 135 and ip6[40] < 138) or ({marked6})))"
    )


def _marked(header: str, at: int, mark: str) -> str:
    raw = mark.encode("ascii")
    words = (f"{header}[{at + n}:4] = 0x{raw[n : n + 4].hex()}" for n in (0, 4, 8))
    return " and ".join(words)


def tcpdump_argv(ifname: str, expression: str, limit_s: int, max_packets: int) -> list[str]:
    """Return a capture command that is bounded in time and size."""
    link = ["-y", "LINUX_SLL2"] if ifname == "any" else []
    return [
        *("timeout", "-k", "2", str(limit_s)),
        *("tcpdump", "-i", ifname, *link, "-p", "-n"),
        *(("-U",) if ifname == "any" else ()),
        "--immediate-mode",  # else the kernel hands over what it has once a second
        *("-s", str(_SNAPLEN), "-B", "8192", "-c", str(max_packets)),
        *("-w", CAPTURE, expression),
    ]


def sniffer_argv(ifname: str, mark: str, limit_s: int, max_packets: int) -> list[str]:
    """Return what stands in for tcpdump where there is none; it is bounded likewise."""
    return [
        *("timeout", "-k", "2", str(limit_s)),
        *("python3", "-c", sniffer.PROGRAM, ifname, CAPTURE, mark),
        *(str(limit_s), str(max_packets), str(_SNAPLEN), "marked"),
    ]


def within(body: str, limit: int) -> bytes:
    """Return a script as the input of ``sh -s``; packed if it is larger than *limit* bytes.

    Raises:
        ProbeError: It is too large even so.
    """
    plain = body.encode()
    if len(plain) <= limit:
        return plain
    packed = base64.encodebytes(gzip.compress(plain, mtime=0))
    wrapped = b"base64 -d <<'END' | gzip -dc | /bin/sh -s\n" + packed + b"END\n"
    if len(wrapped) > limit:
        raise ProbeError(
            f"its command has {len(wrapped)} bytes, and the agent takes {limit}: choose fewer "
            "peers with --vmnet-peers N"
        )
    return wrapped


def sections(output: bytes, token: str, source: str) -> dict[str, bytes]:
    """Split a script's output into its sections.

    Args:
        output: What the script printed.
        token: The token that its frames carry.
        source: Name for error messages.

    Raises:
        ParseError: A frame is cut off, or there is none at all.
    """
    head = b"@@" + token.encode() + b" "
    found: dict[str, bytes] = {}
    at = output.find(head)
    while at >= 0:
        end = output.find(b"\n", at)
        words = output[at + len(head) : end].split() if end >= 0 else []
        if len(words) != 2 or not words[1].isdigit() or len(words[1]) > _MAX_DIGITS:
            raise ParseError(source, at, "a section's header is damaged")
        start, size = end + 1, int(words[1])
        if start + size > len(output):
            raise ParseError(source, at, f"section {words[0]!r} is cut off")
        found[words[0].decode(errors="replace")] = output[start : start + size]
        at = output.find(head, start + size)
    if not found:
        raise ParseError(source, 0, f"no section in its output: {output[-300:]!r}")
    return found


def unpack(packed: bytes, source: str) -> bytes:
    """Undo the script's ``pack``.

    Raises:
        ParseError: It is no base64 of a whole gzip stream, or unpacks to more than 256 MB.
    """
    try:
        raw = base64.b64decode(packed, validate=True)
        stream = zlib.decompressobj(wbits=31)
        data = stream.decompress(raw, _MAX_UNPACKED)
    except (binascii.Error, zlib.error, gzip.BadGzipFile) as problem:
        raise ParseError(source, 0, f"packed data is damaged: {problem}") from problem
    if not stream.eof:
        raise ParseError(source, len(data), "packed data is cut off or too large")
    return data


def text(found: Mapping[str, bytes], name: str) -> str:
    """Return a section as text; empty if it is not there."""
    return found.get(name, b"").decode(errors="replace")
