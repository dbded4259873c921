"""`vmnet lab exec`: run a command on a host of the lab as if there were nothing in between.

The lab hands over its namespaces as file descriptors. This process joins them and forks; the
child, which is inside the lab's PID namespace and ends with it, becomes the command. The kernel
ends it too if this process is killed.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import client, kernel
from pytest_vmnet.lab.environment import host_environment

_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_WITNESS_S = 0.03
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
    witness = _Witness()
    _join(fds)
    try:
        child = os.fork()
    except OSError as error:
        raise LabError(f"lab {name!r} ended just now: {error}") from error
    if child == 0:
        kernel.set_parent_death_signal(signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _become(argv, environment, folder)
    try:
        return _wait(child, witness)
    finally:
        witness.dismiss()


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


class _Witness:
    """A process of our group that is told of the signals that the whole group gets.

    The command is of that group too: such a signal must not reach it a second time.
    """

    def __init__(self) -> None:
        self._heard: list[int] = []
        self._line, line = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            kernel.set_parent_death_signal(signal.SIGKILL)
            for fd in (0, 1, 2):
                os.close(fd)
            while True:
                os.write(line, bytes([signal.sigwaitinfo(_FORWARDED).si_signo]))
        os.close(line)

    def heard(self, number: int) -> bool:
        """Tell whether the group got the signal *number*, once for each time that it did."""
        while number not in self._heard and select.select([self._line], [], [], _WITNESS_S)[0]:
            self._heard += os.read(self._line, 64)
        if number not in self._heard:
            return False
        self._heard.remove(number)
        return True

    def dismiss(self) -> None:
        """End it."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _wait(child: int, witness: _Witness) -> int:
    """Forward signals until *child* ends; return its exit code as a shell would give it."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        caught = signal.sigwaitinfo({signal.SIGCHLD, *_FORWARDED})
        number = caught.si_signo
        if number == signal.SIGCHLD or caught.si_code == _FROM_KERNEL or witness.heard(number):
            continue
        os.kill(child, number)
