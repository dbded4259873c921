"""The subcommands of `vmnet lab`. Each imports what it needs when it runs: `exec` is quick."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Protocol

from pytest_vmnet.lab import spec, wire

EXEC_HOSTS = (
    *(node.name for node in spec.NODES),
    *spec.HOSTS,
    *(guest.name for guest in spec.GUESTS),
)
_GUESTS = tuple(guest.name for guest in spec.GUESTS)


class Subparsers(Protocol):
    """What argparse's ``add_subparsers`` returns; it has no public name there."""

    def add_parser(
        self,
        name: str,
        *,
        help: str = ...,  # noqa: A002 - argparse's word
        description: str = ...,
        usage: str = ...,
    ) -> argparse.ArgumentParser:
        """Add a subcommand."""


def register(commands: Subparsers) -> None:
    """Add `lab` to the subparsers *commands*."""
    lab = commands.add_parser(
        "lab",
        help="a small Proxmox site on this machine",
        description="A small Proxmox site on this machine. VMNET_LAB_NAME tells labs apart.",
    )
    actions = lab.add_subparsers(metavar="ACTION", required=True)
    _register_life(actions)
    _register_exec(actions)
    _register_fault(actions)


def _register_life(actions: Subparsers) -> None:
    up = actions.add_parser("up", help="bring the lab up; repair one that is half dead")
    up.add_argument("--terraform", choices=("bpg", "telmate"), default="bpg", metavar="PROVIDER",
                    help="provider that creates the guests: bpg (default) or telmate")  # fmt: skip
    up.add_argument("--no-guests", action="store_true",
                    help="only the site: no API, no Terraform, no guests")  # fmt: skip
    up.add_argument("--nodes", type=int, choices=sorted(spec.SITES), metavar="N",
                    help="Proxmox nodes: 1 (default), or 2: pve2 holds vm-4 and vm-5")  # fmt: skip
    up.set_defaults(run=_up)
    down = actions.add_parser("down", help="end the lab and everything in it")
    down.set_defaults(run=_down)
    status = actions.add_parser("status", help="how the lab is")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=_status)
    env = actions.add_parser(
        "env", help="the workstation's variables as export lines, the API token included"
    )
    env.set_defaults(run=_env)


def _register_exec(actions: Subparsers) -> None:
    execute = actions.add_parser(
        "exec",
        help="run a command on a host of the lab",
        usage="vmnet lab exec HOST -- CMD [ARG ...]",
        description="Run a command as root on a host of the lab; its exit code is ours.",
    )
    execute.add_argument("host", choices=EXEC_HOSTS, metavar="HOST", help=", ".join(EXEC_HOSTS))
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD", help="the command")
    execute.set_defaults(run=_exec, parser=execute)


def _register_fault(actions: Subparsers) -> None:
    fault = actions.add_parser("fault", help="break the site on purpose, and mend it")
    verbs = fault.add_subparsers(metavar="ACTION", required=True)
    listing = verbs.add_parser("list", help="the faults and what a gate must say of each")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run=_fault_list)
    inject = verbs.add_parser("inject", help="plant a fault; several add up")
    inject.add_argument("name", metavar="NAME", help="see `vmnet lab fault list`")
    inject.add_argument("--guest", choices=_GUESTS, default=_GUESTS[0], metavar="GUEST",
                        help=f"on which guest (default {_GUESTS[0]})")  # fmt: skip
    inject.set_defaults(run=_fault_inject, parser=inject)
    clear = verbs.add_parser("clear", help="remove all faults and what they left behind")
    clear.set_defaults(run=_fault_clear)


def _say(line: str) -> None:
    sys.stderr.write(f"lab: {line}\n")
    sys.stderr.flush()


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _up(arguments: argparse.Namespace) -> int:
    from pytest_vmnet.backends.clock import SYSTEM  # noqa: PLC0415
    from pytest_vmnet.lab.up import bring_up  # noqa: PLC0415

    name = wire.lab_name()
    provider = None if arguments.no_guests else arguments.terraform
    began = SYSTEM.monotonic()
    outcome = bring_up(name, _say, provider=provider, nodes=arguments.nodes)
    took = SYSTEM.monotonic() - began
    if outcome.started:
        _print(f"lab {name!r} is up, after {took:.1f} s")
    elif outcome.repaired:
        _print(f"lab {name!r} is whole again: {', '.join(outcome.repaired)}; after {took:.1f} s")
    else:
        _print(f"lab {name!r} is up")
    return 0


