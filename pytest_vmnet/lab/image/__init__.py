"""The guests' disk, kernel and initrd: built once from Debian packages, kept in the cache.

Only the standard library is imported, so that ``python3 -m pytest_vmnet.lab.image`` runs before
anything is installed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_vmnet.lab.build import build_once, run
from pytest_vmnet.lab.image import recipe
from pytest_vmnet.lab.image.debian import as_root, bootstrap
from pytest_vmnet.lab.image.initrd import initrd

MEMORY_MIB = 192
"""What a guest needs to boot and to run the probes."""

KERNEL_COMMAND_LINE = (
    "root=/dev/vda rw console=ttyS0 quiet loglevel=3 panic=1 "
    "tsc=reliable no_timer_check nokaslr mitigations=off audit=0 lsm= "
    "cryptomgr.notests random.trust_cpu=on rcupdate.rcu_expedited=1"
)


@dataclass(frozen=True)
class GuestImage:
    """What a guest boots from.

    Attributes:
        kernel: For QEMU's ``-kernel``.
        initrd: For QEMU's ``-initrd``.
        base: The template's disk, a qcow2 file that guests' overlays are backed by.
    """

    kernel: Path
    initrd: Path
    base: Path


def boot_args(image: GuestImage) -> list[str]:
    """Return QEMU's arguments that boot *image* fastest on an emulated CPU.

    The root disk is the first virtio disk, the seed the second. NICs are virtio's: the kernel
    has no driver for e1000.

    Args:
        image: The guests' image.
    """
    return [
        *("-machine", "pc,usb=off,vmport=off,hpet=off,graphics=off"),
        *("-accel", "tcg,tb-size=128"),  # MiB; without it a busy guest grows past 1 GiB
        *("-cpu", "Nehalem,+rdrand"),
        *("-smp", "1"),
        *("-m", str(MEMORY_MIB)),
        *("-kernel", str(image.kernel)),
        *("-initrd", str(image.initrd)),
        *("-append", KERNEL_COMMAND_LINE),
    ]


def guest_image(cache: Path, progress: Callable[[str], None]) -> GuestImage:
    """Return the image of the present recipe, built now if the cache does not hold it.

    Whoever comes while another builds waits for it. A build that ends half-way leaves nothing
    that is taken for an image.

    Args:
        cache: The folder for what is built once.
        progress: Told what is being done, in a few words.

    Raises:
        CommandError: A tool failed; the message ends with what it said.
        LabError: A tool is not installed.
    """
    suite = recipe.suite()
    folder = cache / "image" / recipe.key(suite)
    image = GuestImage(folder / "vmlinuz", folder / "initrd", folder / "base.qcow2")

    def build(work: Path) -> Path:
        return _build(suite, work, progress)

    build_once(cache, "guest-image", folder, build, progress)
    return image


def _build(suite: str, work: Path, progress: Callable[[str], None]) -> Path:
    """Build in *work*; return the folder with the three files."""
    done = work / "done"
    done.mkdir()
    log = work.with_suffix(".log")
    log.write_bytes(b"")
    root = bootstrap(suite, work, log, progress)
    _furnish(root)
    progress("writing the kernel, the initrd and the disk")
    shutil.copyfile(root / "boot/vmlinuz", done / "vmlinuz")
    (modules,) = (root / "usr/lib/modules").iterdir()
    (done / "initrd").write_bytes(
        initrd(
            busybox=root / "usr/bin/busybox",
            init=recipe.SCRIPTS / "initrd-init",
            modules=modules,
            wanted=recipe.BOOT_MODULES,
        )
    )
    raw, base = work / "disk.raw", done / "base.qcow2"
    make = ["mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(root), "-J", "size=8"]
    make += ["-E", "lazy_itable_init=0,lazy_journal_init=0", str(raw), recipe.DISK_SIZE]
    run([*as_root(), *make], log=log, timeout_s=600)
    run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(base)], log=log, timeout_s=600)
    return done


def _furnish(root: Path) -> None:
    """Put our scripts into the guest's *root* and take out what no guest needs."""
    for name, place in recipe.PLACES.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        shutil.copyfile(recipe.SCRIPTS / name, path)
        path.chmod(0o644 if name == "inittab" else 0o755)
    for link, target in recipe.LINKS.items():
        path = root / link
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("", "ascii")
