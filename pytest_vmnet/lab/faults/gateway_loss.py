"""The gateway is overloaded and drops packets of everyone in its network."""

from __future__ import annotations

from pytest_vmnet.core.words import Leg, Rebuild, Scope
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.faults.base import Fault, Ground, Target, drop_rules, load_rules

_PERCENT = 30
_TABLE = "overload"
_LAN = f"{spec.GATEWAY_ADDRESS.rpartition('.')[0]}.0/{spec.PREFIX_LENGTH}"


class GatewayLoss(Fault):
    """Loss inside the gateway: the node and the workstation lose as much as the guests do."""

    name = "gateway-loss"
    summary = f"the gateway drops {_PERCENT} % of the packets it answers or forwards"
    scope = Scope.GATEWAY
    leg = Leg.UNKNOWN
    last_seen = "enp4s0"
    next_point = "gateway"
    reason = "GatewayLoss"
    rebuild = Rebuild.NO
    everyone = True

    def inject(self, ground: Ground, target: Target) -> None:
        """Drop in the gateway's stack; it answers ARP as before."""
        del target
        drop = f"numgen random mod 100 < {_PERCENT} drop"
        load_rules(
            ground.hosts["gateway"],
            "ip",
            _TABLE,
            f"""chain input {{
                type filter hook input priority 0; policy accept;
                ip saddr {_LAN} {drop}
            }}
            chain forward {{
                type filter hook forward priority 0; policy accept;
                ip saddr {_LAN} {drop}
                ip daddr {_LAN} {drop}
            }}""",
        )

    def remove(self, ground: Ground, target: Target) -> None:
        """Take the load off."""
        del target
        drop_rules(ground.hosts["gateway"], "ip", _TABLE)
