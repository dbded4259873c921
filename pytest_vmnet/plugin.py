"""The pytest glue: each hook is a call. Without its options the plugin touches nothing.

Order: options, lab, configure, header, discovery, parametrisation, sweep, reports, end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vmnet import fixtures
from pytest_vmnet.errors import ConfigError, ProbeError, VmnetError
from pytest_vmnet.options.option import truth
from pytest_vmnet.options.table import TABLE
from pytest_vmnet.plugin_state import SETTINGS, STATE, State

if TYPE_CHECKING:  # an idle pytest run must not pay for these
    from pytest_vmnet.core.outcome import GuestOutcome
    from pytest_vmnet.options.settings import Settings

SUITE = "pytest_vmnet.suite"
_HEALED = 7


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and their ini twins, from the one table."""
    groups = {
        "proxmox": parser.getgroup("proxmox", "Proxmox connection (pytest-vmnet)"),
        "vmnet": parser.getgroup("vmnet", "network acceptance gate for Proxmox guests"),
    }
    for option in TABLE:
        group = groups[option.flag.removeprefix("--").partition("-")[0]]
        group.addoption(option.flag, **option.argument)
        if option.has_ini:
            parser.addini(option.ini, option.help.replace("%%", "%"), default="")
    parser.addini("vmnet_suite", "run the shipped suite if no path is given", default="true")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """With ``--vmnet-lab``, run the same command line on the lab's workstation instead."""
    if not config.option.vmnet_lab or config.option.help or config.option.version:
        return None
    if config.option.vmnet_replay:
        raise pytest.UsageError("--vmnet-replay needs no lab: leave --vmnet-lab away")
    from pytest_vmnet.lab import spec, up, wire  # noqa: PLC0415 - only for the lab

    argv = [arg for arg in config.invocation_params.args if arg != "--vmnet-lab"]
    if not config.option.proxmox_node:
        argv += ["--proxmox-node", spec.NODE]
    try:
        return up.run_in_lab(wire.lab_name(), [sys.executable, "-m", "pytest", *argv], _lab_says)
    except VmnetError as error:
        raise pytest.UsageError(str(error)) from error


def _lab_says(line: str) -> None:
    sys.stderr.write(f"lab: {line}\n")


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixtures; resolve the settings if the gate is switched on."""
    config.pluginmanager.register(fixtures, "vmnet-fixtures")
    ini = {o.ini: str(config.getini(o.ini) or "") for o in TABLE if o.has_ini}
    nodes = config.option.proxmox_node or ini["vmnet_proxmox_node"]
    if not (nodes or config.option.vmnet_replay or ini["vmnet_replay"]):
        return
    from pytest_vmnet.options.settings import resolve  # noqa: PLC0415 - the gate is on

    try:
        settings = resolve(vars(config.option), os.environ, ini)
        _check_reports(settings)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[SETTINGS] = settings
    if config.args_source is not pytest.Config.ArgsSource.ARGS and truth(
        str(config.getini("vmnet_suite"))
    ):
        config.args = [SUITE]
        config.option.pyargs = True
    if config.pluginmanager.hasplugin("html"):
        from pytest_vmnet import plugin_html  # noqa: PLC0415 - only beside pytest-html

        config.pluginmanager.register(plugin_html, "vmnet-html")


def _check_reports(settings: Settings) -> None:
    from pytest_vmnet.report.writing import check_target  # noqa: PLC0415 - the gate is on

    for dest in ("vmnet_json", "vmnet_markdown"):
        if settings[dest] is not None:
            check_target(settings[dest], "--" + dest.replace("_", "-"))
    if settings["vmnet_bundle"] is not None and settings["vmnet_replay"] is None:
        from pytest_vmnet.bundle.writer import check_folder  # noqa: PLC0415 - it is asked for

        check_folder(settings["vmnet_bundle"])


def pytest_report_header(config: pytest.Config) -> list[str] | None:
    """Show the settings that matter, with their sources."""
    settings = config.stash.get(SETTINGS, None)
    if settings is None:
        return None
    from pytest_vmnet.report.terminal import header_lines  # noqa: PLC0415 - the gate is on

    state = config.stash.get(STATE, None)
    origin = [f"vmnet: {state.origin}"] if state is not None and state.origin else []
    return origin + header_lines(settings.shown())


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Discover the site; in a worker of xdist take over the controller's."""
    config = session.config
    settings = config.stash.get(SETTINGS, None)
    if settings is None:
        return
    from pytest_vmnet import plugin_run  # noqa: PLC0415 - the gate is on

    state = config.stash[STATE] = plugin_run.start(config, settings)
    config.stash[SETTINGS] = state.settings


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist's WorkerController
    """Hand the site over to a worker of xdist."""
    state = node.config.stash.get(STATE, None)
    if state is not None:
        node.workerinput.update(state.worker_input())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise node, bridge, vm and peer together, with stable ids."""
    wanted = [name for name in fixtures.PARAMETRISED if _is_ours(metafunc, name)]
    if not wanted:
        return
    state = metafunc.config.stash.get(STATE, None)
    if state is None:
        _skip_all(metafunc, wanted, "the gate is off: pass --proxmox-node or --vmnet-replay")
        return
    from pytest_vmnet import plugin_run  # noqa: PLC0415 - the gate is on

    rows = plugin_run.parameters(state, wanted)
    if not rows:
        _skip_all(metafunc, wanted, f"the site has nothing to test as {' and '.join(wanted)}")
        return
    metafunc.parametrize(
        wanted, [row for _, row in rows], ids=[name for name, _ in rows], indirect=True
    )


def _is_ours(metafunc: pytest.Metafunc, name: str) -> bool:
    """Tell whether a test asks for our fixture of that name, and not for one of its own."""
    found = metafunc._arg2fixturedefs.get(name) or ()  # noqa: SLF001 - there is no public way
    return any(each.func.__module__ == fixtures.__name__ for each in found[-1:])


def _skip_all(metafunc: pytest.Metafunc, wanted: list[str], reason: str) -> None:
    """Leave one skipped test instead of an empty parameter set, which an ini may forbid."""
    row = pytest.param(*(None,) * len(wanted), marks=pytest.mark.skip(reason=reason), id="none")
    metafunc.parametrize(wanted, [row], indirect=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Sweep and heal once, for the guests that tests were collected for."""
    state = session.config.stash.get(STATE, None)
    if state is None or hasattr(session.config, "workerinput"):
        return
    from pytest_vmnet import plugin_run  # noqa: PLC0415 - the gate is on

    plugin_run.sweep(session.config, state, plugin_run.tested_items(session.items))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:  # noqa: ANN401
    """Sweep and heal once in xdist's controller, before anything is scheduled."""
    state = node.config.stash.get(STATE, None)
    if state is None:
        return
    from pytest_vmnet import plugin_run  # noqa: PLC0415 - the gate is on

    plugin_run.sweep(node.config, state, plugin_run.tested_ids(ids, state.inventory))


