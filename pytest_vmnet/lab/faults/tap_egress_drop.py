"""The node drops what the guest should get, on the guest's own tap."""

from __future__ import annotations

from pytest_vmnet.core.words import Leg, Rebuild, Scope
from pytest_vmnet.lab.faults.base import Fault, Ground, Target, drop_rules, load_rules

_PERCENT = 60


class TapEgressDrop(Fault):
    """A stray rule on the node at the tap's egress; ARP passes.

    A netdev egress hook sits before the tap's capture point, so the last sighting is the uplink,
    or the firewall's port before the tap if the NIC has one.

    A rebuild does not help: the rule names the tap, and the new guest's tap has that name. Tried
    on Linux 6.18 with `terraform apply -replace`: the chain outlived the old tap and hooked the
    new one (60 % lost before, 58-70 % after). Kernels before 6.16 forget the chain together with
    its device; whoever relies on that has not found the rule.
    """

    name = "tap-egress-drop"
    summary = f"the node drops {_PERCENT} % of the IPv4 packets to the guest at its tap"
    scope = Scope.HOST
    leg = Leg.REPLY
    last_seen = "{before_tap}"
    next_point = "{tap}"
    reason = "TapEgressDrop"
    rebuild = Rebuild.NO

    def inject(self, ground: Ground, target: Target) -> None:
        """Hang a chain on the tap that the guest has now."""
        load_rules(
            ground.node_of(target),
            "netdev",
            f"police-{target.tap}",
            f"""chain egress {{
                type filter hook egress device "{target.tap}" priority 0; policy accept;
                ether type ip numgen random mod 100 < {_PERCENT} drop
            }}""",
        )

    def remove(self, ground: Ground, target: Target) -> None:
        """Remove the chain, whether its tap is still the same one or not."""
        drop_rules(ground.node_of(target), "netdev", f"police-{target.tap}")
