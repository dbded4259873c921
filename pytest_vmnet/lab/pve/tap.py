"""A guest's taps on the node, made the way Proxmox's ``pve-bridge`` makes them.

QEMU creates them, not persistent: the kernel removes a tap the moment its QEMU ends, however it
ends. They are wired here before the guest's CPU runs.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
from contextlib import suppress
from pathlib import Path

from pytest_vmnet.errors import CommandError, LabError

_SIOCGIFMTU = 0x8921


def mtu_of(ifname: str) -> int:
    """Return the MTU of *ifname* in bytes.

    Raises:
        LabError: There is no such interface in this network namespace.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            request = struct.pack("16si12x", ifname.encode(), 0)
            answer = fcntl.ioctl(any_socket, _SIOCGIFMTU, request)
        except OSError as error:
            raise LabError(f"bridge '{ifname}' does not exist") from error
    return int(struct.unpack("16si12x", answer)[1])


async def plug(ifname: str, bridge: str | None) -> None:
    """Bring tap *ifname* up, promiscuous, with the bridge's MTU and as a port of *bridge*.

    Raises:
        LabError: There is no such bridge.
        CommandError: ``ip`` failed.
    """
    # The tap is a cable, not a host: it has no addresses, and says nothing of its own.
    with suppress(OSError):
        Path(f"/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6").write_text("1", "ascii")
    lines = [f"link set dev {ifname} promisc on up"]
    if bridge is not None:
        lines.insert(0, f"link set dev {ifname} mtu {mtu_of(bridge)}")
        lines.append(f"link set dev {ifname} master {bridge}")
    argv = ["ip", "-batch", "-"]
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate("".join(f"{line}\n" for line in lines).encode())
    if process.returncode:
        raise CommandError(argv, returncode=process.returncode, stderr=stderr.decode())


def counters(lines: str) -> dict[str, tuple[int, int]]:
    r"""Return received and transmitted bytes by interface from the text of ``/proc/net/dev``.

    >>> counters("a: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")
    {'a': (1, 9)}
    """
    found = {}
    for line in lines.splitlines():
        ifname, colon, rest = line.partition(":")
        if colon:
            values = rest.split()
            found[ifname.strip()] = (int(values[0]), int(values[8]))
    return found
