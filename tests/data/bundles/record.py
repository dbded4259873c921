"""Record the bundles of this folder anew: one gate run on a real lab for each fault.

Run as root from the repository's root, for all of them or for those that are named::

    .venv/bin/python tests/data/bundles/record.py [healthy healed uplink-loss ...]
"""

from __future__ import annotations

import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
HEALTHY = "healthy"
HEALED = "healed"
FAULTS = (
    "reflected-mac", "tap-egress-drop", "guest-firewall", "uplink-loss", "gateway-loss",
    "duplicate-ip",
)  # fmt: skip
PACE = ("--vmnet-count=150", "--vmnet-max-loss=2%", "--vmnet-peers=1")
HEAL = ("--vmnet-rebuild=diagnosed", "--vmnet-ladder=rebuild")
LAB = (sys.executable, "-m", "pytest_vmnet.cli", "lab")
NAME = os.environ.get("VMNET_LAB_NAME", "record")


def lab(*words: str) -> None:
    """Run `vmnet lab` and wait for it."""
    environment = {**os.environ, "VMNET_LAB_NAME": NAME, "PYTHONPATH": str(ROOT)}
    subprocess.run([*LAB, *words], check=True, env=environment, cwd=ROOT)


def record(name: str) -> None:
    """Run the gate under one fault and pack the bundle that it leaves."""
    if name != HEALTHY:
        lab("fault", "inject", FAULTS[0] if name == HEALED else name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        options = (*PACE, *(HEAL if name == HEALED else ()), f"--vmnet-bundle={folder}")
        words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--proxmox-node=pve1", *options)
        environment = {**os.environ, "VMNET_LAB_NAME": NAME, "PYTHONPATH": str(ROOT)}
        argv = [*LAB, "exec", "workstation", "--", sys.executable, *words]
        subprocess.run(argv, check=False, env=environment, cwd=scratch, stdout=subprocess.DEVNULL)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["finished"], manifest["reason"]
        data = pack(folder)
    (HERE / f"{name}.tar.xz").write_bytes(data)
    sys.stderr.write(f"{name}: {len(data)} bytes\n")
    lab("fault", "clear")


def pack(folder: Path) -> bytes:
    """Return the folder as a tar of the same bytes whoever packs it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            entry = tarfile.TarInfo(str(path.relative_to(folder)))
            entry.mode = 0o700 if path.is_dir() else 0o600
            if path.is_dir():
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            else:
                data = path.read_bytes()
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return lzma.compress(buffer.getvalue(), preset=9)


def main(wanted: list[str]) -> None:
    """Bring a lab up, record, take it down."""
    names = wanted or [HEALTHY, *FAULTS, HEALED]
    lab("up")
    try:
        for name in names:
            record(name)
    finally:
        lab("down")


if __name__ == "__main__":
    main(sys.argv[1:])
