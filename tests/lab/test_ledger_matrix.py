"""Loss planted at each segment, on each leg: the ledger names the place and counts every packet.

Each flow of a healthy lab gets a rule of its own that drops its requests or its replies at one
place. What the ledger says of the flow must be that place, and its count that of nft's counter.
Not planted: between a guest's NIC and its tap, where there is QEMU and no hook.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab

RATES = {
    "1": "numgen inc mod 100 == 0",
    "10": "numgen inc mod 10 == 0",
    "55": "numgen inc mod 20 < 11",
    "100": "",
}
FULL = os.environ.get("VMNET_MATRIX") == "full"
"""Whether every rate is planted on every path (`make matrix`), and not a sample of them."""

GATEWAY, EXTERNAL, WORKSTATION = "192.0.2.1", "198.51.100.8", "192.0.2.50"
REQUEST, REPLY, UNKNOWN = "request", "reply", "unknown"
_STRAY = 2
"""Packets of a flow that may die elsewhere: the emulated guests lose one in some ten thousand."""


def address(guest: str) -> str:
    return f"192.0.2.{10 + int(guest.removeprefix('vm-'))}"


@dataclass(frozen=True)
class Place:
    """Where a rule is loaded: a hook of a device of a host; no device is the host's own output."""

    host: str
    hook: str
    device: str = ""

    @property
    def chain(self) -> str:
        if self.device:
            return f'type filter hook {self.hook} device "{self.device}" priority 0;'
        return f"type filter hook {self.hook} priority 0;"


@dataclass(frozen=True)
class Plant:
    """A flow whose packets one rule drops, and what the ledger has to say of them.

    Attributes:
        place: Where.
        sender: Address that the dropped packets come from.
        receiver: Address that they go to.
        kind: ICMP type.
        guest: Whose list of flows is read.
        flow: Kind and target of the flow in it.
        leg: What the ledger has to say: the leg,
        last: the last point that saw them,
        next: and the point that should have seen them next.
    """

    place: Place
    sender: str
    receiver: str
    kind: str
    guest: str
    flow: tuple[str, str]
    leg: str
    last: str | None
    next: str

    @property
    def name(self) -> str:
        return f"p-{self.sender}-{self.receiver}-{self.kind}".replace(".", "-")

    def rule(self, rate: str) -> str:
        return (
            f"ip saddr {self.sender} ip daddr {self.receiver} icmp type {self.kind} "
            f"{RATES[rate]} counter name {self.name} drop"
        )


def outbound(guest: str, far: tuple[str, str, str], leg: str, where: Place, *step: Any) -> Plant:
    """Return a plant on a flow that *guest* starts; *far* is its kind, target and address."""
    kind, target, there = far
    ends = (address(guest), there) if leg == REQUEST else (there, address(guest))
    said = step[2] if len(step) > 2 else leg
    return Plant(where, *ends, f"echo-{leg}", guest, (kind, target), said, step[0], step[1])


def inbound(guest: str, leg: str, where: Place, last: str | None, following: str) -> Plant:
    """Return a plant on the flow from the workstation to *guest*."""
    ends = (WORKSTATION, address(guest)) if leg == REQUEST else (address(guest), WORKSTATION)
    return Plant(where, *ends, f"echo-{leg}", guest, ("inbound", guest), leg, last, following)


TO_GATEWAY = ("gateway", GATEWAY, GATEWAY)
TO_EXTERNAL = ("external", EXTERNAL, EXTERNAL)


def to_peer(guest: str) -> tuple[str, str, str]:
    return "peer", guest, address(guest)


