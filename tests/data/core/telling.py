"""A source of facts without a site: guests whose pings say what a test wants them to say."""

from __future__ import annotations

import base64
import gzip
import json
import runpy
from collections.abc import Callable, Collection, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pytest_vmnet.core.facts import GATE
from pytest_vmnet.core.guardrails.journal import JournalEntry, Phase, Signature, Step
from pytest_vmnet.core.outcome import Attempt, Decision
from pytest_vmnet.core.words import Action, AttemptOutcome
from pytest_vmnet.gate.source import Circumstances, Discovery, Healed, Held
from pytest_vmnet.gate.standing import Own
from pytest_vmnet.probes.answer import RawAnswer, RawSweep

HERE = Path(__file__).parent
W = runpy.run_path(str(HERE / "world.py"))
PCAP = runpy.run_path(str(HERE / "frames.py"))
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ENTRY = JournalEntry(
    time=NOW, run_id="0123456789", vmid=111, name="vm-1", node="pve1", rung=Action.REBUILD,
    step=Step.APPLY, phase=Phase.AFTER, address='x.vm["a"]', outcome="ok",
    signature=Signature(reason="MacReflection", last_seen="enp4s0", next_point=None),
)  # fmt: skip
CAPTURE = PCAP["pcap"](PCAP["ethernet"](PCAP["ipv4"](PCAP["icmp"]())))

NEIGHBOURS = json.dumps(
    [
        {"dst": f"192.0.2.{last}", "dev": "eth0", "lladdr": mac, "state": ["REACHABLE"]}
        for last, mac in ((1, W["GATEWAY_MAC"]), (11, W["mac"](1)), (12, W["mac"](2)))
    ]
).encode()


def ping(count: int, lost: int) -> bytes:
    lines = [
        f"64 bytes from 192.0.2.1: icmp_seq={n} ttl=64 time=0.2 ms"
        for n in range(lost + 1, count + 1)
    ]
    return "\n".join(
        [*lines, "", f"{count} packets transmitted, {count - lost} received, 0% packet loss"]
    ).encode()


class TellingSource:
    """Guests vm-1 and vm-2; *lost* says how many probes of each flow get no answer."""

    doors = None

    def __init__(self, lost: Callable[[object, int], int] = lambda _flow, _sweep: 0) -> None:
        self.site = W["inventory"](W["guest"](1), W["guest"](2))
        self.lost = lost
        self.sweeps = 0
        self.now = NOW

    def discover(self, **_words: bool) -> Discovery:
        return Discovery(
            inventory=replace(self.site, links={}),
            resource_problems={111: "no state"},
            versions={"proxmox": "9.0"},
            notes=("discovered",),
        )

    def covers(self, tested: Collection[str]) -> tuple[str, ...]:
        return tuple(sorted(tested))

    @contextmanager
    def hold(self, _inventory):
        yield Held(inventory=self.site, notes=("held",))

    def sweep(self, _inventory, plan) -> RawSweep:
        self.sweeps += 1
        flows = plan().flows
        answers = []
        for host in ("vm-1", "vm-2", GATE):
            sections = {
                f"ping.{flow.number}": ping(flow.count, self.lost(flow, self.sweeps))
                for flow in flows
                if flow.source == host
            }
            packed = base64.b64encode(gzip.compress(CAPTURE))
            more = {"ifname": b"eth0", "capture": packed, "capture.err": b"1 packet captured\n"}
            sections |= {"neigh": NEIGHBOURS, **(more if host == "vm-1" else {})}
            answers.append(RawAnswer(host=host, sections=sections))
        answers.append(RawAnswer(host="pve1", points=("enp4s0",), problem="pve1: no tcpdump"))
        return RawSweep(
            flows=flows, mark="abcdefghijkl", token="0123456789ab", answers=tuple(answers),
            duration_s=1.25 * self.sweeps, notes=(f"sweep {self.sweeps}",),
        )  # fmt: skip

    def second_stage(self, unproven: Sequence[str]) -> Sequence[str]:
        return unproven

    def own(self) -> Own:
        return Own(frozenset({"192.0.2.50", "192.0.2.51"}), "5ec4")

    def circumstances(self, _outcome) -> Circumstances:
        return Circumstances(
            now=self.now, place="pve1:/journal", entries=(ENTRY,), notes=("a cut line",)
        )

    def heal(self, outcome, _subject, _inventory, reprobe) -> Healed:
        nics = tuple(replace(nic, mac="bc:24:11:00:00:99") for nic in outcome.guest.nics)
        guest = replace(outcome.guest, nics=nics)
        cured = reprobe(guest)
        attempt = Attempt(
            rung=Action.REBUILD,
            outcome=AttemptOutcome.CURED if cured else AttemptOutcome.NOT_CURED,
            duration_s=3.5, mac_before=outcome.guest.nic.mac, mac_after=guest.nic.mac,
            message="made anew", proof=("a new UUID",), commands=("terraform plan",),
        )  # fmt: skip
        decision = Decision(action=Action.REBUILD, reason="rebuild", ladder=(Action.REBUILD,))
        return Healed(attempts=(attempt,), decision=decision, guest=guest)
