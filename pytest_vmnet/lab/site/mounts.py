"""The lab's own files: all in memory, all in private mount namespaces, gone with the lab."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from pytest_vmnet.lab import kernel, spec

NODE_FOLDERS = ("/etc", "/home", "/opt", "/root", "/srv", "/tmp", "/var")  # noqa: S108
"""What the node sees of the machine's files: readable, and every change stays in the lab."""

_SHARED_RUN = ("/run/netns", "/run/user")
_OWN_RUN = ("/run/lock", "/run/sshd")

_STATE = spec.RUN_DIR / "node-files"


def make_private() -> None:
    """Cover what the lab writes with file systems in memory; runs as PID 1 of the lab.

    Later mounts of the machine still come in (and its unmounts too): the lab pins none.
    """
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_SLAVE)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("proc", "/proc", "proc", flags | kernel.MS_NOEXEC)
    kernel.mount("sysfs", "/sys", "sysfs", flags | kernel.MS_NOEXEC)
    users = os.open("/run/user", os.O_PATH) if Path("/run/user").is_dir() else None
    kernel.mount("vmnet", "/run", "tmpfs", flags, "mode=0755")
    if users is not None:
        # A caller's folder may be below it.
        Path("/run/user").mkdir()
        kernel.mount(f"/proc/self/fd/{users}", "/run/user", None, kernel.MS_BIND | kernel.MS_REC)
        os.close(users)
    spec.RUN_DIR.mkdir(mode=0o700)
    for folder in ("log", "etc", "node-files"):
        (spec.RUN_DIR / folder).mkdir()
    for folder in ("/run/netns", *_OWN_RUN):
        Path(folder).mkdir()
    kernel.mount("vmnet", "/etc/ssh", "tmpfs", flags, "mode=0755")
    _cover("/etc/hosts", _hosts(spec.ONE_NODE))
    # The lab has no way out: a look-up of any other name should fail at once.
    _cover("/etc/resolv.conf", "# a lab has no name server\n")
    _unlock_root()


def log_to_file() -> None:
    """Send what this process and its children say to the lab's log."""
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(
        spec.RUN_DIR / "log/supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
    )
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(null)


def make_node_private(node: spec.NodeSpec) -> None:
    """Give *node* files of its own; runs inside the node's mount namespace.

    An overlay over each folder keeps the machine's files readable. File systems that are mounted
    below such a folder are put back in place; a folder that no overlay can cover stays as it is.
    """
    for number, folder in enumerate(NODE_FOLDERS):
        path = Path(folder)
        if path.is_symlink() or not path.is_dir():
            continue
        below = [(inner, os.open(inner, os.O_PATH)) for inner in _mounts_below(folder)]
        upper, work = (_STATE / node.host / f"{number}-{part}" for part in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir()
        shutil.copystat(folder, upper)
        options = f"lowerdir={folder},upperdir={upper},workdir={work}"
        try:
            kernel.mount("overlay", folder, "overlay", 0, options)
        except OSError as error:
            sys.stderr.write(f"{node.name} writes to the machine's {folder}: {error}\n")
            continue
        for inner, fd in below:
            if Path(inner).exists():
                kernel.mount(f"/proc/self/fd/{fd}", inner, None, kernel.MS_BIND)
            os.close(fd)
    _cover("/etc/hostname", f"{node.name}\n", f"hostname-{node.host}")
    _make_run_private()


def _make_run_private() -> None:
    """Give a node a ``/run`` of its own: what is locked on one node is free on the other."""
    shared = [path for path in (spec.RUN_DIR, *map(Path, _SHARED_RUN)) if path.is_dir()]
    kept = [(path, os.open(path, os.O_PATH)) for path in shared]
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("vmnet", "/run", "tmpfs", flags, "mode=0755")
    for path, fd in kept:
        path.mkdir(mode=0o700)
        kernel.mount(f"/proc/self/fd/{fd}", str(path), None, kernel.MS_BIND | kernel.MS_REC)
        os.close(fd)
    for folder in _OWN_RUN:
        Path(folder).mkdir()


def _mounts_below(folder: str) -> list[str]:
    """Return the mount points strictly below *folder*, outer ones first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        point = line.split(" ")[4].encode().decode("unicode_escape")
        if point.startswith(f"{folder}/") and point not in points:
            points.append(point)
    return points


def write_hosts(site: spec.SiteSpec) -> None:
    """Tell every host of the lab the names of *site*."""
    source = spec.RUN_DIR / "etc/hosts"
    if source.exists():
        source.write_text(_hosts(site), encoding="ascii")


def _cover(target: str, text: str, name: str = "") -> None:
    """Show *text* as the content of *target* inside the lab, where *target* exists."""
    if not Path(target).exists():
        return
    source = spec.RUN_DIR / "etc" / (name or Path(target).name)
    source.write_text(text, encoding="ascii")
    kernel.mount(str(source), target, None, kernel.MS_BIND)


def _hosts(site: spec.SiteSpec) -> str:
    lines = [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost ip6-loopback",
        *(f"{node.address} {node.name} {node.host}" for node in site.nodes),
        f"{spec.GATEWAY_ADDRESS} gateway",
        f"{spec.WORKSTATION_ADDRESS} workstation",
        f"{spec.EXTERNAL_ADDRESS} external",
        *(f"{guest.address} {guest.name}" for guest in site.guests),
    ]
    return "\n".join(lines) + "\n"


def _unlock_root() -> None:
    """Let sshd accept root's key where the machine's root account is locked (``!``)."""
    shadow = Path("/etc/shadow")
    if not shadow.exists():
        return
    lines = shadow.read_text(encoding="utf-8").splitlines()
    if any(line.startswith("root:!") for line in lines):
        _cover("/etc/shadow", "root:*:19000:0:99999:7:::\n")
        (spec.RUN_DIR / "etc/shadow").chmod(0o600)