def plain_plants(uplink: str = "enp4s0") -> list[Plant]:
    """Return a plant for every segment and leg of the plain path of the one-node lab."""
    node, port = "node", "sw-node"
    from_wire, to_wire = Place("switch", "egress", port), Place("switch", "ingress", port)
    up_in = Place(node, "ingress", uplink)
    inside = Place("vm-4", "ingress", "eth0")
    tap_out = Place(node, "egress", "tap113i0")
    return [
        outbound("vm-1", TO_GATEWAY, REQUEST, Place("vm-1", "output"), None, "guest:eth0"),
        outbound("vm-1", TO_EXTERNAL, REQUEST, to_wire, uplink, "external", UNKNOWN),
        outbound(
            "vm-2", TO_GATEWAY, REQUEST, Place(node, "ingress", "tap112i0"), "tap112i0", uplink
        ),
        outbound("vm-2", TO_EXTERNAL, REPLY, from_wire, uplink, "external", UNKNOWN),
        outbound("vm-3", TO_GATEWAY, REPLY, up_in, uplink, "tap113i0"),
        outbound("vm-3", TO_EXTERNAL, REPLY, tap_out, uplink, "tap113i0"),
        outbound("vm-4", TO_GATEWAY, REPLY, inside, "guest:eth0", "guest:stack"),
        outbound("vm-5", TO_GATEWAY, REQUEST, to_wire, uplink, "gateway", UNKNOWN),
        outbound("vm-5", TO_EXTERNAL, REPLY, up_in, uplink, "tap115i0"),
        inbound("vm-1", REQUEST, from_wire, None, uplink),
        inbound("vm-2", REQUEST, up_in, uplink, "tap112i0"),
        inbound("vm-4", REQUEST, inside, "guest:eth0", "guest:stack"),
        inbound("vm-3", REPLY, Place(node, "ingress", "tap113i0"), "tap113i0", uplink),
        inbound("vm-5", REPLY, to_wire, uplink, "workstation"),
        outbound(
            "vm-1", to_peer("vm-2"), REQUEST, Place(node, "ingress", "tap111i0"),
            "tap111i0", "tap112i0",
        ),
        outbound(
            "vm-3", to_peer("vm-2"), REPLY, Place(node, "ingress", "tap112i0"),
            "tap112i0", "tap113i0",
        ),
        outbound("vm-5", to_peer("vm-4"), REQUEST, inside, "vm-4:eth0", "vm-4:stack"),
    ]  # fmt: skip


def plants_of_two() -> list[Plant]:
    """Return a plant for every segment and leg of the lab of two: firewalled vm-2 and vm-4."""
    one, two, up = "node", "node2", "enp4s0"
    from_one, to_one = (Place("switch", hook, "sw-node") for hook in ("ingress", "egress"))
    from_two = Place("switch", "ingress", "sw-node2")
    up_one, up_two = Place(one, "ingress", up), Place(two, "ingress", up)

    def at(host: str, device: str) -> Place:
        return Place(host, "ingress", device)

    return [
        outbound("vm-1", TO_GATEWAY, REPLY, to_one, up, "gateway", UNKNOWN),
        outbound("vm-1", TO_EXTERNAL, REQUEST, at(one, "tap111i0"), "tap111i0", up),
        outbound("vm-2", TO_GATEWAY, REQUEST, at(one, "tap112i0"), "tap112i0", "fwln112i0"),
        outbound("vm-2", TO_EXTERNAL, REQUEST, at(one, "fwpr112p0"), "fwpr112p0", up),
        inbound("vm-2", REQUEST, up_one, up, "fwpr112p0"),
        outbound("vm-4", TO_GATEWAY, REPLY, up_two, up, "fwpr114p0"),
        outbound("vm-4", TO_EXTERNAL, REPLY, at(two, "fwln114i0"), "fwln114i0", "tap114i0"),
        inbound("vm-4", REPLY, at(two, "tap114i0"), "tap114i0", "fwln114i0"),
        outbound("vm-5", TO_GATEWAY, REQUEST, at(two, "tap115i0"), "tap115i0", up),
        outbound("vm-5", TO_EXTERNAL, REQUEST, from_two, up, "external", UNKNOWN),
        inbound("vm-5", REPLY, from_two, up, "workstation"),
        inbound("vm-3", REQUEST, to_one, None, up),
        # On one node, with a firewall bridge at one end and with none.
        outbound("vm-1", to_peer("vm-2"), REQUEST, at(one, "tap111i0"), "tap111i0", "fwpr112p0"),
        outbound("vm-2", to_peer("vm-3"), REPLY, at(one, "tap113i0"), "tap113i0", "fwpr112p0"),
        outbound("vm-4", to_peer("vm-5"), REQUEST, at(two, "fwpr114p0"), "fwpr114p0", "tap115i0"),
        outbound("vm-1", to_peer("vm-3"), REPLY, at(one, "tap113i0"), "tap113i0", "tap111i0"),
        # From node to node.
        outbound("vm-1", to_peer("vm-5"), REQUEST, from_one, up, "pve2:enp4s0"),
        outbound("vm-2", to_peer("vm-4"), REQUEST, up_two, "pve2:enp4s0", "fwpr114p0"),
        outbound("vm-2", to_peer("vm-5"), REPLY, from_two, "pve2:enp4s0", up),
        outbound("vm-1", to_peer("vm-4"), REQUEST, at(two, "fwln114i0"), "fwln114i0", "tap114i0"),
        outbound("vm-3", to_peer("vm-4"), REPLY, at(two, "tap114i0"), "tap114i0", "fwln114i0"),
        outbound("vm-3", to_peer("vm-5"), REPLY, at(two, "tap115i0"), "tap115i0", "pve2:enp4s0"),
    ]  # fmt: skip


