"""Records go into JSON and come back the same; what is no record is told where it is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.bundle.codec import from_plain, to_plain
from pytest_vmnet.bundle.layout import dump_json, is_safe, load_json
from pytest_vmnet.core.words import Action


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str
    number: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    address: IPv4Address | IPv6Address
    inner: Inner
    many: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (0, "")
    names: frozenset[str] = frozenset()
    by_number: Mapping[int, float] = field(default_factory=dict)
    action: Action = Action.NONE
    when: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    interface: IPv4Interface | None = None
    is_it: bool = False
    worked_out: dict[str, str] = field(default_factory=dict, init=False, compare=False)


WHOLE = Outer(
    address=IPv6Address("2001:db8::1"),
    inner=Inner(name="é\x1b", number=-3),
    many=(Inner(name="a"), Inner(name="")),
    pair=(7, "x"),
    names=frozenset({"b", "a"}),
    by_number={0: 0.25, 12: 3.0},
    action=Action.REBUILD,
    when=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    interface=IPv4Interface("192.0.2.1/24"),
    is_it=True,
)


def test_a_record_comes_back_the_same() -> None:
    data = dump_json(to_plain(WHOLE))
    assert data.isascii()
    assert b"worked_out" not in data
    assert from_plain(Outer, load_json(data)) == WHOLE
    assert json.loads(data)["names"] == ["a", "b"]


def test_a_key_that_is_not_known_is_left_out_and_a_missing_one_has_its_default() -> None:
    plain = {"address": "192.0.2.1", "inner": {"name": "x", "newer": [1]}, "newer": None}
    assert from_plain(Outer, plain) == Outer(
        address=IPv4Address("192.0.2.1"), inner=Inner(name="x")
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"address": "host"}, ".address: expected IPv4Address, seen 'host'"),
        ({"inner": None}, ".inner: expected Inner, seen None"),
        ({"inner": {}}, ".inner: 'name' is missing"),
        ({"inner": {"name": "x", "number": True}}, ".inner.number: expected int, seen True"),
        ({"inner": {"name": "x", "number": 1.5}}, ".inner.number: expected int, seen 1.5"),
        ({"inner": {"name": "x", "number": 2**63}}, ".inner.number: expected int"),
        ({"many": {}}, ".many: expected tuple, seen {}"),
        ({"many": [{"name": "x"}, 3]}, ".many[1]: expected Inner, seen 3"),
        ({"pair": [1]}, ".pair: 1 items, expected 2"),
        ({"names": [1]}, ".names[0]: expected str, seen 1"),
        ({"names": "ab"}, ".names: expected frozenset, seen 'ab'"),
        ({"by_number": {"-1": 1}}, ".by_number: '-1' is not a number"),
        ({"by_number": {"٣": 1}}, ".by_number: '٣' is not a number"),
        ({"by_number": {"1": "x"}}, ".by_number.1: expected float, seen 'x'"),
        ({"action": "reboot"}, ".action: expected Action, seen 'reboot'"),
        ({"when": "now"}, ".when: expected datetime, seen 'now'"),
        ({"is_it": 1}, ".is_it: expected bool, seen 1"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(changes, said) -> None:
    with pytest.raises(ValueError, match=r"expected|missing|is not a number") as caught:
        from_plain(Outer, to_plain(WHOLE) | changes)
    assert said in str(caught.value)


def test_what_could_not_be_read_back_is_not_written() -> None:
    with pytest.raises(TypeError, match="of type bytes cannot be kept"):
        to_plain({"a": b"raw"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*to_plain(WHOLE)]), JSON))
def test_nothing_but_a_value_error_comes_of_any_json(changes) -> None:
    try:
        found = from_plain(Outer, to_plain(WHOLE) | changes)
    except ValueError:
        return
    assert from_plain(Outer, to_plain(found)) == found


@given(st.binary(max_size=40))
def test_nothing_but_a_value_error_comes_of_any_bytes(data) -> None:
    try:
        load_json(data)
    except ValueError:
        return


@pytest.mark.parametrize("text", [b"NaN", b'{"a": Infinity}', b"[" * 100_000, b"", b"\xff"])
def test_what_is_no_json_of_ours_is_refused(text) -> None:
    with pytest.raises(ValueError, match=r".+"):
        load_json(text)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("run.json", True),
        ("sweep-1/vm-1.example.org/ping.0.txt", True),
        ("", False),
        ("/etc/passwd", False),
        ("../run.json", False),
        ("a/../b", False),
        ("a//b", False),
        (".hidden", False),
        ("a/b/c/d", False),
        ("a\nb", False),
        ("a\0b", False),
        ("é", False),
        ("x" * 101, False),
    ],
)
def test_a_file_of_a_bundle_stays_inside_of_it(name, is_one) -> None:
    assert is_safe(name) is is_one
