"""`vmnet lab exec`: run a command on a host of the lab as if there were nothing in between.

The lab hands over its namespaces as file descriptors. This process joins them and forks; the
child, which is inside the lab's PID namespace and ends with it, becomes the command. The kernel
ends it too if this process is killed.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import client, kernel
from pytest_vmnet.lab.environment import host_environment

_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_FORWARDED = {
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
}
_FROM_KERNEL = 128
"""``si_code`` of a signal that the terminal sent: the command, in our group, has it already."""


def run(name: str, host: str, argv: Sequence[str]) -> int:
    """Run *argv* on *host* of the lab *name*; return its exit code, 128+n for a signal.

    Raises:
        NoLabError: There is no such lab.
        LabError: The lab has no such host, or ended.
    """
    connection = client.connect(name)
    answer, fds = connection.ask_for_fds("host", host=host)
    connection.close()
    if "agent" in answer:
        from pytest_vmnet.lab import execute_guest  # noqa: PLC0415 - only where a guest is asked

        _join(fds)
        return execute_guest.run(answer, argv)
    environment = host_environment(answer)
    folder = _folder() if answer["name"] == "workstation" else "/"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *_FORWARDED})
    _join(fds)
    try:
        child = os.fork()
    except OSError as error:
        raise LabError(f"lab {name!r} ended just now: {error}") from error
    if child == 0:
        kernel.set_parent_death_signal(signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _become(argv, environment, folder)
    return _wait(child)


def _folder() -> str:
    """Return the caller's folder; one that was deleted under it cannot be had again."""
    try:
        return os.getcwd()  # noqa: PTH109 - a plain string is all that is needed
    except FileNotFoundError:
        return "/"


def _join(fds: Sequence[int]) -> None:
    kinds = (kernel.CLONE_NEWPID, kernel.CLONE_NEWNET, kernel.CLONE_NEWUTS, kernel.CLONE_NEWNS)
    for fd, kind in zip(fds, kinds, strict=True):
        kernel.setns(fd, kind)
        os.close(fd)


def _become(argv: Sequence[str], environment: Mapping[str, str], folder: str) -> NoReturn:
    # Python ignores these two; a command would inherit that.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    code = _NOT_EXECUTABLE
    try:
        os.chdir(folder)
    except OSError as error:
        _die(f"the folder {folder!r} is not there in the lab: {error.strerror}", code)
    try:
        os.execvpe(argv[0], list(argv), dict(environment))  # noqa: S606 - that is the point
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            code = _NOT_FOUND
        _die(f"{argv[0]!r}: {error.strerror}", code)


def _die(complaint: str, code: int) -> NoReturn:
    sys.stderr.write(f"vmnet lab exec: {complaint}\n")
    sys.stderr.flush()
    os._exit(code)


def _wait(child: int) -> int:
    """Forward signals until *child* ends; return its exit code as a shell would give it."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        caught = signal.sigwaitinfo({signal.SIGCHLD, *_FORWARDED})
        if caught.si_signo != signal.SIGCHLD and caught.si_code != _FROM_KERNEL:
            os.kill(child, caught.si_signo)