@contextmanager
def planted(lab: Any, plants: Sequence[Plant], rate: str) -> Iterator[None]:
    """Load every plant's rule, one table per place, and remove them all afterwards."""
    places = sorted({plant.place for plant in plants}, key=str)
    try:
        for place in places:
            mine = [plant for plant in plants if plant.place == place]
            family = "netdev" if place.device else "ip"
            counters = "".join(f"counter {plant.name} {{ }}\n" for plant in mine)
            rules = "\n".join(plant.rule(rate) for plant in mine)
            script = (
                f"table {family} {_table(place)} {{\n{counters}"
                f"chain c {{ {place.chain} policy accept;\n{rules}\n}}\n}}\n"
            )
            done = lab.exec(place.host, "nft", "-f", "-", stdin=script.encode())
            assert done.returncode == 0, (script, done.stderr.decode())
        yield
    finally:
        for place in places:
            family = "netdev" if place.device else "ip"
            lab.exec(place.host, "nft", "delete", "table", family, _table(place))


def _table(place: Place) -> str:
    return f"plant-{place.hook}-{place.device or 'own'}"


def dropped(lab: Any, hosts: Sequence[str]) -> dict[str, int]:
    """Return how many packets each plant has dropped, as nft counted them."""
    found = {}
    for host in sorted(set(hosts)):
        listing = json.loads(lab.out(host, "nft", "-j", "list", "counters"))["nftables"]
        found |= {
            row["counter"]["name"]: row["counter"]["packets"]
            for row in listing
            if "counter" in row
        }
    return found


def differences(told: Any, plants: Sequence[Plant], counted: dict[str, int]) -> list[str]:
    """Return, for each flow, how the ledger's deaths differ from what was dropped."""
    guests = {guest["name"]: guest for guest in told["guests"]}
    wrong = []
    for plant in plants:
        guest = guests[plant.guest]
        flows = [
            flow for flow in (*guest["flows"], *guest["side_flows"])
            if (flow["kind"], flow["target"]) == plant.flow
        ]  # fmt: skip
        deaths: dict[tuple[str, str | None, str | None], int] = {}
        for death in (death for flow in flows for death in flow["deaths"]):
            place = (death["leg"], death["last_seen"], death["next_point"])
            deaths[place] = deaths.get(place, 0) + death["packets"]
        here = deaths.pop((plant.leg, plant.last, plant.next), 0)
        if here != counted[plant.name] or sum(deaths.values()) > _STRAY:
            wrong.append(
                f"{plant.guest} {plant.flow}: {plant.leg} {plant.last} -> {plant.next}: "
                f"{here} in the ledger, {counted[plant.name]} dropped; elsewhere: {deaths}; "
                f"{guest['reason']}"
            )
    return wrong


def gate(lab: Any, folder: Path) -> Any:
    """Run the gate on the workstation and return what it wrote; verdicts do not matter here.

    The threshold lies between 55 and 100 % loss, so that no second stage follows.
    """
    report = folder / "out.json"
    argv = ("pytest", "-p", "no:cacheprovider", "-q", "--proxmox-node=all", "--vmnet-count=300")
    done = lab.exec(
        "workstation", *argv, "--vmnet-max-loss=98%", f"--vmnet-json={report}",
        timeout_s=300, cwd=folder,
    )  # fmt: skip
    assert report.exists(), done.stdout.decode() + done.stderr.decode()
    return json.loads(report.read_text(encoding="utf-8"))


def check(lab: Any, plants: Sequence[Plant], rate: str, folder: Path) -> None:
    with planted(lab, plants, rate):
        told = gate(lab, folder)
        counted = dropped(lab, [plant.place.host for plant in plants])
    assert len(counted) == len(plants)
    assert all(counted.values())
    wrong = differences(told, plants, counted)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("rate", RATES if FULL else ("1", "100"))
def test_plain_path(lab, tmp_path, rate):
    check(lab, plain_plants(), rate, tmp_path)


@pytest.mark.parametrize("rate", RATES if FULL else ("55",))
def test_firewall_path_and_two_nodes(lab_of_two, tmp_path, rate):
    check(lab_of_two, plants_of_two(), rate, tmp_path)
