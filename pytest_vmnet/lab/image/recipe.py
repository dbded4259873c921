"""What the guest image is made of, and the key that tells one recipe from another."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

VERSION = 1
"""Raise it when the way of building changes without the lists or the scripts below."""

PACKAGES = (
    "busybox-static",
    "ethtool",
    "iproute2",
    "iputils-arping",
    "iputils-ping",
    "kmod",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "qemu-guest-agent",
    "sudo",
    "tcpdump",
)

KERNEL = "linux-image-cloud-amd64"
"""Debian's kernel for virtual machines: small, and quick to boot under an emulated CPU. It has
virtio only: no driver for e1000."""

BOOT_MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "ext4",
    "crc32c_generic",
    "isofs",
)
"""Loaded by the initrd, so that booting needs no udev. All others load on demand (kmod)."""

EXCLUDED = (
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/lintian/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
)

SCRIPTS = Path(__file__).with_name("guest")

PLACES = {
    "inittab": "etc/inittab",
    "boot": "usr/libexec/vmnet-guest/boot",
    "agent": "usr/libexec/vmnet-guest/agent",
    "sshd": "usr/libexec/vmnet-guest/sshd",
    "shutdown": "usr/sbin/shutdown",
}
"""Script -> its place in the guest. ``initrd-init`` goes into the initrd."""

LINKS = {
    "usr/sbin/init": "/bin/busybox",
    "usr/sbin/poweroff": "shutdown",
    "usr/sbin/reboot": "shutdown",
    "usr/sbin/halt": "shutdown",
    "etc/mtab": "/proc/self/mounts",
}

DISK_SIZE = "2G"


def suite() -> str:
    """Return the code name of this machine's Debian, which is the guest's also."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def key(suite_name: str) -> str:
    """Return what names an image of this recipe and *suite_name*, for example ``bookworm-1f2e3d``.

    Args:
        suite_name: Debian's code name.
    """
    digest = hashlib.sha256()
    parts: list[object] = [VERSION, PACKAGES, KERNEL, BOOT_MODULES, EXCLUDED]
    parts += [sorted(PLACES.items()), sorted(LINKS.items()), DISK_SIZE]
    digest.update(repr(parts).encode())
    for script in sorted(SCRIPTS.iterdir()):
        digest.update(script.name.encode() + b"\0" + script.read_bytes())
    return f"{suite_name}-{digest.hexdigest()[:12]}"
