"""Our records as JSON and back, by their own annotations: nothing is executed, nothing guessed."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any, TypeVar

T = TypeVar("T")

_FROM_TEXT: Mapping[Any, Callable[[str], Any]] = {
    IPv4Address: IPv4Address,
    IPv4Interface: IPv4Interface,
    IPv6Address: IPv6Address,
    IPv6Interface: IPv6Interface,
    datetime: datetime.fromisoformat,
}
"""Types that are text in JSON."""

_MAX_TEXT = 1_000_000
_MAX_NUMBER = 2**63


def to_plain(value: Any) -> Any:  # noqa: ANN401 - any of our records, and what JSON can hold
    """Return *value* as dicts, lists, strings and numbers; sets sorted, so that it is stable.

    Raises:
        TypeError: It holds something that `from_plain` could not read back.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | str | float):
        return value  # a number that is none is refused when it becomes text
    if is_dataclass(value):
        known = (field.name for field in fields(value) if field.init)  # others are worked out
        return {name: to_plain(getattr(value, name)) for name in known}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(to_plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if type(value) in _FROM_TEXT:
        return value.isoformat() if isinstance(value, datetime) else str(value)
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be kept in a bundle")


def from_plain(kind: type[T], data: object, where: str = "") -> T:
    """Return the record of type *kind* that *data* describes.

    Keys that this version does not know are left out; ones that are missing take their default.

    Args:
        kind: A dataclass.
        data: What JSON held.
        where: Name of *data*, for messages.

    Raises:
        ValueError: It does not fit; the message says where and what was expected.
    """
    return typing.cast("T", _read(kind, data, where))


def _read(kind: Any, data: object, where: str) -> Any:  # noqa: ANN401 - a type, and its value
    origin = typing.get_origin(kind)
    if origin in {types.UnionType, typing.Union}:
        return _read_union(kind, data, where)
    if origin is not None:
        return _read_many(origin, typing.get_args(kind), data, where)
    if is_dataclass(kind):
        return _read_record(kind, data, where)
    if kind is types.NoneType and data is None:
        return None
    if kind is bool and isinstance(data, bool):
        return data
    if kind in {int, float} and isinstance(data, int | float) and not isinstance(data, bool):
        return _read_number(kind, data, where)
    if isinstance(data, str):
        return _read_text(kind, data, where)
    raise _unfit(kind, data, where)


def _read_number(kind: Any, data: float, where: str) -> float:  # noqa: ANN401 - int or float
    is_whole = isinstance(data, int)
    if abs(data) >= _MAX_NUMBER or not (is_whole or kind is float) or not math.isfinite(data):
        raise _unfit(kind, data, where)
    return data if kind is int else float(data)


def _read_text(kind: Any, data: str, where: str) -> Any:  # noqa: ANN401 - a type, and its value
    if len(data) > _MAX_TEXT:
        raise ValueError(f"{where}: a text of {len(data)} characters, at most {_MAX_TEXT} fit")
    if kind is str:
        return data
    try:
        if isinstance(kind, type) and issubclass(kind, Enum):
            return kind(data)
        if kind in _FROM_TEXT:
            return _FROM_TEXT[kind](data)
    except ValueError as problem:
        raise _unfit(kind, data, where) from problem
    raise _unfit(kind, data, where)


def _read_union(kind: Any, data: object, where: str) -> Any:  # noqa: ANN401 - likewise
    problems = []
    for choice in typing.get_args(kind):
        try:
            return _read(choice, data, where)
        except ValueError as problem:
            problems.append(problem)
    raise problems[0]


def _read_many(origin: Any, inner: Any, data: object, where: str) -> Any:  # noqa: ANN401 - likewise
    if issubclass(origin, Mapping):
        if not isinstance(data, dict):
            raise _unfit(origin, data, where)
        key, item = inner
        return {
            _read_key(key, name, where): _read(item, value, f"{where}.{name}"[:200])
            for name, value in data.items()
        }
    if not isinstance(data, list):
        raise _unfit(origin, data, where)
    if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        if len(data) != len(inner):
            raise ValueError(f"{where}: {len(data)} items, expected {len(inner)}")
        pairs = enumerate(zip(inner, data, strict=True))
        return tuple(_read(each, item, f"{where}[{at}]") for at, (each, item) in pairs)
    return origin(_read(inner[0], item, f"{where}[{at}]") for at, item in enumerate(data))


def _read_key(kind: Any, name: str, where: str) -> Any:  # noqa: ANN401 - likewise
    if kind is int:
        if not name.isascii() or not name.isdigit() or len(name) > 18:
            raise ValueError(f"{where}: {name[:60]!r} is not a number")
        return int(name)
    return _read_text(kind, name, where)


def _read_record(kind: Any, data: object, where: str) -> Any:  # noqa: ANN401 - likewise
    if not isinstance(data, dict):
        raise _unfit(kind, data, where)
    hints = _hints(kind)
    known = {}
    for field in fields(kind):
        if not field.init:
            continue
        if field.name in data:
            known[field.name] = _read(hints[field.name], data[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}: {field.name!r} is missing")
    return kind(**known)


@cache
def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    return typing.get_type_hints(kind)


def _unfit(kind: Any, data: object, where: str) -> ValueError:  # noqa: ANN401 - a type
    expected = getattr(kind, "__name__", str(kind))
    return ValueError(f"{where}: expected {expected}, seen {data!r:.80}")
