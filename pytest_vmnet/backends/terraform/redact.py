"""Keep secrets that Terraform inherits out of what is said about it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import quote

HIDDEN = "[hidden]"

_SECRET_NAME = re.compile(
    r"(?i)token|secret|passw|passphrase|(^|_)pass($|_)|(^|_)otp($|_)|ticket|credential|"
    r"(private|access|api|account|encryption|ssh)_?key|headers|csrf|sas|cookie"
)
_SHORTEST = 4


def secret_values(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values in *environ* that look secret by their names, the longest first.

    A token ``user@realm!name=uuid`` counts as a whole and by its last part; a value of several
    lines counts line by line as well. Values shorter than four characters are left out: hiding
    them would hide half of every message.
    """
    found: set[str] = set()
    for name, value in environ.items():
        if _SECRET_NAME.search(name):
            found |= {value, value.rpartition("=")[2], *value.splitlines()}
    found |= {json.dumps(value)[1:-1] for value in found} | {quote(value) for value in found}
    return tuple(sorted((v for v in found if len(v) >= _SHORTEST), key=lambda v: (-len(v), v)))


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Return *text* with every one of *secrets* hidden."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text
