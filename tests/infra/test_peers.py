"""Each pair of guests on one segment."""

from __future__ import annotations

from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.verify import Ledger


def test_arp(ledger: Ledger, vm: Guest, peer: Guest) -> None:
    """The guest's neighbour table holds the peer's own MAC, reachable."""
    ledger.assert_neighbour(vm, peer)


def test_peer_loss(ledger: Ledger, vm: Guest, peer: Guest) -> None:
    """Loss between the two is proven to be at most the threshold."""
    ledger.assert_clean(vm, FlowKind.PEER, peer)
