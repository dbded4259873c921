"""The option table, and settings that know where their value came from.

Precedence: command line, environment, ini file, default. Of the environment's families
``VMNET_``, ``PROXMOX_VE_``, ``PM_`` and ``PROXMOX_`` the first that is set counts; two that
disagree are an error that names both. What switches the gate on or arms it (node, rebuild, lab)
is never taken from the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_vmnet.errors import ConfigError

Parse = Callable[[str], Any]


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


@dataclass(frozen=True, kw_only=True)
class Option:
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


def number(low: float, high: float, kind: type = float) -> Parse:
    """Return a parser of a number between *low* and *high*, both included."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high:
            raise ValueError(f"expected a number from {low:g} to {high:g}")
        return value

    return parse


def fraction(text: str) -> float:
    """Parse ``1%``, ``1 %`` or ``0.01`` as a share, 0 included and 1 excluded."""
    cleaned = text.strip()
    value = float(cleaned[:-1]) / 100 if cleaned.endswith("%") else float(cleaned)
    if not 0 <= value < 1:
        raise ValueError("expected a share such as 0.01 or 1%")
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


def ladder(text: str) -> tuple[str, ...]:
    """Parse a comma list of rungs, the gentlest first."""
    rungs = tuple(part.strip() for part in text.split(",") if part.strip())
    if unknown := [rung for rung in rungs if rung not in {"restart", "remac", "rebuild"}]:
        raise ValueError(f"unknown rung {unknown[0]!r}: choose of restart, remac, rebuild")
    if not rungs:
        raise ValueError("expected at least one of restart, remac, rebuild")
    return rungs


def _choice(flag: str, help_: str, choices: tuple[str, ...], default: str, **more: Any) -> Option:
    return Option(
        flag=flag, help=help_, default=default, parse=one_of(*choices), choices=choices, **more
    )


CONNECTION = (
    Option(
        flag="--proxmox-node",
        help="switch the gate on for this node; repeatable, a comma list, or 'all'",
        repeatable=True,
        metavar="NODE",
    ),
    Option(
        flag="--proxmox-host",
        help="API endpoint: host, host:port or URL",
        env=(
            "VMNET_PROXMOX_HOST",
            "PROXMOX_VE_ENDPOINT",
            "PM_API_URL",
            "PROXMOX_URL",
            "PROXMOX_HOST",
        ),
        metavar="HOST",
    ),
    Option(
        flag="--proxmox-user",
        help="API user, for example vmnet@pve",
        env=("VMNET_PROXMOX_USER", "PROXMOX_VE_USERNAME", "PM_USER", "PROXMOX_USER"),
        metavar="USER@REALM",
    ),
    Option(
        flag="--proxmox-token-name",
        help="name of the API token, the part behind the '!'",
        env=("VMNET_PROXMOX_TOKEN_NAME",),
        metavar="NAME",
    ),
    Option(
        flag="--proxmox-token-file",
        help="file with the token: its secret, or USER@REALM!NAME=SECRET",
        env=("VMNET_PROXMOX_TOKEN_FILE",),
        parse=Path,
        metavar="PATH",
        secretive=True,
    ),
    Option(
        flag="--proxmox-ca",
        help="CA certificates (PEM) that the API's certificate is checked against",
        env=("VMNET_PROXMOX_CA", "SSL_CERT_FILE"),
        parse=Path,
        metavar="PATH",
    ),
    Option(
        flag="--proxmox-insecure",
        help="do not check the API's certificate",
        default=False,
        parse=truth,
        switch=True,
        env=("VMNET_PROXMOX_INSECURE", "PROXMOX_VE_INSECURE", "PM_TLS_INSECURE"),
    ),
    Option(
        flag="--proxmox-ssh",
        help="how to reach a node's shell: NODE=TARGET,... or 'none'; "
        "default root@ the node's address in the cluster",
        repeatable=True,
        env=("VMNET_PROXMOX_SSH",),
        metavar="NODE=TARGET",
    ),
)

