"""A guest's cloud-init drive: NoCloud files from its configuration, as Proxmox makes them."""

from __future__ import annotations

import hashlib
import ipaddress
import urllib.parse
from collections.abc import Mapping

from pytest_vmnet.lab.pve.iso import iso9660
from pytest_vmnet.lab.pve.props import nics, split


def seed(config: Mapping[str, object]) -> bytes:
    """Return the ISO image (volume ``cidata``) for a guest of this configuration.

    Args:
        config: Its keys ``name ciuser sshkeys nameserver searchdomain netN ipconfigN``.

    References:
        ``nocloud_network`` and ``cloudinit_userdata`` in qemu-server's ``Cloudinit.pm``.
    """
    user, network = user_data(config), network_config(config)
    instance = hashlib.sha1((user + network).encode(), usedforsecurity=False).hexdigest()
    files = {
        "meta-data": f"instance-id: {instance}\n",
        "network-config": network,
        "user-data": user,
        "vendor-data": "",
    }
    return iso9660("cidata", {name: text.encode() for name, text in files.items()})


def user_data(config: Mapping[str, object]) -> str:
    """Return the ``user-data`` file: names, the user and its keys."""
    name, _, domain = str(config.get("name", "localhost")).partition(".")
    domain = domain or str(config.get("searchdomain", "")).split(" ")[0]
    lines = ["#cloud-config", f"hostname: {name}", "manage_etc_hosts: true"]
    if domain:
        lines.append(f"fqdn: {name}.{domain}")
    if config.get("ciuser"):
        lines.append(f"user: {config['ciuser']}")
    if config.get("ciuser") == "root":
        lines.append("disable_root: False")
    keys = urllib.parse.unquote(str(config.get("sshkeys", ""))).splitlines()
    if wanted := [key.strip() for key in keys if key.strip()]:
        lines += ["ssh_authorized_keys:", *(f"  - {key}" for key in wanted)]
    lines += ["chpasswd:", "  expire: False"]
    if config.get("ciuser") != "root":
        lines += ["users:", "  - default"]
    upgrade = str(config.get("ciupgrade", 1)) not in {"0", "False"}
    return "\n".join([*lines, f"package_upgrade: {str(upgrade).lower()}", ""])


def network_config(config: Mapping[str, object]) -> str:
    """Return the ``network-config`` file, version 1: ``eth0`` is the NIC of ``net0``."""
    lines = ["version: 1", "config:"]
    for nic in nics(config):
        lines += [
            "    - type: physical",
            f"      name: eth{nic.index}",
            f"      mac_address: '{nic.mac}'",
            "      subnets:",
            *_subnets(split(config.get(f"ipconfig{nic.index}", ""))),
        ]
    servers = str(config.get("nameserver", "")).replace(",", " ").split()
    domains = str(config.get("searchdomain", "")).replace(",", " ").split()
    if servers or domains:
        lines.append("    - type: nameserver")
        lines += ["      address:", *(f"      - '{server}'" for server in servers)]
        lines += ["      search:", *(f"      - '{domain}'" for domain in domains)]
    return "\n".join([*lines, ""])


def _subnets(ip: Mapping[str, str]) -> list[str]:
    lines = []
    address = ip.get("ip", "dhcp" if "ip6" not in ip else "")
    if address == "dhcp":
        lines.append("      - type: dhcp4")
    elif address:
        interface = ipaddress.IPv4Interface(address)
        lines += ["      - type: static", f"        address: '{interface.ip}'"]
        lines.append(f"        netmask: '{interface.netmask}'")
        if "gw" in ip:
            lines.append(f"        gateway: '{ip['gw']}'")
    address6 = ip.get("ip6", "")
    if address6 == "dhcp":
        lines.append("      - type: dhcp6")
    elif address6 == "auto":
        lines.append("      - type: ipv6_slaac")
    elif address6:
        lines += ["      - type: static6", f"        address: '{address6}'"]
        if "gw6" in ip:
            lines.append(f"        gateway: '{ip['gw6']}'")
    return lines
