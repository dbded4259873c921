"""The guest's own firewall drops the replies."""

from __future__ import annotations

from contextlib import suppress

from pytest_vmnet.core.words import Leg, Rebuild, Scope
from pytest_vmnet.errors import LabError
from pytest_vmnet.lab.faults.base import Fault, Ground, Target

_TABLE = "inet hardening"
_RULES = f"""
table {_TABLE} {{
    chain input {{
        type filter hook input priority 0; policy accept;
        icmp type echo-reply drop
    }}
}}
"""
_AFRESH = f"add table {_TABLE}\ndelete table {_TABLE}\n"


class GuestFirewall(Fault):
    """A rule inside the guest; whether a rebuild brings it back is up to the provisioning."""

    name = "guest-firewall"
    summary = "the guest's own firewall drops every echo reply"
    scope = Scope.GUEST
    leg = Leg.REPLY
    last_seen = "guest:eth0"
    next_point = "guest:stack"
    reason = "GuestFirewallDrop"
    rebuild = Rebuild.MAY_CURE

    def inject(self, ground: Ground, target: Target) -> None:
        """Load the rule over the agent: it needs no network."""
        ground.in_guest(target.name, ["nft", "-f", "-"], _AFRESH + _RULES)
        ground.in_guest(target.name, ["nft", "list", "table", *_TABLE.split()])

    def remove(self, ground: Ground, target: Target) -> None:
        """Remove the rule; a guest that was rebuilt or is gone has none."""
        with suppress(LabError):
            ground.in_guest(target.name, ["nft", "-f", "-"], _AFRESH)
