"""The guest image's recipe: sources, initrd, key."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_vmnet.lab.image import GuestImage, boot_args, recipe
from pytest_vmnet.lab.image.debian import sources
from pytest_vmnet.lab.image.initrd import load_order, newc

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://vendor.example/
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg

Types: deb
URIs: http://old.example/
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://embedded.example/
Suites: bookworm-backports
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
"""

ONE_LINE = """\
deb http://mirror.example/debian bookworm main non-free  # comment
#deb http://off.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/debian.gpg] http://two.example bookworm-security main
deb [arch=amd64] http://vendor.example/deb stable main
deb http://vendor.example/bookworm ./
"""


def test_sources_deb822(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822, "ascii")
    signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert sources("bookworm", tmp_path).splitlines() == [
        f"deb {signed} http://mirror.example/debian bookworm main",
        f"deb {signed} http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/security bookworm-security main",
    ]


def test_sources_one_line(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE, "ascii")
    assert sources("bookworm", tmp_path).splitlines() == [
        "deb http://mirror.example/debian bookworm main",
        "deb [signed-by=/etc/apt/keyrings/debian.gpg] http://two.example bookworm-security main",
    ]


def test_sources_none(tmp_path: Path) -> None:
    assert not sources("trixie", tmp_path)


def test_load_order() -> None:
    dep = "x/virtio_net.ko.xz: x/net_failover.ko.xz x/failover.ko.xz\nx/failover.ko.xz:\n"
    dep += "x/net_failover.ko.xz: x/failover.ko.xz\n"
    order = load_order(dep, ["virtio-net", "ext4", "failover"])
    assert order == ["x/failover.ko.xz", "x/net_failover.ko.xz", "x/virtio_net.ko.xz"]


@pytest.mark.skipif(not shutil.which("busybox"), reason="no busybox to read cpio with")
def test_newc_is_read_by_another_program(tmp_path: Path) -> None:
    archive = newc(
        [
            ("bin", 0o40755, b""),
            ("bin/program", 0o100755, b"12345"),
            ("bin/link", 0o120777, b"program"),
        ]
    )
    subprocess.run(["busybox", "cpio", "-i"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "bin/program").read_bytes() == b"12345"
    assert (tmp_path / "bin/program").stat().st_mode == 0o100755
    assert (tmp_path / "bin/link").readlink() == Path("program")


def test_key_follows_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe.key("bookworm")
    assert before.startswith("bookworm-")
    assert recipe.key("trixie").split("-")[1] == before.split("-")[1]
    monkeypatch.setattr(recipe, "PACKAGES", (*recipe.PACKAGES, "vim"))
    assert recipe.key("bookworm") != before
    monkeypatch.undo()
    shutil.copytree(recipe.SCRIPTS, tmp_path / "guest")
    monkeypatch.setattr(recipe, "SCRIPTS", tmp_path / "guest")
    assert recipe.key("bookworm") == before
    with (tmp_path / "guest/boot").open("a") as script:
        script.write("# another line\n")
    assert recipe.key("bookworm") != before


def test_every_script_has_a_place() -> None:
    found = {script.name for script in recipe.SCRIPTS.iterdir()}
    assert found == {*recipe.PLACES, "initrd-init", "kernel-hook"}


def test_boot_args_use_no_kvm() -> None:
    args = boot_args(GuestImage(Path("/k"), Path("/i"), Path("/b")))
    assert "kvm" not in " ".join(args)
    assert args[args.index("-kernel") + 1] == "/k"
    assert args[args.index("-initrd") + 1] == "/i"
