"""The journal: an append-only file of JSON lines that outlives the run.

It lies on the node, or at ``--vmnet-journal PATH``. An entry is on the disk before the step that
it announces begins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytest_vmnet.core.guardrails.journal import JournalEntry, dump_entry, load_entry
from pytest_vmnet.errors import ConfigError, ParseError

HOST_PATH = "/var/lib/pytest-vmnet/journal.jsonl"
"""Where the journal lies on a node."""

_HEAD = b'{"time"'
_READ = 'if [ -e "$1" ]; then cat -- "$1"; fi'
_APPEND = """
set -eu
umask 077
mkdir -p -- "$(dirname -- "$1")"
if [ -s "$1" ] && [ -n "$(tail -c 1 -- "$1")" ]; then echo >> "$1"; fi
cat >> "$1"
sync -- "$1" "$(dirname -- "$1")"
"""

HostRun = Callable[[list[str], bytes | None], bytes]
"""Run an argv on the node with that standard input; return its output or raise BackendError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a journal holds.

    Attributes:
        entries: Its entries, oldest first.
        notes: What was odd about it, for the report; a last line that a crash cut off is only
            that, as a step begins after its line is complete.
        damage: What makes it useless as a memory: a line in its middle that is no entry.
    """

    entries: tuple[JournalEntry, ...]
    notes: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()


class Journal(Protocol):
    """A memory of acts that outlives the run."""

    @property
    def place(self) -> str:
        """Where it is, for messages."""

    def append(self, entry: JournalEntry) -> None:
        """Write *entry*; return once it is on the disk."""

    def read(self) -> History:
        """Return everything that it holds."""


class FileJournal:
    """A journal in a local file, 0600.

    Attributes:
        path: The file; it and its folder are made when the first entry is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self.path)

    def append(self, entry: JournalEntry) -> None:
        """Write *entry* and wait until it is on the disk; ConfigError if it cannot be."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            handle = os.open(self.path, flags, 0o600)
            try:
                size = os.fstat(handle).st_size
                is_cut = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                line = (b"\n" if is_cut else b"") + dump_entry(entry)
                if os.write(handle, line) != len(line):
                    raise ConfigError(f"journal {self.place}: the disk took only part of a line")
                os.fsync(handle)
            finally:
                os.close(handle)
            if size == 0:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise ConfigError(
                f"journal {self.place} cannot be written ({error.strerror}); without it no act: "
                "give --vmnet-journal a place that outlives the run"
            ) from error

    def read(self) -> History:
        """Return everything that it holds; a file that is not there yet is empty."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return History(entries=())
        except OSError as error:
            raise ConfigError(
                f"journal {self.place} cannot be read ({error.strerror}); without it no act"
            ) from error
        return parse_journal(text, self.place)


class HostJournal:
    """A journal on the node, through an injected command runner.

    Attributes:
        path: The file on the node.
    """

    def __init__(self, run: HostRun, *, node: str, path: str = HOST_PATH) -> None:
        self._run = run
        self._node = node
        self.path = path

    @property
    def place(self) -> str:
        """Node and path."""
        return f"{self._node}:{self.path}"

    def append(self, entry: JournalEntry) -> None:
        """Write *entry* and wait until it is on the node's disk."""
        self._run(["sh", "-c", _APPEND, "sh", self.path], dump_entry(entry))

    def read(self) -> History:
        """Return everything that it holds; a file that is not there yet is empty."""
        return parse_journal(self._run(["sh", "-c", _READ, "sh", self.path], None), self.place)


def parse_journal(text: bytes, source: str) -> History:
    """Return the entries in *text*, and what was odd about its lines.

    A cut line that a later entry was appended behind is in the middle, yet as harmless as one at
    the end: no complete line begins in it. It is told from damage by that: it is the beginning
    of an entry, ``{"time": ...``, without an end.
    """
    entries: list[JournalEntry] = []
    notes: list[str] = []
    damage: list[str] = []
    for number, line in enumerate(text.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entries.append(load_entry(line, source=source, number=number))
        except ParseError as error:
            is_entry = line.startswith(_HEAD[: len(line)])
            is_cut = is_entry and isinstance(error.__cause__, json.JSONDecodeError)
            (notes if is_cut else damage).append(
                f"{source}, line {number}: cut off while it was written; the step that it "
                "announces did not begin"
                if is_cut
                else str(error)
            )
    return History(entries=tuple(entries), notes=tuple(notes), damage=tuple(damage))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
