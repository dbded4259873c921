"""Whose frames a flow's packets are: what a sighting has to agree with to count. Pure.

Every guest that takes part in a run learns the run's mark from the first probe that reaches it. So
the mark alone proves nothing against a guest that means harm: a sighting counts only if its
source fits. A guest's own port is the exception, since what comes in there is the guest's,
whatever it says of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_vmnet.core.facts import GATE, Address, FlowSpec
from pytest_vmnet.core.flow.plan import same_segment
from pytest_vmnet.core.flow.route import Path
from pytest_vmnet.core.site.topology import Guest, Inventory

_LAST_64_BITS = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends one leg of a flow.

    Attributes:
        guest: Id of the guest that does, None for anybody else.
        mac: Its MAC as a number, 0 if it is not known.
        src: Its address as sightings have it, 0 if it is not known.
        is_anybody: Whether it may be one of the guests without our knowing: the gate's own host.
    """

    guest: str | None
    mac: int
    src: int
    is_anybody: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """A flow with its path and what its sightings have to agree with.

    Attributes:
        flow: The flow.
        path: Its path.
        request: Who sends its requests.
        reply: Who sends its replies.
        own_mac: For each leg and waypoint, whether frames still have their sender's own MAC there:
            no router is between.
    """

    flow: FlowSpec
    path: Path
    request: Sender
    reply: Sender
    own_mac: tuple[tuple[bool, ...], tuple[bool, ...]]


class Site:
    """A site's guests by what frames show of them.

    Attributes:
        macs: Guest id by MAC as a number; without routers, which send on the frames of others.
        taps: Guest id by (node, tap); without routers likewise.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._by_ident = {guest.ident: guest for guest in inventory.guests}
        self._by_address: dict[Address, Guest] = {
            guest.address: guest for guest in inventory.guests if guest.address
        }
        gateways = {guest.gateway for guest in inventory.guests}
        leaves = [guest for guest in inventory.guests if guest.address not in gateways]
        self.macs: Mapping[int, str] = {
            number(nic.mac): guest.ident for guest in leaves for nic in guest.nics
        }
        self.taps: Mapping[tuple[str, str], str] = {
            (guest.node, nic.tap(guest.vmid)): guest.ident
            for guest in leaves
            for nic in guest.nics
        }

    def expected(self, flow: FlowSpec, path: Path) -> Expected:
        """Return what a flow's sightings have to agree with."""
        source = self._by_ident.get(flow.source)
        target = self._by_ident.get(flow.target) or self._by_address.get(flow.address)
        request = self._prober(flow, source)
        reply = Sender(
            target.ident if target else None,
            number(target.nic.mac) if target else 0,
            int(flow.address) & _LAST_64_BITS,
        )
        direct = bool(source and target and same_segment(source, target, self._inventory))
        own_mac = (
            tuple(_has_own_mac(path, at, source, leaves=True) or direct for at in _places(path)),
            tuple(_has_own_mac(path, at, target, leaves=False) or direct for at in _places(path)),
        )
        return Expected(flow, path, request, reply, own_mac)

    def _prober(self, flow: FlowSpec, source: Guest | None) -> Sender:
        """Return who sends requests."""
        if source is None:
            return Sender(None, 0, 0, is_anybody=flow.source == GATE)
        same = source.address is not None and source.address.version == flow.address.version
        src = int(source.address) if source.address and same else 0
        return Sender(source.ident, number(source.nic.mac), src)


def _places(path: Path) -> range:
    return range(len(path.waypoints))


def _has_own_mac(path: Path, index: int, sender: Guest | None, *, leaves: bool) -> bool:
    """Tell whether a frame of *sender* has its MAC there, on the way to its own uplink or at it.

    Args:
        path: The path.
        index: The waypoint.
        sender: Who sends it.
        leaves: Whether it is a request.
    """
    if sender is None:
        return False
    waypoint = path.waypoints[index]
    if waypoint.guest is not None:
        return waypoint.guest == sender.ident
    return waypoint.host == sender.node and waypoint.request_out == leaves


def number(mac: str) -> int:
    """Return a MAC address as an integer."""
    return int(mac.replace(":", ""), 16)
