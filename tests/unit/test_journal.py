"""The journal: on the disk before the step, readable after a crash."""

from __future__ import annotations

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.guardrails.journal import (
    JournalEntry,
    Phase,
    Signature,
    Step,
    dump_entry,
    load_entry,
)
from pytest_vmnet.core.words import Action
from pytest_vmnet.errors import ConfigError, ParseError
from pytest_vmnet.remediation.journal import FileJournal, HostJournal, parse_journal

TIMES = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.just(UTC),
).map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000))
TEXT = st.text(max_size=30)
MAYBE = st.none() | TEXT
ENTRIES = st.builds(
    JournalEntry,
    time=TIMES,
    run_id=TEXT,
    vmid=st.integers(1, 10**9),
    name=TEXT,
    node=TEXT,
    rung=st.sampled_from([Action.RESTART, Action.REMAC, Action.REBUILD]),
    step=st.sampled_from(Step),
    phase=st.sampled_from(Phase),
    address=MAYBE,
    signature=st.none() | st.builds(Signature, reason=TEXT, last_seen=MAYBE, next_point=MAYBE),
    outcome=MAYBE,
    message=TEXT,
    mac_before=MAYBE,
    mac_after=MAYBE,
)


def entry(number: Any = 1) -> Any:
    return JournalEntry(
        time=datetime(2026, 11, 23, 12, 0, number, tzinfo=UTC),
        run_id="abc",
        vmid=111,
        name="vm-1",
        node="pve1",
        rung=Action.REBUILD,
        step=Step.APPLY,
        phase=Phase.BEFORE,
        signature=Signature(reason="MacReflection", last_seen="enp4s0", next_point="tap111i0"),
    )


@given(ENTRIES)
def test_what_is_written_is_what_is_read(one: Any) -> None:
    line = dump_entry(one)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert load_entry(line, source="j", number=1) == one


def test_time_is_kept_in_utc() -> None:
    zone = timezone(timedelta(hours=2))
    line = dump_entry(entry()).replace(b"12:00:01.000+00:00", b"14:00:01.000+02:00")
    assert load_entry(line, source="j", number=1) == entry()
    assert load_entry(line, source="j", number=1).time.astimezone(zone).hour == 14


@given(st.binary())
def test_garbage_is_a_parse_error(line: Any) -> None:
    with pytest.raises(ParseError, match=r"^j, line 7: not a journal entry"):
        load_entry(line, source="j", number=7)


def test_keys_of_a_newer_version_are_ignored() -> None:
    line = dump_entry(entry()).replace(b'{"time"', b'{"later": 1, "time"')
    assert load_entry(line, source="j", number=1) == entry()


def sh(argv: Any, stdin: Any) -> Any:
    return subprocess.run(argv, input=stdin, check=True, capture_output=True).stdout


@pytest.fixture(params=["file", "host"])
def journal(request: Any, tmp_path: Any) -> Any:
    path = tmp_path / "new folder" / "journal.jsonl"
    if request.param == "file":
        return FileJournal(path)
    return HostJournal(sh, node="pve1", path=str(path))


def test_a_journal_that_is_not_there_is_empty(journal: Any) -> None:
    assert journal.read().entries == ()


def test_keeps_every_entry_in_order(journal: Any) -> None:
    for number in range(3):
        journal.append(entry(number))
    found = journal.read()
    assert found.entries == tuple(entry(number) for number in range(3))
    assert found.notes == found.damage == ()
    assert stat.S_IMODE(Path(journal.path).stat().st_mode) == 0o600


@pytest.mark.parametrize("length", range(1, len(dump_entry(entry(2))) - 1, 7))
def test_a_line_that_a_crash_cut_off_is_told_and_harmless(journal: Any, length: Any) -> None:
    journal.append(entry(1))
    with Path(journal.path).open("ab") as file:
        file.write(dump_entry(entry(2))[:length])
    found = journal.read()
    assert found.entries == (entry(1),)
    assert found.damage == ()
    assert "line 2: cut off" in found.notes[0]
    journal.append(entry(3))
    found = journal.read()
    assert found.entries == (entry(1), entry(3))
    assert len(found.notes) == 1


def test_wherever_a_line_is_cut_it_is_harmless() -> None:
    line = dump_entry(entry()).rstrip()
    for length in range(1, len(line)):
        found = parse_journal(line[:length], "j")
        assert (found.entries, found.damage, len(found.notes)) == ((), (), 1), line[:length]


def test_a_line_of_something_else_is_damage() -> None:
    found = parse_journal(b"hello\n" + dump_entry(entry()) + b'{"time": 7}\n', "j")
    assert found.entries == (entry(),)
    assert found.notes == ()
    assert [text.split(":")[0] for text in found.damage] == ["j, line 1", "j, line 3"]


def test_places() -> None:
    assert HostJournal(sh, node="pve1").place == "pve1:/var/lib/pytest-vmnet/journal.jsonl"


def test_a_journal_that_cannot_be_written_forbids_the_act(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    journal = FileJournal(tmp_path / "file" / "journal")
    with pytest.raises(ConfigError, match=r"cannot be written .* without it no act"):
        journal.append(entry())
    with pytest.raises(ConfigError, match="cannot be read"):
        journal.read()


def test_an_entry_is_on_the_disk_when_append_returns(tmp_path: Any, monkeypatch: Any) -> None:
    synced: list[Path] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "journal"
    FileJournal(path).append(entry())
    assert synced == [path, tmp_path]
    FileJournal(path).append(entry())
    assert synced == [path, tmp_path, path]
