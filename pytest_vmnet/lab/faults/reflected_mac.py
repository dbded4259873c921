"""The incident: the switch sends a part of the guest's own frames back to the node."""

from __future__ import annotations

from pytest_vmnet.core.words import Leg, Rebuild, Scope
from pytest_vmnet.lab.faults.base import Fault, Ground, Target, drop_rules, load_rules

_PERCENT = 70


class ReflectedMac(Fault):
    """A second source of the guest's MAC beyond the uplink.

    Each reflected frame moves the bridge's FDB entry of the guest to the uplink just before the
    reply arrives there, and a bridge never sends a frame back out of its ingress port. The rule
    names the MAC that the guest has now: a restart keeps it, a rebuild gets another one.
    """

    name = "reflected-mac"
    summary = f"the switch reflects {_PERCENT} % of the guest's frames to the node"
    scope = Scope.UPLINK
    leg = Leg.REPLY
    last_seen = "enp4s0"
    next_point = "{port}"
    reason = "MacReflection"
    rebuild = Rebuild.CURES

    def inject(self, ground: Ground, target: Target) -> None:
        """Duplicate the guest's frames back out of the switch's port to the node."""
        port = target.node.port
        load_rules(
            ground.hosts["switch"],
            "netdev",
            f"loop-{target.vmid}",
            f"""chain ingress {{
                type filter hook ingress device "{port}" priority 0; policy accept;
                ether saddr {target.mac} numgen random mod 100 < {_PERCENT} dup to "{port}"
            }}""",
        )

    def remove(self, ground: Ground, target: Target) -> None:
        """Close the loop's end."""
        drop_rules(ground.hosts["switch"], "netdev", f"loop-{target.vmid}")
