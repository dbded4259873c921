"""The guests' records: files that tell, without the API, which guests there are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from pytest_vmnet.lab.pve.props import nics
from pytest_vmnet.lab.qemu import GuestFiles


class GuestRecord(TypedDict):
    """What a record says of a guest.

    ``node`` is the Proxmox node that it lives on. ``mac``, ``tap`` and ``firewall`` are its first
    NIC's, lower case and None without one; ``pid`` is its QEMU's in the node's PID namespace, None
    while it is stopped; ``status`` is ``running`` or ``stopped``.
    """

    vmid: int
    name: str
    node: str
    mac: str | None
    tap: str | None
    firewall: bool
    pid: int | None
    status: str
    agent_socket: str


def write_guest(
    run_dir: Path,
    vmid: int,
    name: str,
    config: Mapping[str, object],
    pid: int | None,
    *,
    node: str,
) -> None:
    """Write a guest's record; a guest without a folder has none."""
    files = GuestFiles(run_dir, vmid)
    nic = next(iter(nics(config)), None)
    record = GuestRecord(
        vmid=vmid,
        name=name,
        node=node,
        mac=nic.mac if nic else None,
        tap=nic.tap(vmid) if nic else None,
        firewall=nic.firewall if nic else False,
        pid=pid,
        status="stopped" if pid is None else "running",
        agent_socket=str(files.agent),
    )
    new = files.record.with_suffix(".new")
    with suppress(FileNotFoundError):
        new.write_text(json.dumps(record), "utf-8")
        new.replace(files.record)


def read_guests(run_dir: Path) -> list[GuestRecord]:
    """Return the guests of the lab in *run_dir* by VMID, templates left out.

    Args:
        run_dir: The folder that the API was started with.
    """
    found: list[GuestRecord] = []
    for path in (run_dir / "guests").glob("*/guest.json"):
        with suppress(FileNotFoundError):
            found.append(json.loads(path.read_text("utf-8")))
    return sorted(found, key=lambda record: record["vmid"])
