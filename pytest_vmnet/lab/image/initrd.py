"""The initrd: a newc cpio archive with one static shell, a few drivers and a script."""

from __future__ import annotations

import lzma
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_MAGIC = b"070701"
_ALIGN = 4


def newc(entries: Iterable[tuple[str, int, bytes]]) -> bytes:
    """Return a cpio archive ("newc" format, as the kernel's initramfs wants it).

    Args:
        entries: Path, mode (with its type bits) and content of each entry; folders before what
            is in them. A symbolic link's content is its target.

    References:
        ``Documentation/driver-api/early-userspace/buffer-format.rst`` of the kernel.
    """
    out = bytearray()
    for inode, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        path = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        out += _MAGIC + b"".join(b"%08X" % field for field in fields) + path
        out += bytes(-len(out) % _ALIGN)
        out += content
        out += bytes(-len(out) % _ALIGN)
    return bytes(out)


def load_order(modules_dep: str, wanted: Iterable[str]) -> list[str]:
    r"""Return the files to load for *wanted*, each after all that it needs.

    >>> load_order("a/x.ko: a/y.ko a/z.ko\na/y.ko: a/z.ko\na/z.ko:\n", ["x", "built_in"])
    ['a/z.ko', 'a/y.ko', 'a/x.ko']

    Args:
        modules_dep: Text of depmod's ``modules.dep``: a file, and all that it needs, the last of
            them first to be loaded.
        wanted: Names of modules; those that are no files are built into the kernel.
    """
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in modules_dep.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        by_name[_module_name(path)] = path
    order: list[str] = []
    for name in wanted:
        found = by_name.get(name.replace("-", "_"))
        if found is not None:
            order += [*reversed(needs[found]), found]
    return list(dict.fromkeys(order))


def _module_name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def _plain(module: Path) -> bytes:
    data = module.read_bytes()
    return lzma.decompress(data) if module.suffix == ".xz" else data


def initrd(*, busybox: Path, init: Path, modules: Path, wanted: Iterable[str]) -> bytes:
    """Return the initrd's bytes.

    Args:
        busybox: A statically linked busybox.
        init: The script that becomes ``/init``.
        modules: The kernel's folder of modules, with ``modules.dep``.
        wanted: Names of the modules to load at boot.
    """
    order = load_order((modules / "modules.dep").read_text("ascii"), wanted)
    files = {_module_name(path) + ".ko": _plain(modules / path) for path in order}
    return newc(_entries(busybox.read_bytes(), init.read_bytes(), files))


def _entries(
    busybox: bytes, init: bytes, modules: Mapping[str, bytes]
) -> Iterator[tuple[str, int, bytes]]:
    for folder in ("bin", "dev", "modules", "root"):
        yield folder, stat.S_IFDIR | 0o755, b""
    yield "bin/busybox", stat.S_IFREG | 0o755, busybox
    for applet in ("sh", "cat", "insmod", "mount", "sleep", "switch_root"):
        yield f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox"
    for name, content in modules.items():
        yield f"modules/{name}", stat.S_IFREG | 0o644, content
    yield "modules/order", stat.S_IFREG | 0o644, "\n".join(modules).encode() + b"\n"
    yield "init", stat.S_IFREG | 0o755, init
