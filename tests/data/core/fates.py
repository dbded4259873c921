"""Where packets die, and the lab's faults told so: as what the probes would see of them."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_vmnet.core.facts import GATE, FlowSpec
from pytest_vmnet.core.words import FlowKind

_BUILDERS = runpy.run_path(str(Path(__file__).with_name("builders.py")))
NODE, UPLINK = _BUILDERS["NODE"], _BUILDERS["UPLINK"]
arp, moved, rule = _BUILDERS["arp"], _BUILDERS["moved"], _BUILDERS["rule"]


@dataclass
class Fate:
    """Where the packets of some flows die: after *last*, on the request's or reply's way.

    ``last`` None: nobody sees them. ``answered``: somebody elsewhere answers all the same.
    ``share``: of ten packets so many tenths die; ``first``: so many of the first packets die.
    """

    leg: int
    last: str | None
    share: float = 1.0
    first: int | None = None
    source: str | None = None
    target: str | None = None
    kind: FlowKind | None = None
    answered: bool = False
    lane: str | None = None

    def hits(self, flow: FlowSpec) -> bool:
        return (
            self.source in {None, flow.source}
            and self.target in {None, flow.target}
            and self.kind in {None, flow.kind}
            and self.lane in {None, flow.lane}
        )

    def victims(self, count: int) -> np.ndarray:
        number = np.arange(count)
        if self.first is not None:
            return number < self.first
        if count > 100:  # spread out, so that a share of a long flow is no row of outages
            number = number * 37
        return number % 100 < self.share * 100


def lose(world: Any, leg: int, last: str | None, **more: Any) -> Any:
    """Add a fate, and return the world."""
    world.fates.append(Fate(leg, last, **more))
    return world


def reflected_mac(world: Any) -> None:
    world.reflected["vm-1"] = 0.7
    world.moves = moved()
    lose(world, 1, UPLINK, share=0.7, source="vm-1", kind=FlowKind.GATEWAY)
    lose(world, 0, "tap112i0", share=0.2, source="vm-2", target="vm-1")
    lose(world, 1, "tap112i0", share=0.2, source="vm-1", target="vm-2")


def tap_egress_drop(world: Any) -> None:
    world.rules[NODE] = (
        rule("numgen random mod 100 < 60 drop", hook="egress", device="tap111i0"),
    )
    lose(world, 1, UPLINK, share=0.6, source="vm-1", kind=FlowKind.GATEWAY)
    lose(world, 0, UPLINK, share=0.6, source=GATE, target="vm-1")
    for other in ("2", "3"):
        lose(world, 0, f"tap11{other}i0", share=0.6, source=f"vm-{other}", target="vm-1")
        lose(world, 1, f"tap11{other}i0", share=0.6, source="vm-1", target=f"vm-{other}")


def guest_firewall(world: Any) -> None:
    world.rules["vm-1"] = (rule("icmp type echo-reply drop"),)
    lose(world, 1, "guest:eth0", source="vm-1")


def uplink_loss(world: Any) -> None:
    lose(world, 0, UPLINK, share=0.19, kind=FlowKind.GATEWAY)
    lose(world, 0, None, share=0.1, kind=FlowKind.INBOUND)
    lose(world, 1, UPLINK, share=0.2, kind=FlowKind.INBOUND)


def gateway_loss(world: Any) -> None:
    lose(world, 0, UPLINK, share=0.3, kind=FlowKind.GATEWAY)
    lose(world, 0, UPLINK, share=0.3, kind=FlowKind.CONTROL, source=NODE)
    lose(world, 0, None, share=0.3, kind=FlowKind.CONTROL, source=GATE)


def duplicate_ip(world: Any) -> None:
    twin = "02:76:6d:00:02:6f"
    world.arps = [arp(twin, "192.0.2.11") for _ in range(6)]
    world.arps += [arp(twin, "192.0.2.11", ifindex=vmid, out=True) for vmid in (112, 113) * 6]
    world.neighbours[GATE, "192.0.2.11"] = (twin, "reachable")
    lose(world, 0, UPLINK, share=0.7, source="vm-1", kind=FlowKind.GATEWAY)
    lose(world, 0, None, source=GATE, target="vm-1", answered=True)


FAULTS: dict[str, Callable[[Any], None]] = {
    "reflected-mac": reflected_mac,
    "tap-egress-drop": tap_egress_drop,
    "guest-firewall": guest_firewall,
    "uplink-loss": uplink_loss,
    "gateway-loss": gateway_loss,
    "duplicate-ip": duplicate_ip,
}
"""The lab's faults as what the probes would see of them."""
