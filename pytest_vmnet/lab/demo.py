"""`vmnet demo`: the incident, played on the lab with the very commands that a user types."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import client
from pytest_vmnet.lab.commands import Subparsers
from pytest_vmnet.lab.spec import GUESTS, NODE
from pytest_vmnet.lab.up import bring_up

SICK = GUESTS[0].name
FAULT = "reflected-mac"
REASON = "MacReflection"


class StoryError(LabError):
    """The story did not go as it should; the message says where."""


def register(commands: Subparsers) -> None:
    """Add `demo` to the subparsers *commands*."""
    demo = commands.add_parser(
        "demo",
        help="play the incident in the lab: healthy, sick, found, healed, proven",
        description="Play the incident that this project was born from. The lab is brought up "
        "for it and goes down afterwards.",
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("vmnet-demo"),
        metavar="DIR",
        help="folder for the reports (default: vmnet-demo)",
    )
    demo.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Play the story; return 0 only if it ended as it should.

    Raises:
        LabError: The lab cannot be brought up, or the story went wrong.
    """
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    name = os.environ.get("VMNET_LAB_NAME") or f"demo-{os.getpid()}"
    os.environ["VMNET_LAB_NAME"] = name
    _tell("1. A site of five guests, made by Terraform: bring the lab up")
    _show(["vmnet", "lab", "up"])
    outcome = bring_up(name, lambda line: _say(f"   {line}"), hold=True)
    try:
        return _play(name, output)
    finally:
        if outcome.started:
            client.take_down(name)
        else:
            _vmnet("lab", "fault", "clear")


def _play(name: str, output: Path) -> int:
    _tell("2. The gate on the healthy site")
    healthy = _gate(output / "healthy.json", code=0)
    _expect(
        all(guest["verdict"] == "healthy" for guest in healthy["guests"]),
        "every guest is healthy",
    )
    _tell(f"3. The incident: the switch sends 70 % of {SICK}'s frames back to the node")
    _vmnet("lab", "fault", "inject", FAULT, "--guest", SICK)
    before = _processes(name)
    _tell("4. The gate again, allowed to rebuild what a rebuild is proven to cure")
    report = output / "report.html"
    told = _gate(
        output / "healed.json",
        "--vmnet-rebuild",
        "diagnosed",
        "--vmnet-ladder",
        "rebuild",
        f"--html={report}",
        "--self-contained-html",
        f"--vmnet-markdown={output / 'report.md'}",
        code=0,
    )
    _tell("5. Did the story end as it should?")
    _check(told, before, _processes(name))
    _say(f"\nThe report: {report} (also {output / 'report.md'}, {output / 'healed.json'})")
    return 0


def _check(told: Mapping[str, Any], before: Mapping[str, int], after: Mapping[str, int]) -> None:
    guests = {guest["name"]: guest for guest in told["guests"]}
    sick = guests[SICK]
    diagnosis = sick["findings"][0] if sick["findings"] else {"reason": None}
    _expect(diagnosis["reason"] == REASON, f"the cause was named: {diagnosis['reason']}")
    place = (diagnosis.get("last_seen"), diagnosis.get("next_point"))
    _expect(
        place == ("enp4s0", f"tap{sick['vmid']}i0"), f"and the place: {place[0]} -> {place[1]}"
    )
    attempt = sick["attempts"][-1] if sick["attempts"] else {}
    _expect(
        attempt.get("rung") == "rebuild" and attempt.get("outcome") == "cured",
        f"{SICK} was rebuilt by Terraform and is proven cured",
    )
    _expect(
        attempt["mac_before"] != attempt["mac_after"],
        f"with a new MAC: {attempt['mac_before']} -> {attempt['mac_after']}",
    )
    _expect(bool(sick["healed"]), f"{SICK} counts as healed")
    siblings = [name for name in before if name != SICK]
    _expect(
        all(before[name] == after.get(name) for name in siblings),
        f"the QEMU processes of {', '.join(siblings)} were not touched",
    )
    _expect(before[SICK] != after[SICK], f"that of {SICK} is a new one")
    _expect(
        all(guest["verdict"] == "healthy" for guest in told["guests"]), "every guest is healthy"
    )


def _gate(report: Path, *options: str, code: int) -> dict[str, Any]:
    argv = ["pytest", "-p", "no:cacheprovider", "--proxmox-node", NODE, f"--vmnet-json={report}"]
    ended = _vmnet("lab", "exec", "workstation", "--", *argv, *options, check=False)
    _expect(ended == code, f"pytest ended with {ended}")
    told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return told


def _vmnet(*words: str, check: bool = True) -> int:
    _show(["vmnet", *words])
    argv = [sys.executable, "-m", "pytest_vmnet.cli", *words]
    ended = subprocess.run(argv, check=False).returncode
    if check and ended:
        raise StoryError(f"`vmnet {shlex.join(words)}` ended with {ended}")
    return ended


def _processes(name: str) -> dict[str, int]:
    return {guest["name"]: guest["pid"] for guest in client.status(name)["guests"]}


def _expect(holds: bool, sentence: str) -> None:
    if not holds:
        raise StoryError(f"the story went wrong: expected that {sentence}")
    _say(f"   ok: {sentence}")


def _tell(chapter: str) -> None:
    _say(f"\n== {chapter}")


def _show(words: Sequence[str]) -> None:
    _say(f"$ {shlex.join(words)}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
