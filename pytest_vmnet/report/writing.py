"""The one step of the reports that touches a disk: all of a file, or none of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pytest_vmnet.errors import ConfigError, VmnetError


def check_target(path: Path, option: str) -> None:
    """Refuse, before a run, a path that no report can be written to after it.

    Args:
        path: Where the report is to go.
        option: Who asked for it, for example ``--vmnet-json``.

    Raises:
        ConfigError: Its folder is missing or closed to us, or it is a folder itself.
    """
    target = _resolved(path, option)
    folder = target.parent
    if target.is_dir():
        raise ConfigError(f"{option}: {str(path)!r} is a folder; give the path of a file in it")
    if not folder.is_dir():
        raise ConfigError(
            f"{option}: {str(path)!r} cannot be written: its folder {str(folder)!r} does not "
            "exist; create it first, or give another path"
        )
    if not os.access(folder, os.W_OK | os.X_OK) and not _is_stream(target):
        raise ConfigError(
            f"{option}: {str(path)!r} cannot be written: its folder {str(folder)!r} is not "
            "writable for this user; change its mode, or give another path"
        )


def write_text(path: Path, text: str, *, option: str) -> None:
    """Write *text* to *path* so that a reader finds the old file or the new one, never a part.

    A path that exists and is not a plain file (a pipe, ``/dev/stdout``) is written to directly.

    Args:
        path: Where to; a symbolic link is followed.
        text: The whole text, written as UTF-8.
        option: Who asked for it, for example ``--vmnet-json``: named in messages.

    Raises:
        ConfigError: The path cannot be written to at all.
        VmnetError: Writing failed on the way, for example because there is no room left.
    """
    check_target(path, option)
    target = _resolved(path, option)
    data = text.encode("utf-8", "backslashreplace")
    try:
        if _is_stream(target):
            with target.open("wb") as stream:
                stream.write(data)
        else:
            _replace(target, data)
    except OSError as error:
        raise VmnetError(
            f"{option}: {str(path)!r} could not be written ({len(data)} bytes): "
            f"{error.strerror or error}; a report that was there before is unchanged. "
            "Make room or give another path, and run again"
        ) from error


def _replace(target: Path, data: bytes) -> None:
    part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _resolved(path: Path, option: str) -> Path:
    if _is_stream(path):  # what /dev/stdout leads to may have no name
        return path
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ConfigError(f"{option}: {str(path)!r} leads nowhere: {error}") from error


def _is_stream(target: Path) -> bool:
    try:
        mode = target.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
