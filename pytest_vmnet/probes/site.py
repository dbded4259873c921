"""Discover the site: nodes, bridges, guests, NICs, addresses and gateways, from the API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.parse.iproute import default_gateway
from pytest_vmnet.core.parse.pveconfig import is_on, parse_ipconfig, parse_nics, parse_properties
from pytest_vmnet.core.pattern import matches_any
from pytest_vmnet.core.topology import Bridge, Guest, Inventory, Nic, Node, Skipped
from pytest_vmnet.errors import ConfigError, ParseError, ProxmoxError

SKIP_TAG = "vmnet-skip"
_ROUTES = (
    "ip -j -4 route show default 2>/dev/null; echo; echo @@; "
    "[ -d /run/cloud-init ] && [ ! -e /run/cloud-init/result.json ] && echo starting; true"
)
_PARALLEL = 8


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is to be discovered.

    Attributes:
        nodes: Node names, or ``("all",)``.
        patterns: Guest patterns; empty for all.
        gateway: Gateway of guests without a default route, or None.
        wait_s: How long to wait for guests that are still starting, in seconds.
        ask_guests: Whether guests may be asked by their agent for their routes.
    """

    nodes: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    gateway: IPv4Address | None = None
    wait_s: float = 60.0
    ask_guests: bool = True


def discover(
    proxmox: Proxmox, selection: Selection, *, clock: Clock, progress: Callable[[str], None]
) -> Inventory:
    """Return the site as its API describes it.

    Raises:
        ConfigError: A node does not exist, a pattern matches nothing, or nothing is left to
            test; the message says what there is.
        ProxmoxError: The API cannot be reached or refuses.
    """
    nodes = _nodes(proxmox, selection.nodes)
    names = {node.name for node in nodes}
    rows = [
        row
        for row in proxmox.get("cluster/resources", type="vm") or []
        if isinstance(row, dict) and row.get("node") in names
    ]
    rows.sort(key=lambda row: int(row["vmid"]))
    if not rows:
        raise ConfigError(
            f"no guest is visible on {', '.join(sorted(names))} for "
            f"{proxmox.endpoint.user}!{proxmox.endpoint.token_name}: there is none, or the token "
            "lacks VM.Audit on /vms; `vmnet doctor` prints the commands that grant it"
        )
    duplicates = Counter(str(row.get("name", row["vmid"])) for row in rows)
    guests: list[Guest] = []
    skipped: list[Skipped] = []
    for row in rows:
        read = _guest(proxmox, row, nodes, is_unique=duplicates[str(row.get("name"))] == 1)
        if isinstance(read, Skipped):
            skipped.append(read)
        else:
            guests.append(read)
    guests, skipped = _select(guests, skipped, selection.patterns)
    if not guests:
        told = "; ".join(f"{s.name} ({s.vmid}): {s.reason}" for s in skipped) or "no guest at all"
        raise ConfigError(f"nothing to test on {', '.join(sorted(names))}: {told}")
    progress(f"discovered {len(guests)} guests on {', '.join(sorted(names))}")
    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        complete = list(
            pool.map(lambda guest: _addresses(proxmox, guest, selection, clock), guests)
        )
    return Inventory(nodes=nodes, guests=tuple(complete), skipped=tuple(skipped))


def _nodes(proxmox: Proxmox, wanted: Collection[str]) -> tuple[Node, ...]:
    listed = {str(row["node"]): row for row in proxmox.get("nodes") or []}
    if "all" in wanted:
        wanted = sorted(name for name, row in listed.items() if row.get("status") == "online")
    if unknown := sorted(set(wanted) - set(listed)):
        raise ConfigError(
            f"--proxmox-node = {', '.join(unknown)!r}: there is no such node; "
            f"the cluster has {', '.join(sorted(listed)) or 'none that this token may see'}"
        )
    try:
        status = proxmox.get("cluster/status") or []
    except ProxmoxError:  # needs Sys.Audit on /; without it SSH needs --proxmox-ssh
        status = []
    addresses = {row.get("name"): row.get("ip") for row in status if row.get("type") == "node"}
    nodes = []
    for name in sorted(set(wanted)):
        ip = addresses.get(name)
        nodes.append(
            Node(
                name=name,
                address=IPv4Address(ip) if ip and ":" not in ip else None,
                bridges=_bridges(proxmox, name),
            )
        )
    return tuple(nodes)


