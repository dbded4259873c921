"""Is the site well? Short checks from inside the guests, and what makes stale state go."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.agent import Agent
from pytest_vmnet.lab.supervisor.ground import SiteGround, together

_BOOT_S = 180.0
_HEAL_S = 30.0
_FLUSH = ["ip", "neigh", "flush", "all"]


def await_agents(ground: SiteGround) -> None:
    """Return when every guest's agent answers and each guest has reached the gateway once.

    Raises:
        LabError: One does not in time; the message names all that do not.
    """

    def complaint(guest: str) -> str | None:
        def answers() -> bool:
            record = ground.records().get(guest)
            return record is not None and Agent(Path(record["agent_socket"])).ping(timeout_s=2)

        if not SYSTEM.wait_for(answers, timeout_s=_BOOT_S, interval_s=0.1):
            return f"{guest}: its agent does not answer after {_BOOT_S:g} s"
        return _until_lossless(ground, guest, [spec.GATEWAY_ADDRESS], count=1)

    _raise_if(ground.in_all_guests(complaint))


def await_healthy(ground: SiteGround) -> None:
    """Return when every guest reaches the gateway and its neighbour without loss.

    Raises:
        LabError: One does not in time; the message names all that do not.
    """
    guests = ground.site.guests
    ring = dict(zip(guests, (*guests[1:], guests[0]), strict=True))
    peers = {guest.name: peer.address for guest, peer in ring.items()}
    _raise_if(
        ground.in_all_guests(
            lambda guest: _until_lossless(
                ground, guest, [spec.GATEWAY_ADDRESS, peers[guest]], count=4
            )
        )
    )


def forget_neighbours(ground: SiteGround) -> None:
    """Flush what bridges and hosts have learnt, so that nothing of a fault stays behind.

    Raises:
        CommandError: A host refused.
    """
    ground.hosts["switch"].run(["bridge", "fdb", "flush", "dev", "sw0", "dynamic"])
    nodes = [node.host for node in ground.site.nodes]
    for node in nodes:
        for bridge in ground.site.bridges:
            ground.hosts[node].run(["bridge", "fdb", "flush", "dev", bridge, "dynamic"])
    together(lambda host: ground.hosts[host].run(_FLUSH), (*nodes, "gateway", "workstation"))

    def flush(guest: str) -> None:
        try:
            ground.in_guest(guest, _FLUSH)
        except LabError as error:
            # A guest that does not answer is the health check's business.
            sys.stderr.write(f"{error}\n")

    ground.in_all_guests(flush)


def _until_lossless(
    ground: SiteGround, guest: str, addresses: list[str], *, count: int
) -> str | None:
    """Ping until nothing is lost; return what is wrong if something still is in the end."""
    last = "not asked"

    def lossless() -> bool:
        nonlocal last
        for address in addresses:
            argv = ["ping", "-q", "-n", "-c", str(count), "-i", "0.2", "-W", "2", address]
            try:
                said = ground.in_guest(guest, argv)
            except LabError as error:
                last = str(error)
                return False
            if not re.search(r"\b0% packet loss", said):
                last = f"{address}: {said.strip()[-200:]}"
                return False
        return True

    if SYSTEM.wait_for(lossless, timeout_s=_HEAL_S, interval_s=0.1):
        return None
    return f"{guest}: not well after {_HEAL_S:g} s: {last}"


def _raise_if(complaints: list[str | None]) -> None:
    if said := [each for each in complaints if each is not None]:
        raise LabError("; ".join(said))
