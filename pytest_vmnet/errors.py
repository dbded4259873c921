"""The exception tree. A broken network is not in it, nor is a guard rail: both are data.

::

    VmnetError
    + ConfigError         an option, marker or file is wrong        -> pytest.UsageError
    + BackendError        something outside this process failed
      - CommandError      argv, returncode, stdout, stderr, timeout_s
      - ProxmoxError      method, path, status, reason (never the token)
      - TerraformError    command, returncode, diagnostics
    + ProbeError          a probe ran and cannot say what it saw    -> verdict inconclusive
      - CaptureError      a capture point did not start, or dropped packets
      - ParseError        source, offset
    + LabError            the lab cannot be built on this machine
"""

from __future__ import annotations

from collections.abc import Sequence


class VmnetError(Exception):
    """Anything that kept us from looking or from acting."""


class ConfigError(VmnetError):
    """A setting, a file or an environment is wrong; the message says what to do."""


class BackendError(VmnetError):
    """Something outside this process failed."""


class CommandError(BackendError):
    """A command could not run, ended with a bad code or ran out of time.

    Attributes:
        argv: The command, as a tuple of words.
        returncode: Its exit code, or None if it never ran or was ended by its time limit.
        stdout: What it printed, as text.
        stderr: What it complained about, as text.
        timeout_s: The time limit that it ran into, in seconds, or None.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        where: str = "here",
        returncode: int | None = None,
        stdout: str = "",
        stderr: str = "",
        timeout_s: float | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
        self.timeout_s = timeout_s
        if timeout_s is not None:
            fate = f"did not end within {timeout_s:g} s"
        elif returncode is None:
            fate = "could not be run"
        else:
            fate = f"ended with {returncode}"
        tail = (stderr or stdout).strip()[-600:]
        super().__init__(f"{where}: `{' '.join(argv)[:300]}` {fate}{': ' + tail if tail else ''}")


class ProxmoxError(BackendError):
    """The Proxmox API refused, failed or could not be reached.

    Attributes:
        method: HTTP method.
        path: API path.
        status: HTTP status, or None if there was no answer.
        reason: What the API or the connection said; never holds the token.
    """

    def __init__(self, method: str, path: str, *, status: int | None, reason: str) -> None:
        self.method = method
        self.path = path
        self.status = status
        self.reason = reason
        answer = "no answer" if status is None else str(status)
        super().__init__(f"Proxmox API: {method} {path}: {answer}: {reason}")


class TerraformError(BackendError):
    """A Terraform command failed.

    Attributes:
        command: The subcommand, for example ``plan``.
        returncode: Its exit code, or None if it did not end by itself.
        diagnostics: What Terraform said, without colour.
    """

    def __init__(self, command: str, *, returncode: int | None, diagnostics: str) -> None:
        self.command = command
        self.returncode = returncode
        self.diagnostics = diagnostics
        fate = "did not end" if returncode is None else f"ended with {returncode}"
        super().__init__(f"terraform {command} {fate}: {diagnostics.strip()[-2000:]}")


class ProbeError(VmnetError):
    """A probe ran and cannot say what it saw."""


class CaptureError(ProbeError):
    """A capture point did not start, or its capture cannot be trusted."""


class ParseError(ProbeError):
    """Bytes or text were not what their source promises.

    Attributes:
        source: What was being read, for example ``"pve1 capture"``.
        offset: Where in it, in bytes or lines, as the message says.
    """

    def __init__(self, source: str, offset: int, problem: str, *, unit: str = "byte") -> None:
        self.source = source
        self.offset = offset
        super().__init__(f"{source}, {unit} {offset}: {problem}")


class LabError(VmnetError):
    """The lab cannot be built, or is not up."""
