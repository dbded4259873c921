"""The labs that tests use: one with guests for the whole session, and bare ones, quick to make."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import client, preflight
from pytest_vmnet.lab.up import bring_up

REPOSITORY = Path(__file__).resolve().parents[2]
CLI = (sys.executable, "-m", "pytest_vmnet.cli")


def pytest_configure(config: Any) -> None:
    config.addinivalue_line("markers", "lab: needs root, and QEMU where guests are used")


@dataclass(frozen=True)
class LabCommand:
    """`vmnet lab` for one lab."""

    name: str

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "VMNET_LAB_NAME": self.name, "PYTHONPATH": str(REPOSITORY)}

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        options = {"stdin": subprocess.DEVNULL, "env": self.env, **options}
        return subprocess.Popen([*CLI, "lab", *words], **options)

    def run(
        self,
        *words: str,
        stdin: bytes = b"",
        timeout_s: float = 120,
        env: Any = None,
        cwd: Any = None,
    ) -> Any:
        return subprocess.run(
            [*CLI, "lab", *words],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=timeout_s,
            env=env or self.env,
            cwd=cwd,
        )

    def exec(self, host: str, *argv: str, **options: Any) -> Any:
        return self.run("exec", host, "--", *argv, **options)

    def out(self, host: str, *argv: str) -> str:
        """Return what a command printed that must succeed."""
        done = self.exec(host, *argv)
        assert done.returncode == 0, done.stderr.decode()
        return str(done.stdout.decode())

    def loss(self, host: str, address: str, *, count: int = 60) -> float:
        """Return the share of lost pings from *host* to *address*."""
        argv = ["ping", "-q", "-n", "-i", "0.06", "-c", str(count), "-W", "1", address]
        said = self.exec(host, *argv).stdout.decode()
        found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        assert found, said
        return 1 - int(found[2]) / int(found[1])

    def status(self) -> Any:
        return client.status(self.name)

    def address(self, guest: str) -> str:
        return str(
            next(each["address"] for each in self.status()["guests"] if each["name"] == guest)
        )


def _require(*, guests: bool) -> None:
    try:
        preflight.check(guests=guests)
    except LabError as error:
        pytest.skip(str(error))


def _say(line: str) -> None:
    sys.stderr.write(f"lab: {line}\n")


@pytest.fixture(scope="session")
def lab() -> Iterator[LabCommand]:
    """A lab with guests; it is held by this process, so it goes however the session ends."""
    _require(guests=True)
    name = f"test-{os.getpid()}"
    outcome = bring_up(name, _say, hold=True)
    yield LabCommand(name)
    client.take_down(name)
    assert outcome.lease is not None
    outcome.lease.close()


@pytest.fixture(scope="module")
def lab_of_two() -> Iterator[LabCommand]:
    """A lab with two nodes, firewall bridges, a second bridge and IPv6."""
    _require(guests=True)
    name = f"test-two-{os.getpid()}"
    outcome = bring_up(name, _say, nodes=2, hold=True)
    yield LabCommand(name)
    client.take_down(name)
    assert outcome.lease is not None
    outcome.lease.close()


@pytest.fixture(scope="module")
def bare_lab() -> Iterator[LabCommand]:
    """A site without guests."""
    _require(guests=False)
    name = f"test-bare-{os.getpid()}"
    outcome = bring_up(name, _say, provider=None, hold=True)
    yield LabCommand(name)
    client.take_down(name)
    assert outcome.lease is not None
    outcome.lease.close()


@pytest.fixture
def new_lab(request: Any) -> Iterator[LabCommand]:
    """A name for a lab that the test brings up itself; what is left of it is taken down."""
    _require(guests=False)
    name = f"test-{re.sub('[^a-z]', '-', request.node.name)[:20]}-{os.getpid()}"
    yield LabCommand(name)
    client.take_down(name)


def losses(lab: LabCommand, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the loss of each (host, address), all measured at the same time."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(len(pairs)) as pool:
        return list(pool.map(lambda pair: lab.loss(*pair), pairs))


@pytest.fixture
def measure(lab: Any) -> Any:
    """Measure the losses of several pairs at once."""
    return lambda pairs: losses(lab, pairs)
