"""The API's ``agent/*`` calls, answered by the guest's own agent in Proxmox's words."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable

from pytest_vmnet.lab.agent import Agent, AgentError, exec_arguments
from pytest_vmnet.lab.pve.base import Api, Match, PveError, Values

_READ_LIMIT = 16 << 20
_READ_STEP = 1 << 20
_TIMEOUT_S = {"fsfreeze-freeze": 60.0, "fsfreeze-thaw": 60.0, "fstrim": 60.0}
_NO_ANSWER = ("shutdown", "suspend-disk", "suspend-ram", "suspend-hybrid")


class AgentApi(Api):
    """Proxmox's guest agent calls."""

    async def _agent_call(self, match: Match, values: Values) -> object:
        vm = self.find(values["node"], values["vmid"])
        command = match.template.rsplit("/", 1)[1]
        if "agent" not in vm.config:
            raise PveError(500, "No QEMU guest agent configured")
        if vm.status != "running":
            raise PveError(500, f"VM {vm.vmid} is not running")
        agent = self.machines.agent(vm.vmid)
        return await asyncio.to_thread(self._ask, agent, command, values)

    def _ask(self, agent: Agent, command: str, values: Values) -> object:
        """Answer one call; runs in a thread of its own."""
        special: dict[str, Callable[[Agent, Values], object]] = {
            "exec": _exec,
            "exec-status": _exec_status,
            "file-read": _file_read,
            "file-write": _file_write,
            "set-user-password": _set_user_password,
        }
        if not agent.ping():
            raise PveError(500, "QEMU guest agent is not running")
        try:
            if command in special:
                return special[command](agent, values)
            if command in _NO_ANSWER:
                with contextlib.suppress(AgentError):
                    agent.call(f"guest-{command}", timeout_s=1)
                return {"result": None}
            result = agent.call(f"guest-{command}", timeout_s=_TIMEOUT_S.get(command, 5.0))
        except AgentError as error:
            raise PveError(500, f"Agent error: {error}") from error
        return {"result": result}


def _exec(agent: Agent, values: Values) -> object:
    stdin = str(values.get("input-data") or "").encode()
    return agent.call("guest-exec", exec_arguments(values["command"], stdin))


def _exec_status(agent: Agent, values: Values) -> object:
    """Output is decoded to bytes and shown as Latin-1 text, booleans as 0 and 1."""
    answer = agent.call("guest-exec-status", {"pid": values["pid"]})
    if not isinstance(answer, dict):
        raise AgentError("guest-exec-status: no object")
    shown: Values = {}
    for key, value in answer.items():
        if key in {"out-data", "err-data"}:
            shown[key] = base64.b64decode(value).decode("latin-1")
        else:
            shown[key] = int(value) if isinstance(value, bool) else value
    return shown


def _file_read(agent: Agent, values: Values) -> object:
    handle = agent.call("guest-file-open", {"path": values["file"], "mode": "r"})
    content, is_end = b"", False
    try:
        while not is_end and len(content) < _READ_LIMIT:
            part = agent.call("guest-file-read", {"handle": handle, "count": _READ_STEP})
            if not isinstance(part, dict):
                raise AgentError("guest-file-read: no object")
            content += base64.b64decode(part.get("buf-b64", ""))
            is_end = bool(part.get("eof"))
    finally:
        agent.call("guest-file-close", {"handle": handle})
    shown: Values = {"content": content.decode("latin-1"), "bytes-read": len(content)}
    if not is_end:
        shown["truncated"] = 1
    return shown


def _file_write(agent: Agent, values: Values) -> None:
    content = str(values["content"])
    if values.get("encode", 1):
        content = base64.b64encode(content.encode()).decode()
    handle = agent.call("guest-file-open", {"path": values["file"], "mode": "wb"})
    try:
        agent.call("guest-file-write", {"handle": handle, "buf-b64": content})
    finally:
        agent.call("guest-file-close", {"handle": handle})


def _set_user_password(agent: Agent, values: Values) -> object:
    arguments = {
        "username": values["username"],
        "password": base64.b64encode(str(values["password"]).encode()).decode(),
        "crypted": bool(values.get("crypted")),
    }
    return {"result": agent.call("guest-set-user-password", arguments)}
