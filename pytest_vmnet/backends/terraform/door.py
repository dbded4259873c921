"""Terraform's commands as the gate needs them.

python-terraform (0.10.1) writes the command lines and runs the short ones that touch no network.
It has no time limit and no way to cancel, logs what a command printed, and reads the state file
after each success; so whatever may take long is run by `process.run`, its loggers are kept shut,
and its reading is switched off.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import python_terraform

from pytest_vmnet.backends.clock import SYSTEM, Clock
from pytest_vmnet.backends.terraform.diagnostic import asks_for_init, explain
from pytest_vmnet.backends.terraform.limit import Grace, TimeLimits
from pytest_vmnet.backends.terraform.process import Ended, run
from pytest_vmnet.backends.terraform.redact import redact, secret_values
from pytest_vmnet.errors import ConfigError, TerraformError

FOREIGN_ERRORS = (python_terraform.TerraformCommandError, OSError, UnicodeDecodeError)
"""What a call of python-terraform may raise."""

_FLAG = python_terraform.IsFlagged
_LOGGERS = ("python_terraform", "python_terraform.tfstate")
_CHANGES = 2  # -detailed-exitcode: 0 no changes, 1 an error, 2 changes


class _Quiet(python_terraform.Terraform):  # type: ignore[misc]  # it ships no types
    """python-terraform without its habit of reading the state file."""

    def read_state_file(self, file_path: str | None = None) -> None:
        """Read nothing: a remote state is not there, and a local one holds secrets."""


class TerraformDoor:
    """Terraform in one root folder.

    Secrets reach it by the inherited environment alone, and are hidden in what is reported.

    Attributes:
        folder: The root folder.
        commands: Command lines that were run, in order, as a person would type them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: str = "terraform",
        clock: Clock = SYSTEM,
        limits: TimeLimits | None = None,
        grace: Grace | None = None,
    ) -> None:
        self.folder = folder
        self.commands: list[str] = []
        self._environ = {**os.environ, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}
        self._environ.pop("TF_LOG", None)  # TRACE prints requests, tokens included
        self._secrets = secret_values(self._environ)
        self._clock, self._limits = clock, limits or TimeLimits()
        self._grace = grace or Grace()
        if not folder.is_dir():
            raise ConfigError(
                f"--vmnet-terraform-dir = {str(folder)!r}: there is no such folder; name the "
                "root folder of the Terraform configuration that made the guests"
            )
        path = shutil.which(binary, path=self._environ.get("PATH"))
        if path is None:
            raise ConfigError(
                f"{binary!r} is not on PATH: install Terraform or OpenTofu, or leave "
                "--vmnet-terraform-dir out"
            )
        self._program = _Quiet(working_dir=str(folder), terraform_bin_path=path)

    def version(self) -> str:
        """Return Terraform's version, for example ``1.11.4``."""
        said = json.loads(self._short("version", json=_FLAG))
        return str(said.get("terraform_version", "unknown"))

    def init(self) -> bool:
        """Initialise the folder if Terraform asks for it; return whether it was needed.

        The lock file of the providers is not changed, nothing is upgraded or migrated.
        """
        asked = (  # The first looks at providers and modules, the second at the backend.
            self._argv("validate", no_color=_FLAG),
            self._argv("state list"),
        )
        if not any(asks_for_init(self._run(argv, self._limits.state_s)) for argv in asked):
            return False
        locked = (self.folder / ".terraform.lock.hcl").exists()
        argv = self._argv(
            "init", no_color=_FLAG, input=False, lockfile="readonly" if locked else None
        )
        self._must(argv, self._limits.init_s)
        return True

    def state_pull(self) -> bytes:
        """Return the state as JSON (version 4), or nothing before the first apply."""
        return self._must(self._argv("state pull"), self._limits.state_s).stdout.encode()

    def plan_replace(
        self, address: str, out: Path, on_line: Callable[[str], None] = lambda _: None
    ) -> bool:
        """Plan the replacement of *address* into the file *out*; return whether it has changes.

        An address that does not exist gives a plan without changes and no error.
        """
        return self._plan(out, on_line, replace=address)

    def plan_tainted(self, out: Path, on_line: Callable[[str], None] = lambda _: None) -> bool:
        """Plan what the state asks for into the file *out*; return whether it has changes."""
        return self._plan(out, on_line, replace=None)

    def has_changes(self) -> bool:
        """Return whether a fresh plan has changes."""
        return self._plan(None, lambda _: None, replace=None)

    def show_plan(self, file: Path) -> dict[str, Any]:
        """Return the plan in *file* as ``terraform show -json`` prints it."""
        try:
            plan = json.loads(self._short("show", str(file), json=_FLAG))
        except ValueError:
            plan = None
        if not isinstance(plan, dict):
            raise TerraformError("show", returncode=0, diagnostics="its output is not a plan")
        return plan

    def apply_file(self, file: Path, on_line: Callable[[str], None] = lambda _: None) -> None:
        """Apply the plan in *file* and no other; its progress goes to *on_line*."""
        argv = self._argv(
            "apply", str(file), no_color=_FLAG, input=False, lock_timeout=self._lock_timeout
        )
        self._must(argv, self._limits.apply_s, on_line)

    def taint(self, address: str) -> None:
        """Mark *address* as tainted in the state."""
        self._short("taint", address, lock_timeout=self._lock_timeout)

    def untaint(self, address: str) -> None:
        """Take the mark back."""
        self._short("untaint", address, lock_timeout=self._lock_timeout)

    @property
    def _lock_timeout(self) -> str:
        return f"{self._limits.lock_s}s"

    def _plan(
        self, out: Path | None, on_line: Callable[[str], None], *, replace: str | None
    ) -> bool:
        argv = self._argv(
            "plan",
            no_color=_FLAG,
            input=False,
            detailed_exitcode=_FLAG,
            lock_timeout=self._lock_timeout,
            replace=replace,
            out=None if out is None else str(out),
        )
        ended = self._must(argv, self._limits.plan_s, on_line, fine=(0, _CHANGES), umask=0o077)
        if out is not None:
            out.chmod(0o600)
        return ended.returncode == _CHANGES

    def _argv(self, command: str, *words: str, **options: object) -> list[str]:
        argv: list[str] = self._program.generate_cmd_string(command, *words, **options)
        return argv

    def _short(self, command: str, *words: str, **options: object) -> str:
        """Run a command that touches no network, through python-terraform."""
        self._note(self._argv(command, *words, **options))
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its Logger.warn
            try:
                code, out, err = self._program.cmd(command, *words, **options)
            except FOREIGN_ERRORS as error:
                problem = f"could not be run ({type(error).__name__})"
                raise self._failed(command, None, problem) from None
        if code:
            raise self._failed(command, code, f"{err}{out}")
        return str(out)

    def _run(
        self, argv: list[str], timeout_s: float, on_line: Callable[[str], None] = lambda _: None,
        *, umask: int = -1,
    ) -> Ended:  # fmt: skip
        self._note(argv)
        try:
            return run(
                argv,
                folder=self.folder,
                environ=self._environ,
                timeout_s=timeout_s,
                on_line=lambda line: on_line(redact(line, self._secrets)),
                clock=self._clock,
                grace=self._grace,
                umask=umask,
            )
        except OSError as error:
            raise self._failed(argv[1], None, f"could not be run: {error}") from error

    def _must(
        self, argv: list[str], timeout_s: float, on_line: Callable[[str], None] = lambda _: None,
        *, fine: tuple[int, ...] = (0,), umask: int = -1,
    ) -> Ended:  # fmt: skip
        ended = self._run(argv, timeout_s, on_line, umask=umask)
        if ended.returncode not in fine:
            said = "\n".join(part for part in (ended.fate, ended.stderr or ended.stdout) if part)
            raise self._failed(argv[1], ended.returncode, said)
        return ended

    def _note(self, argv: list[str]) -> None:
        words = [Path(argv[0]).name, f"-chdir={self.folder}", *argv[1:]]
        self.commands.append(redact(shlex.join(words), self._secrets))

    def _failed(self, command: str, code: int | None, said: str) -> TerraformError:
        text = redact(explain(said), self._secrets)
        return TerraformError(command, returncode=code, diagnostics=text)
