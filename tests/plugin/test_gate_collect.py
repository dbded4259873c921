"""Collecting with the gate on: what is read, and the ids that come of it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vmnet.backends import hosts, proxmox


def _ids(result: Any) -> list[str]:
    assert result.ret == 0
    lines = [line for line in result.outlines if "::" in line]
    return [line.partition("::")[2] for line in lines]


def test_collect_only_reads_the_api_and_nothing_else(site: Any) -> None:
    ids = _ids(site.gate("--collect-only", "-q"))
    assert {method for method, _ in site.asked} == {"GET"}
    told = {call for agent in site.agents.values() for call in agent.calls}
    assert told == {"guest-network-get-interfaces"}
    assert "test_gateway_loss[vm-1]" in ids
    assert [each for each in ids if "peer_loss" in each] == [
        "test_peer_loss[vm-1:vm-2]",
        "test_peer_loss[vm-2:vm-1]",
    ]


def test_collect_only_does_not_wait_for_agents(site: Any) -> None:
    site.agents[111].mode = "absent"
    result = site.gate("--collect-only", "-q", env={"VMNET_WAIT": "3000"})
    assert "test_verdict[vm-1]" in _ids(result)


def test_name_that_is_not_unique(site: Any) -> None:
    site.add_guest(113, "vm-1")
    ids = _ids(site.gate("--collect-only", "-q"))
    assert [each for each in ids if "verdict" in each] == [
        "test_verdict[vm-1.111]",
        "test_verdict[vm-2]",
        "test_verdict[vm-1.113]",
    ]
    assert "test_arp[vm-1.111:vm-1.113]" in ids


def test_guests_that_are_not_tested_are_told_apart(site: Any, written: Any) -> None:
    site.add_guest(113, "off", status="stopped")
    site.add_guest(114, "held", lock="backup")
    site.add_guest(115, "left", tags="a;vmnet-skip")
    site.add_guest(116, "loose", net0=None)
    site.gate("--vmnet-json=out.json")
    run = written("out.json")
    assert [guest["name"] for guest in run["guests"]] == ["vm-1", "vm-2"]
    reasons = {each["name"]: each["reason"] for each in run["skipped"]}
    assert reasons == {
        "debian": "a template",
        "off": "stopped",
        "held": "locked: backup",
        "left": "tag vmnet-skip",
        "loose": "it has no NIC on a bridge",
    }


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("vm-1", {"vm-1"}), ("112", {"vm-2"}), ("vm-[12]", {"vm-1", "vm-2"}), ("tag:web", {"vm-3"})],
)
def test_guest_pattern(site: Any, pattern: str, found: set[str]) -> None:
    site.add_guest(113, "vm-3", tags="Web")
    ids = _ids(site.gate("--collect-only", "-q", "--vmnet-guest", pattern))
    assert {each for each in ids if "verdict" in each} == {f"test_verdict[{n}]" for n in found}


def test_workers_collect_the_same_ids(site: Any, written: Any) -> None:
    alone = site.gate("-v", "--vmnet-json=alone.json", apart=True)
    shared = site.gate("-v", "-n2", "--vmnet-json=shared.json", apart=True)
    assert alone.parseoutcomes() == {"errors": 8, "skipped": 6} == shared.parseoutcomes()
    ids = {line.split()[1] for line in alone.outlines if line.startswith("ERROR ")}
    assert len(ids) == 8
    assert {line.split()[1] for line in shared.outlines if line.startswith("ERROR ")} == ids
    assert written("alone.json")["guests"] == written("shared.json")["guests"]
    assert shared.stdout.str().count("vmnet: probing: ") == 1
    assert shared.stdout.str().count("vmnet: discovered ") == 1


def test_given_path_runs_that_only(site: Any, pytester: Any) -> None:
    pytester.makepyfile(test_mine="def test_own(vm): ...")
    assert _ids(site.gate("--collect-only", "-q", "test_mine.py")) == [
        "test_own[vm-1]",
        "test_own[vm-2]",
    ]


def test_suite_can_be_switched_off(site: Any, pytester: Any) -> None:
    pytester.makeini("[pytest]\nvmnet_suite = false\n")
    pytester.makepyfile(test_mine="def test_own(vm): ...")
    assert _ids(site.gate("--collect-only", "-q")) == ["test_own[vm-1]", "test_own[vm-2]"]


def test_fixtures_in_a_test_of_ones_own(site: Any, pytester: Any) -> None:
    pytester.makepyfile("""
        def test_vm(vm, node, bridge, ledger, proxmox):
            assert (node.name, bridge.name) == (vm.node, vm.nic.bridge) == ("pve1", "vmbr0")
            assert ledger.outcome(vm).guest == vm
            assert proxmox.nodes("pve1").qemu(vm.vmid).config.get()["name"] == vm.name

        def test_pair(vm, peer, gateway):
            assert vm.vmid != peer.vmid
            assert str(gateway) == "192.0.2.1"

        def test_inside(vm, guest):
            assert guest.run("ip route").stdout.endswith("@@\\n")

        def test_node(node): ...
        def test_bridge(bridge): ...
        def test_shell(hypervisor): ...
    """)
    given = "test_fixtures_in_a_test_of_ones_own.py"
    result = site.gate("-v", "-rs", given)
    result.assert_outcomes(passed=8, skipped=1)
    result.stdout.fnmatch_lines(
        ["*::test_pair?vm-1:vm-2? PASSED*", "*::test_node?pve1? PASSED*", "*no shell there*"]
    )


def test_guest_without_peers(site: Any, pytester: Any, written: Any) -> None:
    pytester.makeini("[pytest]\nempty_parameter_set_mark = fail_at_collect\n")
    site.pve.vm(112).status = "stopped"
    result = site.gate("--vmnet-json=out.json", "-rs")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["SKIPPED *: the site has nothing to test as vm and peer"])
    assert [guest["name"] for guest in written("out.json")["guests"]] == ["vm-1"]


def test_only_guests_of_collected_tests_are_probed(site: Any, written: Any) -> None:
    result = site.gate("-k", "vm-1 and verdict", "--vmnet-json=out.json")
    assert result.parseoutcomes() == {"errors": 1, "deselected": 13}
    assert [guest["name"] for guest in written("out.json")["guests"]] == ["vm-1"]


def test_dry_run_prints_and_sends_nothing(site: Any, monkeypatch: Any) -> None:
    executed: list[object] = []
    for where, what in (
        (hosts.SshShell, "run"),
        (hosts.SshShell, "hold"),
        (hosts.LocalShell, "run"),
        (proxmox.Proxmox, "agent_exec"),
    ):
        monkeypatch.setattr(where, what, lambda *words, **_: executed.append(words))
    result = site.gate(
        "--vmnet-dry-run",
        "--vmnet-external=198.51.100.8",
        "--vmnet-gateway=192.0.2.1",
        "--vmnet-inbound=auto",
        "--proxmox-ssh=pve1=root@127.0.0.1:1",
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "pve1, over SSH, to start its capture:",
            "*tcpdump -i any *ifindex *",
            "*bridge -t monitor fdb*",
            "*ping *192.0.2.1 >ping.*",
            "pve1, over SSH, to fetch what it saw:",
            "vm-1, vm-2, by their agents, in one command of /bin/sh each:",
            "*tcpdump -i *",
            "vm-2, in the same command:",
            "*ping *198.51.100.8 >ping.*",
            "workstation, here:",
            "flows: 12 flows, 2 guests, 5 probes per flow, one per 10 ms, 0.1 s",
            "vm-1 -> 192.0.2.1 (gateway): ping * 192.0.2.1*# 5 probes, 100.0/s, 200.0 packets/s*",
            "guest vm-1: 1040 packets/s, budget 2000",
            "target 192.0.2.1: 1280 packets/s, budget 4000",
            "node pve1: 1880 packets/s, budget 20000",
            "*dry run: 12 flows, nothing was sent*",
        ]
    )
    assert executed == []
    asked = {call for agent in site.agents.values() for call in agent.calls}
    assert asked == {"guest-network-get-interfaces"}, "no guest runs a command"
    assert not [path for method, path in site.asked if method != "GET"]


def test_dry_run_says_what_it_cannot_know_without_asking_a_guest(site: Any) -> None:
    result = site.gate("--vmnet-dry-run", "--vmnet-budget=node=100")
    result.stdout.fnmatch_lines(
        [
            "vmnet: slowed down 4.0 times, to one probe per 40.0 ms of each flow: node pve1 *",
            "vm-1: its gateway is not configured; a run asks the guest for it *",
        ]
    )
