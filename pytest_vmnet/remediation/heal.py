"""Carry out a decision rung by rung, with the same probes after each, and say what is proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.hosts import Shell
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.guardrails.journal import Signature
from pytest_vmnet.core.outcome import Attempt, Decision
from pytest_vmnet.core.parse.pveconfig import parse_nics, parse_properties
from pytest_vmnet.core.policy import refused_plan
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.core.words import Action, AttemptOutcome
from pytest_vmnet.errors import BackendError, VmnetError
from pytest_vmnet.remediation.act import Act, Order, close
from pytest_vmnet.remediation.journal import Journal
from pytest_vmnet.remediation.proof import Identity, caution, prove
from pytest_vmnet.remediation.rebuild import RebuildSettings, Terraform, rebuild
from pytest_vmnet.remediation.restart import restart

Reprobe = Callable[[], tuple[bool, Guest]]
"""Discover the guest again, send the same probes, and say whether it is healthy now."""


class ProxmoxPower:
    """The power switch of `remediation.restart` over the API."""

    def __init__(self, proxmox: Proxmox) -> None:
        self._proxmox = proxmox

    def stop(self, node: str, vmid: int, *, timeout_s: float) -> str:
        """Shut the guest down, hard after *timeout_s* seconds; return the task's UPID."""
        path = f"nodes/{node}/qemu/{vmid}/status/shutdown"
        return str(self._proxmox.call("POST", path, timeout=int(timeout_s), forceStop=1))

    def start(self, node: str, vmid: int) -> str:
        """Start the guest; return the task's UPID."""
        return str(self._proxmox.call("POST", f"nodes/{node}/qemu/{vmid}/status/start"))

    def status(self, node: str, vmid: int) -> str:
        """Return ``running`` or ``stopped``."""
        return str(self._proxmox.get(f"nodes/{node}/qemu/{vmid}/status/current")["status"])


