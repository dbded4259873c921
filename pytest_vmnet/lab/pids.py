"""Process ids inside a lab, as its caller sees them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def outer_pids(namespace: int) -> dict[int, int]:
    """Return PIDs of the PID namespace with inode *namespace*: inside => as this process sees.

    Args:
        namespace: Inode of ``/proc/PID/ns/pid``, the same wherever one looks.
    """
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            if (folder / "ns/pid").stat().st_ino != namespace:
                continue
            for line in (folder / "status").read_text(encoding="utf-8").splitlines():
                if line.startswith("NSpid:"):
                    found[int(line.split()[-1])] = int(folder.name)
    return found