def _down(_: argparse.Namespace) -> int:
    from pytest_vmnet.lab.client import take_down  # noqa: PLC0415

    name = wire.lab_name()
    _print(f"lab {name!r} is down" if take_down(name) else f"no lab {name!r} was up")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from pytest_vmnet.lab.client import status  # noqa: PLC0415

    name = wire.lab_name()
    found = status(name)
    if arguments.json:
        _print(json.dumps(found, indent=2))
        return 0
    if not found["up"]:
        _print(f"lab {name!r}: {'coming up' if found.get('name') else 'not up'}")
        return 0
    nodes = ", ".join(node["name"] for node in found["nodes"])
    kind = "nodes" if len(found["nodes"]) > 1 else "node"
    _print(f"lab {name!r}: up, {kind} {nodes}, API {found['api']}")
    for guest in found["guests"]:
        parts = (f"{key} {guest[key]}" for key in ("vmid", "node", "address", "mac", "tap", "pid"))
        _print(f"  {guest['name']}: {', '.join(parts)}")
    for fault in found["faults"]:
        _print(f"  fault {fault['name']} on {fault['guest']}")
    if found["dead"]:
        _print(f"  dead: {', '.join(found['dead'])}; `vmnet lab up` repairs the lab")
    return 0


def _env(_: argparse.Namespace) -> int:
    import shlex  # noqa: PLC0415

    from pytest_vmnet.lab.client import connect  # noqa: PLC0415

    answer = connect(wire.lab_name()).ask("host", host="workstation")
    variables = answer.get("environment", {})
    if path := variables.pop("VMNET_PATH", None):
        _print(f'export PATH={shlex.quote(path)}:"$PATH"')
    for key, value in sorted(variables.items()):
        _print(f"export {key}={shlex.quote(value)}")
    return 0


def _exec(arguments: argparse.Namespace) -> int:
    from pytest_vmnet.lab.execute import run  # noqa: PLC0415

    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not argv:
        arguments.parser.error("no command: vmnet lab exec HOST -- CMD")
    return run(wire.lab_name(), arguments.host, argv)


def _fault_list(arguments: argparse.Namespace) -> int:
    from pytest_vmnet.lab.faults import FAULTS  # noqa: PLC0415

    truths = [fault.truth() for fault in FAULTS]
    if arguments.json:
        _print(json.dumps(truths, indent=2))
        return 0
    for truth in truths:
        _print(f"{truth['name']}: {truth['summary']}")
        _print(
            f"  {truth['reason']}, scope {truth['scope']}, leg {truth['leg']}, "
            f"{truth['last_seen']} -> {truth['next_point']}; rebuild: {truth['rebuild']}"
        )
    return 0


def _fault_inject(arguments: argparse.Namespace) -> int:
    from pytest_vmnet.lab.client import connect  # noqa: PLC0415
    from pytest_vmnet.lab.faults import FAULTS  # noqa: PLC0415

    names = [fault.name for fault in FAULTS]
    if arguments.name not in names:
        arguments.parser.error(f"no fault {arguments.name!r}; choose from {', '.join(names)}")
    lab = connect(wire.lab_name())
    truth = lab.ask("inject", fault=arguments.name, guest=arguments.guest)
    hit = ", ".join(truth["verdicts"])
    _print(f"{truth['name']} is in force on {hit}: {truth['summary']}")
    return 0


def _fault_clear(_: argparse.Namespace) -> int:
    from pytest_vmnet.lab.client import connect  # noqa: PLC0415

    cleared = connect(wire.lab_name()).ask("clear")["faults"]
    _print(f"cleared: {', '.join(cleared) or 'there was nothing'}; the site is healthy")
    return 0