@dataclass(frozen=True, kw_only=True)
class Healer:
    """What every heal of a run shares.

    Attributes:
        proxmox: The API.
        terraform: Terraform in the guests' root folder, or None.
        journal: The memory of acts.
        shells: Shells of the nodes.
        clock: Time.
        say: Gets the progress.
        run_id: The run.
        settings: What the user chose for rebuilds.
    """

    proxmox: Proxmox
    terraform: Terraform | None
    journal: Journal
    shells: Mapping[str, Shell]
    clock: Clock
    say: Callable[[str], None]
    run_id: str
    settings: RebuildSettings

    def heal(
        self,
        guest: Guest,
        decision: Decision,
        signature: Signature,
        inventory: Inventory,
        *,
        wait_ready: Callable[[Guest], None],
        reprobe: Reprobe,
    ) -> tuple[tuple[Attempt, ...], Decision, Guest]:
        """Try the ladder's rungs until one cures, fails or is refused.

        Args:
            guest: The sick guest.
            decision: The decision with its ladder.
            signature: What its fault looks like.
            inventory: The site before the act; the siblings are in it.
            wait_ready: Returns once the guest can be probed again.
            reprobe: Sends the same probes.

        Returns:
            The attempts, the decision (``refuse`` if guard rail 7 refused the plan), and the
            guest as it is now.
        """
        attempts: list[Attempt] = []
        now = guest
        for rung in decision.ladder:
            siblings = [other for other in inventory.guests if other.vmid != guest.vmid]
            before = self._identities([now, *siblings])
            order = Order(
                guest=now,
                rung=rung,
                run_id=self.run_id,
                signature=signature,
                mac_before=now.nic.mac,
            )
            self.say(f"{now.ident}: {rung} against {signature}")
            act = self._act(order, lambda: wait_ready(guest))
            if act.held:
                kept = f"{decision.reason}; {act.message}"
                return tuple(attempts), Decision(action=Action.HOLD, reason=kept), now
            if act.outcome is not None:
                attempt = act.attempt(cured=False, mac_after=None)
                self._close(act, attempt)
                attempts.append(attempt)
                if act.outcome is AttemptOutcome.REFUSED and act.judgement is not None:
                    decision = refused_plan(decision, act.judgement.violations)
                return tuple(attempts), decision, now
            attempt, now = self._proven(act, before, siblings, reprobe)
            attempts.append(attempt)
            if attempt.outcome is not AttemptOutcome.NOT_CURED:
                break
        return tuple(attempts), decision, now

    def _act(self, order: Order, wait_ready: Callable[[], None]) -> Act:
        if order.rung is Action.RESTART:
            return restart(
                order,
                power=ProxmoxPower(self.proxmox),
                journal=self.journal,
                clock=self.clock,
                wait_ready=wait_ready,
                say=self.say,
            )
        if self.terraform is None:
            raise VmnetError(f"{order.guest.ident}: no Terraform folder to rebuild from")
        path = f"nodes/{order.guest.node}/qemu/{order.guest.vmid}/config"
        return rebuild(
            order,
            terraform=self.terraform,
            journal=self.journal,
            clock=self.clock,
            wait_ready=wait_ready,
            say=self.say,
            settings=self.settings,
            config=self.proxmox.get(path),
        )

    def _proven(
        self,
        act: Act,
        before: Mapping[int, Identity],
        siblings: Sequence[Guest],
        reprobe: Reprobe,
    ) -> tuple[Attempt, Guest]:
        begun = self.clock.monotonic()
        order = act.order
        try:
            cured, guest = reprobe()
            after = self._identities([guest, *siblings])
        except VmnetError as error:
            attempt = act.attempt(
                cured=False,
                mac_after=None,
                proof_s=self.clock.monotonic() - begun,
                failure=f"it could not be probed afterwards: {error}",
            )
            self._close(act, attempt)
            return attempt, order.guest
        proof = prove(
            order.rung,
            before=before[order.guest.vmid],
            after=after[guest.vmid],
            siblings_before={g.ident: before[g.vmid] for g in siblings},
            siblings_after={g.ident: after[g.vmid] for g in siblings},
            upids=(*act.upids, *self._tasks(order.guest, act)),
        )
        attempt = act.attempt(
            cured=cured,
            mac_after=guest.nic.mac,
            proof=proof.sentences,
            proof_s=self.clock.monotonic() - begun,
            failure="; ".join(proof.violations) or None,
            caution=caution(
                order.signature.reason,
                before[order.guest.vmid].macs,
                after[guest.vmid].macs,
                cured=cured,
            ),
        )
        self._close(act, attempt)
        return attempt, guest

    def _close(self, act: Act, attempt: Attempt) -> None:
        resource = act.order.guest.resource
        close(
            act,
            attempt=attempt,
            journal=self.journal,
            clock=self.clock,
            address=resource.address if resource else None,
        )

    def _identities(self, guests: Sequence[Guest]) -> dict[int, Identity]:
        found: dict[int, Identity] = {}
        for guest in guests:
            path = f"nodes/{guest.node}/qemu/{guest.vmid}"
            status = self.proxmox.get(f"{path}/status/current")
            config = self.proxmox.get(f"{path}/config", current=1)
            smbios = parse_properties(str(config.get("smbios1", "")), "uuid")
            pid = int(status["pid"]) if status.get("pid") else None
            found[guest.vmid] = Identity(
                vmid=guest.vmid,
                name=str(status.get("name", guest.name)),
                node=guest.node,
                smbios_uuid=smbios.get("uuid"),
                pid=pid,
                start_time=self._start_time(guest.node, pid),
                macs=tuple(nic.mac for nic in parse_nics(config)),
            )
        return found

    def _start_time(self, node: str, pid: int | None) -> int | None:
        shell = self.shells.get(node)
        if shell is None or pid is None:
            return None
        try:
            done = shell.run(f"cat /proc/{pid}/stat")
        except BackendError:
            return None
        words = done.text.rpartition(")")[2].split()
        return int(words[19]) if len(words) > 19 else None

    def _tasks(self, guest: Guest, act: Act) -> list[str]:
        """Return the UPIDs of the guest's tasks since the act began."""
        since = int(self.clock.now().timestamp() - act.duration_s) - 60
        try:
            rows = self.proxmox.get(f"nodes/{guest.node}/tasks", vmid=guest.vmid, since=since)
        except BackendError:
            return []
        known = set(act.upids)
        return sorted({str(row["upid"]) for row in rows or [] if "upid" in row} - known)
