"""The composition root: from settings to a gate, on a live site or on a bundle."""

from __future__ import annotations

from collections.abc import Callable

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.bundle.writer import BundleWriter
from pytest_vmnet.core.guardrails.case import Limit
from pytest_vmnet.core.site.pattern import matches_any
from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.gate import connect
from pytest_vmnet.gate.framing import Frame
from pytest_vmnet.gate.live import LiveSource
from pytest_vmnet.gate.recording import RecordingSource
from pytest_vmnet.gate.replaying import ReplaySource
from pytest_vmnet.gate.session import Gate
from pytest_vmnet.gate.source import Source
from pytest_vmnet.options.recorded import replay_settings
from pytest_vmnet.options.settings import Settings

Progress = Callable[[str], None]


def live_gate(settings: Settings, frame: Frame, *, progress: Progress, record: bool) -> Gate:
    """Return a gate on the site that the settings name.

    Args:
        settings: Resolved settings.
        frame: The run's frame.
        progress: Gets one line per step.
        record: Whether this process keeps the evidence, if the settings name a bundle.

    Raises:
        ConfigError: A setting is wrong, or where the API is, or the token, is not known.
    """
    folder = settings["vmnet_bundle"] if record else None
    writer = None
    if folder is not None:
        writer = BundleWriter(folder, connect.secrets(connect.environment()))
        writer.begin(frame.run_id, frame.started_at, frame.versions)
    _check_words(settings)
    source: Source = LiveSource(
        settings,
        run_id=frame.run_id,
        gateway=settings.address("vmnet_gateway"),
        progress=progress,
        clock=frame.clock,
        recall=writer is not None,
    )
    if writer is not None:
        writer.cover(connect.endpoint(settings, connect.environment()).token_value)
        source = RecordingSource(source, writer, settings=frame.settings, versions=frame.versions)
    return Gate(settings, frame, source, progress=progress)


def replay_gate(given: Settings, clock: Clock, *, progress: Progress) -> tuple[Gate, str]:
    """Return a gate on the bundle that the settings name, and a sentence on what it replays.

    The site is discovered already: that asks nobody.

    Raises:
        ConfigError: The bundle cannot be replayed, or not as it is asked for.
    """
    source = ReplaySource(given["vmnet_replay"])
    settings, shown = replay_settings(source.settings, given)
    _check_words(settings)
    frame = Frame(
        run_id=source.run_id,
        started_at=source.started_at,
        settings=shown,
        nodes=tuple(settings["proxmox_node"] or ()),
        clock=clock,
        begun_s=clock.monotonic(),
        versions=dict(source.versions),
    )
    gate = Gate(settings, frame, source, progress=progress)
    with source.guard():
        gate.discover()
    return gate, source.origin


def _check_words(settings: Settings) -> None:
    """Refuse patterns and limits that cannot be read, before anything is asked or sent."""
    nobody = Guest(vmid=0, name="", ident="", node="")
    matches_any((*(settings["vmnet_guest"] or ()), *settings["vmnet_rebuildable"]), nobody)
    if limit := settings["vmnet_max_unhealthy"]:
        Limit.parse(limit)
