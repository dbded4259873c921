"""The JSON report keeps to schema 1 and is written whole or not at all."""

from __future__ import annotations

import json
import os
import runpy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vmnet.core.words import Verdict
from pytest_vmnet.errors import ConfigError, VmnetError
from pytest_vmnet.report.schema import dumps, to_json, write_json

SAMPLES = runpy.run_path(str(Path(__file__).parents[1] / "data" / "report" / "samples.py"))

RUN = {"id", "started_at", "duration_s", "nodes", "versions", "error"}
GUEST = {
    "vmid", "name", "node", "address", "verdict", "healed", "flows", "findings", "ruled_out",
    "decision", "attempts",
}  # fmt: skip
FLOW = {
    "target", "kind", "transmitted", "received", "loss", "loss_upper_bound", "confidence",
}  # fmt: skip
FINDING = {
    "reason", "severity", "message", "scope", "leg", "last_seen", "next_point", "packets",
    "evidence", "rebuild",
}  # fmt: skip
ATTEMPT = {"rung", "outcome", "duration_s", "mac_before", "mac_after"}


def sample(name: str) -> Any:
    return SAMPLES["EVERY"][name]()


@pytest.mark.parametrize("name", sorted(SAMPLES["EVERY"]))
def test_every_run_has_the_public_keys(name: str) -> None:
    report = json.loads(dumps(sample(name)))

    assert report["schema"] == 1
    assert {"schema", "run", "guests", "skipped"} <= set(report)
    assert set(report["run"]) >= RUN
    for guest in report["guests"]:
        assert set(guest) >= GUEST
        assert all(set(flow) >= FLOW for flow in guest["flows"])
        assert all(set(finding) >= FINDING for finding in guest["findings"])
        assert all(set(item) >= {"reason", "message"} for item in guest["ruled_out"])
        assert set(guest["decision"]) >= {"action", "reason"}
        assert all(set(attempt) >= ATTEMPT for attempt in guest["attempts"])
    assert all(set(item) >= {"vmid", "name", "reason"} for item in report["skipped"])


def test_a_timeline_takes_few_lines_and_is_the_same() -> None:
    text = dumps(sample("refused"))
    flow = json.loads(text)["guests"][0]["flows"][0]["timeline"]

    assert flow["sent_us"] == list(sample("refused").guests[0].flows[0].timeline.sent_us)
    assert len(flow["fates"]) == len(flow["sent_us"]) == flow["packets"] == 300
    assert flow["ports"] == ["tap111i0", "enp4s0"]
    assert flow["alignment"]["within"] == 165
    assert '"sent_us": [0,20037,40074,' in text
    assert len(text) < 40_000


@pytest.mark.parametrize("text", ["[\n 1,\n 2\n]", "1,\n  2", "[ 1 ,  2 ]"])
def test_a_text_that_looks_like_numbers_stays_as_it_is(text: str) -> None:
    run = replace(sample("refused"), notes=(text, "[", "]"))

    assert json.loads(dumps(run))["run"]["notes"] == [text, "[", "]"]


def test_the_healed_incident() -> None:
    guest = to_json(sample("healed"))["guests"][0]

    assert guest["verdict"] == "healthy"
    assert guest["healed"] is True
    assert [flow["loss"] for flow in guest["flows"]] == [0.0, 0.0, 0.0, 0.0]
    assert guest["flows_before"][0]["loss"] == pytest.approx(0.55)
    finding = guest["findings"][0]
    assert (finding["leg"], finding["last_seen"], finding["next_point"]) == (
        "reply", "enp4s0", "tap111i0",
    )  # fmt: skip
    assert finding["rebuild"] == "cures"
    assert guest["attempts"][0]["outcome"] == "cured"
    assert guest["mac"] == "bc:24:11:0f:0e:0d"


def test_losses_are_fractions_and_counts_that_are_not_trusted_are_null() -> None:
    flow = to_json(sample("inconclusive"))["guests"][0]["flows"][0]

    assert flow["loss"] == pytest.approx(5 / 300)
    assert flow["points"][1] == {
        "point": "tap114i0",
        "requests": None,
        "replies": None,
        "doubt": "the kernel dropped 812 packets of this capture",
    }


