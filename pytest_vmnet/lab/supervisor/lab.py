"""The lab as a whole: comes up, tells how it is, is repaired, breaks on demand."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.errors import LabError, VmnetError
from pytest_vmnet.lab import faults, spec
from pytest_vmnet.lab.faults.base import Target
from pytest_vmnet.lab.settings import LabSettings
from pytest_vmnet.lab.site import mounts, ssh, wiring
from pytest_vmnet.lab.site.hosts import OWN_PROGRAM, is_running, start_hosts
from pytest_vmnet.lab.supervisor import health, services
from pytest_vmnet.lab.supervisor.ground import SiteGround
from pytest_vmnet.lab.supervisor.progress import Progress

Say = Callable[[str], None]
Process = subprocess.Popen[bytes]


class BeyondRepairError(LabError):
    """What is dead can only be brought up anew, with everything else."""


class Lab:
    """One lab, from the first namespace on.

    Args:
        name: Its name.
        settings: What it is built from.

    Attributes:
        progress: What it says while it comes up.
        ready: Whether it is up.

    Raises:
        LabError: The hosts' namespaces cannot be had.
    """

    def __init__(self, name: str, settings: LabSettings) -> None:
        self.name = name
        self.settings = settings
        self.progress = Progress()
        self.ready = False
        self.site = settings.site
        mounts.write_hosts(self.site)
        self._ground = SiteGround(start_hosts(self.site.hosts), self.site)
        self._terraform = services.Terraform(self._ground.hosts["workstation"], settings)
        self._processes: dict[str, Process] = {}
        self._faults: dict[tuple[str, str], Target] = {}
        self._changing = threading.RLock()

    def bring_up(self) -> None:
        """Build the site, then the guests; the outcome is the end of `progress`."""
        error = "the lab's supervisor failed; this is a defect of the lab"
        try:
            with self._changing:
                self._build_site()
                if self.settings.has_guests:
                    self._create_guests()
            self.ready = True
        except (VmnetError, OSError) as failure:
            error = str(failure)
        finally:
            self.progress.close(None if self.ready else error)

    def _build_site(self) -> None:
        self.progress.say("site: hosts, switch, cables, SSH")
        hosts = self._ground.hosts
        wiring.wire(hosts, self.site)
        ssh.write_files(self.site)
        for node in self.site.nodes:
            self._processes[_sshd(node)] = ssh.start(node, hosts[node.host])
        if self.settings.has_guests:
            services.write_token()
            self._processes["api"] = services.start_api(hosts, self.settings)
        for node in self.site.nodes:
            ssh.wait_until_it_answers(node, hosts, SYSTEM)

    def _create_guests(self) -> None:
        self.progress.say(f"terraform: init with the {self.settings.provider} provider")
        self._terraform.init()
        services.await_api(self._processes["api"])
        self.progress.say(f"terraform: apply, {len(self.site.guests)} guests boot")
        try:
            self._terraform.apply()
        except VmnetError as error:
            raise LabError(f"{error}; the API's log: {services.log_tail()}") from error
        self.progress.say("guests: each agent answers, each guest reaches the gateway")
        health.await_agents(self._ground)

    def dead(self) -> list[str]:
        """Return what should run and does not: ``api``, ``sshd``, hosts, guests."""
        found = [name for name, process in self._processes.items() if process.poll() is not None]
        found += [name for name in self.site.hosts if not self._ground.hosts[name].is_alive()]
        if self.settings.has_guests:
            records = self._ground.records()
            for guest in self.site.guests:
                record = records.get(guest.name)
                if record is None or record["pid"] is None or not is_running(record["pid"]):
                    found.append(guest.name)
        return found

    def repair(self, say: Say) -> list[str]:
        """Bring back what is dead; return what it was.

        Raises:
            BeyondRepairError: It cannot be brought back one by one.
            LabError: It should have worked and did not.
        """
        with self._changing:
            dead = self.dead()
            for name in dead:
                say(f"{name} is dead")
            guests = [guest for guest in self.site.guests if guest.name in dead]
            sshds = {_sshd(node): node for node in self.site.nodes}
            if set(dead) - {*sshds, *(guest.name for guest in guests)}:
                raise BeyondRepairError(f"{', '.join(dead)}: beyond repair")
            for name in sshds.keys() & set(dead):
                say(f"{name}: starting it")
                node = sshds[name]
                self._processes[name] = ssh.start(node, self._ground.hosts[node.host])
                ssh.wait_until_it_answers(node, self._ground.hosts, SYSTEM)
            if guests:
                self._start_guests(guests, say)
            return dead

    def _start_guests(self, guests: list[spec.GuestSpec], say: Say) -> None:
        workstation = self._ground.hosts["workstation"]
        environment = OWN_PROGRAM | services.variables(self.settings)
        known = self._ground.records()
        for guest in guests:
            if guest.name not in known:
                continue
            say(f"{guest.name}: starting it through the API")
            path = f"/nodes/{guest.node}/qemu/{guest.vmid}/status/start"
            argv = [self.settings.python, "-m", "pytest_vmnet.lab.supervisor.call", "POST", path]
            workstation.run(argv, env=environment)
        if any(guest.name not in known for guest in guests):
            say("terraform: creating what is missing")
            self._terraform.apply()
        health.await_agents(self._ground)

    def status(self) -> dict[str, Any]:
        """Return the lab's state as JSON takes it; PIDs are those inside the lab."""
        known = {guest.name: guest for guest in self.site.guests}
        guests = [
            {
                "name": record["name"],
                "vmid": record["vmid"],
                "node": record["node"],
                "address": known[record["name"]].address if record["name"] in known else None,
                "address6": known[record["name"]].address6 if record["name"] in known else None,
                "mac": record["mac"],
                "tap": record["tap"],
                "pid": record["pid"] if record["pid"] and is_running(record["pid"]) else None,
            }
            for record in self._ground.records().values()
        ]
        return {
            "up": self.ready,
            "name": self.name,
            "guests": guests,
            "node": {"name": spec.NODE, "address": spec.NODE_ADDRESS},
            "nodes": [{"name": node.name, "address": node.address} for node in self.site.nodes],
            "api": f"https://{spec.NODE_ADDRESS}:{spec.API_PORT}/",
            "provider": self.settings.provider if self.settings.has_guests else None,
            "faults": [{"name": name, "guest": guest} for name, guest in self._faults],
            "dead": self.dead() if self.ready else [],
            "pid_namespace": Path("/proc/self/ns/pid").stat().st_ino,
        }

    def host(self, name: str) -> tuple[dict[str, Any], list[int]]:
        """Return what a caller needs to run a command on *name*, and the namespaces to join.

        Raises:
            LabError: There is no such host, or no such guest now.
        """
        if not self.ready:
            raise LabError("the lab is still coming up; `vmnet lab up` waits for it")
        hosts = self._ground.hosts
        nodes = {node.name: node.host for node in self.site.nodes}
        host = hosts.get(nodes.get(name, name))
        if host is not None:
            answer: dict[str, Any] = {"name": host.name}
            if host.name == "workstation" and self.settings.has_guests:
                answer["environment"] = services.variables(self.settings)
            return answer, host.namespaces()
        record = self._ground.records().get(name)
        if record is None:
            raise LabError(f"no host {name!r} in this lab")
        return {"name": name, "agent": record["agent_socket"]}, hosts["node"].namespaces()

    def inject(self, name: str, guest: str) -> dict[str, Any]:
        """Plant a fault; return its ground truth when it is in force.

        Raises:
            LabError: There is no such fault or guest, or the lab is not up.
        """
        fault = faults.find(name)
        with self._changing:
            if not self.ready:
                raise LabError("the lab is still coming up")
            target = self._ground.target(guest)
            spot = next(each for each in self.site.guests if each.name == guest)
            key = (name, self._whom(fault, spot))
            before = self._faults.get(key)
            if before != target:
                if before is not None:
                    fault.remove(self._ground, before)
                # Noted first: what a failed attempt leaves is cleared like the rest.
                self._faults[key] = target
                fault.inject(self._ground, target)
            return fault.truth(replace(spot, firewall=target.firewall), self.site.guests)

    def _whom(self, fault: faults.Fault, spot: spec.GuestSpec) -> str:
        """Return whom *fault* hits if it is planted on *spot*: a guest, a node's, or ``all``."""
        if not fault.everyone:
            return spot.name
        hit = fault.victims(spot, self.site.guests)
        return "all" if hit == self.site.guests else spot.node

    def clear(self) -> list[str]:
        """Remove all faults and what they left behind; return their names when the site is well.

        Raises:
            LabError: The site does not get well.
        """
        with self._changing:
            cleared = []
            for (name, _), target in list(self._faults.items()):
                faults.find(name).remove(self._ground, target)
                cleared.append(name)
            self._faults.clear()
            if self.settings.has_guests:
                health.forget_neighbours(self._ground)
                health.await_healthy(self._ground)
            return cleared


def _sshd(node: spec.NodeSpec) -> str:
    """Return what a node's sshd is called among the lab's processes."""
    return "sshd" if node.name == spec.NODE else f"sshd of {node.name}"
