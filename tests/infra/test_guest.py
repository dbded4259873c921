"""Each guest's own traffic: to its gateway, beyond it, and from outside."""

from __future__ import annotations

import pytest

from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.verify import Ledger


@pytest.mark.usefixtures("gateway")
def test_gateway_loss(ledger: Ledger, vm: Guest) -> None:
    """Loss to the gateway is proven to be at most the threshold."""
    ledger.assert_clean(vm, FlowKind.GATEWAY)


@pytest.mark.usefixtures("gateway")
def test_tap_sees_replies(ledger: Ledger, vm: Guest) -> None:
    """The guest's tap sees the gateway's replies."""
    ledger.assert_tap_sees_replies(vm)


def test_external(ledger: Ledger, vm: Guest) -> None:
    """Loss to the external address is proven to be at most the threshold."""
    ledger.assert_clean(vm, FlowKind.EXTERNAL)


def test_inbound(ledger: Ledger, vm: Guest) -> None:
    """Loss from the gate's own host to the guest is proven to be at most the threshold."""
    ledger.assert_clean(vm, FlowKind.INBOUND)


def test_verdict(ledger: Ledger, vm: Guest) -> None:
    """Everything that was seen of the guest together says that it is healthy."""
    ledger.assert_healthy(vm)
