"""The cable between a node and the switch loses frames of all guests of that node."""

from __future__ import annotations

from pytest_vmnet.core.words import Leg, Rebuild, Scope
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.faults.base import Fault, Ground, Target, drop_rules, load_rules

_PERCENT = 10
_GUESTS = "& ff:ff:ff:00:00:00 == bc:24:11:00:00:00"
"""Any guest: the prefix that Proxmox gives to the MACs that it makes, so a rebuilt one too."""


class UplinkLoss(Fault):
    """Random loss each way on the uplink; guests reach each other, and the node is spared."""

    name = "uplink-loss"
    summary = f"the uplink loses {_PERCENT} % of the guests' IPv4 packets each way"
    scope = Scope.UPLINK
    leg = Leg.UNKNOWN
    last_seen = "enp4s0"
    next_point = "gateway"
    reason = "UplinkLoss"
    rebuild = Rebuild.NO
    everyone = True

    def victims(
        self, guest: spec.GuestSpec, guests: tuple[spec.GuestSpec, ...]
    ) -> tuple[spec.GuestSpec, ...]:
        """Return the guests behind the same cable."""
        return tuple(each for each in guests if each.node == guest.node)

    def inject(self, ground: Ground, target: Target) -> None:
        """Drop at the switch's port to the node, beyond what the node can capture."""
        port = target.node.port
        drop = f"ether type ip numgen random mod 100 < {_PERCENT} drop"
        load_rules(
            ground.hosts["switch"],
            "netdev",
            _table(target),
            f"""chain ingress {{
                type filter hook ingress device "{port}" priority 10; policy accept;
                ether saddr {_GUESTS} {drop}
            }}
            chain egress {{
                type filter hook egress device "{port}" priority 10; policy accept;
                ether daddr {_GUESTS} {drop}
            }}""",
        )

    def remove(self, ground: Ground, target: Target) -> None:
        """Mend the cable."""
        drop_rules(ground.hosts["switch"], "netdev", _table(target))


def _table(target: Target) -> str:
    return f"line-{target.node.port}"