def test_macs_are_lower_case_or_null() -> None:
    run = sample("healed")
    outcome = run.guests[0]
    shouted = replace(outcome.attempts[0], mac_before="BC:24:11:74:5A:6D", mac_after=None)
    run = replace(run, guests=(replace(outcome, attempts=(shouted,)),))

    attempt = to_json(run)["guests"][0]["attempts"][0]

    assert (attempt["mac_before"], attempt["mac_after"]) == ("bc:24:11:74:5a:6d", None)


def test_a_run_that_could_not_look() -> None:
    report = to_json(sample("broken_run"))

    assert report["guests"] == []
    assert report["run"]["error"] == "Proxmox API: GET /nodes: 401: no such token"


def test_hostile_text_leaves_only_ascii_and_comes_back_unchanged() -> None:
    text = dumps(sample("hostile"))

    assert text.isascii()
    assert not any(ord(char) < 32 for char in text.replace("\n", ""))
    assert json.loads(text)["guests"][0]["name"] == SAMPLES["HOSTILE"]


def test_a_number_that_is_none_becomes_null() -> None:
    run = sample("all_healthy")
    flow = replace(run.guests[0].flows[0], rtt_avg_ms=float("nan"))
    run = replace(run, guests=(replace(run.guests[0], flows=(flow,)),))

    assert json.loads(dumps(run))["guests"][0]["flows"][0]["rtt_avg_ms"] is None


def test_writing_replaces_the_old_report_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old", encoding="utf-8")

    write_json(path, sample("healed"))

    assert json.loads(path.read_text(encoding="utf-8"))["schema"] == 1
    assert [each.name for each in tmp_path.iterdir()] == ["out.json"]


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")

    write_json(tmp_path / "link.json", sample("healed"))

    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").is_file()


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        text = pool.submit(pipe.read_text, encoding="utf-8")
        write_json(pipe, sample("healed"))

    assert json.loads(text.result(timeout=10))["schema"] == 1
    assert pipe.is_fifo()


def test_a_missing_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "none" / "out.json"

    with pytest.raises(ConfigError) as caught:
        write_json(path, sample("healed"))

    assert str(caught.value) == (
        f"--vmnet-json: {str(path)!r} cannot be written: its folder {str(path.parent)!r} does "
        "not exist; create it first, or give another path"
    )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; give the path of a file in it"):
        write_json(tmp_path, sample("healed"))


def test_a_loop_of_links_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    with pytest.raises((ConfigError, VmnetError)):
        write_json(tmp_path / "a" / "out.json", sample("healed"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_room_is_an_error_that_says_so() -> None:
    with pytest.raises(VmnetError, match=r"'/dev/full' could not be written .*No space left"):
        write_json(Path("/dev/full"), sample("healed"))


def test_a_write_that_fails_keeps_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.json"
    path.write_text("old", encoding="utf-8")

    def no_room(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_room)
    with pytest.raises(VmnetError, match="a report that was there before is unchanged"):
        write_json(path, sample("healed"))

    assert path.read_text(encoding="utf-8") == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    ("lane", "verdict", "where", "told"),
    [
        ("main", Verdict.HEALTHY, "flows", False),
        ("ipv6", Verdict.HEALTHY, "flows", True),
        ("large", Verdict.INCONCLUSIVE, "side_flows", True),
        ("large", Verdict.UNHEALTHY, "flows", True),
    ],
)
def test_further_flows_say_their_size_and_lane(lane, verdict, where, told) -> None:
    run = sample("healed")
    flow = replace(run.guests[0].flows[0], lane=lane, verdict=verdict)
    run = replace(run, guests=(replace(run.guests[0], flows=(flow,)),))
    guest = json.loads(dumps(run))["guests"][0]
    assert {"flows", "side_flows"} - {where} == {
        k for k in ("flows", "side_flows") if not guest[k]
    }
    (shown,) = guest[where]
    assert ({"size", "lane"} <= set(shown)) is told
    assert not told or shown["lane"] == lane
