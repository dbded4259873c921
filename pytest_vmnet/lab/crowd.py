"""A site with as many guests as it takes: a bare lab, and namespace guests on its node.

The gate reaches it as it reaches every site: API, SSH, agents. The lab is held by the process that
asked for it, so that nothing of it outlives that one, also on kill -9.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import client, spec
from pytest_vmnet.lab.pve.crowd import MANY, known_guests
from pytest_vmnet.lab.pve.guestagent import piped
from pytest_vmnet.lab.supervisor import services
from pytest_vmnet.lab.up import bring_up

_CLI = (sys.executable, "-m", "pytest_vmnet.cli", "lab", "exec")
_HOME = Path(__file__).resolve().parents[2]
_START_S = 20.0
_START_PER_GUEST_S = 0.5


class Crowd:
    """A lab with namespace guests, called vm-1 to vm-N.

    Args:
        name: The lab's name.
        count: Number of its guests.
    """

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands that are about this lab."""
        return {**os.environ, "VMNET_LAB_NAME": self.name, "PYTHONPATH": str(_HOME)}

    def popen(
        self, host: str, argv: Sequence[str], *, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start *argv* on a host or in a guest of the lab."""
        return subprocess.Popen(
            [*_CLI, host, "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            cwd=cwd,
        )

    def run(
        self, host: str, argv: Sequence[str], *, cwd: Path | None = None, timeout_s: float = 900
    ) -> subprocess.CompletedProcess[bytes]:
        """Run *argv* on a host or in a guest of the lab and return how it ended."""
        process = self.popen(host, argv, cwd=cwd)
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)

    @property
    def connection(self) -> tuple[str, ...]:
        """The options that lead a gate on the workstation to this site."""
        return (
            f"--proxmox-node={spec.NODE}",
            f"--proxmox-host=https://{spec.NODE_ADDRESS}:{spec.API_PORT}/",
            f"--proxmox-token-file={services.TOKEN}",
            f"--proxmox-ca={services.CA}",
            f"--vmnet-external={spec.EXTERNAL_ADDRESS}",
        )


@contextmanager
def crowd(name: str, count: int, say: Callable[[str], None]) -> Iterator[Crowd]:
    """Bring up a site with *count* namespace guests; it is gone afterwards.

    Args:
        name: A lab's name that is not in use.
        count: Number of guests.
        say: Told what is being done.

    Raises:
        LabError: It could not be brought up.
    """
    outcome = bring_up(name, say, provider=None, hold=True)
    if outcome.lease is None:
        raise LabError(f"there is a lab {name!r} already; choose another name")
    site = Crowd(name, count)
    say(f"{count} namespace guests")
    module = ["pytest_vmnet.lab.pve.crowd", "--guests", str(count)]
    api = site.popen("node", ["env", f"PYTHONPATH={_HOME}", sys.executable, "-m", *module])
    try:
        with api:  # waits for its end, which is the lab's
            try:
                _await_ready(api, _START_S + count * _START_PER_GUEST_S)
                if count > MANY:
                    _introduce(site)
                yield site
            finally:
                client.take_down(name)
    finally:
        outcome.lease.close()


def _introduce(site: Crowd) -> None:
    """Tell gateway and workstation the guests, as neighbours that no limit counts."""
    batch = "".join(f"{line}\n" for line in known_guests(site.count))
    for host in ("gateway", "workstation"):
        done = site.run(host, ["sh", "-c", 'printf %s "$1" | ip -batch -', "sh", batch])
        if done.returncode:
            raise LabError(f"{host}: {done.stderr.decode(errors='replace').strip()}")


def _await_ready(api: subprocess.Popen[bytes], timeout_s: float) -> None:
    told, complaints = piped(api.stdout), piped(api.stderr)
    there = select.select([told], [], [], timeout_s)[0]
    if there and told.readline().startswith(b"ready"):
        return
    api.kill()
    said = complaints.read().decode(errors="replace").strip()[-1000:]
    raise LabError(f"the guests are not up after {timeout_s:g} s: {said or 'no word of why'}")
