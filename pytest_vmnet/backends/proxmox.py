"""The door to the Proxmox API: the only module that imports proxmoxer.

proxmoxer logs request data at INFO, so its logger stays at WARNING; its exceptions are mapped
here, and no message carries the token.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from proxmoxer import ProxmoxAPI
from proxmoxer.core import AuthenticationError, ResourceException

from pytest_vmnet.backends.clock import SYSTEM, Clock
from pytest_vmnet.errors import ProxmoxError

DEFAULT_PORT = 8006
_AGENT_CALLS_IN_FLIGHT = 2
_FIRST_POLL_S, _LAST_POLL_S = 0.02, 0.32
"""A short command is asked for again soon, a long one seldom."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the API is and who asks.

    Attributes:
        host: Host name or address.
        port: TCP port.
        user: User with realm, for example ``vmnet@pve``.
        token_name: Name of the API token.
        token_value: Its secret; never shown.
        ca: File with CA certificates, or None for the system's.
        insecure: Whether the certificate is not checked.
    """

    host: str
    port: int = DEFAULT_PORT
    user: str
    token_name: str
    token_value: str = field(repr=False)
    ca: Path | None = None
    insecure: bool = False

    @staticmethod
    def split(text: str) -> tuple[str, int]:
        """Return host and port of ``host``, ``host:port`` or a URL.

        Raises:
            ValueError: The text names no host.
        """
        parts = urlsplit(text if "//" in text else f"//{text}")
        if not parts.hostname:
            raise ValueError(f"{text!r} names no host")
        return parts.hostname, parts.port or DEFAULT_PORT


@dataclass(frozen=True, slots=True)
class AgentResult:
    """What a command run by the guest agent ended with.

    Attributes:
        returncode: Exit code; 128+n for a signal.
        stdout: Output as bytes.
        stderr: Error output as bytes.
        truncated: Whether the agent cut the output at its limit of 16 MiB.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    truncated: bool


