"""The command `vmnet`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pytest_vmnet.errors import VmnetError
from pytest_vmnet.lab import commands as lab


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; a subcommand's `run` default carries it out."""
    top = argparse.ArgumentParser(
        prog="vmnet", description="A packet-level acceptance gate for Proxmox VE guests."
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    lab.register(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vmnet` and return its exit code.

    Args:
        argv: The words after the program's name; None means this process's own.
    """
    arguments = parser().parse_args(argv)
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
