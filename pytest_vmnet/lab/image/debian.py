"""Debian's part: which packages' sources this machine uses, and mmdebstrap's run with them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab.build import Progress, run
from pytest_vmnet.lab.image import recipe

_APT = Path("/etc/apt")
_KEPT_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries",
                  "Acquire::ForceIPv")  # fmt: skip


def sources(suite: str, apt: Path = _APT) -> str:
    """Return this machine's own sources of Debian *suite*, one line each; empty if it has none.

    Other vendors' sources are left out: a source counts that names the suite itself, its updates
    or its security suite, and has the component ``main``.

    Args:
        suite: Debian's code name.
        apt: apt's folder of settings.
    """
    wanted = {suite, f"{suite}-updates", f"{suite}-security", f"{suite}/updates"}
    lines = []
    for uri, name, components, signed_by in _entries(apt):
        if name in wanted and "main" in components and "debian" in (signed_by or "debian"):
            options = f"[signed-by={signed_by}] " if signed_by else ""
            lines.append(f"deb {options}{uri} {name} main")
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def _entries(apt: Path) -> Iterator[tuple[str, str, list[str], str | None]]:
    folder = apt / "sources.list.d"
    for path in (apt / "sources.list", *sorted(folder.glob("*.list"))):
        if path.exists():
            yield from _one_line(path.read_text("utf-8", "replace"))
    for path in sorted(folder.glob("*.sources")):
        yield from _deb822(path.read_text("utf-8", "replace"))


def _one_line(text: str) -> Iterator[tuple[str, str, list[str], str | None]]:
    for line in text.splitlines():
        plain = line.partition("#")[0].strip()
        signed_by = None
        if "[" in plain:
            before, _, rest = plain.partition("[")
            options, _, after = rest.partition("]")
            plain = before + after
            signed_by = dict(part.partition("=")[::2] for part in options.split()).get("signed-by")
        kind, *words = plain.split() or [""]
        if kind == "deb" and len(words) >= 3:  # URI, suite, components
            yield words[0], words[1], words[2:], signed_by


def _deb822(text: str) -> Iterator[tuple[str, str, list[str], str | None]]:
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        signed_by = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = fields.get("components", "").split()
                yield uri, suite, components, signed_by if signed_by.startswith("/") else None


def _apt_options() -> list[str]:
    """Return mmdebstrap's options for what this machine's apt knows of proxies and the like."""
    dump = subprocess.run(
        ["apt-config", "dump"], capture_output=True, text=True, check=False, timeout=30
    ).stdout
    kept = [line.rstrip(";") for line in dump.splitlines() if line.startswith(_KEPT_SETTINGS)]
    return [f"--aptopt={line}" for line in kept if not line.endswith(' ""')]


def bootstrap(suite: str, work: Path, log: Path, progress: Progress) -> Path:
    """Unpack a Debian with the recipe's packages; return its root folder, kernel included.

    Args:
        suite: Debian's code name.
        work: A folder for it all.
        log: Where the tools' output goes.
        progress: Told what is being done.

    Raises:
        CommandError: A tool failed.
        LabError: mmdebstrap is not installed.
    """
    if shutil.which("mmdebstrap") is None:
        raise LabError("guest image: mmdebstrap is not installed; run `make setup`")
    tarball = work / "root.tar"
    mirror = sources(suite)
    progress(f"unpacking Debian {suite} with {len(recipe.PACKAGES)} packages and a kernel")
    argv = ["env", f"KERNEL_PACKAGE={recipe.KERNEL}"]
    argv += ["mmdebstrap", "--variant=minbase", "--format=tar", *_apt_options()]
    argv += [f"--include={','.join(recipe.PACKAGES)}"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.EXCLUDED]
    # The hook's text, not its file: without root it is another user's, who may not read here.
    hook = (recipe.SCRIPTS / "kernel-hook").read_text("utf-8")
    argv += [f"--customize-hook={hook}"]
    argv += [suite, str(tarball), *(["-"] if mirror else [])]
    run(argv, log=log, stdin=mirror, timeout_s=1800)
    root = work / "root"
    root.mkdir()
    unpack = ["tar", "-C", str(root), "--exclude=./dev/*", "-xf", str(tarball)]
    owner = [] if os.geteuid() == 0 else ["--no-same-owner"]
    run([*as_root(), *unpack, *owner], log=log, timeout_s=300)
    tarball.unlink()
    return root


def as_root() -> list[str]:
    """Return the words before a command that must see its own files as root's."""
    return [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
