"""A guest boots from the image, without any network and without root."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_vmnet.lab.agent import Agent
from pytest_vmnet.lab.image import GuestImage, boot_args, guest_image
from pytest_vmnet.lab.pve.iso import iso9660
from pytest_vmnet.lab.spec import cache_dir

pytestmark = [
    pytest.mark.skipif(not shutil.which(tool), reason=f"no {tool}: run `make setup`")
    for tool in ("qemu-system-x86_64", "qemu-img", "mmdebstrap")
]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINotAKey user@example"
FIRST, SECOND, UNKNOWN = (f"bc:24:11:00:00:0{n}" for n in (1, 2, 3))
NETWORK = f"""\
version: 1
config:
    - type: physical
      name: eth0
      mac_address: '{FIRST.upper()}'
      subnets:
      - type: static
        address: '192.0.2.11'
        netmask: '255.255.255.128'
        gateway: '192.0.2.1'
      - type: static6
        address: '2001:db8::11/64'
        gateway: '2001:db8::1'
    - type: physical
      name: eth1
      mac_address: '{SECOND}'
      subnets:
      - type: static
        address: '198.51.100.11'
        netmask: '255.255.255.0'
    - type: nameserver
      address:
      - '192.0.2.53'
      search:
      - 'example.net'
"""
USER = f"""\
#cloud-config
hostname: vm-1
manage_etc_hosts: true
fqdn: vm-1.example.net
user: ubuntu
ssh_authorized_keys:
  - {KEY}
chpasswd:
  expire: False
users:
  - default
