"""What the hooks call once the gate is on: discovery, parametrisation, sweep, reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet import handover
from pytest_vmnet.backends.clock import SYSTEM as _CLOCK
from pytest_vmnet.core.flow.plan import Peers
from pytest_vmnet.core.outcome import RunOutcome
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.errors import VmnetError
from pytest_vmnet.gate.composition import live_gate, replay_gate
from pytest_vmnet.gate.framing import Frame
from pytest_vmnet.gate.recording import RecordingSource
from pytest_vmnet.options.settings import Settings
from pytest_vmnet.plugin_state import State
from pytest_vmnet.probes import dryrun
from pytest_vmnet.report.markdown import write_markdown
from pytest_vmnet.report.schema import dumps, write_json

_UNJUDGED = {
    0: "nothing was probed: no test of a guest was selected",
    2: "interrupted before the guests were judged",
    3: "an internal error ended the run before the guests were judged; please report it",
}
"""Why there is no outcome, by pytest's exit code."""


def start(config: pytest.Config, settings: Settings) -> State:
    """Discover the site, or take over what xdist's controller discovered or a bundle holds.

    Raises:
        pytest.UsageError: It cannot be looked at; the JSON report says so as well.
    """
    frame = Frame.begin(settings, _CLOCK)
    try:
        state = _open(config, settings, frame)
        only_read = config.option.collectonly or settings["vmnet_dry_run"]
        handed = getattr(config, "workerinput", None)
        if handed is not None:
            state.inventory = handover.unpack_site(handed["vmnet_inventory"])
            state.handover = Path(handed["vmnet_handover"])
        else:
            state.inventory = state.gate.discover(ask_guests=not only_read)
    except VmnetError as error:
        said = str(error) + _report_failure(settings, frame, str(error))
        raise pytest.UsageError(said) from error
    except KeyboardInterrupt:  # before the session has begun, pytest calls no sessionfinish
        _report_failure(settings, frame, "interrupted during discovery")
        raise
    state.gate.inventory = state.inventory
    return state


def _open(config: pytest.Config, settings: Settings, frame: Frame) -> State:
    """Return the state of a gate that has not looked yet."""
    say = _progress(config)
    nothing = Inventory(nodes=(), guests=())
    if settings["vmnet_replay"] is not None:
        gate, origin = replay_gate(settings, _CLOCK, progress=say)
        return State(gate.settings, gate, nothing, origin=origin)
    record = not (
        hasattr(config, "workerinput") or config.option.collectonly or settings["vmnet_dry_run"]
    )
    return State(settings, live_gate(settings, frame, progress=say, record=record), nothing)


def _report_failure(
    settings: Settings, frame: Frame, error: str, site: Inventory | None = None
) -> str:
    """Write into the reports why there is nothing in them; return what keeps us from that."""
    run = frame.outcome(site, error=error)
    return "".join(f"\n{problem}" for problem in _write(settings, run))


def _write(settings: Settings, run: RunOutcome) -> list[str]:
    """Write the reports that are asked for; return what kept us from it, one text each."""
    problems = []
    for option, write in (("vmnet_json", write_json), ("vmnet_markdown", write_markdown)):
        if settings[option] is None:
            continue
        try:
            write(settings[option], run)
        except VmnetError as error:
            problems.append(str(error))
    return problems


def _progress(config: pytest.Config) -> Any:  # noqa: ANN401 - a function from str to None
    def say(line: str) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and config.option.verbose >= 0:
            reporter.ensure_newline()
            reporter.write_line(f"vmnet: {line}")

    return say


