"""What a bundle's folder looks like, and how much of it is ever written or read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WHAT = "pytest-vmnet bundle"
FORMAT = 1
"""Version of the layout; one that is newer is refused."""

MANIFEST = "manifest.json"
RUN = "run.json"
DISCOVERED = "discovered.json"
INVENTORY = "inventory.json"
DECISIONS = "decisions.json"
OUTCOME = "outcome.json"
SWEEP = "sweep.json"

MAX_JSON = 64_000_000
"""Most bytes of a JSON file."""

MAX_FILE = 256_000_000
"""Most bytes of any other file."""

MAX_TOTAL = 2_000_000_000
"""Most bytes of a whole bundle."""

MAX_FILES = 100_000

_PART = re.compile(r"[A-Za-z0-9][\w.@+-]{0,99}", re.ASCII)
_MAX_PARTS = 3


def is_safe(name: str) -> bool:
    """Tell whether *name* is a plain relative path that cannot leave the bundle's folder."""
    parts = name.split("/")
    return len(parts) <= _MAX_PARTS and all(_PART.fullmatch(part) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of a bundle.

    Attributes:
        sha256: Its SHA-256 in hex.
        bytes: Its size.
    """

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        what: That it is a bundle of ours.
        format: Version of the layout.
        finished: Whether the run came to its end and everything is in it.
        reason: Why it is not finished, or None.
        run_id: The run's id.
        started_at: When the run began, RFC 3339 UTC.
        versions: Versions of what took part, by name.
        files: All other files, by path.
    """

    what: str
    format: int
    finished: bool
    run_id: str
    started_at: str
    reason: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileEntry] = field(default_factory=dict)


def dump_json(value: Any) -> bytes:  # noqa: ANN401 - what JSON can hold
    """Return *value* as JSON text: ASCII, so that no terminal is harmed by looking at it."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode("ascii")


def load_json(data: bytes) -> Any:  # noqa: ANN401 - what JSON holds
    """Return what JSON text holds.

    Raises:
        ValueError: It is no JSON, or too deep to be any of ours.
    """

    def refuse(word: str) -> Any:  # noqa: ANN401 - it never returns
        raise ValueError(f"{word} is no number")

    try:
        return json.loads(data, parse_constant=refuse)
    except RecursionError as problem:
        raise ValueError("it is nested too deeply") from problem
