"""A sweep's raw answers as files that a person can open, and back."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_vmnet.bundle import layout
from pytest_vmnet.bundle.reader import BundleReader
from pytest_vmnet.bundle.writer import BundleWriter
from pytest_vmnet.core.facts import FlowSpec
from pytest_vmnet.errors import ParseError
from pytest_vmnet.probes import script
from pytest_vmnet.probes.answer import RawAnswer, RawSweep

_GZIP = b"H4sI"
"""How the base64 of a gzip stream begins."""

_PCAP = frozenset(bytes.fromhex(word) for word in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1"))
"""How a capture file begins (pcap(5), "magic number"), in both byte orders, in us and in ns."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,59}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionFile:
    """Where a section is kept.

    Attributes:
        section: Its name.
        file: Its file.
        packed: Whether the script had packed it; the file is what was inside.
    """

    section: str
    file: str
    packed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFile:
    """One host's answer; attributes as in `RawAnswer`, its sections by their files."""

    host: str
    sections: tuple[SectionFile, ...]
    points: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFile:
    """One sweep; attributes as in `RawSweep`.

    Attributes:
        group: Which probing of the site it belongs to: 0 before any act, one more with each.
        second_stage: Ids of the guests that it was sent for, if it is the larger stage.
    """

    group: int
    second_stage: tuple[str, ...]
    flows: tuple[FlowSpec, ...]
    mark: str
    token: str
    duration_s: float
    hosts: tuple[HostFile, ...]
    notes: tuple[str, ...] = ()


def write_sweep(
    writer: BundleWriter, number: int, raw: RawSweep, *, group: int, second_stage: Iterable[str]
) -> None:
    """Write a sweep into the folder ``sweep-NUMBER``.

    Args:
        writer: The bundle.
        number: Number of the sweep in the run, from 1.
        raw: What came back.
        group: Which probing of the site it belongs to.
        second_stage: Ids of the guests that it was sent for, if it is the larger stage.
    """
    hosts: list[HostFile] = []
    for answer in raw.answers:
        taken = {host.host.lower() for host in hosts}
        is_plain = _NAME.fullmatch(answer.host) and answer.host.lower() not in taken
        folder = f"sweep-{number}/{answer.host if is_plain else f'host.{len(hosts)}'}"
        hosts.append(
            HostFile(
                host=answer.host,
                sections=tuple(_write_sections(writer, folder, answer.sections)),
                points=answer.points,
                problem=answer.problem,
            )
        )
    sweep = SweepFile(
        group=group,
        second_stage=tuple(second_stage),
        flows=raw.flows,
        mark=raw.mark,
        token=raw.token,
        duration_s=raw.duration_s,
        hosts=tuple(hosts),
        notes=raw.notes,
    )
    writer.add_json(f"sweep-{number}/{layout.SWEEP}", sweep)


def _write_sections(
    writer: BundleWriter, folder: str, sections: Mapping[str, bytes]
) -> Iterable[SectionFile]:
    taken: set[str] = set()
    for name, data in sections.items():
        capture = _capture_in(data)
        stem = name if _NAME.fullmatch(name) else "section"
        suffix = "pcap" if capture is not None else "txt"
        if stem.lower() in taken or stem == "section":
            stem = f"section.{len(taken)}"
        taken.add(stem.lower())
        file = f"{folder}/{stem}.{suffix}"
        writer.add(file, data if capture is None else capture)
        yield SectionFile(section=name, file=file, packed=capture is not None)


def _capture_in(data: bytes) -> bytes | None:
    """Return the capture that a section holds packed, or None if it holds something else."""
    if not data.startswith(_GZIP):
        return None
    try:
        inside = script.unpack(data, "section")
    except ParseError:
        return None
    return inside if inside[:4] in _PCAP else None


def read_sweep_file(reader: BundleReader, number: int) -> SweepFile:
    """Return what a bundle says of its sweep NUMBER."""
    return reader.record(SweepFile, f"sweep-{number}/{layout.SWEEP}")


def restore_sweep(reader: BundleReader, kept: SweepFile) -> RawSweep:
    """Return what came back from a sweep, as the run had it."""
    answers = [
        RawAnswer(
            host=host.host,
            sections={each.section: _restore(reader, each) for each in host.sections},
            points=host.points,
            problem=host.problem,
        )
        for host in kept.hosts
    ]
    return RawSweep(
        flows=kept.flows,
        mark=kept.mark,
        token=kept.token,
        answers=tuple(answers),
        duration_s=kept.duration_s,
        notes=kept.notes,
    )


def _restore(reader: BundleReader, kept: SectionFile) -> bytes:
    data = reader.read(kept.file)
    if not kept.packed:
        return data
    return base64.b64encode(gzip.compress(data, 1, mtime=0))
