"""The rules: one cause each, facts in, a finding or the reason against it out.

A new rule is one file here and one line in `RULES`. The order is the order of suspicion: what
is proven by frames comes before what is concluded from counts.
"""

from __future__ import annotations

from pytest_vmnet.core.rules import (
    duplicate_address,
    gateway_loss,
    guest_firewall_drop,
    mac_reflection,
    tap_egress_drop,
    uplink_loss,
)
from pytest_vmnet.core.rules.case import Rule

RULES: dict[str, Rule] = {
    "MacReflection": mac_reflection.examine,
    "DuplicateAddress": duplicate_address.examine,
    "GuestFirewallDrop": guest_firewall_drop.examine,
    "TapEgressDrop": tap_egress_drop.examine,
    "GatewayLoss": gateway_loss.examine,
    "UplinkLoss": uplink_loss.examine,
}
