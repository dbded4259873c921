"""The settings of a replay: the run's own, but for what may be asked anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vmnet.errors import ConfigError
from pytest_vmnet.options.recorded import replay_settings
from pytest_vmnet.options.settings import Setting, resolve
from pytest_vmnet.options.table import TABLE

RUN = resolve(
    {"proxmox_node": ["pve1,pve2"], "vmnet_count": "30", "vmnet_json": "then.json",
     "vmnet_max_loss": "2%", "vmnet_strict": True, "proxmox_insecure": True,
     "vmnet_ladder": "rebuild", "vmnet_rebuild": "diagnosed"},
    {"VMNET_INTERVAL": "0.1", "PROXMOX_VE_ENDPOINT": "pve1", "VMNET_JOURNAL": "/j",
     "VMNET_PROXMOX_TOKEN_FILE": "/s3cret"},
    {"vmnet_guest": "vm-*"},
)  # fmt: skip


def settings(**given):
    return replay_settings(RUN.shown(), resolve({"vmnet_replay": "kept", **given}, {}, {}))


def test_every_value_and_source_is_the_runs_own() -> None:
    again, shown = settings()
    assert shown == RUN.shown()
    its_own = {"vmnet_replay", "vmnet_json", "vmnet_markdown", "proxmox_token_file"}
    for option in TABLE:
        if option.dest not in its_own:
            assert again[option.dest] == RUN[option.dest], option.flag
            assert again.sources[option.dest] == RUN.sources[option.dest]
    assert again["proxmox_token_file"] is None
    assert "s3cret" not in repr(shown)


def test_reports_go_where_the_replay_wants_them_and_show_where_the_runs_went() -> None:
    again, shown = settings(vmnet_json="now.json")
    assert again["vmnet_json"] == Path("now.json")
    assert {row.value for row in shown if row.name == "vmnet-json"} == {"then.json"}
    assert settings()[0]["vmnet_json"] is None


def test_how_to_judge_and_decide_may_be_asked_anew() -> None:
    again, shown = settings(vmnet_max_loss="5%", vmnet_rebuild="plan")
    assert (again["vmnet_max_loss"], again["vmnet_rebuild"]) == (0.05, "plan")
    rows = {row.name: row for row in shown}
    assert rows["vmnet-max-loss"] == Setting(
        name="vmnet-max-loss", value="0.05", source="command line"
    )
    assert rows["vmnet-count"].value == "30"


def test_what_no_replay_can_do_is_refused_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        settings(vmnet_count="9", proxmox_node=["pve1"], vmnet_max_loss="5%")
    said = str(caught.value)
    assert said.startswith("--proxmox-node, --vmnet-count: not with --vmnet-replay")
    assert "it can be asked anew: --vmnet-confidence" in said


def test_environment_and_ini_of_the_replay_do_not_count() -> None:
    given = resolve({"vmnet_replay": "kept"}, {"VMNET_COUNT": "9"}, {"vmnet_max_loss": "9%"})
    again, shown = replay_settings(RUN.shown(), given)
    assert (again["vmnet_count"], again["vmnet_max_loss"]) == (30, 0.02)
    assert shown == RUN.shown()


def test_an_option_that_the_run_did_not_know_has_its_default() -> None:
    rows = [row for row in RUN.shown() if row.name != "vmnet-peers"]
    given = resolve({"vmnet_replay": "kept"}, {}, {})
    again, shown = replay_settings([*rows, Setting(name="x-new", value="1", source="ini")], given)
    assert (again["vmnet_peers"], again.sources["vmnet_peers"]) == ("segment", "default")
    assert shown[-1].name == "x-new"


def test_a_value_that_no_option_can_have_is_refused() -> None:
    rows = [Setting(name="vmnet-count", value="many", source="ini")]
    with pytest.raises(ConfigError, match=r"--vmnet-count = 'many' in a bundle: expected a whole"):
        replay_settings(rows, resolve({"vmnet_replay": "kept"}, {}, {}))
