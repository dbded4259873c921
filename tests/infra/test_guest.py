"""Each guest's own traffic: to its gateway, beyond it, and from outside."""

from __future__ import annotations

from pytest_vmnet.core.words import FlowKind


def test_gateway_loss(ledger, vm, gateway):
    """Loss to the gateway is proven to be at most the threshold."""
    ledger.assert_clean(vm, FlowKind.GATEWAY)


def test_tap_sees_replies(ledger, vm, gateway):
    """The guest's tap sees the gateway's replies."""
    ledger.assert_tap_sees_replies(vm)


def test_external(ledger, vm):
    """Loss to the external address is proven to be at most the threshold."""
    ledger.assert_clean(vm, FlowKind.EXTERNAL)


def test_inbound(ledger, vm):
    """Loss from the gate's own host to the guest is proven to be at most the threshold."""
    ledger.assert_clean(vm, FlowKind.INBOUND)


def test_verdict(ledger, vm):
    """Everything that was seen of the guest together says that it is healthy."""
    ledger.assert_healthy(vm)
