"""The settings of a recorded run, as a replay of it has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_vmnet.errors import ConfigError
from pytest_vmnet.options.option import Option, truth
from pytest_vmnet.options.settings import Setting, Settings
from pytest_vmnet.options.table import TABLE

_ASKED_ANEW = frozenset(
    {
        "vmnet_max_loss", "vmnet_confidence", "vmnet_inconclusive", "vmnet_strict",
        "vmnet_rebuild", "vmnet_rebuildable", "vmnet_ladder", "vmnet_max_unhealthy",
        "vmnet_rebuild_interval",
    }
)  # fmt: skip
"""What a command line may ask of the recorded facts anew: how to judge, and what to decide."""

_ITS_OWN = frozenset({"vmnet_replay", "vmnet_json", "vmnet_markdown"})
"""What belongs to the replay and not to the run."""

_NOT_SET = "not set"


def replay_settings(
    rows: Sequence[Setting], given: Settings
) -> tuple[Settings, tuple[Setting, ...]]:
    """Return a replay's settings, and those that its reports show: the run's own.

    Args:
        rows: The run's settings, as it has shown them.
        given: The replay's own settings; of these only what its command line asks for counts,
            and where its reports go.

    Raises:
        ConfigError: The command line asks for what no replay can do, or a recorded value cannot
            be read.
    """
    asked = {dest for dest, source in given.sources.items() if source == "command line"}
    flags = {option.dest: option.flag for option in TABLE}
    if idle := sorted(flags[dest] for dest in asked - _ASKED_ANEW - _ITS_OWN):
        raise ConfigError(
            f"{', '.join(idle)}: not with --vmnet-replay, which takes them from the run that it "
            f"replays; it can be asked anew: {', '.join(sorted(flags[d] for d in _ASKED_ANEW))}"
        )
    taken = (asked & _ASKED_ANEW) | _ITS_OWN
    known = {row.name: row for row in rows}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for option in TABLE:
        row = known.get(option.flag.removeprefix("--"))
        if option.dest in taken:
            values[option.dest] = given[option.dest]
            sources[option.dest] = given.sources[option.dest]
        else:
            values[option.dest] = _value(option, row.value) if row else option.default
            sources[option.dest] = row.source if row else "default"
    settings = Settings(values, sources)
    return settings, _shown(rows, settings, asked & _ASKED_ANEW)


def _shown(
    rows: Iterable[Setting], settings: Settings, anew: Iterable[str]
) -> tuple[Setting, ...]:
    """Return the run's rows, with those that are asked anew as they are asked now."""
    names = {dest.replace("_", "-") for dest in anew}
    now: Mapping[str, Setting] = {row.name: row for row in settings.shown()}
    return tuple(now[row.name] if row.name in names else row for row in rows)


def _value(option: Option, text: str) -> Any:
    """Return the value that a setting was shown as.

    Raises:
        ConfigError: It is none that the option can have.
    """
    if option.secretive or text == _NOT_SET:
        return None
    if option.repeatable:
        return tuple(word for word in text.split(",") if word)
    try:
        return truth(text) if option.switch else option.parse(text)
    except ValueError as problem:
        raise ConfigError(f"{option.flag} = {text!r:.80} in a bundle: {problem}") from problem
