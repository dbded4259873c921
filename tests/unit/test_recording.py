"""What passes from a source to the gate is kept, and comes back the same; damage is refused."""

from __future__ import annotations

import hashlib
import json
import runpy
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.bundle.writer import BundleWriter
from pytest_vmnet.core.flow.budget import Budget, fit
from pytest_vmnet.core.outcome import Decision
from pytest_vmnet.core.words import Action
from pytest_vmnet.errors import ConfigError, VmnetError
from pytest_vmnet.gate.composition import replay_gate
from pytest_vmnet.gate.framing import Frame
from pytest_vmnet.gate.recording import RecordingSource
from pytest_vmnet.gate.replaying import ReplaySource
from pytest_vmnet.gate.session import Gate
from pytest_vmnet.options.settings import resolve
from pytest_vmnet.report.schema import dumps, to_json

T = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "telling.py"))
)
BUDGET = Budget.parse(["none"])
GIVEN = {"vmnet_count": "5", "vmnet_max_loss": "0.5", "proxmox_node": ["pve1"]}


def quiet(_line: str) -> None:
    """Say nothing."""


def record(folder: Path, source, given=GIVEN):
    """Run a gate on the source, recorded; return its outcome."""
    chosen = resolve(given, {}, {})
    frame = Frame.begin(chosen, SYSTEM)
    writer = BundleWriter(folder)
    writer.begin(frame.run_id, frame.started_at, frame.versions)
    recording = RecordingSource(
        source, writer, settings=frame.settings, versions=dict(frame.versions)
    )
    gate = Gate(chosen, frame, recording, progress=quiet)
    gate.discover()
    outcome = gate.run(["vm-1", "vm-2"])
    recording.finish(dumps(outcome))
    assert writer.problem is None
    return outcome


def replayed(folder: Path, **given):
    gate, _ = replay_gate(resolve({"vmnet_replay": str(folder), **given}, {}, {}), SYSTEM,
                          progress=quiet)  # fmt: skip
    return gate.run(["vm-1"])


def plain(outcome):
    return to_json(replace(outcome, duration_s=0))


def lossy(flow, _sweep) -> int:
    """vm-1 gets no answer from its gateway, vm-2 half of them: that needs a second stage."""
    if flow.kind != "gateway":
        return 0
    return flow.count if flow.source == "vm-1" else flow.count // 2


@pytest.mark.parametrize("lost", [lambda _flow, _sweep: 0, lossy], ids=["healthy", "sick"])
def test_a_replay_has_the_same_outcome(tmp_path, lost) -> None:
    source = T.TellingSource(lost)
    outcome = record(tmp_path / "kept", source)
    assert plain(replayed(tmp_path / "kept")) == plain(outcome)
    assert outcome.notes[:3] == ("discovered", "held", "sweep 1")
    assert source.sweeps == (2 if lost is lossy else 1)


def test_a_capture_is_kept_as_a_file_that_others_can_open(tmp_path) -> None:
    record(tmp_path / "kept", T.TellingSource())
    assert (tmp_path / "kept/sweep-1/vm-1/capture.pcap").read_bytes() == T.CAPTURE


def test_answers_come_back_as_they_were(tmp_path) -> None:
    source = T.TellingSource(lossy)
    record(tmp_path / "kept", source)
    again = T.TellingSource(lossy)
    replay = ReplaySource(tmp_path / "kept")
    found = replay.discover()
    assert found == replace(source.discover(), versions={})
    with replay.hold(found.inventory) as held, source.hold(found.inventory) as before:
        assert held == before
        raw = replay.sweep(held.inventory, lambda: pytest.fail("a replay plans nothing"))
    then = again.sweep(held.inventory, lambda: fit(raw.flows, held.inventory, BUDGET))
    assert [a.host for a in raw.answers] == [a.host for a in then.answers]
    assert replace(raw, answers=()) == replace(then, answers=())
    for kept, told in zip(raw.answers, then.answers, strict=True):
        assert list(kept.sections) == list(told.sections)
        assert (kept.points, kept.problem) == (told.points, told.problem)
        assert {k: v for k, v in kept.sections.items() if k != "capture"} == {
            k: v for k, v in told.sections.items() if k != "capture"
        }
    assert replay.own() == source.own()
    sick = SimpleNamespace(guest=found.inventory.guest("vm-1"))
    assert replay.circumstances(sick) == source.circumstances(sick)


def _acted(folder: Path):
    """Record a run, and an act on vm-1 in it; return the guest's outcome and how it went."""
    source = T.TellingSource(lossy)
    chosen = resolve(GIVEN, {}, {})
    frame = Frame.begin(chosen, SYSTEM)
    writer = BundleWriter(folder)
    writer.begin(frame.run_id, frame.started_at, frame.versions)
    recording = RecordingSource(source, writer, settings=frame.settings, versions={})
    gate = Gate(chosen, frame, recording, progress=quiet)
    gate.discover()
    outcome = next(g for g in gate.run(["vm-1", "vm-2"]).guests if g.guest.ident == "vm-1")
    outcome = replace(outcome, decision=Decision(action=Action.REBUILD, reason="as tried"))
    subject = SimpleNamespace(outcome=outcome)

    def reprobe(_guest) -> bool:
        gate.sweep(["vm-1", "vm-2"])
        return True

    healed = recording.heal(outcome, subject, gate.inventory, reprobe)
    recording.finish("{}\n")
    return outcome, healed


def test_an_act_is_shown_as_it_was_and_its_probes_are_judged_again(tmp_path) -> None:
    outcome, healed = _acted(tmp_path / "kept")
    replay = ReplaySource(tmp_path / "kept")
    seen = []

    def reprobe(guest) -> bool:
        seen.append((guest.nic.mac, replay.sweep(replay.discover().inventory, None).duration_s))
        return False

    assert replay.heal(outcome, None, None, reprobe) == healed
    assert seen == [("bc:24:11:00:00:99", 1.25 * 3)], "the sweep after the act, not the first"