package_upgrade: true
"""
RULES = """
table inet t {
  chain c {
    type filter hook input priority 0;
    ct state established accept
    icmp type echo-reply numgen random mod 100 < 30 counter drop
    tcp dport 80 limit rate 5/second reject with tcp reset
  }
}
table arp a { chain c { type filter hook input priority 0; }; }
table netdev n { chain c { type filter hook ingress device eth0 priority 0; counter; }; }
"""


@dataclass
class Guest:
    folder: Path
    process: subprocess.Popen[bytes]
    agent: Agent

    def says(self, *argv: str) -> str:
        done = self.agent.run(argv)
        assert done.exitcode == 0, done
        return done.stdout.decode().strip()

    def console(self) -> str:
        return (self.folder / "console").read_text("utf-8", "replace")


def start(image: GuestImage, folder: Path, seed: dict[str, str] | None) -> Guest:
    """Boot; the NICs come in another order than in the seed, with one that it does not name."""
    argv = ["qemu-system-x86_64", *boot_args(image), "-nodefaults", "-no-user-config"]
    argv += ["-display", "none", "-no-reboot", "-serial", f"file:{folder}/console"]
    disks = [folder / "disk.qcow2"] if (folder / "disk.qcow2").exists() else []
    if seed is not None:
        files = {name: text.encode() for name, text in seed.items()}
        (folder / "seed").write_bytes(iso9660("cidata", files))
        disks.append(folder / "seed")
    for number, disk in enumerate(disks):
        form = "qcow2" if disk.suffix else "raw,readonly=on"
        argv += ["-drive", f"if=none,id=d{number},file={disk},format={form}"]
        argv += ["-device", f"virtio-blk-pci,drive=d{number}"]
    for number, mac in enumerate((UNKNOWN, SECOND, FIRST)):
        argv += ["-netdev", f"hubport,id=n{number},hubid={number}"]
        argv += ["-device", f"virtio-net-pci,netdev=n{number},mac={mac},romfile="]
    argv += ["-object", f"filter-dump,id=f,netdev=n2,file={folder}/eth0.pcap"]
    argv += ["-device", "virtio-serial-pci", "-device"]
    argv += ["virtserialport,chardev=agent,name=org.qemu.guest_agent.0", "-chardev"]
    argv += [f"socket,id=agent,server=on,wait=off,path={folder}/agent"]
    (folder / "console").touch()
    with (folder / "qemu.log").open("ab") as log:
        process = subprocess.Popen(argv, stderr=log)
    return Guest(folder, process, Agent(folder / "agent", timeout_s=30))


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        threading.Event().wait(0.1)


@pytest.fixture(scope="module")
def image() -> GuestImage:
    return guest_image(cache_dir(), print)


@pytest.fixture
def disk(image: GuestImage, tmp_path: Path) -> Path:
    overlay = tmp_path / "disk.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image.base)]
    subprocess.run([*argv, str(overlay)], check=True)
    return overlay


@pytest.fixture
def guests() -> Iterator[list[Guest]]:
    started: list[Guest] = []
    yield started
    for guest in started:
        guest.process.kill()
        guest.process.wait()


@pytest.mark.usefixtures("disk")
def test_a_guest_is_what_its_seed_says(
    image: GuestImage, tmp_path: Path, guests: list[Guest]
) -> None:
    seed = {"meta-data": "instance-id: x\n", "network-config": NETWORK, "user-data": USER}
    guest = start(image, tmp_path, seed)
    guests.append(guest)
    wait_until(guest.agent.ping, "agent")

    # Names, matched by MAC address; the NIC that the seed does not name stays down.
    assert guest.says("cat", "/sys/class/net/eth0/address") == FIRST
    assert guest.says("cat", "/sys/class/net/eth1/address") == SECOND
    links = guest.says("ip", "-br", "link")
    assert [line.split()[1] for line in links.splitlines() if UNKNOWN in line] == ["DOWN"]
    assert "192.0.2.11/25 " in guest.says("ip", "-br", "-4", "address", "show", "eth0") + " "
    assert "2001:db8::11/64" in guest.says("ip", "-br", "-6", "address", "show", "eth0")
    assert "198.51.100.11/24" in guest.says("ip", "-br", "address", "show", "eth1")
    assert guest.says("ip", "route", "show", "default") == "default via 192.0.2.1 dev eth0"
    assert "via 2001:db8::1 dev eth0" in guest.says("ip", "-6", "route", "show", "default")
    assert "nameserver 192.0.2.53\nsearch example.net" in guest.says("cat", "/etc/resolv.conf")
    # Name, user, key.
    assert guest.says("hostname", "-f") == "vm-1.example.net"
    assert guest.says("cat", "/home/ubuntu/.ssh/authorized_keys") == KEY
    assert guest.says("stat", "-c", "%U %a", "/home/ubuntu/.ssh") == "ubuntu 700"
    assert guest.says("sudo", "-u", "ubuntu", "sudo", "-n", "id", "-u") == "0"
    assert "DataSourceNoCloud" in guest.says("cat", "/run/cloud-init/result.json")
    # It announces its address once it is up: an ARP request for itself.
    announced = bytes.fromhex("0001080006040001" + FIRST.replace(":", "") + "c000020b")
    assert announced in (tmp_path / "eth0.pcap").read_bytes()
    # Everything that the probes and faults use.
    wait_until(lambda: guest.agent.run(["pidof", "sshd"]).exitcode == 0, "sshd")
    assert guest.agent.run(["nft", "-f", "-"], RULES.encode()).exitcode == 0
    guest.says("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "loss", "10%")
    guest.says("python3", "-c", "import json, select, socket, struct, subprocess")
    assert guest.says("sh", "-c", "ps -A -o stat= | grep -c Z || true") == "0"
    assert not guest.console().count("vmnet-guest")

    # It goes down fast and clean, and is the same guest afterwards.
    host_key = guest.says("cat", "/etc/ssh/ssh_host_ed25519_key.pub")
    before = time.monotonic()
    guest.agent.run(["sh", "-c", "(shutdown -h -P +0 bye) >/dev/null 2>&1 &"])
    assert guest.process.wait(timeout=30) == 0
    assert time.monotonic() - before < 10
    again = start(image, tmp_path, seed)
    guests.append(again)
    wait_until(again.agent.ping, "agent, second boot")
    assert again.says("cat", "/etc/ssh/ssh_host_ed25519_key.pub") == host_key
    assert again.says("grep", "-c", "ubuntu", "/etc/passwd") == "1"
    assert "recovery" not in again.says("dmesg")


@pytest.mark.usefixtures("disk")
def test_a_guest_without_seed_says_so(
    image: GuestImage, tmp_path: Path, guests: list[Guest]
) -> None:
    guest = start(image, tmp_path, None)
    guests.append(guest)
    wait_until(guest.agent.ping, "agent")
    assert "no seed" in guest.console()
    assert "UP" not in guest.says("ip", "-br", "link", "show", "type", "ether").replace(
        "LOWER_UP", ""
    )


@pytest.mark.usefixtures("disk")
def test_a_guest_without_network_config_says_so(
    image: GuestImage, tmp_path: Path, guests: list[Guest]
) -> None:
    guest = start(image, tmp_path, {"meta-data": "", "user-data": USER})
    guests.append(guest)
    wait_until(guest.agent.ping, "agent")
    assert "no network-config" in guest.console()
    assert guest.says("hostname") == "vm-1"


def test_a_guest_without_root_disk_says_so(
    image: GuestImage, tmp_path: Path, guests: list[Guest]
) -> None:
    guest = start(image, tmp_path, None)
    guests.append(guest)
    wait_until(lambda: "no root file system on /dev/vda" in guest.console(), "complaint")
    assert guest.process.poll() is None
