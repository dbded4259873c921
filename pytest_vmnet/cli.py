"""The command `vmnet`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pytest_vmnet.errors import VmnetError
from pytest_vmnet.lab import commands as lab


def _demo(commands: lab.Subparsers) -> None:
    from pytest_vmnet.lab import demo  # noqa: PLC0415 - `vmnet lab exec` has to start quickly

    demo.register(commands)


def _doctor(commands: lab.Subparsers) -> None:
    from pytest_vmnet import doctor  # noqa: PLC0415 - `vmnet lab exec` has to start quickly

    doctor.register(commands)


def _journal(commands: lab.Subparsers) -> None:
    from pytest_vmnet import journal_command  # noqa: PLC0415 - likewise

    journal_command.register(commands)


_LATER = {"demo": _demo, "doctor": _doctor, "journal": _journal}
"""Subcommands whose modules are imported only if they are asked for."""


def parser(asked: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line; a subcommand's `run` default carries it out.

    Args:
        asked: The subcommand that is asked for; the others need not be known then.
    """
    top = argparse.ArgumentParser(
        prog="vmnet", description="A packet-level acceptance gate for Proxmox VE guests."
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    lab.register(commands)
    for name, register in _LATER.items():
        if asked in {name, None, "-h", "--help"}:
            register(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vmnet` and return its exit code.

    Args:
        argv: The words after the program's name; None means this process's own.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = parser(words[0] if words else None).parse_args(words)
    try:
        code: int = arguments.run(arguments)
    except VmnetError as error:
        print(f"vmnet: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print("vmnet: interrupted", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
