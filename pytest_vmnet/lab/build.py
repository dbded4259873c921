"""Build a thing once for every lab: locked, atomic, with a log. Standard library only."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_vmnet.errors import CommandError

Progress = Callable[[str], None]
"""Told what is being done, in a few words."""


def run(
    argv: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    stdin: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run *argv* with all that it says appended to *log*.

    Args:
        argv: The command.
        log: A file for its output.
        timeout_s: Its time limit, in seconds.
        stdin: What it reads.
        cwd: Its folder; None: ours.
        env: What its environment has besides ours.

    Raises:
        CommandError: It could not run, failed or took too long.
    """
    with log.open("ab") as out:
        start = out.tell()
        try:
            done = subprocess.run(
                argv,
                input=stdin.encode(),
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                cwd=cwd,
                env={**os.environ, "PATH": search_path(), **(env or {})},
                check=False,
            )
        except OSError as error:
            raise CommandError(argv, stderr=str(error)) from error
        except subprocess.TimeoutExpired as error:
            raise CommandError(argv, timeout_s=timeout_s) from error
    if done.returncode:
        said = log.read_bytes()[start:].decode(errors="replace")
        raise CommandError(argv, returncode=done.returncode, stderr=said)


def search_path() -> str:
    """Return PATH with the folders of administration, which a plain user's lacks on Debian."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def build_once(
    cache: Path, name: str, target: Path, build: Callable[[Path], Path], progress: Progress
) -> Path:
    """Return *target*, built now if it is not there.

    Whoever comes while another builds waits for it. A build that ends half-way, even by
    ``kill -9`` or a power cut, leaves nothing that is taken for the thing itself.

    Args:
        cache: The folder for what is built once.
        name: Names the lock and the working folder.
        target: The folder to be, on the cache's file system.
        build: Takes an empty working folder; returns the folder that becomes *target*.
        progress: Told when another build is waited for.
    """
    if target.is_dir():
        return target
    work = cache / "build" / name
    work.parent.mkdir(parents=True, exist_ok=True)
    with _locked(work.with_name(f"{name}.lock"), name, progress):
        if not target.is_dir():
            _remove(work)
            work.mkdir()
            try:
                done = build(work)
                _write_through(done)
                target.parent.mkdir(parents=True, exist_ok=True)
                done.rename(target)
            finally:
                _remove(work)
    return target


@contextmanager
def _locked(path: Path, name: str, progress: Progress) -> Iterator[None]:
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another build of the {name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_through(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as written:
                os.fsync(written)


def _remove(folder: Path) -> None:
    """Remove *folder*, read-only folders within it included (Go leaves such)."""
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
