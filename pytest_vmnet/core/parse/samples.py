"""Read what the sampler of a watch wrote, and ``tc -s -j qdisc``.

The sampler's lines: ``T`` and the node's uptime in seconds opens a sample; what follows holds
from then on and is written only when it changed:

    D ifname rx_bytes rx_packets rx_errs rx_drop tx_bytes tx_packets tx_errs tx_drop
    S dropped time_squeeze              /proc/net/softnet_stat, all CPUs
    P resource total                    /proc/pressure, time stalled in us
    N address ifname flags lladdr       /proc/net/arp
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pytest_vmnet.core.facts import Sample
from pytest_vmnet.core.ledger.clocks import Reading
from pytest_vmnet.core.parse.iproute import rows

_COUNTERS = tuple(
    f"{way}_{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")
)
_QDISC = ("bytes", "packets", "drops", "overlimits", "requeues", "backlog", "qlen")
MAX_SAMPLES = 200_000
"""Most samples that are kept of one watch."""


def parse_samples(text: str, clock: Reading) -> tuple[Sample, ...]:
    """Return the samples with the node's own time; lines that are not understood are left out.

    Args:
        text: What the sampler wrote; its last line may be cut off.
        clock: A reading of both clocks, which tells uptime and time of day together.
    """
    found: list[Sample] = []
    t_ns: int | None = None
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["T"]:
            t_ns = _stamp(words[1:], clock)
        elif t_ns is not None and len(found) < MAX_SAMPLES and (made := _sample(t_ns, words)):
            found.append(made)
    return tuple(found)


def _stamp(words: list[str], clock: Reading) -> int | None:
    if len(words) != 1 or len(words[0]) > 16 or not words[0].isascii():
        return None
    if not words[0].replace(".", "", 1).isdigit():
        return None
    return clock.real_ns + round(float(words[0]) * 1e9) - clock.mono_ns


def _sample(t_ns: int, words: list[str]) -> Sample | None:
    if not words or not all(word.isascii() for word in words):
        return None
    kind, *rest = words
    if kind == "D" and len(rest) == 9 and _are_numbers(rest[1:]):
        values = dict(zip(_COUNTERS, map(int, rest[1:]), strict=True))
        return Sample(t_ns=t_ns, kind="counters", ifname=rest[0], values=values)
    if kind == "S" and len(rest) == 2 and _are_numbers(rest):
        values = {"dropped": int(rest[0]), "time_squeeze": int(rest[1])}
        return Sample(t_ns=t_ns, kind="softnet", ifname=None, values=values)
    if kind == "P" and len(rest) == 2 and _are_numbers(rest[1:]):
        return Sample(t_ns=t_ns, kind="pressure", ifname=None, values={rest[0]: int(rest[1])})
    if kind == "N" and len(rest) == 4:
        entry: dict[str, int | str] = {"address": rest[0], "flags": rest[2], "lladdr": rest[3]}
        return Sample(t_ns=t_ns, kind="neighbour", ifname=rest[1], values=entry)
    return None


def _are_numbers(words: list[str]) -> bool:
    return all(word.isdigit() and len(word) <= 20 for word in words)


def parse_qdisc(text: str, source: str, t_ns: int, devices: Collection[str]) -> tuple[Sample, ...]:
    """Return the counters of those devices' queueing disciplines.

    Args:
        text: Output of ``tc -s -j qdisc show``.
        source: Name for error messages.
        t_ns: When it was asked.
        devices: Names of the devices that matter.

    Raises:
        ParseError: It is no JSON list.
    """
    return tuple(_qdiscs(text, source, t_ns, devices))


def _qdiscs(text: str, source: str, t_ns: int, devices: Collection[str]) -> Iterator[Sample]:
    for row in rows(text, source):
        ifname = row.get("dev")
        if not isinstance(ifname, str) or ifname not in devices:
            continue
        values: dict[str, int | str] = {
            name: value for name in _QDISC if isinstance(value := row.get(name), int)
        }
        values["kind"] = str(row.get("kind", ""))
        values["handle"] = str(row.get("handle", ""))
        yield Sample(t_ns=t_ns, kind="qdisc", ifname=ifname, values=values)
