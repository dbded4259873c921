"""Record the bundles of this folder anew: one gate run on a real lab for each fault.

Run as root from the repository's root, for all of them or for those that are named; with
``--again`` without a lab: only the report in each bundle is made anew, from its evidence::

    .venv/bin/python tests/data/bundles/record.py [--again] [healthy healed uplink-loss ...]
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from pytest_vmnet.lab.faults import FAULTS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
HEALTHY = "healthy"
HEALED = "healed"
INCIDENT = "reflected-mac"
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
        lab("fault", "inject", INCIDENT if name == HEALED else name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        options = (*PACE, *(HEAL if name == HEALED else ()), f"--vmnet-bundle={folder}")
        words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--proxmox-node=pve1", *options)
        environment = {**os.environ, "VMNET_LAB_NAME": NAME, "PYTHONPATH": str(ROOT)}
        argv = [*LAB, "exec", "workstation", "--", sys.executable, *words]
        subprocess.run(argv, check=False, env=environment, cwd=scratch, stdout=subprocess.DEVNULL)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["finished"], manifest["reason"]
        seen = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))["guests"]
        data = pack(folder)
    lab("fault", "clear")
    if problem := untrue(name, seen):
        raise SystemExit(f"{name} is not kept, record it again: {problem}")
    (HERE / f"{name}.tar.xz").write_bytes(data)
    sys.stderr.write(f"{name}: {len(data)} bytes\n")


def untrue(name: str, guests: list[dict[str, Any]]) -> str | None:
    """Return how a run's guests are not what the fault's ground truth says, or None."""
    if name == HEALED:
        healed = [guest["name"] for guest in guests if guest["healed"]]
        return None if healed == ["vm-1"] else f"healed: {healed}, expected vm-1"
    truth = next((fault.truth() for fault in FAULTS if fault.name == name), {"verdicts": {}})
    verdicts = {guest["name"]: guest["verdict"] for guest in guests}
    wanted = {guest["name"]: truth["verdicts"].get(guest["name"], "healthy") for guest in guests}
    reasons = {guest["findings"][0]["reason"] for guest in guests if guest["findings"]}
    if verdicts != wanted or reasons - {truth.get("reason")}:
        return f"{verdicts}, {sorted(reasons)}; expected {wanted}, {truth.get('reason')}"
    return None


def again(name: str) -> None:
    """Replay a bundle, print how its report differs from the one in it, and keep the new one."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, report = Path(scratch) / name, Path(scratch) / "out.json"
        with tarfile.open(HERE / f"{name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--vmnet-replay={folder}")
        argv = [sys.executable, *words, f"--vmnet-json={report}"]
        subprocess.run(argv, check=False, cwd=ROOT, stdout=subprocess.DEVNULL)
        before, after = (
            path.read_text(encoding="utf-8").splitlines(keepends=True)
            for path in (folder / "outcome.json", report)
        )
        sys.stderr.writelines(difflib.unified_diff(before, after, name, f"{name} again", n=0))
        data = report.read_bytes()
        (folder / "outcome.json").write_bytes(data)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        manifest["files"]["outcome.json"] = entry
        text = json.dumps(manifest, indent=1) + "\n"
        (folder / "manifest.json").write_text(text, encoding="utf-8")
        (HERE / f"{name}.tar.xz").write_bytes(pack(folder))


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


def main(words: list[str]) -> None:
    """Bring a lab up, record, take it down; or replay."""
    names = [word for word in words if word != "--again"]
    names = names or [HEALTHY, *(fault.name for fault in FAULTS), HEALED]
    if "--again" in words:
        for name in names:
            again(name)
        return
    lab("up")
    try:
        for name in names:
            record(name)
    finally:
        lab("down")


if __name__ == "__main__":
    main(sys.argv[1:])
