"""The option table: every setting of the gate, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_vmnet.options.connection import CONNECTION
from pytest_vmnet.options.option import (
    BUDGET,
    Option,
    budget,
    fraction,
    ladder,
    number,
    one_of,
    peers,
    truth,
)


def _choice(flag: str, help_: str, choices: tuple[str, ...], default: str, **more: Any) -> Option:
    return Option(
        flag=flag, help=help_, default=default, parse=one_of(*choices), choices=choices, **more
    )


GATE = (
    Option(
        flag="--vmnet-guest",
        help="guests to test: name glob, VMID, tag:NAME or pool:NAME; repeatable",
        repeatable=True,
        env=("VMNET_GUEST",),
        metavar="PATTERN",
    ),
    Option(
        flag="--vmnet-count",
        help="probes per flow (default: what proves --vmnet-max-loss at --vmnet-confidence)",
        parse=number(5, 60000, int),
        env=("VMNET_COUNT",),
        metavar="N",
    ),
    Option(
        flag="--vmnet-interval",
        help="seconds between two probes of a flow",
        default=0.02,
        parse=number(0.002, 10),
        env=("VMNET_INTERVAL",),
        metavar="S",
    ),
    Option(
        flag="--vmnet-max-loss",
        help="largest loss that a healthy flow may have, for example 1%%",
        default=0.01,
        parse=fraction,
        env=("VMNET_MAX_LOSS",),
        metavar="SHARE",
    ),
    Option(
        flag="--vmnet-confidence",
        help="confidence of every bound",
        default=0.95,
        parse=number(0.5, 0.999999),
        env=("VMNET_CONFIDENCE",),
        metavar="SHARE",
    ),
    Option(
        flag="--vmnet-peers",
        help="peers of each guest: segment (same bridge, VLAN and subnet), a number, or all",
        default="segment",
        parse=peers,
        env=("VMNET_PEERS",),
        metavar="segment|N|all",
    ),
    Option(
        flag="--vmnet-budget",
        help="most packets per second, requests and replies, on each guest, target and node "
        f"(default: {','.join(BUDGET)}), or 'none'; a sweep that would exceed one is slowed down",
        default=BUDGET,
        parse=budget,
        env=("VMNET_BUDGET",),
        metavar="PART=N,...|none",
    ),
    Option(
        flag="--vmnet-external",
        help="address beyond the gateway to probe (one IPv4, one IPv6, or both), or 'none'",
        env=("VMNET_EXTERNAL",),
        metavar="ADDRESS[,ADDRESS]",
    ),
    Option(
        flag="--vmnet-gateway",
        help="gateway of guests that have no default route",
        env=("VMNET_GATEWAY",),
        metavar="ADDRESS",
    ),
    Option(
        flag="--vmnet-wait",
        help="seconds to wait for guests that are still starting",
        default=60.0,
        parse=number(0, 3600),
        env=("VMNET_WAIT",),
        metavar="S",
    ),
    _choice(
        "--vmnet-inbound",
        "probe the guests from here as well",
        ("auto", "off"),
        "auto",
        env=("VMNET_INBOUND",),
    ),
    _choice(
        "--vmnet-inconclusive",
        "what an inconclusive guest does to its tests",
        ("error", "fail", "skip"),
        "error",
        env=("VMNET_INCONCLUSIVE",),
    ),
    Option(
        flag="--vmnet-dry-run",
        help="print every command, packet rate and duration, and send nothing",
        default=False,
        parse=truth,
        switch=True,
    ),
    _choice(
        "--vmnet-rebuild",
        "when a sick guest may be rebuilt",
        ("never", "plan", "diagnosed", "unhealthy"),
        "never",
    ),
    Option(
        flag="--vmnet-rebuildable",
        help="guests that may be acted upon at all; repeatable",
        default=("tag:vmnet-rebuild",),
        repeatable=True,
        metavar="PATTERN",
    ),
    Option(
        flag="--vmnet-ladder",
        help="rungs that may be tried, gentlest first",
        default=("restart", "rebuild"),
        parse=ladder,
        metavar="RUNG,...",
    ),
    Option(
        flag="--vmnet-max-unhealthy",
        help="most unhealthy guests in a bridge for an act: N or N%% (default: 1 or 20%%)",
        metavar="N|N%",
    ),
    Option(
        flag="--vmnet-rebuild-interval",
        help="seconds between two rebuilds of the same guest",
        default=86400.0,
        parse=number(0, 10**9),
        metavar="S",
    ),
    Option(
        flag="--vmnet-taint",
        help="rebuild by taint and apply instead of plan -replace",
        default=False,
        parse=truth,
        switch=True,
    ),
    Option(
        flag="--vmnet-journal",
        help="journal of acts (default: on the node)",
        env=("VMNET_JOURNAL",),
        parse=Path,
        metavar="PATH",
    ),
    Option(
        flag="--vmnet-lock-timeout",
        help="seconds to wait for another gate on the same node",
        default=0.0,
        parse=number(0, 86400),
        env=("VMNET_LOCK_TIMEOUT",),
        metavar="S",
    ),
    Option(
        flag="--vmnet-terraform-dir",
        help="Terraform root that made the guests",
        env=("VMNET_TERRAFORM_DIR",),
        parse=Path,
        metavar="PATH",
    ),
    Option(
        flag="--vmnet-json",
        help="write the outcome as JSON (schema 1)",
        env=("VMNET_JSON",),
        parse=Path,
        metavar="PATH",
    ),
    Option(
        flag="--vmnet-markdown",
        help="write the outcome as a Markdown report",
        env=("VMNET_MARKDOWN",),
        parse=Path,
        metavar="PATH",
    ),
    Option(
        flag="--vmnet-bundle",
        help="keep the raw evidence of the run in this folder: captures, outputs, facts, settings "
        "(a new folder, or an older bundle, which is replaced)",
        env=("VMNET_BUNDLE",),
        parse=Path,
        metavar="DIR",
    ),
    Option(
        flag="--vmnet-replay",  # it takes the place of a site, so no environment may set it
        help="judge and decide from this bundle, as then: nobody is asked, nothing is sent or "
        "carried out; takes the place of --proxmox-node",
        parse=Path,
        metavar="DIR",
    ),
    Option(
        flag="--vmnet-strict",
        help="exit 7 instead of 0 after a run that had to heal",
        default=False,
        parse=truth,
        switch=True,
    ),
    Option(
        flag="--vmnet-lab",
        help="run in the embedded lab, brought up if it is not",
        default=False,
        parse=truth,
        switch=True,
    ),
)

TABLE = CONNECTION + GATE
