"""Loss planted at each segment of the firewall path and between two nodes, counted likewise.

Not planted: between ``fwln`` and ``fwpr``, the two ends of one veth, where there is no hook.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import client, preflight
from pytest_vmnet.lab.up import bring_up

pytestmark = pytest.mark.lab

M = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_ledger_matrix.py"))))
LAB = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("conftest.py"))))
Place, to_peer = M.Place, M.to_peer
FAR = "pve2:enp4s0"


@pytest.fixture(scope="module")
def lab():
    """The larger variant: vm-4 and vm-5 on pve2, vm-2 and vm-4 behind a firewall bridge."""
    try:
        preflight.check(guests=True)
    except LabError as error:
        pytest.skip(str(error))
    name = f"test-nodes-{os.getpid()}"
    outcome = bring_up(name, print, nodes=2, hold=True)
    yield LAB.LabCommand(name)
    client.take_down(name)
    outcome.lease.close()


gate = M.gate


def plants() -> list:
    """Return a plant for every segment and leg of the firewall path, and of that to a far node."""
    one, two = "node", "node2"
    before_tap = Place(one, "ingress", "fwln112i0")
    behind_pair = Place(one, "ingress", "fwpr112p0")
    far_pair = Place(two, "egress", "fwpr114p0")
    cable = Place("switch", "ingress", "sw-node")
    far_cable = Place("switch", "ingress", "sw-node2")
    return [
        # out of a firewalled NIC
        M.outbound(
            "vm-2", M.TO_GATEWAY, "request", Place(one, "ingress", "tap112i0"),
            "tap112i0", "fwln112i0",
        ),
        M.outbound("vm-2", M.TO_EXTERNAL, "request", behind_pair, "fwpr112p0", "enp4s0"),
        M.inbound("vm-4", "reply", Place(two, "ingress", "tap114i0"), "tap114i0", "fwln114i0"),
        # and into one
        M.inbound(
            "vm-2", "request", Place(one, "ingress", "enp4s0"), "enp4s0", "fwpr112p0"
        ),
        M.outbound("vm-4", M.TO_GATEWAY, "reply", far_pair, "enp4s0", "fwpr114p0"),
        M.outbound(
            "vm-4", M.TO_EXTERNAL, "reply", Place(two, "ingress", "fwln114i0"),
            "fwln114i0", "tap114i0",
        ),
        # between a plain and a firewalled one of one node
        M.outbound("vm-2", to_peer("vm-1"), "request", behind_pair, "fwpr112p0", "tap111i0"),
        M.outbound("vm-3", to_peer("vm-2"), "reply", behind_pair, "fwpr112p0", "tap113i0"),
        # between two nodes
        M.outbound("vm-1", to_peer("vm-4"), "request", cable, "enp4s0", FAR),
        M.outbound("vm-1", to_peer("vm-5"), "reply", far_cable, FAR, "enp4s0"),
        M.outbound("vm-3", to_peer("vm-4"), "request", far_pair, FAR, "fwpr114p0"),
        M.outbound("vm-2", to_peer("vm-4"), "reply", before_tap, "fwln112i0", "tap112i0"),
        M.outbound(
            "vm-2", to_peer("vm-5"), "request", Place(two, "egress", "tap115i0"), FAR, "tap115i0"
        ),
        # plain ones beside them
        M.outbound(
            "vm-1", M.TO_GATEWAY, "reply", Place(one, "egress", "tap111i0"), "enp4s0", "tap111i0"
        ),
        M.outbound(
            "vm-5", M.TO_GATEWAY, "request", Place(two, "egress", "enp4s0"), "tap115i0", "enp4s0"
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("rate", M.RATES)
def test_firewall_path_and_two_nodes(lab, gate, rate):
    planted = plants()
    with M.planted(lab, planted, rate):
        told = gate("--vmnet-max-loss=98%")
        counted = M.dropped(lab, [plant.place.host for plant in planted])
    assert len(counted) == len(planted)
    assert all(counted.values())
    assert not M.differences(told, planted, counted)
