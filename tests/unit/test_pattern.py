"""One word that names guests."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vmnet.core.site.pattern import matches, matches_any
from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.errors import ConfigError

GUEST = Guest(
    vmid=111,
    name="vm-1",
    ident="vm-1.111",
    node="pve1",
    tags=("web", "vmnet-rebuild"),
    pool="prod",
)


@pytest.mark.parametrize(
    "pattern",
    ["vm-1", "vm-*", "vm-?", "*", "111", " 111 ", "vm-1.111", "tag:web", "tag:WEB", "tag:vmnet-*",
     "pool:prod", "pool:p*"],
)  # fmt: skip
def test_names_it(pattern: Any) -> None:
    assert matches(pattern, GUEST)


@pytest.mark.parametrize(
    "pattern", ["vm-2", "VM-1", "11", "1111", "11*", "tag:db", "pool:test", "pool:PROD", "web"]
)
def test_does_not_name_it(pattern: Any) -> None:
    assert not matches(pattern, GUEST)


def test_a_guest_without_a_pool_is_in_none() -> None:
    assert not matches("pool:*", Guest(vmid=1, name="a", ident="a", node="n"))


@pytest.mark.parametrize("pattern", ["", "  ", "tag:", "pool:", "node:pve1", "a,b", ":x"])
def test_refuses_what_is_no_pattern(pattern: Any) -> None:
    with pytest.raises(ConfigError, match="names no guest"):
        matches(pattern, GUEST)


def test_any_of_several_and_still_every_one_is_checked() -> None:
    assert matches_any(["vm-9", "111"], GUEST)
    assert not matches_any([], GUEST)
    with pytest.raises(ConfigError, match="'tag:'"):
        matches_any(["111", "tag:"], GUEST)
