"""What happened to devices, from ``ip -o monitor link`` as iproute2 6.1 printed it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.parse.linkevents import changes

BEFORE = (
    "2: tap1i0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue master vmbr0 state UP "
    "mode DEFAULT group default qlen 1000\\    link/ether 02:00:00:00:00:01\n"
    "3: fwln1i0@fwpr1p0: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN mode DEFAULT group "
    "default qlen 1000\\    link/ether 02:00:00:00:00:02\n"
)


def event(flags: str, rest: str, name: str = "2: tap1i0") -> str:
    return f"{name}: <BROADCAST,{flags}> mtu 1500 {rest} state UP group default \\ x\n"


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ("", {}),
        (event("UP,LOWER_UP", "master vmbr0"), {}),
        (event("UP,LOWER_UP,PROMISC", "mtu 1400 master vmbr0"), {}),
        (event("", "master vmbr0"), {"tap1i0": "it was set down"}),
        (event("NO-CARRIER,UP", "master vmbr0"), {"tap1i0": "it lost its carrier"}),
        (event("UP,LOWER_UP", ""), {"tap1i0": "its master changed from vmbr0 to none"}),
        (
            event("UP,LOWER_UP", "master vmbr1"),
            {"tap1i0": "its master changed from vmbr0 to vmbr1"},
        ),
        (
            event("UP,LOWER_UP", "master vmbr0", "9: tap1i0"),
            {"tap1i0": "it was made anew"},
        ),
        (event("UP", "master vmbr0", "Deleted 2: tap1i0"), {"tap1i0": "it was removed"}),
        (event("UP", "", "3: fwln1i0@fwpr1p0"), {"fwln1i0": "it was set up"}),
        (event("UP,LOWER_UP", "", "7: other"), {}),
        # the bridge's own words for a port: no group
        ("Deleted 2: tap1i0: <UP> mtu 1500 master vmbr0 state DOWN \\ link/ether 02::\n", {}),
        # the first change counts
        (
            event("", "master vmbr0") + event("UP,LOWER_UP", "master vmbr0") + event("UP", ""),
            {"tap1i0": "it was set down"},
        ),
    ],
)
def test_what_changes_a_devices_state(events, found) -> None:
    assert changes(BEFORE, events) == found


@given(st.text(), st.text())
def test_any_text_is_read(before, events) -> None:
    assert set(changes(before, events)) <= set(changes(before, events) | {})
    assert isinstance(changes(BEFORE, events + BEFORE + before), dict)
