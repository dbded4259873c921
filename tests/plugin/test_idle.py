"""Without its options the plugin touches nothing and costs nothing."""

from __future__ import annotations

from typing import Any

import pytest

_HEAVY = ("proxmoxer", "testinfra", "python_terraform", "numpy", "requests", "pytest_html")


@pytest.fixture
def unreachable() -> dict[str, str]:
    """An environment that would lead a gate to a port where nobody listens."""
    return {
        "PROXMOX_VE_ENDPOINT": "https://127.0.0.1:1/",
        "PROXMOX_VE_API_TOKEN": "root@pam!vmnet=s3cret",
    }


def test_idle_run_imports_nothing_heavy(pytester: Any, run: Any) -> None:
    pytester.makepyfile(f"""
        import sys

        def test_modules():
            assert "pytest_vmnet.plugin" in sys.modules
            assert not {{name.partition(".")[0] for name in sys.modules}} & set({_HEAVY})
    """)
    quiet = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    result = run("-p", "pytest_vmnet.plugin", env=quiet, apart=True)
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_and_version_touch_nothing(run: Any, unreachable: Any, word: str) -> None:
    result = run("--proxmox-node", "pve1", word, env=unreachable, apart=True)
    assert result.ret == 0
    shown = result.stdout.str()
    assert "127.0.0.1" not in shown
    if word == "--help":
        for wanted in (
            "Proxmox connection (pytest-vmnet):",
            "network acceptance gate for Proxmox guests:",
            "--proxmox-node=NODE",
            "--vmnet-rebuild=never|plan|diagnosed|unhealthy",
            "vmnet_proxmox_host (string):",
            "vmnet_count (string):",
        ):
            assert wanted in shown


def test_switched_off_gate_skips_its_tests(pytester: Any, run: Any, unreachable: Any) -> None:
    pytester.makepyfile("""
        def test_guest(vm, gateway): ...
        def test_pair(vm, peer, ledger): ...
        def test_place(node, bridge): ...
        def test_api(proxmox): ...
        def test_own(): ...
    """)
    result = run("-rs", env=unreachable)
    result.assert_outcomes(passed=1, skipped=4)
    result.stdout.fnmatch_lines(["*the gate is off: pass --proxmox-node or --vmnet-replay*"])
    assert "network acceptance gate" not in result.stdout.str()


def test_node_is_not_taken_from_the_environment(pytester: Any, run: Any, unreachable: Any) -> None:
    pytester.makepyfile("def test_own(): ...")
    names = ("VMNET_PROXMOX_NODE", "PROXMOX_NODE", "PM_NODE", "VMNET_NODE", "VMNET_LAB")
    result = run(env={**unreachable, **dict.fromkeys(names, "pve1")})
    result.assert_outcomes(passed=1)
    assert "vmnet:" not in result.stdout.str()