@pytest.mark.parametrize("action", [Action.RESTART, Action.HOLD])
def test_another_decision_is_not_carried_out(tmp_path, action) -> None:
    outcome, _ = _acted(tmp_path / "kept")
    other = replace(outcome, decision=Decision(action=action, reason="asked anew"))
    replay = ReplaySource(tmp_path / "kept")
    assert replay.heal(other, None, None, lambda _guest: pytest.fail("nothing was tried")) is None


def test_an_act_on_another_guest_is_refused(tmp_path) -> None:
    outcome, _ = _acted(tmp_path / "kept")
    edit(tmp_path / "kept", "decisions.json", ("acts", "111", "healed", "guest", "vmid"), 112)
    with pytest.raises(ConfigError, match="is on another"):
        ReplaySource(tmp_path / "kept").heal(outcome, None, None, lambda _guest: True)


def edit(folder: Path, name: str, path, value) -> None:
    """Change one value in a JSON file of a bundle, and its hash, as somebody hostile would."""
    data = json.loads((folder / name).read_text(encoding="utf-8"))
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    text = json.dumps(data).encode()
    (folder / name).write_bytes(text)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"][name] = {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


FLOW = ("flows", 0)
HOSTILE = [
    ("sweep-1/sweep.json", (*FLOW, "count"), 10**12, "out of range"),
    ("sweep-1/sweep.json", (*FLOW, "interval_s"), 0, "out of range"),
    ("sweep-1/sweep.json", (*FLOW, "number"), 65_501, "out of range"),
    ("sweep-1/sweep.json", (*FLOW, "source"), "nobody", "from nobody that is there"),
    ("sweep-1/sweep.json", (*FLOW, "address"), "192.0.2.256", "flows[0].address: expected"),
    ("sweep-1/sweep.json", ("mark",), "é" * 12, "its mark is not of 12 ASCII"),
    ("sweep-1/sweep.json", ("token",), "a b", "its token is not of letters"),
    ("sweep-1/sweep.json", ("duration_s",), -1, "it took -1 s"),
    ("sweep-1/sweep.json", ("hosts", 0, "host"), "nobody", "hosts that are not there"),
    ("sweep-1/sweep.json", ("hosts", 0, "sections", 0, "file"), "/etc/passwd", "not in its list"),
    ("sweep-1/sweep.json", ("hosts", 0, "sections", 0, "file"), "../x", "not in its list"),
    ("sweep-1/sweep.json", ("group",), 5, "a second stage comes first"),
    ("inventory.json", ("guests", 0, "node"), "pve9", "on a node that is not there"),
    ("inventory.json", ("guests", 0, "nics"), [], "has no NIC on a bridge"),
    ("inventory.json", ("guests", 0, "ident"), "vm-2", "have the same name"),
    ("inventory.json", ("guests", 0, "vmid"), 112, "have the same VMID"),
    ("inventory.json", ("guests", 0, "vmid"), True, "expected int, seen True"),
    ("inventory.json", ("guests", 0, "tags"), "abc", "expected tuple, seen 'abc'"),
    ("inventory.json", ("chosen",), ["vm-9"], "tested guests are not among"),
    ("run.json", ("tested",), [], "tested guests are not among"),
    ("run.json", ("settings", 0), "x", "settings[0]: expected Setting"),
    ("decisions.json", ("sweeps",), 10**9, "sweeps"),
    ("decisions.json", ("circumstances", "111", "now"), "soon", "expected datetime, seen 'soon'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "kept"
    record(folder, T.TellingSource(lossy))
    return folder


def copy(whole: Path, target: Path) -> Path:
    for path in whole.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(whole)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: f"{case[1][-1]}-{case[2]}"[:30])
def test_a_bundle_that_does_not_fit_together_is_refused(whole, tmp_path, case) -> None:
    name, path, value, said = case
    folder = copy(whole, tmp_path / "kept")
    edit(folder, name, path, value)
    with pytest.raises(ConfigError) as caught:
        replayed(folder)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)


def leaves(data, path=()):
    """Return the path of every value in JSON data."""
    yield path
    pairs = enumerate(data) if isinstance(data, list) else ()
    for key, value in data.items() if isinstance(data, dict) else pairs:
        yield from leaves(value, (*path, key))


NASTY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=9), st.sampled_from(["vm-1", "vm-2", "pve1", "workstation", "../x", "gateway",
    "192.0.2.1", "::1", "rebuild", "tap111i0", "enp4s0", "ping.0"]), st.just([]), st.just({}),
)  # fmt: skip


@given(data=st.data())
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_bundle_says_it_is_refused_or_judged(whole, tmp_path_factory, data) -> None:
    folder = copy(whole, tmp_path_factory.mktemp("hostile"))
    names = ("run.json", "inventory.json", "discovered.json", "decisions.json")
    name = data.draw(st.sampled_from([*names, "sweep-1/sweep.json", "sweep-2/sweep.json"]))
    paths = list(leaves(json.loads((folder / name).read_text(encoding="utf-8"))))[1:]
    edit(folder, name, data.draw(st.sampled_from(paths)), data.draw(NASTY))
    with suppress(VmnetError):
        dumps(replayed(folder))


@pytest.mark.parametrize("error", [KeyError("tap"), StopIteration(), ZeroDivisionError("x")])
def test_what_no_check_foresaw_is_an_error_of_the_bundle(whole, error) -> None:
    wanted = f"do not fit together, or not with this version: {type(error).__name__}"
    with pytest.raises(ConfigError, match=wanted), ReplaySource(whole).guard():
        raise error
