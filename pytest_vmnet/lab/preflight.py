"""Can this machine hold a lab? All that is missing is told at once."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_vmnet.errors import LabError

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"

SITE_TOOLS: Mapping[str, str] = {
    "bridge": "iproute2",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ping": "iputils-ping",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "tcpdump": "tcpdump",
    "unshare": "util-linux",
}
"""Programs that a site needs, and the Debian packages that have them."""

GUEST_TOOLS: Mapping[str, str] = {
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
}
MEMORY_MIB = 1500
GUEST_MODULES = ("aiohttp", "cryptography", "fakepve")

_FEATURES: Mapping[str, str] = {
    "bridges": "ip link add vmnet0 type bridge",
    "veth pairs": "ip link add vmnet0 type veth peer name vmnet1",
    "tap devices": "ip tuntap add dev vmnet0 mode tap",
    "nftables netdev hooks with numgen and dup": (
        "ip link add vmnet0 type veth peer name vmnet1 && nft 'table netdev t { chain c "
        '{ type filter hook ingress device "vmnet0" priority 0; numgen random mod 100 < 50 '
        'dup to "vmnet0"; }; chain e { type filter hook egress device "vmnet0" priority 0; '
        "drop; }; }'"
    ),
    "an overlay file system": (
        "mount -t tmpfs vmnet /mnt && mkdir /mnt/u /mnt/w && "
        "mount -t overlay vmnet -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /mnt"
    ),
}
"""What the kernel must be able to do, and the trial that shows it, in namespaces of its own."""


def check(*, guests: bool, which: Callable[[str], str | None] | None = None) -> None:
    """Return if this machine can hold a lab.

    Args:
        guests: Whether it is to have guests.
        which: Finds a program; for tests.

    Raises:
        LabError: It cannot; the message lists all reasons.
    """
    missing = _privileges() + _programs(guests=guests, which=which or _which)
    if not missing:
        missing = _kernel_features()
    if missing:
        lines = "".join(f"\n  - {each}" for each in missing)
        raise LabError(f"this machine cannot hold a lab:{lines}")


def _privileges() -> list[str]:
    if os.geteuid() != 0:
        return ["not root: in this version a lab needs root; try sudo"]
    if not Path("/dev/net/tun").exists():
        return ["no /dev/net/tun: load the kernel module tun; in a container, pass the device in"]
    return []


def _programs(*, guests: bool, which: Callable[[str], str | None]) -> list[str]:
    wanted = {**SITE_TOOLS, **(GUEST_TOOLS if guests else {})}
    absent = {tool: package for tool, package in wanted.items() if which(tool) is None}
    missing = []
    if absent:
        packages = " ".join(sorted(set(absent.values())))
        missing.append(f"no {', '.join(sorted(absent))}: apt-get install {packages}")
    if guests:
        missing += _memory()
        modules = [name for name in GUEST_MODULES if importlib.util.find_spec(name) is None]
        if modules:
            missing.append(
                f"no Python package {', '.join(modules)}: pip install 'pytest-vmnet[lab]'"
            )
    return missing


def _memory() -> list[str]:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) // 1024
            if available < MEMORY_MIB:
                return [f"{available} MiB of memory available: five guests need {MEMORY_MIB} MiB"]
    return []


def _which(tool: str) -> str | None:
    return shutil.which(tool) or shutil.which(tool, path=_SBIN)


def _kernel_features() -> list[str]:
    missing = []
    for feature, trial in _FEATURES.items():
        argv = ["unshare", "--net", "--mount", "--", "sh", "-ec", trial]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            missing.append(f"the kernel has no {feature}: {said[0]}")
    return missing
