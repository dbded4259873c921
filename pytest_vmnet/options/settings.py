"""Settle every option, and remember where its value came from.

Precedence: command line, environment, ini file, default. Of the environment's families
``VMNET_``, ``PROXMOX_VE_``, ``PM_`` and ``PROXMOX_`` the first that is set counts; two that
disagree are an error that names both. What switches the gate on or arms it (node, replay,
rebuild, lab) is never taken from the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from pytest_vmnet.errors import ConfigError
from pytest_vmnet.options.option import Option
from pytest_vmnet.options.table import TABLE

_FAMILIES = ("VMNET_", "PROXMOX_VE_", "PM_", "PROXMOX_")
"""Variables that are meant for us; others, such as SSL_CERT_FILE, only fill a gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting as the header shows it; a secret's value is never here.

    Attributes:
        name: Option name without dashes, for example ``vmnet-count``.
        value: Its value as text.
        source: Where it came from: ``command line``, ``environment VMNET_COUNT``, ``ini``,
            ``default``.
    """

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class Settings:
    """Resolved settings.

    Attributes:
        values: Value by option dest, for example ``vmnet_count``.
        sources: Where each came from, by option dest.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, dest: str) -> Any:
        """Return the value of the option with that dest."""
        return self.values[dest]

    def describe(self, dest: str) -> str:
        """Return ``vmnet_count = 300 (from ini)`` for messages."""
        return f"{dest} = {self.values[dest]!r} (from {self.sources[dest]})"

    def address(self, dest: str) -> IPv4Address | None:
        """Return the address that an option names; None for ``none`` or if it is not set.

        Raises:
            ConfigError: It is no address.
        """
        text = self.values[dest]
        if text in {None, "none"}:
            return None
        try:
            return IPv4Address(text)
        except AddressValueError as problem:
            raise ConfigError(f"{self.describe(dest)}: {problem}") from problem

    def shown(self) -> tuple[Setting, ...]:
        """Return all settings for the header; a secretive one shows its source only."""
        rows = []
        for option in TABLE:
            value = self.values[option.dest]
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            text = "not set" if value is None else str(value)
            if option.secretive and value:
                text = "(not shown)"
            name = option.flag.removeprefix("--")
            rows.append(Setting(name=name, value=text, source=self.sources[option.dest]))
        return tuple(rows)


def resolve(
    given: Mapping[str, Any], environment: Mapping[str, str], ini: Mapping[str, str]
) -> Settings:
    """Settle every option and remember each value's source.

    Args:
        given: Command-line values by dest; an option that was not given is None or absent.
        environment: The process's environment.
        ini: Ini texts by ini name; an absent or empty one counts as not set.

    Raises:
        ConfigError: A value is not understood, or two variables disagree. All problems of all
            options are told at once.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    for option in TABLE:
        try:
            values[option.dest], sources[option.dest] = _settle(option, given, environment, ini)
        except ConfigError as problem:
            problems.append(str(problem))
    if problems:
        raise ConfigError("\n".join(problems))
    return Settings(values, sources)


def _settle(
    option: Option,
    given: Mapping[str, Any],
    environment: Mapping[str, str],
    ini: Mapping[str, str],
) -> tuple[Any, str]:
    direct = given.get(option.dest)
    if direct not in {None, False} if not isinstance(direct, list) else direct:
        return _read(option, direct, "command line"), "command line"
    named = [(name, environment[name]) for name in option.env if environment.get(name)]
    if named:
        name, text = named[0]
        for other, other_text in named[1:]:
            if other.startswith(_FAMILIES) and not _is_same(option, text, other_text):
                raise ConfigError(
                    f"{option.flag}: {name} and {other} are both set and disagree; "
                    f"unset one of them, or pass {option.flag}"
                )
        return _read(option, text, f"environment {name}"), f"environment {name}"
    if text := ini.get(option.ini, ""):
        return _read(option, text, "ini"), "ini"
    return option.default, "default"


def _is_same(option: Option, one: str, other: str) -> bool:
    """Tell whether two texts are spellings of the same value."""
    if _normal(one) == _normal(other):
        return True
    try:
        return option.parse is not str and bool(option.parse(one) == option.parse(other))
    except ValueError:
        return False


def _normal(text: str) -> str:
    """Reduce an endpoint or another value to what two spellings of it share."""
    bare = text.strip().removeprefix("https://").rstrip("/").removesuffix("/api2/json")
    return bare.removesuffix(":8006").lower()


def _read(option: Option, value: Any, source: str) -> Any:
    if option.repeatable:
        parts = value if isinstance(value, list | tuple) else [value]
        words = [word.strip() for part in parts for word in str(part).split(",")]
        return tuple(word for word in words if word)
    if isinstance(value, bool):
        return value
    try:
        return option.parse(str(value))
    except ValueError as problem:
        raise ConfigError(
            f"{option.dest} = {str(value)!r} (from {source}): {problem}"
        ) from problem