def _bridges(proxmox: Proxmox, node: str) -> tuple[Bridge, ...]:
    found = []
    for row in proxmox.get(f"nodes/{node}/network") or []:
        if row.get("type") not in {"bridge", "OVSBridge"}:
            continue
        cidr = row.get("cidr")
        found.append(
            Bridge(
                name=str(row["iface"]),
                node=node,
                ports=tuple(str(row.get("bridge_ports") or row.get("ovs_ports") or "").split()),
                interface=IPv4Interface(cidr) if cidr else None,
                vlan_aware=bool(row.get("bridge_vlan_aware")),
                mtu=int(row["mtu"]) if row.get("mtu") else None,
            )
        )
    return tuple(sorted(found, key=lambda bridge: bridge.name))


def _guest(
    proxmox: Proxmox, row: Mapping[str, Any], nodes: Sequence[Node], *, is_unique: bool
) -> Guest | Skipped:
    vmid, name, node = int(row["vmid"]), str(row.get("name") or row["vmid"]), str(row["node"])
    tags = tuple(sorted(filter(None, str(row.get("tags") or "").replace(",", ";").split(";"))))
    if reason := _row_reason(row, tags):
        return Skipped(vmid=vmid, name=name, reason=reason)
    path = f"nodes/{node}/qemu/{vmid}"
    config = proxmox.get(f"{path}/config", current=1)
    status = proxmox.get(f"{path}/status/current")
    if lock := config.get("lock") or status.get("lock"):
        return Skipped(vmid=vmid, name=name, reason=f"locked: {lock}")
    if status.get("qmpstatus", "running") != "running":
        return Skipped(vmid=vmid, name=name, reason=f"QEMU is {status['qmpstatus']}")
    try:
        nics = parse_nics(config)
    except ParseError as problem:
        return Skipped(vmid=vmid, name=name, reason=f"not supported: {problem}")
    known = {bridge.name for n in nodes if n.name == node for bridge in n.bridges}
    if not any(nic.bridge for nic in nics):
        return Skipped(vmid=vmid, name=name, reason="it has no NIC on a bridge")
    first = next(nic for nic in nics if nic.bridge)
    if first.bridge not in known:
        return Skipped(
            vmid=vmid,
            name=name,
            reason=f"not supported: {first.bridge} is no bridge of {node} that this token may see",
        )
    return Guest(
        vmid=vmid,
        name=name,
        ident=name if is_unique else f"{name}.{vmid}",
        node=node,
        tags=tags,
        pool=row.get("pool"),
        protection=is_on(config.get("protection")),
        agent=is_on(config.get("agent")),
        nics=nics,
        smbios_uuid=parse_properties(str(config.get("smbios1", "")), "uuid").get("uuid"),
        pid=int(status["pid"]) if status.get("pid") else None,
        nameservers=tuple(str(config.get("nameserver") or "").split()),
        **_static(config, first),
    )


def _row_reason(row: Mapping[str, Any], tags: Collection[str]) -> str | None:
    if row.get("type") != "qemu":
        return "not supported: a container"
    if row.get("template"):
        return "a template"
    if SKIP_TAG in tags:
        return f"tag {SKIP_TAG}"
    if row.get("lock"):
        return f"locked: {row['lock']}"
    if row.get("status") != "running":
        return str(row.get("status") or "status unknown")
    return None


def _static(config: Mapping[str, Any], nic: Nic) -> dict[str, Any]:
    """Return what cloud-init's configuration says of the NIC's address and gateway."""
    text = config.get(f"ipconfig{nic.index}")
    if not text:
        return {"dhcp": True}
    try:
        interface, gateway = parse_ipconfig(str(text))
    except ParseError:
        return {"dhcp": True}
    source = f"ipconfig{nic.index}"
    return {
        "dhcp": interface is None,
        "interface": interface,
        "address_source": source if interface else None,
        "gateway": gateway,
        "gateway_source": source if gateway else None,
    }


