"""Property strings, cloud-init drives and certificates of the lab's Proxmox."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest
from cryptography import x509

from pytest_vmnet.lab.pve.certificate import make_certificates
from pytest_vmnet.lab.pve.iso import iso9660
from pytest_vmnet.lab.pve.place import counters
from pytest_vmnet.lab.pve.props import (
    is_agent_enabled,
    nics,
    normal_tags,
    own_cloudinit,
    parse_nic,
)
from pytest_vmnet.lab.pve.seed import network_config, seed, user_data
from pytest_vmnet.lab.qemu import GuestFiles, command_line, memory_mib, volume_path

CONFIG = {
    "name": "vm-1",
    "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
    "ipconfig0": "ip=192.0.2.11/24,gw=192.0.2.1",
    "ciuser": "ubuntu",
    "sshkeys": "ssh-ed25519%20AAAA%20me%0Assh-ed25519%20BBBB%20you%0A",
    "agent": "1",
    "memory": "192",
}


@pytest.mark.parametrize(
    ("text", "model", "mac"),
    [
        ("virtio=BC:24:11:00:00:01,bridge=vmbr0", "virtio", "bc:24:11:00:00:01"),
        ("bridge=vmbr0,e1000=BC:24:11:00:00:01", "e1000", "bc:24:11:00:00:01"),
        ("model=virtio,macaddr=BC:24:11:00:00:01,bridge=vmbr0", "virtio", "bc:24:11:00:00:01"),
        ("virtio,bridge=vmbr0", "virtio", ""),
    ],
)
def test_nic_spellings(text: str, model: str, mac: str) -> None:
    nic = parse_nic(0, text)
    assert (nic.model, nic.mac, nic.bridge) == (model, mac, "vmbr0")


def test_nic_options() -> None:
    nic = parse_nic(
        2, "virtio=BC:24:11:00:00:01,bridge=vmbr1,firewall=1,link_down=1,mtu=1450,queues=4,tag=10"
    )
    assert (nic.firewall, nic.link_down, nic.mtu, nic.queues, nic.tag) == (True, True, 1450, 4, 10)
    assert nic.tap(111) == "tap111i2"


def test_nics_are_in_the_order_of_their_numbers() -> None:
    config = {"net10": "virtio,bridge=b", "net2": "virtio,bridge=a", "name": "x"}
    assert [nic.index for nic in nics(config)] == [2, 10]


@pytest.mark.parametrize(
    ("value", "is_enabled"),
    [("1", True), ("0", False), ("enabled=1,fstrim_cloned_disks=0", True), ("type=isa", False)],
)
def test_agent(value: str, is_enabled: bool) -> None:
    assert is_agent_enabled({"agent": value}) is is_enabled
    assert not is_agent_enabled({})


def test_tags_and_cloudinit_names() -> None:
    assert normal_tags("b,A; b") == "a;b"
    assert own_cloudinit(5, "s:vm-9000-cloudinit,media=cdrom") == "s:vm-5-cloudinit,media=cdrom"


def test_user_data_has_keys_and_names() -> None:
    lines = user_data(CONFIG | {"searchdomain": "lab.example"}).splitlines()
    assert lines[0] == "#cloud-config"
    assert {"hostname: vm-1", "fqdn: vm-1.lab.example", "user: ubuntu"} <= set(lines)
    assert [line for line in lines if line.startswith("  - ssh")] == [
        "  - ssh-ed25519 AAAA me",
        "  - ssh-ed25519 BBBB you",
    ]


def test_network_config_is_version_1_by_mac() -> None:
    text = network_config(CONFIG | {"nameserver": "192.0.2.1"})
    assert re.search(r"name: eth0\n\s+mac_address: 'bc:24:11:00:00:01'", text)
    assert "address: '192.0.2.11'\n        netmask: '255.255.255.0'" in text
    assert "gateway: '192.0.2.1'" in text
    assert text.endswith("      - '192.0.2.1'\n      search:\n")


def test_network_config_without_an_address_asks_dhcp() -> None:
    assert "type: dhcp4" in network_config({"net0": CONFIG["net0"]})


def test_seed_changes_with_what_the_guest_must_know() -> None:
    other = CONFIG | {"net0": "virtio=BC:24:11:00:00:02,bridge=vmbr0"}
    first, second = (
        re.search(rb"instance-id: (\w+)", image) for image in (seed(CONFIG), seed(other))
    )
    assert first
    assert second
    assert first[1] != second[1]


def test_iso_has_its_descriptors_and_files() -> None:
    image = iso9660("cidata", {"user-data": b"x" * 3000, "meta-data": b"y"})
    assert image[0x8000:0x8006] == b"\x01CD001"
    assert image[0x8000 + 40 : 0x8000 + 46] == b"cidata"
    assert len(image) % 2048 == 0
    assert int.from_bytes(image[0x8000 + 80 : 0x8000 + 84], "little") * 2048 == len(image)
    root = image[20 * 2048 : 21 * 2048]
    at = root.index(b"user-data") - 33
    place, size = (int.from_bytes(root[at + k : at + k + 4], "little") for k in (2, 10))
    assert image[place * 2048 : place * 2048 + size] == b"x" * 3000


def test_certificate_is_signed_for_all_hosts(tmp_path: Path) -> None:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = make_certificates(tmp_path, ["192.0.2.2", "pve1", "localhost"], now)
    ca = x509.load_pem_x509_certificate(made.ca.read_bytes())
    server = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    server.verify_directly_issued_by(ca)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pve1", "localhost"]
    assert made.key.stat().st_mode & 0o077 == 0


def test_volume_paths(tmp_path: Path) -> None:
    folder = tmp_path / "guests/111"
    assert volume_path(tmp_path, "s:vm-111-disk-0") == folder / "disk.qcow2"
    assert volume_path(tmp_path, "s:base-111-disk-1") == folder / "disk-1.qcow2"
    assert volume_path(tmp_path, "s:vm-111-cloudinit") is None


def test_command_line(tmp_path: Path) -> None:
    files = GuestFiles(tmp_path, 111)
    config = CONFIG | {"smbios1": "uuid=3a0250f5", "vmgenid": "1c2ed657"}
    nic = parse_nic(0, "virtio=BC:24:11:00:00:01,bridge=vmbr0,queues=2,mtu=1450")
    argv = command_line(
        "vm-1",
        config,
        files,
        boot=["-machine", "pc"],
        disks=[("virtio0", files.disk(0)), ("virtio1", files.disk(1))],
        taps=[("tap111i0", nic)],
    )
    text = " ".join(argv)
    assert "type=1,uuid=3a0250f5" in text
    assert "vmgenid,guid=1c2ed657" in text
    assert "ifname=tap111i0,script=no,downscript=no,queues=2" in text
    assert "mq=on,vectors=6,host_mtu=1450" in text
    assert text.index("id=virtio0") < text.index("id=cloudinit") < text.index("id=virtio1")
    assert "org.qemu.guest_agent.0" in text
    silent = command_line("vm-1", {"agent": "0"}, files, boot=[], disks=[], taps=[])
    assert "org.qemu.guest_agent.0" not in " ".join(silent)


def test_memory() -> None:
    assert [memory_mib({"memory": m}) for m in ("192", 256, "current=300")] == [192, 256, 300]


def test_counters() -> None:
    text = "Inter-| Receive\n tap1: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n"
    assert counters(text) == {"tap1": (1, 2)}
