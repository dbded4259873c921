"""What a run would execute and send, in words: every command, every rate, nothing executed."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence

from pytest_vmnet.core.facts import GATE, FlowSpec
from pytest_vmnet.core.flow.budget import PACKETS_PER_PROBE, Budget, described, loads
from pytest_vmnet.core.flow.route import capture_points, path_devices
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.probes import script, wiring
from pytest_vmnet.probes.guest import guest_script
from pytest_vmnet.probes.lease import hold_script
from pytest_vmnet.probes.node import watches
from pytest_vmnet.probes.sweep import local_script, summary, taking_part

_MARK = "MARKMARKMARK"
_TOKEN = "TOKENTOKENTO"  # noqa: S105 - stands for a sweep's own, which is made up when it begins


def describe(
    inventory: Inventory, flows: Sequence[FlowSpec], shells: Collection[str], budget: Budget
) -> list[str]:
    """Return everything that a run with these flows would execute and send.

    Each sweep makes up a mark and a token of its own; ``MARKMARKMARK`` and ``TOKENTOKENTO`` stand
    for them.

    Args:
        inventory: The site.
        flows: What would be sent.
        shells: Nodes that have a shell; the others are not watched.
        budget: What the loads are held against.
    """
    return [
        *_nodes(inventory, flows, shells),
        *_guests(inventory, flows),
        *_gate(flows),
        "",
        f"flows: {summary(flows, len(taking_part(inventory, flows)))}",
        *(flow_line(flow) for flow in flows),
        "",
        "at most, all flows running, requests and replies:",
        *described(loads(flows, inventory, budget)),
    ]


def flow_line(flow: FlowSpec) -> str:
    """Return a flow's command, packet rate and duration."""
    probes = 1 / flow.interval_s
    return (
        f"{flow.source} -> {flow.target} ({flow.kind}): "
        f"{shlex.join(script.ping_argv(flow, _MARK))}"
        f"  # {flow.count} probes, {probes:.1f}/s, {PACKETS_PER_PROBE * probes:.1f} packets/s, "
        f"{flow.count * flow.interval_s:.1f} s"
    )


def _nodes(inventory: Inventory, flows: Sequence[FlowSpec], shells: Collection[str]) -> list[str]:
    points = {n: p for n, p in capture_points(flows, inventory).items() if n in shells}
    limit_s = script.time_limit_s(flows) + 30
    lines = []
    devices = path_devices(flows, inventory)
    plan = watches(points, flows, devices=devices, mark=_MARK, token=_TOKEN, limit_s=limit_s)
    for watch in plan:
        lines += [
            *_shown(f"{watch.node}, over SSH, before everything", "id -u\n"),
            *_shown(f"{watch.node}, over SSH, to read its wiring", wiring.read_script()),
            *_shown(f"{watch.node}, over SSH, to keep other gates away", hold_script("this run")),
            *_shown(f"{watch.node}, over SSH, to start its capture", watch.start_script()),
            *_shown(f"{watch.node}, over SSH, to fetch what it saw", watch.stop_script()),
            *_shown(f"{watch.node}, over SSH, to leave nothing behind", watch.clean_script()),
        ]
    return lines


def _guests(inventory: Inventory, flows: Sequence[FlowSpec]) -> list[str]:
    scripts: dict[str, list[str]] = {}
    for guest in taking_part(inventory, flows):
        if guest.agent:
            own = [flow for flow in flows if flow.source == guest.ident]
            hold_s = script.duration_s(flows)
            text = guest_script(own, mark=_MARK, token=_TOKEN, mac=guest.nic.mac, hold_s=hold_s)
            scripts[guest.ident] = text.splitlines()
    if not scripts:
        return []
    return [*_common(scripts), *_own(scripts)]


def _shared(scripts: Mapping[str, Sequence[str]]) -> set[str]:
    first, *others = map(set, scripts.values())
    return first.intersection(*others) if others else first


def _common(scripts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what all guests run, said once."""
    shared = _shared(scripts)
    body = [line for line in next(iter(scripts.values())) if line in shared]
    who = "its agent" if len(scripts) == 1 else "their agents"
    head = f"{', '.join(scripts)}, by {who}, in one command of /bin/sh each"
    return _shown(head, "\n".join(body))


def _own(scripts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what only one guest runs."""
    shared = _shared(scripts)
    lines = []
    for ident, text in scripts.items():
        own = [line for line in text if line not in shared]
        if own:
            lines += _shown(f"{ident}, in the same command", "\n".join(own))
    return lines


def _gate(flows: Sequence[FlowSpec]) -> list[str]:
    own = [flow for flow in flows if flow.source == GATE]
    if not own:
        return []
    return _shown(f"{GATE}, here", local_script(own, mark=_MARK, token=_TOKEN))


def _shown(head: str, text: str) -> list[str]:
    return [f"{head}:", *(f"  {line}" for line in text.splitlines() if line.strip())]