def parameters(state: State, wanted: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return (id, values) of every row for the wanted fixtures, in a stable order.

    ``vm`` and ``peer`` give ``vm-1:vm-2``; ``node`` and ``bridge`` follow ``vm`` where the test
    asks for both.
    """
    site = state.inventory
    peers = Peers(site, state.gate.peers)
    rows = []
    for guest in site.tested if {"vm", "peer"} & set(wanted) else ():
        partners = peers.of(guest) if "peer" in wanted else (guest,)
        for partner in partners:
            row = {"vm": guest.ident, "peer": partner.ident, **_place(guest)}
            name = f"{guest.ident}:{partner.ident}" if "peer" in wanted else guest.ident
            rows.append((name, tuple(row[fixture] for fixture in wanted)))
    if {"vm", "peer"} & set(wanted):
        return rows
    if "bridge" in wanted:
        places = sorted({tuple(_place(guest).items()) for guest in site.tested})
        return [
            (dict(place)["bridge"], tuple(dict(place)[fixture] for fixture in wanted))
            for place in places
        ]
    return [(node.name, (node.name,)) for node in site.nodes]


def _place(guest: Guest) -> dict[str, str]:
    return {"node": guest.node, "bridge": f"{guest.nic.bridge}@{guest.node}"}


def tested_items(items: Iterable[pytest.Item]) -> set[str]:
    """Return the ids of the guests that the items are about."""
    specs = (getattr(item, "callspec", None) for item in items)
    return {spec.params["vm"] for spec in specs if spec and spec.params.get("vm")}


def tested_ids(ids: Iterable[str], inventory: Inventory) -> set[str]:
    """Return the ids of the guests that xdist's test ids are about."""
    known = {guest.ident for guest in inventory.tested}
    found: set[str] = set()
    for nodeid in ids:
        inside = nodeid.partition("[")[2].removesuffix("]")
        exact = inside.partition(":")[0]
        if exact in known:
            found.add(exact)
            continue
        found |= {
            ident
            for ident, edge in product(known, ("-", ":"))
            if re.search(rf"(^|-){re.escape(ident)}($|{edge})", inside)
        }
    return found


def sweep(config: pytest.Config, state: State, tested: set[str]) -> None:
    """Run the gate for those guests, or print what it would do.

    Raises:
        pytest.UsageError: The run could not look.
    """
    if config.option.collectonly:
        return
    try:
        if state.settings["vmnet_dry_run"]:
            _dry_run(config, state, tested)
        source = state.gate.source
        if state.sweep(tested) and state.outcome and isinstance(source, RecordingSource):
            source.finish(dumps(state.outcome))
    except VmnetError as error:
        gate = state.gate
        said = str(error) + _report_failure(state.settings, gate.frame, str(error), gate.inventory)
        raise pytest.UsageError(said) from error


def _dry_run(config: pytest.Config, state: State, tested: set[str]) -> None:
    gate = state.gate
    fitted = gate.plan(tested)
    if told := fitted.told():
        gate.progress(told)
    flows = fitted.flows
    shells = gate.source.doors.shells if gate.source.doors else ()
    for line in dryrun.describe(state.inventory, flows, shells, gate.planning.budget):
        config.get_terminal_writer().line(line)
    for guest in state.inventory.tested:
        if guest.ident in tested and guest.gateway is None:
            config.get_terminal_writer().line(
                f"{guest.ident}: its gateway is not configured; a run asks the guest for it and "
                "probes it too, --vmnet-gateway shows those flows here"
            )
    pytest.exit(f"dry run: {len(flows)} flows, nothing was sent", returncode=0)


def write_reports(config: pytest.Config, state: State, exitstatus: int) -> bool:
    """Write JSON and Markdown; a run that ended before the guests were judged says so in them.

    Returns:
        Whether all is written; what is not has been told, and keeps nothing else from its end.
    """
    run = state.outcome
    if run is None:
        if exitstatus == pytest.ExitCode.USAGE_ERROR:
            return True  # they are written, with the reason
        if config.option.collectonly or state.settings["vmnet_dry_run"]:
            return True
        why = _UNJUDGED.get(exitstatus, _UNJUDGED[0])
        run = state.gate.frame.outcome(state.gate.inventory, error=why)
        if state.gate.unfinished is not None:
            run = replace(state.gate.unfinished, error="interrupted during an act")
    problems = _write(state.settings, run)
    source = state.gate.source
    if isinstance(source, RecordingSource) and source.writer.problem is not None:
        folder = str(source.writer.path)
        problems.append(f"--vmnet-bundle = {folder!r} is not whole: {source.writer.problem}")
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for problem in problems:
            reporter.ensure_newline()
            reporter.write_line(f"ERROR: {problem}", red=True)
    return not problems
