"""Read ``nft -a list ruleset`` for the rules that can take a packet away."""

from __future__ import annotations

import re

from pytest_vmnet.core.facts import NftRule

_TABLE = re.compile(r"^table (\S+) (\S+) \{")
_CHAIN = re.compile(r"^\s*chain (\S+) \{")
_HOOK = re.compile(r"\bhook (\S+)(?: devices? =? ?\{?\s*([^;{}]+?)\s*\}?)? priority")
_HANDLE = re.compile(r"\s*# handle (\d+)$")
_TAKES = re.compile(r"\b(drop|reject)\b")
_MAX_RULES = 500


def parse_ruleset(text: str) -> tuple[NftRule, ...]:
    """Return the rules with a ``drop`` or ``reject``, and chains whose policy is drop.

    The output is for people, so this looks for shapes that nft 0.9 to 1.1 share and passes over
    everything else. At most 500 rules are kept.
    """
    family = table = chain = ""
    hook: str | None = None
    device: str | None = None
    found: list[NftRule] = []
    for line in text.splitlines():
        if match := _TABLE.match(line):
            family, table = match.groups()
            continue
        if match := _CHAIN.match(line):
            chain, hook, device = match[1], None, None
            continue
        body = line.strip()
        if body.startswith("type ") and (match := _HOOK.search(body)):
            hook = match[1]
            device = match[2].replace('"', "") if match[2] else None
            if "policy drop" not in body:
                continue
            body = "policy drop"
        if not chain or not _TAKES.search(body):
            continue
        handle = _HANDLE.search(body)
        found.append(
            NftRule(
                family=family,
                table=table,
                chain=chain,
                hook=hook,
                device=device,
                text=_HANDLE.sub("", body),
                handle=int(handle[1]) if handle else None,
            )
        )
        if len(found) >= _MAX_RULES:
            break
    return tuple(found)