GATE = (
    Option(
        flag="--vmnet-guest",
        help="guests to test: name glob, VMID, tag:NAME or pool:NAME; repeatable",
        repeatable=True,
        env=("VMNET_GUEST",),
        metavar="PATTERN",
    ),
    Option(
        flag="--vmnet-count",
        help="probes per flow (default: what proves --vmnet-max-loss at --vmnet-confidence)",
        parse=number(5, 60000, int),
        env=("VMNET_COUNT",),
        metavar="N",
    ),
    Option(
        flag="--vmnet-interval",
        help="seconds between two probes of a flow",
        default=0.02,
        parse=number(0.002, 10),
        env=("VMNET_INTERVAL",),
        metavar="S",
    ),
    Option(
        flag="--vmnet-max-loss",
        help="largest loss that a healthy flow may have, for example 1%%",
        default=0.01,
        parse=fraction,
        env=("VMNET_MAX_LOSS",),
        metavar="SHARE",
    ),
    Option(
        flag="--vmnet-confidence",
        help="confidence of every bound",
        default=0.95,
        parse=number(0.5, 0.999999),
        env=("VMNET_CONFIDENCE",),
        metavar="SHARE",
    ),
    Option(
        flag="--vmnet-peers",
        help="peers of each guest: segment (same bridge, VLAN and subnet), a number, or all",
        default="segment",
        parse=peers,
        env=("VMNET_PEERS",),
        metavar="segment|N|all",
    ),
    Option(
        flag="--vmnet-external",
        help="address beyond the gateway to probe, or 'none'",
        env=("VMNET_EXTERNAL",),
        metavar="ADDRESS",
    ),
    Option(
        flag="--vmnet-gateway",
        help="gateway of guests that have no default route",
        env=("VMNET_GATEWAY",),
        metavar="ADDRESS",
    ),
    Option(
        flag="--vmnet-wait",
        help="seconds to wait for guests that are still starting",
        default=60.0,
        parse=number(0, 3600),
        env=("VMNET_WAIT",),
        metavar="S",
    ),
    _choice(
        "--vmnet-inbound",
        "probe the guests from here as well",
        ("auto", "off"),
        "auto",
        env=("VMNET_INBOUND",),
    ),
    _choice(
        "--vmnet-inconclusive",
        "what an inconclusive guest does to its tests",
        ("error", "fail", "skip"),
        "error",
        env=("VMNET_INCONCLUSIVE",),
    ),
    Option(
        flag="--vmnet-dry-run",
        help="print every command, packet rate and duration, and send nothing",
        default=False,
        parse=truth,
        switch=True,
    ),
    _choice(
        "--vmnet-rebuild",
        "when a sick guest may be rebuilt",
        ("never", "plan", "diagnosed", "unhealthy"),
        "never",
    ),
    Option(
        flag="--vmnet-rebuildable",
        help="guests that may be acted upon at all; repeatable",
        default=("tag:vmnet-rebuild",),
        repeatable=True,
        metavar="PATTERN",
    ),
    Option(
        flag="--vmnet-ladder",
        help="rungs that may be tried, gentlest first",
        default=("restart", "rebuild"),
        parse=ladder,
        metavar="RUNG,...",
    ),
    Option(
        flag="--vmnet-max-unhealthy",
        help="most unhealthy guests in a bridge for an act: N or N%% (default: 1 or 20%%)",
        metavar="N|N%",
    ),
    Option(
        flag="--vmnet-rebuild-interval",
        help="seconds between two rebuilds of the same guest",
        default=86400.0,
        parse=number(0, 10**9),
        metavar="S",
    ),
    Option(
        flag="--vmnet-taint",
        help="rebuild by taint and apply instead of plan -replace",
        default=False,
        parse=truth,
        switch=True,
    ),
    Option(
        flag="--vmnet-journal",
        help="journal of acts (default: on the node)",
        env=("VMNET_JOURNAL",),
        parse=Path,
        metavar="PATH",
    ),
    Option(
        flag="--vmnet-lock-timeout",
        help="seconds to wait for another gate on the same node",
        default=0.0,
        parse=number(0, 86400),
        env=("VMNET_LOCK_TIMEOUT",),
        metavar="S",
    ),
    Option(
        flag="--vmnet-terraform-dir",
        help="Terraform root that made the guests",
        env=("VMNET_TERRAFORM_DIR",),
        parse=Path,
        metavar="PATH",
    ),
    Option(
        flag="--vmnet-json",
        help="write the outcome as JSON (schema 1)",
        env=("VMNET_JSON",),
        parse=Path,
        metavar="PATH",
    ),
    Option(
        flag="--vmnet-markdown",
        help="write the outcome as a Markdown report",
        env=("VMNET_MARKDOWN",),
        parse=Path,
        metavar="PATH",
    ),
    Option(
        flag="--vmnet-strict",
        help="exit 7 instead of 0 after a run that had to heal",
        default=False,
        parse=truth,
        switch=True,
    ),
    Option(
        flag="--vmnet-lab",
        help="run in the embedded lab, brought up if it is not",
        default=False,
        parse=truth,
        switch=True,
    ),
)

TABLE = CONNECTION + GATE


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

    def shown(self) -> tuple[Setting, ...]:
        """Return all settings for the header; a secretive one shows its source only."""
        rows = []
        for option in TABLE:
            value = self.values[option.dest]
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            text = "(not shown)" if option.secretive and value else str(value)
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
            if _normal(other_text) != _normal(text):
                raise ConfigError(
                    f"{option.flag}: {name} and {other} are both set and disagree; "
                    f"unset one of them, or pass {option.flag}"
                )
        return _read(option, text, f"environment {name}"), f"environment {name}"
    if text := ini.get(option.ini, ""):
        return _read(option, text, "ini"), "ini"
    return option.default, "default"


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
