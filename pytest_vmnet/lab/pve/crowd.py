"""``python -m pytest_vmnet.lab.pve.crowd --guests N``: the lab's API over N namespace guests.

For measurements and tests: no image, no Terraform. The guests are created running, as if they had
always been there; everything that reads them finds what it finds on a node with QEMU guests.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.errors import LabError, VmnetError
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.pve.certificate import make_certificates
from pytest_vmnet.lab.pve.namespaces import NamespaceMachines
from pytest_vmnet.lab.pve.server import LabPve
from pytest_vmnet.lab.site.wiring import MACS
from pytest_vmnet.lab.supervisor import services

FIRST_VMID = 111
MANY = 100
"""With more guests the machine's one neighbour table is relieved of what all of them know."""

_TAKEN = (spec.WORKSTATION_ADDRESS,)
_FIRST_HOST = 11
_LAST_HOST = 254
_AT_ONCE = 8


def neighbour(address: str, mac: str, ifname: str) -> str:
    """Return the `ip` command that adds a neighbour the kernel's limit does not count.

    The limit (``gc_thresh3``, 1024 by default) is one for all namespaces of the machine; real
    guests have a kernel each. Such an entry ages and is confirmed like any other.
    """
    return f"neigh replace {address} lladdr {mac} dev {ifname} nud stale extern_learn"


def _known_hosts() -> list[str]:
    return [
        neighbour(spec.GATEWAY_ADDRESS, MACS["gateway"], "eth0"),
        neighbour(spec.WORKSTATION_ADDRESS, MACS["workstation"], "eth0"),
    ]


def known_guests(count: int) -> list[str]:
    """Return the same for all guests, for a host whose way to them is ``eth0``."""
    return [
        neighbour(address, mac_of(number), "eth0")
        for number, address in enumerate(addresses(count), 1)
    ]


def addresses(count: int) -> list[str]:
    """Return the addresses of the first *count* guests in the lab's network.

    Raises:
        LabError: So many do not fit into it.
    """
    network = spec.NODE_ADDRESS.rpartition(".")[0]
    there = [f"{network}.{host}" for host in range(_FIRST_HOST, _LAST_HOST + 1)]
    free = [address for address in there if address not in _TAKEN]
    if count > len(free):
        raise LabError(f"{count} guests: at most {len(free)} fit into {network}.0/24")
    return free[:count]


def mac_of(number: int) -> str:
    """Return the MAC address of guest *number*, counted from 1."""
    return f"BC:24:11:00:{number >> 8:02X}:{number & 0xFF:02X}"


def guest_config(number: int, address: str) -> dict[str, object]:
    """Return the configuration of guest *number*, counted from 1, as the API stores it."""
    return {
        "agent": "1",
        "cores": 1,
        "memory": "64",
        "net0": f"virtio={mac_of(number)},bridge={spec.BRIDGE}",
        "ipconfig0": f"ip={address}/{spec.PREFIX_LENGTH},gw={spec.GATEWAY_ADDRESS}",
        "smbios1": f"uuid={uuid.uuid4()}",
        "tags": spec.TAG,
    }


async def serve(count: int, run_dir: Path) -> None:
    """Serve *count* guests until SIGTERM or SIGINT, then end them.

    Raises:
        VmnetError: A guest could not be made.
        OSError: The address cannot be listened on.
    """
    services.write_token()
    machines = NamespaceMachines(run_dir)
    pve = LabPve(machines, run_dir, host=spec.NODE_ADDRESS, port=spec.API_PORT)
    pve.add_token(spec.TOKEN_ID, services.TOKEN.read_text("ascii").strip().rpartition("=")[2])
    made = make_certificates(run_dir, [spec.NODE_ADDRESS, spec.NODE], SYSTEM.now())
    turn = asyncio.Semaphore(_AT_ONCE)

    async def create(number: int, address: str) -> None:
        vmid = FIRST_VMID + number - 1
        config = guest_config(number, address)
        async with turn:
            await pve.start_machine(pve.add_vm(vmid, f"vm-{number}", config=config))
            if count > MANY:
                await machines.place(vmid).ip(_known_hosts())

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    wanted = enumerate(addresses(count), 1)
    await asyncio.gather(*(create(number, address) for number, address in wanted))
    await pve.start(str(made.certificate), str(made.key))
    try:
        sys.stdout.write(f"ready https://{spec.NODE_ADDRESS}:{pve.port}\n")
        sys.stdout.flush()
        await ended.wait()
    finally:
        await pve.stop()
        await machines.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pytest_vmnet.lab.pve.crowd")
    parser.add_argument("--guests", type=int, required=True, metavar="N")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        asyncio.run(serve(options.guests, spec.RUN_DIR))
    except (VmnetError, OSError) as error:
        sys.stderr.write(f"pytest_vmnet.lab.pve.crowd: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
