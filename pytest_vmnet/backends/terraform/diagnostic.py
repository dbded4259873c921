"""What Terraform's complaints mean."""

from __future__ import annotations

import re

from pytest_vmnet.backends.terraform.process import Ended

_LOCKED = "Error acquiring the state lock"
_INIT_WORDS = ("terraform init", "tofu init", "Required plugins are not installed")


def asks_for_init(ended: Ended) -> bool:
    """Return whether a command failed because its folder is not initialised."""
    said = ended.stdout + ended.stderr
    return ended.returncode != 0 and any(word in said for word in _INIT_WORDS)


def explain(said: str) -> str:
    """Return a complaint without colours, and with the holder first if the state is locked."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", said)
    if _LOCKED not in text:
        return text
    found = dict(re.findall(r"(?m)\b(ID|Who|Operation|Created):\s+(.+?)\s*$", text))
    return (
        f"the state is locked by {found.get('Who', 'someone')} ({found.get('Operation', '?')} "
        f"since {found.get('Created', '?')}, lock {found.get('ID', '?')}): wait for that run, or "
        f"raise --vmnet-lock-timeout; the gate never forces a lock\n{text}"
    )
