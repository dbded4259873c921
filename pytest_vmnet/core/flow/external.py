"""The addresses beyond the gateways that are probed, as the option names them. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple


class External(NamedTuple):
    """Addresses beyond the gateways, of each family at most one."""

    v4: IPv4Address | None = None
    v6: IPv6Address | None = None


def parse_external(text: str | None) -> External:
    """Read an address, one of each family with a comma between, or ``none``.

    Raises:
        ValueError: It is something else; the message says what.
    """
    found = External()
    if text is None or text == "none":
        return found
    for word in text.split(","):
        address = ip_address(word.strip())
        if (found.v4 if address.version == 4 else found.v6) is not None:
            raise ValueError(
                f"two IPv{address.version} addresses; give one, or one of each family with a comma"
            )
        if isinstance(address, IPv4Address):
            found = found._replace(v4=address)
        else:
            found = found._replace(v6=address)
    return found
