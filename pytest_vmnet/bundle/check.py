"""Do the records of a bundle fit together, and into memory? Who made it is not known."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vmnet.bundle.sections import SweepFile
from pytest_vmnet.core.facts import GATE
from pytest_vmnet.core.parse.pcap import MARK_BYTES
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.core.words import FlowKind

_MAX_GUESTS = 1_000
_MAX_FLOWS = 65_500
_MAX_COUNT = 240_000
_MAX_PROBES = 5_000_000
_MAX_SECONDS = 1e6
_BETWEEN_GUESTS = frozenset({FlowKind.PEER, FlowKind.INBOUND})


def check_site(site: Inventory, tested: Sequence[str]) -> None:
    """Refuse a site that no discovery gives.

    Raises:
        ValueError: It contradicts itself; the message says where.
    """
    if len(site.guests) > _MAX_GUESTS or len(site.nodes) > _MAX_GUESTS:
        raise ValueError(f"{len(site.guests)} guests are more than {_MAX_GUESTS}")
    nodes = [node.name for node in site.nodes]
    idents = [guest.ident for guest in site.guests]
    names = [*nodes, *idents, GATE]
    if len(set(names)) != len(names):
        raise ValueError("two of its nodes and guests have the same name")
    if len({guest.vmid for guest in site.guests}) != len(site.guests):
        raise ValueError("two guests have the same VMID")
    for guest in site.guests:
        if guest.node not in nodes:
            raise ValueError(f"{guest.ident!r:.80} is on a node that is not there")
        if not any(nic.bridge for nic in guest.nics):
            raise ValueError(f"{guest.ident!r:.80} has no NIC on a bridge")
    known = set(idents if site.chosen is None else site.chosen)
    if not tested or not set(tested) <= known <= set(idents):
        raise ValueError("its tested guests are not among its guests")


def check_sweep(sweep: SweepFile, site: Inventory) -> None:
    """Refuse a sweep that no gate sends, or that is too much.

    Raises:
        ValueError: It is one; the message says where.
    """
    idents = {guest.ident for guest in site.guests}
    hosts = idents | {node.name for node in site.nodes} | {GATE}
    if len(sweep.mark) != MARK_BYTES or not sweep.mark.isascii():
        raise ValueError(f"its mark is not of {MARK_BYTES} ASCII characters")
    if not (sweep.token.isascii() and sweep.token.isalnum() and len(sweep.token) <= 64):
        raise ValueError("its token is not of letters and digits")
    if not 0 <= sweep.duration_s <= _MAX_SECONDS:
        raise ValueError(f"it took {sweep.duration_s:g} s")
    numbers = {flow.number for flow in sweep.flows}
    if len(numbers) != len(sweep.flows) or not all(0 <= n <= _MAX_FLOWS for n in numbers):
        raise ValueError("its flows' numbers repeat or are out of range")
    for flow in sweep.flows:
        if flow.source not in hosts:
            raise ValueError(f"flow {flow.number} is from nobody that is there")
        if flow.kind in _BETWEEN_GUESTS and flow.target not in idents:
            raise ValueError(f"flow {flow.number} is to no guest that is there")
        if not (0 < flow.count <= _MAX_COUNT and 0 < flow.interval_s <= _MAX_SECONDS):
            raise ValueError(f"flow {flow.number}: its count or its interval is out of range")
    if (probes := sum(flow.count for flow in sweep.flows)) > _MAX_PROBES:
        raise ValueError(f"{probes} probes are more than {_MAX_PROBES}")
    answered = [host.host for host in sweep.hosts]
    if len(set(answered)) != len(answered) or not set(answered) <= hosts:
        raise ValueError("it has answers of hosts that are not there, or two of one")
    files = [section.file for host in sweep.hosts for section in host.sections]
    if len(set(files)) != len(files):
        raise ValueError("two of its sections share a file")
