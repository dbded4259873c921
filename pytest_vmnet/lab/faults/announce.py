"""``python -m pytest_vmnet.lab.faults.announce IFNAME ADDRESS``: a gratuitous ARP each second."""

from __future__ import annotations

import socket
import struct
import sys

from pytest_vmnet.backends.clock import SYSTEM

_ETHERTYPE_ARP = 0x0806
_INTERVAL_S = 1.0
_BROADCAST = b"\xff" * 6


def gratuitous_arp(mac: bytes, address: bytes) -> bytes:
    """Return the frame by which the host with *mac* claims *address* (RFC 826, RFC 5227)."""
    header = _BROADCAST + mac + struct.pack("!H", _ETHERTYPE_ARP)
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return header + request + mac + address + bytes(6) + address


def main(ifname: str, address: str) -> None:
    """Announce *address* on *ifname* until this process is ended."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as line:
        line.bind((ifname, 0))
        mac = line.getsockname()[4]
        frame = gratuitous_arp(mac, socket.inet_aton(address))
        while True:
            line.send(frame)
            SYSTEM.sleep(_INTERVAL_S)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