def _select(
    guests: list[Guest], skipped: list[Skipped], patterns: tuple[str, ...]
) -> tuple[list[Guest], list[Skipped]]:
    if not patterns:
        return guests, skipped
    chosen = [guest for guest in guests if matches_any(patterns, guest)]
    named = [skip for skip in skipped if str(skip.vmid) in patterns or skip.name in patterns]
    if not chosen and not named:
        there = ", ".join(f"{guest.name} ({guest.vmid})" for guest in guests) or "none"
        raise ConfigError(
            f"--vmnet-guest = {','.join(patterns)!r}: no running guest matches; there are: {there}"
        )
    return chosen, named


def _addresses(proxmox: Proxmox, guest: Guest, selection: Selection, clock: Clock) -> Guest:
    """Add what the guest's agent says; wait for it while the guest is still starting."""
    if guest.agent:
        deadline = clock.monotonic() + selection.wait_s
        while True:
            asked = _ask(proxmox, guest, ask_routes=selection.ask_guests)
            if asked is not None:
                guest = asked
                break
            if clock.monotonic() >= deadline:
                break
            clock.sleep(1.0)
    if guest.gateway is None and selection.gateway is not None:
        guest = replace(guest, gateway=selection.gateway, gateway_source="vmnet_gateway")
    return guest


def _ask(proxmox: Proxmox, guest: Guest, *, ask_routes: bool) -> Guest | None:
    """Return the guest with its own address and gateway, or None while it is not ready."""
    try:
        answer = proxmox.agent(guest.node, guest.vmid, "network-get-interfaces")
    except ProxmoxError:
        return None
    interfaces = answer.get("result") if isinstance(answer, dict) else None
    interface = _agent_interface(interfaces or [], guest.nic.mac)
    if interface is not None:
        guest = replace(guest, interface=interface, address_source="agent")
    elif guest.interface is None:
        return None
    if not ask_routes:
        return guest
    try:
        done = proxmox.agent_exec(guest.node, guest.vmid, ["/bin/sh", "-c", _ROUTES])
        routes, _, marker = done.stdout.decode(errors="replace").partition("@@")
        if "starting" in marker:
            return None
        gateway = default_gateway(routes, f"{guest.ident}, ip route")
    except (ProxmoxError, ParseError):
        return guest  # an agent that refuses exec is told by the sweep
    if gateway is not None:
        return replace(guest, gateway=gateway, gateway_source="route")
    return guest


def _agent_interface(interfaces: Sequence[Mapping[str, Any]], mac: str) -> IPv4Interface | None:
    for entry in interfaces:
        if str(entry.get("hardware-address", "")).lower() != mac:
            continue
        for address in entry.get("ip-addresses") or []:
            if address.get("ip-address-type") == "ipv4":
                return IPv4Interface(f"{address['ip-address']}/{address.get('prefix', 32)}")
    return None


def rediscover(
    proxmox: Proxmox, inventory: Inventory, vmid: int, selection: Selection, clock: Clock
) -> Guest:
    """Return one guest as it is now, for example after a rebuild.

    Raises:
        ConfigError: It is not there, does not run or cannot be tested now.
    """
    rows = proxmox.get("cluster/resources", type="vm") or []
    row = next((row for row in rows if int(row["vmid"]) == vmid), None)
    before = next(guest for guest in inventory.guests if guest.vmid == vmid)
    if row is None:
        raise ConfigError(f"{before.ident}: there is no VMID {vmid} any more")
    read = _guest(proxmox, row, inventory.nodes, is_unique=before.ident == before.name)
    if isinstance(read, Skipped):
        raise ConfigError(f"{before.ident}: cannot be tested now: {read.reason}")
    complete = _addresses(proxmox, read, selection, clock)
    return replace(complete, resource=before.resource)
