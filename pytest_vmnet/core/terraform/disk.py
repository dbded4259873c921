"""Which disks of a guest a replacement would destroy without making them again.

A rebuild makes a disk again only from an image (``file_id``, ``import_from``) or, for the boot
disk, from the template that the guest is a clone of. Everything else on it is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_SLOT = re.compile(r"(?:scsi|virtio|sata|ide|unused)\d+")
_OWNED = re.compile(r"(?:vm|base)-(\d+)-")
_IMAGE_KEYS = ("file_id", "import_from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One disk of a VM resource, or of the VM's configuration.

    Attributes:
        slot: For example ``scsi0`` or ``unused0``.
        image: Image that it is made from, or None.
        volume: Volume or path that holds it, or None if that is not known.
        size: Size as it is written there, for messages.
    """

    slot: str
    image: str | None = None
    volume: str | None = None
    size: str = "size unknown"

    @property
    def label(self) -> str:
        """Slot, size and volume, for messages."""
        return f"{self.slot} ({self.size}{', ' + self.volume if self.volume else ''})"


def lost_disks(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    vmid: int,
) -> Iterator[tuple[str, str]]:
    """Yield the slot of each disk whose content a replacement loses, and a sentence on it.

    Args:
        before: The resource's values before the replacement.
        after: Its planned values.
        config: The guest's configuration as the Proxmox API gives it; empty if not at hand.
            It knows disks that a person attached or detached behind Terraform's back.
        vmid: The guest's VMID.
    """
    planned = {disk.slot: disk for disk in resource_disks(after)}
    present = {disk.slot: disk for disk in config_disks(config)}
    present |= {disk.slot: disk for disk in resource_disks(before)}
    boot = _boot_slot(before, config) or min(present, default=None, key=_slot_order)
    is_clone = bool(before.get("clone") or before.get("clone_id")) and bool(
        after.get("clone") or after.get("clone_id")
    )
    for slot, disk in sorted(present.items(), key=lambda pair: _slot_order(pair[0])):
        if not _is_destroyed(disk, vmid):
            continue
        if slot.startswith("unused"):
            yield slot, f"{disk.label} is detached and is destroyed with the VM"
        elif slot == boot and is_clone:
            continue
        elif slot not in planned:
            yield slot, f"{disk.label} is not in the planned VM: its content is lost"
        elif not planned[slot].image:
            yield slot, f"{disk.label} has no image or template behind it: its content is lost"


def resource_disks(values: Mapping[str, Any]) -> Iterator[Disk]:
    """Yield the disks that a VM resource's values name; CD-ROM and cloud-init are none."""
    listed = values.get("disk") or ()
    if isinstance(listed, Mapping):
        listed = [{**block, "interface": slot} for slot, block in listed.items()]
    for block in listed:
        slot = block.get("interface") or block.get("slot")
        kind = block.get("type") or block.get("media") or "disk"
        if slot and kind == "disk":
            yield _disk(str(slot), block)
    for buses in values.get("disks") or ():
        for slots in (bus for found in buses.values() for bus in found or ()):
            for slot, contents in slots.items():
                for content in contents or ():
                    for kind in ("disk", "passthrough"):
                        for block in content.get(kind) or ():
                            yield _disk(slot, block)
    for block in values.get("unused_disk") or ():
        volume = f"{block.get('storage') or '?'}:{block.get('file') or '?'}"
        yield Disk(slot=f"unused{block.get('slot', 0)}", volume=volume)


def config_disks(config: Mapping[str, Any]) -> Iterator[Disk]:
    """Yield the disks in a VM's configuration (qemu-server, ``QemuServer/Drive.pm``)."""
    for slot, value in config.items():
        if not _SLOT.fullmatch(slot) or not isinstance(value, str):
            continue
        volume, *options = value.split(",")
        if "media=cdrom" not in options and "cloudinit" not in volume and volume != "none":
            sizes = [option[5:] for option in options if option.startswith("size=")]
            yield Disk(
                slot=slot, volume=volume.removeprefix("file="), size=(sizes or ["size unknown"])[0]
            )


def owned_volumes(values: Mapping[str, Any], vmid: int) -> Iterator[Disk]:
    """Yield the disks among a resource's that Proxmox counts as owned by VMID *vmid*."""
    for disk in resource_disks(values):
        if _owner(disk.volume) == vmid:
            yield disk


def _disk(slot: str, block: Mapping[str, Any]) -> Disk:
    size = block.get("size") or block.get("size_gb")
    image = next((block[key] for key in _IMAGE_KEYS if block.get(key)), None)
    words = ("path_in_datastore", "disk_file", "file", "volume")
    volume = next((block[word] for word in words if block.get(word)), None)
    text = "size unknown" if not size else f"{size} GB" if isinstance(size, int) else str(size)
    return Disk(slot=slot, image=image, volume=volume, size=text)


def _is_destroyed(disk: Disk, vmid: int) -> bool:
    """Whether Proxmox frees it with the VM: not a host device, not another guest's volume."""
    if disk.volume is None:
        return True
    owner = _owner(disk.volume)
    return owner == vmid if owner is not None else not disk.volume.startswith("/dev/")


def _owner(volume: str | None) -> int | None:
    """Return the VMID that a volume belongs to; a linked clone's name begins with its base's."""
    found = _OWNED.findall(volume or "")
    return int(found[-1]) if found else None


def _boot_slot(before: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Return the first disk in the boot order, from the API, bpg or Telmate."""
    order = before.get("boot_order") or ()
    legacy = before.get("bootdisk") or config.get("bootdisk") or ""
    texts = (config.get("boot") or "", ";".join(map(str, order)), before.get("boot") or "", legacy)
    for text in texts:
        if found := re.search(r"(?:scsi|virtio|sata|ide)\d+", str(text)):
            return found[0]
    return None


def _slot_order(slot: str) -> tuple[bool, str, int]:
    bus = slot.rstrip("0123456789")
    return bus == "unused", bus, int(slot[len(bus) :] or 0)
