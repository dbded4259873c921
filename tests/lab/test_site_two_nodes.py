"""The site with two nodes: firewall bridges, a second bridge, IPv6, and how it begins and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import client, preflight, spec
from pytest_vmnet.lab.pve.tap import firewall_devices
from pytest_vmnet.lab.up import bring_up

pytestmark = pytest.mark.lab

VM = {guest.name: guest for guest in spec.TWO_NODES.guests}
NODES = spec.TWO_NODES.nodes


def _say(line: str) -> None:
    sys.stderr.write(f"lab: {line}\n")


@pytest.fixture(scope="module")
def site(site_command: Any) -> Iterator[Any]:
    """The site with its guests."""
    yield from _lab(site_command, "bpg")


@pytest.fixture(scope="module")
def bare_site(site_command: Any) -> Iterator[Any]:
    """The site without guests."""
    yield from _lab(site_command, None)


@pytest.fixture(scope="module")
def site_command(bare_lab: Any) -> Any:
    """The type of a command for one lab."""
    return type(bare_lab)


def _lab(command: Any, provider: str | None) -> Iterator[Any]:
    try:
        preflight.check(guests=provider is not None)
    except LabError as error:
        pytest.skip(str(error))
    name = f"test-two-{provider or 'bare'}-{os.getpid()}"
    outcome = bring_up(name, _say, provider=provider, nodes=2, hold=True)
    yield command(name)
    client.take_down(name)
    assert outcome.lease is not None
    outcome.lease.close()


def links(lab: Any, host: str) -> dict[str, dict[str, Any]]:
    return {each["ifname"]: each for each in json.loads(lab.out(host, "ip", "-j", "link"))}


def masters(lab: Any, host: str) -> dict[str, str]:
    return {name: each["master"] for name, each in links(lab, host).items() if "master" in each}


@pytest.mark.parametrize("node", NODES, ids=[node.name for node in NODES])
def test_each_node_is_reached_by_ssh_and_exec(bare_site: Any, node: Any) -> None:
    for target in (node.name, node.address):
        said = bare_site.out("workstation", "ssh", target, "hostname; ls /sys/class/net; id -u")
        assert said.split() == [node.name, spec.UPLINK, "lo", *spec.TWO_NODES.bridges, "0"]
    for host in (node.name, node.host):
        assert bare_site.out(host, "cat", "/etc/hostname") == f"{node.name}\n"


def test_nodes_have_files_and_locks_of_their_own(bare_site: Any) -> None:
    for path in ("/run/mine", "/tmp/mine", "/etc/mine"):  # noqa: S108
        bare_site.out("pve1", "touch", path)
        assert bare_site.exec("pve2", "ls", path).returncode == 2


def test_a_lab_has_as_many_nodes_as_it_came_up_with(bare_site: Any, bare_lab: Any) -> None:
    for lab, has, other in ((bare_site, "2 nodes", "1"), (bare_lab, "1 node", "2")):
        done = lab.run("up", "--no-guests", "--nodes", other)
        assert done.returncode == 1
        said = f"lab {lab.name!r} is up with {has}, not with {other}; take it down first"
        assert said in done.stderr.decode()
        assert lab.run("up", "--no-guests").stdout.decode() == f"lab {lab.name!r} is up\n"
    for host in ("pve2", "node2"):
        done = bare_lab.exec(host, "true")
        assert done.returncode == 1
        assert f"no host '{host}' in this lab" in done.stderr.decode()


def test_a_dead_sshd_is_told_and_repaired(bare_site: Any) -> None:
    listening = bare_site.out("pve2", "ss", "-Hltnp")
    for number in set(re.findall(r"pid=(\d+)", listening)):
        bare_site.out("pve2", "kill", "-9", number)
    assert SYSTEM.wait_for(lambda: bare_site.status()["dead"] == ["sshd of pve2"], timeout_s=5)
    done = bare_site.run("up", "--no-guests")
    assert done.stdout.decode().startswith(f"lab {bare_site.name!r} is whole again: sshd of pve2;")
    assert bare_site.exec("workstation", "ssh", "pve2", "true").returncode == 0


def test_status_tells_nodes_and_addresses(site: Any) -> None:
    found = json.loads(site.run("status", "--json").stdout)
    assert found["nodes"] == [{"name": node.name, "address": node.address} for node in NODES]
    keys = ("name", "node", "address", "address6", "tap")
    expected = [tuple(getattr(guest, key) for key in keys) for guest in VM.values()]
    assert [tuple(guest[key] for key in keys) for guest in found["guests"]] == expected
    assert [found["up"], found["dead"]] == [True, []]


def call(site: Any, method: str, path: str) -> Any:
    program = (sys.executable, "-m", "pytest_vmnet.lab.supervisor.call")
    return json.loads(site.out("workstation", *program, method, path))


def test_the_api_tells_of_both_nodes(site: Any) -> None:
    told = {each["name"]: each for each in call(site, "GET", "/cluster/status")}
    assert [told[node.name]["ip"] for node in NODES] == [node.address for node in NODES]
    for node in NODES:
        running = call(site, "GET", f"/nodes/{node.name}/qemu")
        names = {each["name"] for each in running if not each.get("template")}
        assert names == {guest.name for guest in VM.values() if guest.node == node.name}
        bridges = call(site, "GET", f"/nodes/{node.name}/network?type=bridge")
        assert [bridge.get("address") for bridge in bridges] == [node.address, None]
        assert [bridge.get("address6") for bridge in bridges] == [node.address6, None]
        assert [bridge["active"] for bridge in bridges] == [1, 1]


@pytest.mark.parametrize("node", NODES, ids=[node.name for node in NODES])
def test_each_nic_is_connected_as_proxmox_does_it(site: Any, node: Any) -> None:
    expected = {spec.UPLINK: spec.BRIDGE}
    for guest in VM.values():
        if guest.node == node.name:
            expected |= wired(guest)
    assert masters(site, node.name) == expected
    cables = [name for name in expected if name != spec.UPLINK]
    switches = [f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6" for name in cables]
    assert site.out(node.name, "cat", *switches).split() == ["1"] * len(cables)


def wired(guest: Any) -> dict[str, str]:
    """Return the ports of a guest and the bridges they are ports of."""
    found = {guest.tap: spec.BRIDGE}
    if guest.firewall:
        fwbr, fwln, fwpr = firewall_devices(guest.vmid, 0)
        found = {guest.tap: fwbr, fwln: fwbr, fwpr: spec.BRIDGE}
    if guest.inner_address:
        found[f"tap{guest.vmid}i1"] = spec.INNER_BRIDGE
    return found


def lost(site: Any, guest: str, targets: list[str]) -> list[str]:
    """Ping all *targets* at once from *guest*, gently; return what is said of those that lose."""
    ping = "ping -q -n -c 5 -i 0.4 -W 2"
    script = f'for t; do {ping} $t >/tmp/$t & done; wait; cd /tmp; grep -L " 0% packet" "$@"; :'
    return [
        f"{guest}: {each}" for each in site.out(guest, "sh", "-c", script, "sh", *targets).split()
    ]


def test_everybody_reaches_everybody_over_both_families(site: Any) -> None:
    others = [spec.GATEWAY_ADDRESS, spec.GATEWAY_ADDRESS6, *spec.TWO_NODES.external]
    others += [spec.WORKSTATION_ADDRESS6, *(node.address6 for node in NODES)]

    def ask(guest: Any) -> list[str]:
        peers = [peer for peer in VM.values() if peer is not guest]
        targets = [peer.address for peer in peers] + [str(peer.address6) for peer in peers]
        if guest.inner_address:
            targets += [str(peer.inner_address) for peer in peers if peer.inner_address]
        return lost(site, guest.name, [*others, *targets])

    with ThreadPoolExecutor(len(VM)) as pool:
        assert [list(said) for said in pool.map(ask, VM.values())] == [[]] * len(VM)


def test_faults_act_on_the_guests_own_node(site: Any) -> None:
    inject = ("fault", "inject")
    for name, guest in (("tap-egress-drop", "vm-4"), ("reflected-mac", "vm-4"),
                        ("uplink-loss", "vm-5"), ("uplink-loss", "vm-1")):  # fmt: skip
        done = site.run(*inject, name, "--guest", guest)
        assert done.returncode == 0, done.stderr.decode()
    whom = [(each["name"], each["guest"]) for each in site.status()["faults"]]
    assert whom == [("tap-egress-drop", "vm-4"), ("reflected-mac", "vm-4"),
                    ("uplink-loss", "pve2"), ("uplink-loss", "pve1")]  # fmt: skip
    assert 'device "tap114i0"' in site.out("pve2", "nft", "list", "ruleset")
    assert site.out("pve1", "nft", "list", "ruleset") == ""
    rules = site.out("switch", "nft", "list", "table", "netdev", "loop-114")
    assert set(re.findall(r'"(sw-\w+)"', rules)) == {"sw-node2"}
    for port in ("sw-node", "sw-node2"):
        rules = site.out("switch", "nft", "list", "table", "netdev", f"line-{port}")
        assert set(re.findall(r'"(sw-\w+)"', rules)) == {port}
    assert site.loss("vm-5", VM["vm-4"].address, count=30) > 0.2
    done = site.run("fault", "clear")
    assert done.returncode == 0, done.stderr.decode()
    for host in ("pve2", "switch"):
        assert site.out(host, "nft", "list", "ruleset") == ""


def test_the_firewall_flag_rewires_a_running_guest(site: Any) -> None:
    path = f"/nodes/pve1/qemu/{VM['vm-1'].vmid}/config"
    nic = call(site, "GET", path)["net1"].removesuffix(",firewall=0")
    before = links(site, "pve1")
    call(site, "PUT", f"{path}?net1={nic},firewall=1")
    fwbr, fwln, fwpr = firewall_devices(111, 1)
    after = masters(site, "pve1")
    assert [after[name] for name in ("tap111i1", fwln, fwpr)] == [fwbr, fwbr, spec.INNER_BRIDGE]
    assert lost(site, "vm-1", [str(VM["vm-2"].inner_address)]) == []
    call(site, "PUT", f"{path}?net1={nic}")
    assert set(links(site, "pve1")) == set(before)
    assert masters(site, "pve1")["tap111i1"] == spec.INNER_BRIDGE
    assert lost(site, "vm-1", [str(VM["vm-2"].inner_address)]) == []


def test_a_rebuild_renews_the_firewall_bridge(site: Any) -> None:
    before = links(site, "pve2")
    address = 'proxmox_virtual_environment_vm.vm["vm-4"]'
    script = (
        'cd "$VMNET_TERRAFORM_DIR" && terraform apply -auto-approve -replace="$0" >/dev/null'
        " && terraform plan -detailed-exitcode >/dev/null"
    )
    done = site.exec("workstation", "sh", "-c", script, address)
    assert done.returncode == 0, done.stderr.decode()
    after = links(site, "pve2")
    assert set(after) == set(before)
    for name in ("tap114i0", *firewall_devices(114, 0)):
        assert after[name]["ifindex"] != before[name]["ifindex"]
    assert wired(VM["vm-4"]).items() <= masters(site, "pve2").items()


def test_a_killed_qemu_leaves_no_firewall_bridge_and_repair_makes_it_anew(site: Any) -> None:
    victim = next(each for each in site.status()["guests"] if each["name"] == "vm-4")
    os.kill(victim["pid"], signal.SIGKILL)
    gone = ("tap114i0", *firewall_devices(114, 0))
    assert SYSTEM.wait_for(lambda: not set(gone) & set(links(site, "pve2")), timeout_s=5)
    assert site.status()["dead"] == ["vm-4"]
    done = site.run("up", "--nodes", "2")
    assert done.stdout.decode().startswith(f"lab {site.name!r} is whole again: vm-4;")
    assert wired(VM["vm-4"]).items() <= masters(site, "pve2").items()
    assert lost(site, "vm-4", [spec.GATEWAY_ADDRESS, spec.GATEWAY_ADDRESS6]) == []
