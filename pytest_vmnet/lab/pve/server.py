"""The lab's Proxmox nodes: their API, their storage and the template."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from pytest_vmnet.lab import spec
from pytest_vmnet.lab.pve.agentcalls import AgentApi
from pytest_vmnet.lab.pve.base import FakeVm, Match, PveError, Values, Vm, web
from pytest_vmnet.lab.pve.config import ConfigApi
from pytest_vmnet.lab.pve.disks import DiskApi, size_text
from pytest_vmnet.lab.pve.guests import write_guest
from pytest_vmnet.lab.pve.ha import HaApi
from pytest_vmnet.lab.pve.inventory import InventoryApi
from pytest_vmnet.lab.pve.machines import Machines

VERSION = "9.1.1"
AUDITOR = "auditor@pve"
AUDITOR_PRIVILEGES = (
    "Datastore.Audit", "Pool.Audit", "SDN.Audit", "Sys.Audit", "VM.Audit", "VM.GuestAgent.Audit",
)  # fmt: skip
"""What Proxmox's role PVEAuditor may do, as far as a lab asks."""


class LabPve(ConfigApi, DiskApi, AgentApi, HaApi, InventoryApi):
    """The API of the lab's nodes; the first one serves it for all, as a cluster's member does.

    Args:
        machines: What runs the guests.
        run_dir: The lab's run directory.
        host: Address to listen on.
        port: Port to listen on; 0 for any.
        site: What the site looks like.
    """

    def __init__(
        self,
        machines: Machines,
        run_dir: Path,
        *,
        host: str,
        port: int,
        site: spec.SiteSpec = spec.ONE_NODE,
    ) -> None:
        super().__init__(machines, host=host, port=port)
        self.run_dir = run_dir
        self.site = site
        self.version, self.release_version = VERSION, VERSION.rpartition(".")[0]
        self.nodes = {node.name: {"online": True} for node in site.nodes}
        if site.storage not in self.storages:
            self.add_ceph_storage(site.storage)
        self.password = ""

    def check_password(self, _user: str, _password: str) -> bool:
        """Refuse every password: the lab has tokens only."""
        return False

    def add_token(
        self, token_id: str, secret: str, privileges: Sequence[str] | None = None
    ) -> None:
        """Add an API token.

        Args:
            token_id: For example ``root@pam!vmnet``.
            secret: Its secret.
            privileges: What it may do, anywhere; None for everything, which root's alone may.
        """
        self.apitokens[token_id] = secret
        if privileges is not None:
            self.grant(token_id, "/", *privileges)

    def add_template(self, size: int, *, memory_mib: int) -> None:
        """Add the template that the guests are cloned from.

        Args:
            size: Bytes of its disk, which is ``guests/9000/disk.qcow2``.
            memory_mib: Its memory.
        """
        vmid, storage = spec.TEMPLATE_VMID, self.site.storage
        disk, drive = f"base-{vmid}-disk-0", f"vm-{vmid}-cloudinit"
        config = {
            "agent": "1",
            "boot": "order=virtio0",
            "cores": 1,
            "cpu": "host",
            "ide2": f"{storage}:{drive},media=cdrom",
            "memory": str(memory_mib),
            "meta": f"creation-qemu=10.1.2,ctime={int(time.time())}",
            "net0": f"virtio=BC:24:11:00:23:28,bridge={self.site.bridges[0]}",
            "ostype": "l26",
            "scsihw": "virtio-scsi-pci",
            "serial0": "socket",
            "smbios1": "uuid=6d4f8f6e-0000-4000-8000-000000009000",
            "sockets": 1,
            "tags": "template",
            "template": 1,
            "vga": "serial0",
            "virtio0": f"{storage}:{disk},size={size_text(size)}",
            "vmgenid": "6d4f8f6e-0000-4000-8000-000000009001",
        }
        self.vms.append(FakeVm(vmid, "debian", node=spec.NODE, config=config, template=True))
        image = {"content": "images", "format": "raw", "size": size, "vmid": vmid, "made": True}
        seed = {"content": "images", "format": "raw", "size": 4 << 20, "vmid": vmid}
        volumes = self.storages[storage].setdefault("volumes", {})
        volumes |= {disk: image, drive: seed}

    def guest_changed(self, vm: Vm) -> None:
        """Keep the guest's record."""
        if not vm.template:
            pid = self.machines.pid(vm.vmid)
            write_guest(self.run_dir, vm.vmid, vm.name, vm.config, pid, node=vm.node)

    async def synthesise(
        self, match: Match, method: str, info: Values, user: str, values: Values
    ) -> object:
        """Refuse what fakepve would only pretend to do; what it tells is made up, but harmless."""
        if method != "GET":
            raise PveError(501, f"{method} {match.template} is not available in the lab")
        return await super().synthesise(match, method, info, user, values)

    def _build_app(self) -> web.Application:
        """Add a twin with a trailing slash to every route: Proxmox takes it, bpg sends it."""
        app: web.Application = super()._build_app()
        for route in list(app.router.routes()):
            path = route.resource.canonical if route.resource is not None else ""
            if "{tail}" not in path and not path.endswith("/") and route.method != "HEAD":
                app.router.add_route(route.method, f"{path}/", route.handler)
        return app
