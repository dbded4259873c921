"""The fixtures: Proxmox's nouns. Each body is a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_vmnet.plugin_state import STATE, State

if TYPE_CHECKING:  # an idle pytest run must not pay for these
    from ipaddress import IPv4Address

    from testinfra.host import Host

    from pytest_vmnet.core.site.topology import Bridge, Guest, Node
    from pytest_vmnet.gate.source import Doors
    from pytest_vmnet.verify import Ledger

PARAMETRISED = ("node", "bridge", "vm", "peer")
"""Fixtures that are parametrised together, from what discovery found."""


def _state(request: pytest.FixtureRequest) -> State:
    state = request.config.stash.get(STATE, None)
    if state is None:
        pytest.skip("the gate is off: pass --proxmox-node or --vmnet-replay")
    return state


def _doors(request: pytest.FixtureRequest) -> Doors:
    """Return the open doors to the site; without them the test is skipped."""
    doors = _state(request).gate.source.doors
    if doors is None:
        pytest.skip("a replay asks nobody: it has what the run was told, and no more")
    return doors


@pytest.fixture(scope="session")
def proxmox(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - proxmoxer has no types
    """The Proxmox API, as a proxmoxer ``ProxmoxAPI``."""
    return _doors(request).proxmox.api


@pytest.fixture(scope="session")
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """What the gate found out: flows, neighbours, findings, decisions; looking costs no I/O."""
    return _state(request).ledger()


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> Guest:
    """One tested guest; a test that asks for it runs once for each."""
    return _state(request).inventory.guest(request.param)


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Guest:
    """A peer of ``vm``; a test that asks for both runs once for each pair."""
    return _state(request).inventory.guest(request.param)


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Node:
    """One tested node; the node of ``vm`` if the test asks for that as well."""
    return _state(request).inventory.node(request.param)


@pytest.fixture
def bridge(request: pytest.FixtureRequest) -> Bridge:
    """One bridge with tested guests; the bridge of ``vm`` if the test asks for that as well."""
    name, _, of = request.param.partition("@")
    found = _state(request).inventory.node(of).bridge(name)
    if found is None:
        raise KeyError(request.param)
    return found


@pytest.fixture
def gateway(vm: Guest) -> IPv4Address:
    """The gateway of ``vm``; a guest without one skips the test."""
    if vm.gateway is None:
        pytest.skip(f"{vm.ident}: no gateway is known")
    return vm.gateway


@pytest.fixture
def guest(request: pytest.FixtureRequest, vm: Guest) -> Host:
    """A testinfra host inside of ``vm``, over its agent: it works with a broken network."""
    from pytest_vmnet.backends.hosts import agent_host  # noqa: PLC0415 - keeps an idle run quick

    return agent_host(_doors(request).proxmox, vm.node, vm.vmid)


@pytest.fixture
def hypervisor(request: pytest.FixtureRequest, node: Node) -> Host:
    """A testinfra host of ``node``; a node without a shell skips the test."""
    from pytest_vmnet.backends.hosts import SshShell  # noqa: PLC0415 - keeps an idle run quick

    shell = _doors(request).shells.get(node.name)
    if not isinstance(shell, SshShell):
        pytest.skip(f"{node.name}: the gate has no shell there")
    return shell.host()
