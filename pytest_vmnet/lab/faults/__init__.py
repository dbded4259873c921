"""Planted faults with their ground truth. A new fault is one new file and one line here."""

from __future__ import annotations

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab.faults.base import Fault
from pytest_vmnet.lab.faults.duplicate_ip import DuplicateIp
from pytest_vmnet.lab.faults.gateway_loss import GatewayLoss
from pytest_vmnet.lab.faults.guest_firewall import GuestFirewall
from pytest_vmnet.lab.faults.reflected_mac import ReflectedMac
from pytest_vmnet.lab.faults.tap_egress_drop import TapEgressDrop
from pytest_vmnet.lab.faults.uplink_loss import UplinkLoss

__all__ = ["FAULTS", "Fault", "find"]

FAULTS: tuple[Fault, ...] = (
    ReflectedMac(),
    TapEgressDrop(),
    GuestFirewall(),
    UplinkLoss(),
    GatewayLoss(),
    DuplicateIp(),
)


def find(name: str) -> Fault:
    """Return the fault *name*.

    Raises:
        LabError: There is none; the message lists all.
    """
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise LabError(f"no fault {name!r}; choose {', '.join(fault.name for fault in FAULTS)}")
