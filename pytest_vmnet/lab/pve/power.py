"""Power: start, stop, shutdown, reboot, reset, suspend and resume drive the guest's machine."""

from __future__ import annotations

import asyncio
import contextlib

from pytest_vmnet.lab.agent import AgentError
from pytest_vmnet.lab.pve.base import Api, TaskError, Values, Vm
from pytest_vmnet.lab.pve.props import is_agent_enabled, is_on


class PowerApi(Api):
    """Proxmox's ``status/*`` calls."""

    async def _do_start(self, vm: Vm, user: str, p: Values) -> object:
        if vm.ha_managed and not vm.template:
            return await self._ha_request(vm, user, "started")

        async def body() -> None:
            if vm.template:
                raise TaskError("you can't start a vm if it's a template")
            if vm.lock and vm.lock != "suspended" and not is_on(p.get("skiplock")):
                raise TaskError(f"VM is locked ({vm.lock})")
            if vm.status == "running" and self.machines.pid(vm.vmid) is None:
                # It has ended just now, and what belonged to it is still being removed.
                await self.machines.wait_stopped(vm.vmid, 10)
            if vm.status == "running":
                raise TaskError(f"VM {vm.vmid} already running")
            await self.start_machine(vm)

        return await self.task(vm.node, "qmstart", vm.vmid, user, body, vm=vm)

    async def _do_stop(self, vm: Vm, user: str, p: Values) -> object:
        if not is_on(p.get("skiplock")):
            self._check_lock(vm)
        if vm.ha_managed:
            return await self._ha_request(vm, user, "stopped")
        # A stop that overrules a shutdown does not wait for the lock that the shutdown holds.
        abort = is_on(p.get("overrule-shutdown"))

        async def body() -> None:
            await self.machines.stop(vm.vmid)

        return await self.task(vm.node, "qmstop", vm.vmid, user, body, vm=vm, lock=not abort)

    async def _powerdown(self, vm: Vm, p: Values) -> str | None:
        """Ask the guest to power off: through its agent, else by the power button."""
        timeout_s = int(p.get("timeout") or self.shutdown_default_timeout)
        if not await self._agent_shutdown(vm):
            await self.machines.powerdown(vm.vmid)
        if await self.machines.wait_stopped(vm.vmid, timeout_s):
            return None
        if is_on(p.get("forceStop")):
            await self.machines.stop(vm.vmid)
            return "VM still running - terminating now with SIGTERM"
        raise TaskError("VM quit/powerdown failed - got timeout")

    async def _agent_shutdown(self, vm: Vm) -> bool:
        """Return whether the guest's agent answers; if so it was told to power off."""
        if not is_agent_enabled(vm.config):
            return False
        agent = self.machines.agent(vm.vmid)
        if not await asyncio.to_thread(agent.ping):
            return False
        # The command has no answer when it succeeds.
        with contextlib.suppress(AgentError):
            mode = {"mode": "powerdown"}
            await asyncio.to_thread(agent.call, "guest-shutdown", mode, timeout_s=1)
        return True

    async def _do_reboot(self, vm: Vm, user: str, p: Values) -> object:
        self._need_running(vm)
        self._check_lock(vm)

        async def body() -> None:
            await self._powerdown(vm, p)
            await self.start_machine(vm)

        return await self.task(vm.node, "qmreboot", vm.vmid, user, body, vm=vm)

    async def _simple(self, vm: Vm, user: str, verb: str, command: str) -> object:
        self._need_running(vm)

        async def body() -> None:
            await self.machines.qmp(vm.vmid, command, {})
            await self.refresh(vm)

        return await self.task(vm.node, f"qm{verb}", vm.vmid, user, body, vm=vm)

    async def _do_reset(self, vm: Vm, user: str, _p: Values) -> object:
        self._check_lock(vm)
        return await self._simple(vm, user, "reset", "system_reset")

    async def _do_suspend(self, vm: Vm, user: str, p: Values) -> object:
        self._check_lock(vm)
        if is_on(p.get("todisk")):

            async def body() -> None:
                raise TaskError("suspend to disk is not available in the lab")

            return await self.task(vm.node, "qmsuspend", vm.vmid, user, body, vm=vm)
        return await self._simple(vm, user, "suspend", "stop")

    async def _do_resume(self, vm: Vm, user: str, _p: Values) -> object:
        return await self._simple(vm, user, "resume", "cont")

    async def refresh(self, vm: Vm) -> None:
        """Ask a running guest's machine how it is: running, paused or worse."""
        if vm.status == "running":
            answer = await self.machines.qmp(vm.vmid, "query-status", {})
            if isinstance(answer, dict) and vm.status == "running":
                vm.qmpstatus = str(answer.get("status", "running"))

    async def _ha_request(self, vm: Vm, user: str, state: str) -> object:
        """Ask the HA manager for *state*; it acts at its own pace."""

        async def act() -> None:
            vm.ha_state = state
            if state != "started":
                await self.machines.stop(vm.vmid)
            elif vm.status != "running":
                await self.start_machine(vm)

        async def later() -> None:
            verb = "qmstart" if state == "started" else "qmstop"
            await self.task(vm.node, verb, vm.vmid, "root@pam", act, vm=vm)

        async def body() -> None:
            self.__dict__.setdefault("background", set()).add(asyncio.create_task(later()))

        verb = "start" if state == "started" else "stop"
        note = f"Requesting HA {verb} for VM {vm.vmid}"
        return await self.task(vm.node, f"ha{verb}", vm.vmid, user, body, lock=False, log=[note])
