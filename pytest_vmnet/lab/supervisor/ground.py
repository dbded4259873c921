"""What faults and checks act on: the hosts, and the guests as they are now."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.agent import Agent, AgentError
from pytest_vmnet.lab.faults.base import Target
from pytest_vmnet.lab.pve.guests import GuestRecord, read_guests
from pytest_vmnet.lab.site.hosts import OWN_PROGRAM, Host

_T = TypeVar("_T")
_LOG = spec.RUN_DIR / "log/helpers.log"


class SiteGround:
    """The lab's `Ground`: hosts, guests, helper processes.

    Args:
        hosts: The site's hosts; `add_host` adds to them.
        site: What the site looks like.
    """

    def __init__(self, hosts: Mapping[str, Host], site: spec.SiteSpec) -> None:
        self.hosts = dict(hosts)
        self.site = site
        self._helpers: dict[str, subprocess.Popen[bytes]] = {}

    def records(self) -> dict[str, GuestRecord]:
        """Return what the API wrote down of its guests, by name."""
        return {record["name"]: record for record in read_guests(spec.RUN_DIR)}

    def target(self, guest: str) -> Target:
        """Return *guest* as it is now.

        Raises:
            LabError: There is no such guest, or it is not running.
        """
        known = {each.name: each for each in self.site.guests}
        record = self.records().get(guest)
        if guest not in known or record is None:
            raise LabError(f"no guest {guest!r}; choose {', '.join(known)}")
        if record["pid"] is None or not record["mac"] or not record["tap"]:
            raise LabError(f"{guest} is not running; `vmnet lab up` repairs the lab")
        return Target(
            guest,
            record["vmid"],
            known[guest].address,
            record["mac"].lower(),
            record["tap"],
            self.site.node(record["node"]),
            record["firewall"],
        )

    def node_of(self, target: Target) -> Host:
        """Return the host that is the Proxmox node of *target*."""
        return self.hosts[target.node.host]

    def in_guest(
        self, guest: str, argv: list[str], stdin: str = "", *, timeout_s: float = 20.0
    ) -> str:
        """Run *argv* in *guest* through its agent; return what it printed.

        Raises:
            LabError: It failed, or the agent does not answer.
        """
        record = self.records().get(guest)
        if record is None:
            raise LabError(f"{guest}: there is no such guest")
        try:
            done = Agent(Path(record["agent_socket"]), timeout_s=timeout_s).run(
                argv, stdin.encode(), timeout_s=timeout_s
            )
        except AgentError as error:
            raise LabError(f"{guest}: {error}") from error
        if done.exitcode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()[-500:]
            raise LabError(f"{guest}: `{' '.join(argv)}` ended with {done.exitcode}: {said}")
        return done.stdout.decode(errors="replace")

    def in_all_guests(self, ask: Callable[[str], _T]) -> list[_T]:
        """Return what *ask* says of each guest by name; all are asked at once."""
        return together(ask, [guest.name for guest in self.site.guests])

    def hire(self, key: str, host: Host, argv: list[str]) -> None:
        """Start a helper process on *host*; it ends with the lab, or when it is dismissed."""
        self.dismiss(key)
        self._helpers[key] = host.spawn(argv, log=_LOG, env=OWN_PROGRAM)

    def dismiss(self, key: str) -> None:
        """End the helper *key* and wait until it is gone; one that is not there is fine."""
        helper = self._helpers.pop(key, None)
        if helper is not None:
            helper.kill()
            helper.wait()

    def add_host(self, name: str) -> Host:
        """Add a host with an empty network namespace.

        Raises:
            LabError: The kernel refused it.
        """
        self.remove_host(name)
        key = f"host {name}"
        with _LOG.open("ab") as log:
            argv = ["unshare", "--net", "--", "sleep", "infinity"]
            holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._helpers[key] = holder
        own = Path("/proc/self/ns/net").readlink()
        theirs = Path(f"/proc/{holder.pid}/ns/net")

        def apart() -> bool:
            return holder.poll() is not None or theirs.readlink() != own

        if not SYSTEM.wait_for(apart, timeout_s=10, interval_s=0.005) or holder.poll() is not None:
            raise LabError(f"no network namespace for {name}")
        self.hosts[name] = Host(name, holder.pid)
        return self.hosts[name]

    def remove_host(self, name: str) -> None:
        """End a host that `add_host` added, and with it its cables; none is fine."""
        self.hosts.pop(name, None)
        self.dismiss(f"host {name}")


def together(work: Callable[[str], _T], items: Iterable[str]) -> list[_T]:
    """Return *work* of each item, done at the same time; the first error is raised at the end."""
    names = list(items)
    with ThreadPoolExecutor(max_workers=max(len(names), 1)) as pool:
        return list(pool.map(work, names))
