"""Read ``nft -a list ruleset`` and ``iptables-save`` for the rules that can take a packet away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from pytest_vmnet.core.facts import NftRule

_TABLE = re.compile(r"^table (\S+) (\S+) \{")
_CHAIN = re.compile(r"^\s*chain (\S+) \{")
_HOOK = re.compile(r"\bhook (\S+)(?: devices? =? ?\{?\s*([^;{}]+?)\s*\}?)? priority")
_HANDLE = re.compile(r"\s*# handle (\d{1,18})$", re.ASCII)
_QUOTED = re.compile(r'"[^"]*"')
_TAKES = re.compile(r"(?<![-.@\w])(?<!jump )(?<!goto )(?:drop|reject)(?![-.\w])")
_SAVED_TABLE = re.compile(r"^\*(\S+)$")
_SAVED_POLICY = re.compile(r"^:(\S+) (\S+)")
_SAVED_RULE = re.compile(r"^(?:\[\d+:\d+\] )?-A (\S+) (.*)$")
_SAVED_TAKES = re.compile(r"(?:^| )-j (?:DROP|REJECT)(?: |$)")
_MAX_RULES = 500


def parse_ruleset(text: str) -> tuple[NftRule, ...]:
    """Return the rules with a ``drop`` or ``reject``, and chains whose policy is drop.

    The output is for people, so this looks for shapes that nft 0.9 to 1.1 and iptables-save 1.8
    share and passes over everything else; one may follow the other. At most 500 rules are kept.
    """
    lines = text.splitlines()
    saved = next((i for i, line in enumerate(lines) if _SAVED_TABLE.match(line)), len(lines))
    found = [*islice(_nft(lines[:saved]), _MAX_RULES)]
    found += islice(_iptables(lines[saved:]), _MAX_RULES - len(found))
    return tuple(found)


def _nft(lines: list[str]) -> Iterator[NftRule]:
    family = table = chain = ""
    hook: str | None = None
    device: str | None = None
    for line in lines:
        if match := _TABLE.match(line):
            family, table = match.groups()
            chain = ""
            continue
        if match := _CHAIN.match(line):
            chain, hook, device = match[1], None, None
            continue
        body = line.strip()
        if body == "}":
            chain = ""
        if body.startswith("type ") and (match := _HOOK.search(body)):
            hook = match[1]
            device = match[2].replace('"', "") if match[2] else None
            body = "policy drop" if "policy drop" in body else ""
        if not chain or not _TAKES.search(_QUOTED.sub("", body)):
            continue
        handle = _HANDLE.search(body)
        yield NftRule(
            family=family,
            table=table,
            chain=chain,
            hook=hook,
            device=device,
            text=_HANDLE.sub("", body),
            handle=int(handle[1]) if handle else None,
        )


def _iptables(lines: list[str]) -> Iterator[NftRule]:
    """Read iptables-save: built-in chains have the name of their hook, and a policy."""
    table = ""
    built_in: set[str] = set()
    for line in lines:
        if match := _SAVED_TABLE.match(line):
            table = match[1]
            built_in = set()
            continue
        if match := _SAVED_POLICY.match(line):
            chain, policy = match.groups()
            if policy != "-":
                built_in.add(chain)
            text = "policy drop" if policy == "DROP" else None
        elif match := _SAVED_RULE.match(line):
            chain = match[1]
            text = match[2] if _SAVED_TAKES.search(_QUOTED.sub("", match[2])) else None
        else:
            continue
        if text is not None:
            yield NftRule(
                family="ip",
                table=table,
                chain=chain,
                hook=chain.lower() if chain in built_in else None,
                device=None,
                text=text,
                handle=None,
            )
