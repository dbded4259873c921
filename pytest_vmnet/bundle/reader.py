"""Read a bundle that may come from anywhere: every byte is bounded, hashed and only data."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from pytest_vmnet.bundle import layout
from pytest_vmnet.bundle.codec import from_plain
from pytest_vmnet.bundle.layout import Manifest, load_json
from pytest_vmnet.errors import ConfigError

T = TypeVar("T")


class BundleReader:
    """Reads one bundle.

    Args:
        path: Its folder.

    Attributes:
        path: Its folder.
        manifest: What it says of itself.

    Raises:
        ConfigError: It is no bundle, not whole, or of a format that this version does not know.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise self.damage("there is no such folder")
        if not (path / layout.MANIFEST).exists():
            raise self.damage(f"it is no bundle: it has no {layout.MANIFEST}")
        raw = self._json(layout.MANIFEST, self._bytes(layout.MANIFEST, layout.MAX_JSON))
        if not isinstance(raw, dict) or raw.get("what") != layout.WHAT:
            raise self.damage(f"it is no bundle: its {layout.MANIFEST} is somebody else's")
        version = raw.get("format")
        if not isinstance(version, int) or version != layout.FORMAT:
            raise self.damage(
                f"its format is {version!r:.40}, this version reads {layout.FORMAT}: replay it "
                "with the version that wrote it, or a newer one"
            )
        self.manifest = self._record(Manifest, layout.MANIFEST, raw)
        if not self.manifest.finished:
            raise self.damage(
                f"it is not finished ({self.manifest.reason or 'no reason is given'}); what is "
                "in it can be looked at, and not replayed"
            )
        self._check_files()

    def _check_files(self) -> None:
        entries = self.manifest.files
        unsafe = next((name for name in entries if not layout.is_safe(name)), None)
        if unsafe is not None:
            raise self.damage(f"{unsafe[:100]!r} is no name for a file of a bundle")
        total = sum(entry.bytes for entry in entries.values())
        if len(entries) > layout.MAX_FILES or total > layout.MAX_TOTAL:
            raise self.damage(f"{len(entries)} files of {total} bytes are beyond the limits")

    def damage(self, problem: str) -> ConfigError:
        """Return the error that says what is wrong with this bundle."""
        return ConfigError(f"--vmnet-replay = {str(self.path)!r}: {problem}")

    def record(self, kind: type[T], name: str) -> T:
        """Return the record in a JSON file.

        Raises:
            ConfigError: The file is missing, damaged, or not of that kind.
        """
        return self._record(kind, name, self._json(name, self.read(name, layout.MAX_JSON)))

    def read(self, name: str, limit: int = layout.MAX_FILE) -> bytes:
        """Return a file, proven to be what the run wrote.

        Raises:
            ConfigError: It is missing, too large or damaged.
        """
        entry = self.manifest.files.get(name)
        if entry is None:
            raise self.damage(f"{name[:100]!r} is not in its list of files")
        data = self._bytes(name, min(limit, entry.bytes))
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise self.damage(f"{name} is damaged: its bytes are not those that were written")
        return data

    def _record(self, kind: type[T], name: str, raw: object) -> T:
        try:
            return from_plain(kind, raw)
        except ValueError as problem:
            raise self.damage(f"{name}: {problem}") from problem

    def _json(self, name: str, data: bytes) -> Any:  # noqa: ANN401 - what JSON holds
        try:
            return load_json(data)
        except ValueError as problem:
            raise self.damage(f"{name} is no JSON: {problem!s:.200}") from problem

    def _bytes(self, name: str, limit: int) -> bytes:
        """Return a plain file of at most *limit* bytes; links are not followed."""
        place = self.path
        try:
            *folders, last = name.split("/")
            for folder in folders:
                place /= folder
                if not stat.S_ISDIR(place.lstat().st_mode):
                    raise self.damage(f"{name}: {folder} is no folder")
            place /= last
            handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise self.damage(f"{name} is no plain file")
                data = file.read(limit + 1)
        except OSError as problem:
            raise self.damage(f"{name}: {problem.strerror or problem}") from problem
        if len(data) > limit:
            raise self.damage(f"{name} is larger than {limit} bytes")
        return data
