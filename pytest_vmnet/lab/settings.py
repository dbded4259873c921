"""What a lab is built from: found by the caller, handed over to the supervisor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import spec

Say = Callable[[str], None]


@dataclass(frozen=True)
class LabSettings:
    """Everything that the supervisor needs to know.

    Attributes:
        cache: Folder with what was built once: the guests' image.
        terraform: The ``terraform`` executable; "" for a site without guests.
        mirrors: Folders for Terraform's ``filesystem_mirror``.
        root: Terraform root that creates the guests.
        provider: ``bpg`` or ``telmate``.
        nodes: How many Proxmox nodes the site has, a key of `spec.SITES`.
        python: The interpreter that runs the lab's own programs.
    """

    cache: str = ""
    terraform: str = ""
    mirrors: tuple[str, ...] = ()
    root: str = ""
    provider: str = "bpg"
    nodes: int = 1
    python: str = sys.executable

    @property
    def has_guests(self) -> bool:
        """Whether the site is to have guests, and a Proxmox API that runs them."""
        return bool(self.terraform)

    @property
    def site(self) -> spec.SiteSpec:
        """The variant of the site that is to be built."""
        return spec.SITES[self.nodes]

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON takes them."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabSettings:
        """Return the settings that `to_json` gave."""
        return cls(**{**data, "mirrors": tuple(data["mirrors"])})


def gather(provider: str, say: Say, *, nodes: int = 1) -> LabSettings:
    """Find or build everything that a lab with guests is made of.

    Args:
        provider: Which Terraform provider creates the guests: ``bpg`` or ``telmate``.
        say: Told what is being done.
        nodes: How many Proxmox nodes the site has.

    Raises:
        VmnetError: Something can neither be found nor built here.
    """
    # Only here: `vmnet lab exec` and `down` shall not pay for these imports.
    from pytest_vmnet.lab import toolchain  # noqa: PLC0415
    from pytest_vmnet.lab.image import guest_image  # noqa: PLC0415

    if nodes > 1 and provider != "bpg":
        raise LabError(f"{nodes} nodes: only the bpg provider's root has them, not {provider}'s")
    root = terraform_root(provider)
    cache = spec.cache_dir().absolute()
    cache.mkdir(parents=True, exist_ok=True)
    guest_image(cache, say)
    # A mirror that the environment names is added where Terraform's configuration is written.
    mirrors = [toolchain.bpg_provider(cache, say)] if provider == "bpg" else []
    if provider == "telmate" and not os.environ.get(toolchain.MIRROR_VARIABLE):
        raise LabError(
            f"Telmate's provider: the lab reaches no registry; let {toolchain.MIRROR_VARIABLE} "
            "name a Terraform filesystem mirror that holds it"
        )
    return LabSettings(
        cache=str(cache),
        terraform=str(toolchain.terraform_binary(cache)),
        mirrors=tuple(map(str, mirrors)),
        root=str(root),
        provider=provider,
        nodes=nodes,
    )


def terraform_root(name: str) -> Path:
    """Return the folder of the Terraform root *name* (``bpg``, ``telmate``).

    Raises:
        LabError: There is none of that name.
    """
    package = Path(__file__).resolve().parents[1]
    for home in (package.parent / "terraform", package / "terraform"):
        if (home / name).is_dir():
            return home / name
    raise LabError(f"no Terraform root {name!r} beside {package}; choose bpg or telmate")
