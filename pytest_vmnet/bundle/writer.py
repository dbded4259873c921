"""Write a bundle: bounded, private, free of secrets, and marked unfinished until it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_vmnet.bundle import layout
from pytest_vmnet.bundle.codec import to_plain
from pytest_vmnet.bundle.layout import FileEntry, Manifest, dump_json
from pytest_vmnet.errors import ConfigError

_OURS = (
    layout.RUN,
    layout.DISCOVERED,
    layout.INVENTORY,
    layout.DECISIONS,
    layout.OUTCOME,
)


def check_folder(path: Path, option: str = "--vmnet-bundle") -> None:
    """Refuse, before a run, a folder that no bundle may be written to.

    Raises:
        ConfigError: It is something else, holds something else, or cannot be made.
    """
    said = f"{option} = {str(path)!r}"
    try:
        if path.is_dir():
            if any(path.iterdir()) and not is_bundle(path):
                raise ConfigError(
                    f"{said}: the folder is not empty and is no bundle; give a new folder, "
                    "nothing of yours is overwritten"
                )
            folder = path
        elif path.exists() or path.is_symlink():
            raise ConfigError(f"{said}: it exists and is no folder; give a new folder")
        else:
            folder = path.absolute().parent
            if not folder.is_dir():
                raise ConfigError(f"{said}: {str(folder)!r} does not exist; create it first")
    except OSError as problem:
        raise ConfigError(f"{said}: {problem.strerror or problem}") from problem
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{said}: {str(folder)!r} is not writable for this user")


def is_bundle(path: Path) -> bool:
    """Tell whether a folder holds a bundle of ours, whole or not."""
    manifest = path / layout.MANIFEST
    try:
        status = manifest.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > layout.MAX_JSON:
            return False
        found = layout.load_json(manifest.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("what") == layout.WHAT


class BundleWriter:
    """Writes one bundle.

    What keeps it from being whole is remembered and never raised: the run goes on.

    Args:
        path: The folder; a bundle that is there already is replaced.
        secrets: Texts that must not get into it, whatever brings them.

    Attributes:
        path: The folder.
        problem: Why it is not whole, or None.
    """

    def __init__(self, path: Path, secrets: Sequence[str] = ()) -> None:
        self.path = path
        self.problem: str | None = None
        self._secrets: list[bytes] = []
        self.cover(*secrets)
        self._manifest: Manifest | None = None
        self._files: dict[str, FileEntry] = {}
        self._total = 0

    def cover(self, *secrets: str) -> None:
        """Keep these texts out of everything that is written from now on."""
        words = {text for text in secrets if text}
        words |= {json.dumps(text)[1:-1] for text in words}
        known = {*self._secrets, *(word.encode() for word in words)}
        self._secrets = sorted(known, key=len, reverse=True)

    def begin(self, run_id: str, started_at: str, versions: Mapping[str, str]) -> None:
        """Make the folder, or empty the bundle that is there, and mark it as unfinished."""
        self._manifest = Manifest(
            what=layout.WHAT,
            format=layout.FORMAT,
            finished=False,
            reason="the run has not come to its end",
            run_id=run_id,
            started_at=started_at,
            versions=versions,
        )
        try:
            check_folder(self.path)
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.path.chmod(0o700)
            self._put_manifest(self._manifest)
            for name in _OURS:
                (self.path / name).unlink(missing_ok=True)
            for folder in self.path.glob("sweep-*"):
                if folder.is_dir() and not folder.is_symlink():
                    shutil.rmtree(folder)
        except (OSError, ConfigError) as problem:
            self._fail(problem)

    def add_json(self, name: str, value: Any) -> None:  # noqa: ANN401 - any of our records
        """Write a record, or dicts and lists of records, as JSON."""
        self.add(name, dump_json(to_plain(value)))

    def add(self, name: str, data: bytes) -> None:
        """Write one file; secrets in it are covered with asterisks of the same length."""
        if self.problem is not None or self._manifest is None:
            return
        if not layout.is_safe(name):
            raise ValueError(f"{name!r} is no name for a file of a bundle")
        data = self._covered(data)
        limit = layout.MAX_JSON if name.endswith(".json") else layout.MAX_FILE
        self._total += len(data)
        if len(data) > limit or self._total > layout.MAX_TOTAL:
            self._fail(f"{name} with its {len(data)} bytes is beyond the bundle's limits")
            return
        if len(self._files) >= layout.MAX_FILES:
            self._fail(f"it has {layout.MAX_FILES} files already")
            return
        try:
            *folders, last = name.split("/")
            place = self.path
            for folder in folders:
                place /= folder
                place.mkdir(mode=0o700, exist_ok=True)
            _write(place / last, data)
        except OSError as problem:
            self._fail(problem)
            return
        self._files[name] = FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))

    def finish(self, versions: Mapping[str, str]) -> None:
        """Write the list of files; from now on the bundle can be replayed.

        Args:
            versions: Versions of everything that took part, by name.
        """
        if self.problem is not None or self._manifest is None:
            return
        whole = replace(
            self._manifest, finished=True, reason=None, versions=versions, files=self._files
        )
        try:
            self._put_manifest(whole)
        except OSError as problem:
            self._fail(problem)

    def abandon(self, reason: str) -> None:
        """Say in the bundle why it stays unfinished; that is no problem of the bundle's own."""
        if self.problem is None and self._manifest is not None:
            self._manifest = replace(self._manifest, reason=reason)
            with suppress(OSError):  # it says already that it is unfinished
                self._put_manifest(self._manifest)

    def _put_manifest(self, manifest: Manifest) -> None:
        part = self.path / f".{layout.MANIFEST}.part"
        part.unlink(missing_ok=True)
        _write(part, self._covered(dump_json(to_plain(manifest))), durable=True)
        part.replace(self.path / layout.MANIFEST)

    def _covered(self, data: bytes) -> bytes:
        """Return *data* with asterisks in the place of secrets."""
        for secret in self._secrets:
            data = data.replace(secret, b"*" * len(secret))
        return data

    def _fail(self, problem: Exception | str) -> None:
        """Remember why the bundle is not whole, in its manifest too where that is possible."""
        told = problem
        if isinstance(problem, OSError):
            told = f"{problem.filename or self.path}: {problem.strerror or problem}"
        self.problem = str(told)
        if self._manifest is not None and is_bundle(self.path):
            with suppress(OSError):  # it says already that it is unfinished
                self._put_manifest(replace(self._manifest, reason=self.problem))


def _write(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a new file that only this user can read; a durable one is on the disk afterwards."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