def _outcome(item: pytest.Item) -> GuestOutcome | None:
    """Return what the run says of the guest that a test is about, or None."""
    state = item.config.stash.get(STATE, None)
    callspec = getattr(item, "callspec", None)
    if state is None or callspec is None or not callspec.params.get("vm"):
        return None
    if state.outcome is None and state.handover is None:
        return None
    return state.ledger().run.guest(callspec.params["vm"])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give the test its guest's numbers as JUnit properties."""
    outcome = _outcome(item)
    if outcome is not None:
        from pytest_vmnet.report.junit import properties  # noqa: PLC0415 - the gate is on

        item.user_properties[:] = properties(outcome)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn an inconclusive test into an error, and attach the guest's story to a failure."""
    report = yield
    state: State | None = item.config.stash.get(STATE, None)
    if state is None:
        return report
    if call.excinfo is not None and call.excinfo.errisinstance(ProbeError):
        wanted = state.settings["vmnet_inconclusive"]
        report.longrepr = str(call.excinfo.value)
        if wanted == "error":
            report.when = "setup"
        elif wanted == "skip":
            report.outcome = "skipped"
            path, line, _ = item.location
            report.longrepr = (path, line or 0, f"inconclusive: {call.excinfo.value}")
    if call.when == "call" and item.config.pluginmanager.hasplugin("vmnet-html"):
        outcome = _outcome(item)
        if outcome is not None:
            from pytest_vmnet import plugin_html  # noqa: PLC0415 - only beside pytest-html

            plugin_html.attach(report, outcome)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:  # noqa: ANN401
    """Show the table of guests, and for each sick one its path, diagnosis and fate."""
    state = config.stash.get(STATE, None)
    if state is None or state.outcome is None or hasattr(config, "workerinput"):
        return
    from pytest_vmnet.report.terminal import (  # noqa: PLC0415 - the gate is on
        can_draw,
        summary_lines,
    )

    writer = terminalreporter
    writer.section("network acceptance gate")
    drawing = can_draw(getattr(sys.stdout, "encoding", None))
    for line in summary_lines(
        state.outcome,
        min(writer._tw.fullwidth, 120),  # noqa: SLF001 - pytest has no public width
        colour=writer.hasmarkup,
        drawing=drawing,
    ):
        writer.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the reports; tell a healed run apart if that is asked for."""
    state = session.config.stash.get(STATE, None)
    if state is None or hasattr(session.config, "workerinput"):
        return
    from pytest_vmnet import plugin_run  # noqa: PLC0415 - the gate is on

    written = plugin_run.write_reports(session.config, state, int(session.exitstatus))
    if not written and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
    healed = state.outcome is not None and any(g.healed for g in state.outcome.guests)
    if state.settings["vmnet_strict"] and healed and session.exitstatus == 0:
        session.exitstatus = _HEALED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what was handed over to workers."""
    state = config.stash.get(STATE, None)
    if state is not None and not hasattr(config, "workerinput"):
        state.close()