class Proxmox:
    """The API as the gate uses it: GET, a few POSTs, the agent, and tasks.

    Args:
        endpoint: Where and who.
        clock: Time.
        timeout_s: Limit for one call, in seconds.

    Attributes:
        endpoint: Where and who.
        slowest_exec_s: The longest that a guest's agent took for a short command, in seconds.
    """

    def __init__(
        self, endpoint: Endpoint, *, clock: Clock = SYSTEM, timeout_s: float = 30
    ) -> None:
        for name in ("proxmoxer", "proxmoxer.core", "proxmoxer.backends.https"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.endpoint = endpoint
        self._clock = clock
        verify: bool | str = not endpoint.insecure
        if verify and endpoint.ca:
            verify = str(endpoint.ca)
        self._agent_slots: dict[str, threading.Semaphore] = {}
        self._slots_lock = threading.Lock()
        self._local = threading.local()
        self._idle: list[Any] = []
        self._cancelled = threading.Event()
        self._timeout_s = timeout_s
        self.slowest_exec_s = 0.0
        self._verify = verify

    def __repr__(self) -> str:
        """Name the endpoint, not the token."""
        return f"Proxmox({self.endpoint.host}:{self.endpoint.port}, user={self.endpoint.user!r})"

    @property
    def api(self) -> Any:
        """A proxmoxer ``ProxmoxAPI`` of the calling thread: its sessions are not thread-safe."""
        if not hasattr(self._local, "api"):
            self._local.api = self._connected()
        return self._local.api

    def _connected(self) -> Any:
        return ProxmoxAPI(
            self.endpoint.host,
            port=self.endpoint.port,
            user=self.endpoint.user,
            token_name=self.endpoint.token_name,
            token_value=self.endpoint.token_value,
            verify_ssl=self._verify,
            timeout=self._timeout_s,
        )

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """Lend a session to one call: there are as many as calls at once, not as threads."""
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._connected()
        try:
            yield session
        finally:
            self._idle.append(session)

    def call(self, method: str, path: str, **params: Any) -> Any:
        """Call the API and return the answer's ``data``.

        Raises:
            ProxmoxError: The API refused, failed or could not be reached.
        """
        try:
            with self._session() as session:
                resource = session(path.strip("/"))
                return _checked(getattr(resource, method.lower())(**params))
        except ResourceException as error:
            reason = str(error.content or error.status_message).strip()
            if error.errors:
                reason += f" {error.errors}"
            if error.status_code == HTTPStatus.UNAUTHORIZED:
                who = f"{self.endpoint.user}!{self.endpoint.token_name}"
                reason += f"; check the token {who}, its secret and its expiry"
            raise self._error(method, path, error.status_code, reason) from error
        except AuthenticationError as error:
            raise self._error(method, path, 401, str(error)) from error
        except requests.exceptions.SSLError as error:
            raise self._error(method, path, None, self._tls_problem(_short(error))) from error
        except requests.exceptions.Timeout as error:
            waited = f"no answer within {self._timeout_s:g} s from {self.endpoint.host}"
            raise self._error(method, path, None, waited) from error
        except requests.exceptions.RequestException as error:
            where = f"{self.endpoint.host}:{self.endpoint.port}"
            reason = f"cannot talk to {where}: {_short(error)}"
            raise self._error(method, path, None, reason) from error
        except OSError as error:  # requests raises it for a CA file that it cannot read
            reason = f"CA file {str(self.endpoint.ca)!r}: {_short(error)}"
            raise self._error(method, path, None, reason) from error
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            reason = f"the answer is not Proxmox's ({_short(error)})"
            raise self._error(method, path, None, reason) from error

    def get(self, path: str, **params: Any) -> Any:
        """GET a path."""
        return self.call("GET", path, **params)

    def _error(self, method: str, path: str, status: int | None, reason: str) -> ProxmoxError:
        safe = reason.replace(self.endpoint.token_value, "***") if reason else "no reason given"
        return ProxmoxError(method, path, status=status, reason=safe)

    def _tls_problem(self, said: str) -> str:
        ca, where = self.endpoint.ca, f"{self.endpoint.host}:{self.endpoint.port}"
        if ca and "NO_CERTIFICATE" in said:
            return f"CA file {str(ca)!r} holds no certificate in PEM form ({said})"
        if "CERTIFICATE_VERIFY_FAILED" not in said:
            return f"{where} does not speak TLS as Proxmox does ({said})"
        if ca:
            return f"the certificate is not trusted by the CA in {str(ca)!r} ({said})"
        return f"the certificate is not trusted; name its CA with --proxmox-ca ({said})"

    def _slot(self, node: str) -> threading.Semaphore:
        with self._slots_lock:
            return self._agent_slots.setdefault(node, threading.Semaphore(_AGENT_CALLS_IN_FLIGHT))

    def agent(self, node: str, vmid: int, verb: str, **params: Any) -> Any:
        """Call ``agent/VERB`` of a guest; at most two such calls per node are in flight."""
        method = "GET" if verb.startswith(("network-", "get-", "exec-status")) else "POST"
        with self._slot(node):
            return self.call(method, f"nodes/{node}/qemu/{vmid}/agent/{verb}", **params)

    def agent_exec(
        self,
        node: str,
        vmid: int,
        argv: list[str],
        *,
        stdin: bytes = b"",
        expect_s: float = 0,
        timeout_s: float = 30,
        on_start: Callable[[], None] = lambda: None,
    ) -> AgentResult:
        """Run a command in a guest through its agent and wait for its end.

        Args:
            node: The guest's node.
            vmid: The guest.
            argv: The command.
            stdin: Its input, at most 48 KiB.
            expect_s: Seconds before it is worth asking for the first time.
            timeout_s: Seconds after which waiting ends; the command itself has to bound itself.
            on_start: Called once the agent has started the command.

        Raises:
            ProxmoxError: The agent cannot be reached, refuses, or does not end in time.
        """
        extra = {"input-data": stdin.decode()} if stdin else {}
        begun = self._clock.monotonic()
        started = self.agent(node, vmid, "exec", command=argv, **extra)
        pid = int(started["pid"])
        on_start()
        deadline = self._clock.monotonic() + timeout_s
        self._pause(min(expect_s, timeout_s))
        failures = 0
        wait_s = _FIRST_POLL_S
        while True:
            asked = self._clock.monotonic()
            try:
                status = self.agent(node, vmid, "exec-status", pid=pid)
            except ProxmoxError:
                failures += 1
                if failures >= 3 or self._clock.monotonic() >= deadline:
                    raise
                self._pause(1.0)
                continue
            if int(status.get("exited") or 0):
                if not expect_s:
                    took = self._clock.monotonic() - begun
                    self.slowest_exec_s = max(self.slowest_exec_s, took)
                return _agent_result(status)
            if self._clock.monotonic() >= deadline:
                path = f"nodes/{node}/qemu/{vmid}/agent/exec-status"
                reason = f"`{argv[0]}` did not end within {timeout_s:g} s in the guest"
                raise ProxmoxError("GET", path, status=None, reason=reason)
            took = self._clock.monotonic() - asked  # where many wait, each asks less often
            self._pause(max(wait_s, 2 * took))
            wait_s = min(2 * wait_s, _LAST_POLL_S)

    def cancel(self) -> None:
        """Let every wait for a guest's command end with an error, now and from now on."""
        self._cancelled.set()

    def _pause(self, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        while not self._cancelled.is_set() and (left := end - self._clock.monotonic()) > 0:
            self._clock.sleep(min(left, 0.5))
        if self._cancelled.is_set():
            raise ProxmoxError("GET", "agent/exec-status", status=None, reason="cancelled")


def _checked(answer: Any) -> Any:
    """Return the answer; ValueError for what proxmoxer hands on although it is no JSON."""
    if isinstance(answer, dict) and isinstance(answer.get("errors"), bytes):
        raise ValueError(repr(answer["errors"][:80]))  # noqa: TRY004 - as for JSON
    return answer


def _agent_result(status: Mapping[str, Any]) -> AgentResult:
    def octets(key: str) -> bytes:
        # Proxmox hands the decoded bytes on as Latin-1 code points.
        return str(status.get(key) or "").encode("latin-1", errors="replace")

    code = status.get("exitcode")
    if code is None:
        code = 128 + int(status.get("signal") or 0)
    cut = bool(int(status.get("out-truncated") or 0) or int(status.get("err-truncated") or 0))
    return AgentResult(int(code), octets("out-data"), octets("err-data"), cut)


def _short(error: BaseException) -> str:
    """Return the innermost words of a chain of connection errors."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return str(error)[:300] or type(error).__name__
