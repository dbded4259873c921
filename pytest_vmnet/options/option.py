"""One option, and the parsers of its text. An idle pytest run imports this: it stays light."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Parse = Callable[[str], Any]


class Option(NamedTuple):
    """One setting.

    Attributes:
        flag: Command-line flag with its dashes.
        help: Help text.
        default: Value when nothing sets it.
        parse: From text to value; raises ValueError with what was expected.
        env: Environment variables that may set it, the strongest first.
        repeatable: Given several times or as a comma list; the value is a tuple.
        switch: A flag without a value.
        choices: Allowed texts, for the help.
        secretive: Show the source in the header, never the value.
    """

    flag: str
    help: str
    default: Any = None
    parse: Parse = str
    env: tuple[str, ...] = ()
    repeatable: bool = False
    switch: bool = False
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    secretive: bool = False

    @property
    def dest(self) -> str:
        """Attribute name on pytest's option object."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def ini(self) -> str:
        """Name in an ini file."""
        name = self.dest
        return f"vmnet_{name}" if name.startswith("proxmox_") else name

    @property
    def has_ini(self) -> bool:
        """Whether an ini file may set it; what only a person may switch on has no ini twin."""
        return not self.switch or self.flag == "--proxmox-insecure"

    @property
    def argument(self) -> dict[str, Any]:
        """The words for argparse's ``add_argument``, and for pytest's ``addoption``."""
        known: dict[str, Any] = {"dest": self.dest, "help": self.help, "default": None}
        if self.switch:
            return known | {"action": "store_true"}
        if self.repeatable:
            return known | {"action": "append", "metavar": self.metavar}
        return known | {"metavar": self.metavar or "|".join(self.choices) or "N"}


def number(low: float, high: float, kind: type = float) -> Parse:
    """Return a parser of a number between *low* and *high*, both included."""

    def parse(text: str) -> Any:
        what = "a whole number" if kind is int else "a number"
        expected = ValueError(f"expected {what} from {low:g} to {high:g}")
        try:
            value = kind(text)
        except ValueError:
            raise expected from None
        if not low <= value <= high:
            raise expected
        return value

    return parse


def fraction(text: str) -> float:
    """Parse ``1%``, ``1 %`` or ``0.01`` as a share, 0 included and 1 excluded."""
    cleaned = text.strip()
    expected = ValueError("expected a share such as 0.01 or 1%")
    try:
        value = float(cleaned[:-1]) / 100 if cleaned.endswith("%") else float(cleaned)
    except ValueError:
        raise expected from None
    if not 0 <= value < 1:
        raise expected
    return value


def one_of(*choices: str) -> Parse:
    """Return a parser that takes one of *choices*."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"choose one of {', '.join(choices)}")
        return text

    return parse


def truth(text: str) -> bool:
    """Parse yes or no in the spellings that ini files and environments use."""
    lowered = text.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("expected true or false")


def peers(text: str) -> str:
    """Parse ``segment``, ``all`` or a number of peers."""
    if text in {"segment", "all"} or (text.isdecimal() and int(text) >= 0):
        return text
    raise ValueError("expected segment, all or a number of peers")


BUDGET_PARTS = ("guest", "target", "node")


def budget(text: str) -> tuple[str, ...]:
    """Parse ``none`` or a comma list such as ``guest=2000,node=20000``: packets per second."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if parts == ["none"]:
        return ("none",)
    limits = dict(part.split("=", 1) for part in BUDGET)
    expected = ValueError(
        f"expected none, or PART=PACKETS/S,... with a part of {', '.join(BUDGET_PARTS)} "
        "and at least 10"
    )
    for part in parts:
        name, _, rate = part.partition("=")
        if name.strip() not in BUDGET_PARTS or not rate.strip().isdecimal() or int(rate) < 10:
            raise expected
        limits[name.strip()] = str(int(rate))
    if not parts:
        raise expected
    return tuple(f"{name}={limits[name]}" for name in BUDGET_PARTS)


BUDGET = ("guest=2000", "target=4000", "node=20000")
"""Most packets per second by default, requests and replies."""


def ladder(text: str) -> tuple[str, ...]:
    """Parse a comma list of rungs, the gentlest first."""
    rungs = tuple(part.strip() for part in text.split(",") if part.strip())
    if unknown := [rung for rung in rungs if rung not in {"restart", "remac", "rebuild"}]:
        raise ValueError(f"unknown rung {unknown[0]!r}: choose of restart, remac, rebuild")
    if not rungs:
        raise ValueError("expected at least one of restart, remac, rebuild")
    return rungs
