"""One word that names guests: a name glob, a VMID, ``tag:NAME`` or ``pool:NAME``."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.errors import ConfigError

_FORMS = "a name or name glob (`web-*`), a VMID (`111`), `tag:NAME` or `pool:NAME`"


def matches(pattern: str, guest: Guest) -> bool:
    """Return whether *pattern* names *guest*.

    Globs (``*``, ``?``, ``[...]``) work in names, tags and pools. Proxmox keeps tags in lower
    case by default and compares them so; names and pools are compared as they are written.

    Args:
        pattern: One pattern; the caller has split comma lists.
        guest: The guest in question.

    Raises:
        ConfigError: *pattern* is none of the four forms.
    """
    word = pattern.strip()
    if not word or "," in word:
        raise ConfigError(f"{pattern!r} names no guest: write {_FORMS}, one at a time")
    kind, colon, rest = word.partition(":")
    if colon:
        if kind not in {"tag", "pool"} or not rest:
            raise ConfigError(f"{pattern!r} names no guest: write {_FORMS}")
        if kind == "tag":
            return any(fnmatchcase(tag.lower(), rest.lower()) for tag in guest.tags)
        return guest.pool is not None and fnmatchcase(guest.pool, rest)
    if word.isascii() and word.isdigit():
        return int(word) == guest.vmid
    return fnmatchcase(guest.name, word) or guest.ident == word


def matches_any(patterns: Iterable[str], guest: Guest) -> bool:
    """Return whether one of *patterns* names *guest*; ConfigError if any is malformed."""
    named = [matches(pattern, guest) for pattern in patterns]
    return any(named)
