"""A guest's answer becomes facts; what goes wrong is in them, and never raises."""

from __future__ import annotations

import base64
import gzip
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.backends.proxmox import AgentResult
from pytest_vmnet.core.facts import GATE, FlowSpec
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.errors import CommandError, ProxmoxError
from pytest_vmnet.probes import guest as probes
from pytest_vmnet.probes.guest import capture_problem, guest_script, probe_guest, read_guest
from pytest_vmnet.probes.reading import read_gate
from pytest_vmnet.probes.sweep import probe_local

DATA = Path(__file__).parents[1] / "data" / "core"
W, PCAP, PING = (
    SimpleNamespace(**runpy.run_path(str(DATA / f"{name}.py")))
    for name in ("world", "frames", "pings")
)
MARK, TOKEN = "abcdefghijkl", "0123456789ab"
ENDED = "5 packets captured\n5 packets received by filter\n0 packets dropped by kernel\n"


def flow(number: int, source: str = "vm-1") -> FlowSpec:
    return FlowSpec(
        number=number, source=source, target="192.0.2.1", kind=FlowKind.GATEWAY,
        address=W.GATEWAY, count=5, interval_s=0.02,
    )  # fmt: skip


def packed(*frames: bytes) -> bytes:
    return base64.b64encode(gzip.compress(PCAP.pcap(*frames, linktype=1)))


def sections(**changes: bytes | None) -> bytes:
    usual: dict[str, bytes | None] = {
        "ping.3": PING.LOSSY.encode(),
        "ifname": b"ens18",
        "neigh": b'[{"dst":"192.0.2.1","lladdr":"dc:62:79:5f:4a:92","state":["STALE"]}]',
        "rules": b"table ip t {\n\tchain c {\n\t\tdrop\n\t}\n}\n",
        "capture": packed(PCAP.ethernet(PCAP.ipv4(PCAP.icmp())), PCAP.ethernet(
            PCAP.ipv4(PCAP.icmp(reply=True)), source=PCAP.OTHER)),
        "capture.err": ENDED.encode(),
    }  # fmt: skip
    parts = usual | {key.replace("_", "."): value for key, value in changes.items()}
    return b"".join(
        f"@@{TOKEN} {name} {len(data)}\n".encode() + data + b"\n"
        for name, data in parts.items()
        if data is not None
    )


class FakeProxmox:
    """Answers one `agent_exec`, and remembers it."""

    def __init__(self, output: bytes = b"", problem: Exception | None = None) -> None:
        self.output, self.problem = output, problem
        self.asked: dict[str, object] = {}

    def agent_exec(self, node, vmid, argv, **more) -> AgentResult:
        self.asked = {"node": node, "vmid": vmid, "argv": argv, **more}
        if self.problem:
            raise self.problem
        return AgentResult(0, self.output, b"", truncated=False)


def ask(output: bytes = b"", problem: Exception | None = None):
    proxmox = FakeProxmox(output, problem)
    flows = [flow(3), flow(4)]
    answer = probe_guest(proxmox, W.guest(1), flows, mark=MARK, token=TOKEN, hold_s=0.5)
    return read_guest(W.guest(1), flows, answer, MARK), proxmox.asked


def test_an_answer_becomes_facts() -> None:
    facts, asked = ask(sections())
    assert facts.problem is None
    assert (facts.host, facts.ifname) == ("vm-1", "ens18")
    assert {number: ping.transmitted for number, ping in facts.pings.items()} == {3: 5}
    assert [(str(n.address), n.state) for n in facts.neighbours] == [("192.0.2.1", "stale")]
    assert [rule.text for rule in facts.rules] == ["drop"]
    assert facts.capture.points == {0: "ens18"}
    assert facts.capture.doubts == {}
    assert facts.capture.packets.sightings["out"].tolist() == [True, False]
    assert (asked["vmid"], asked["argv"]) == (111, ["/bin/sh", "-s"])
    assert asked["stdin"].decode() == guest_script(
        [flow(3), flow(4)], mark=MARK, token=TOKEN, mac=W.mac(1), hold_s=0.5
    )
    assert asked["timeout_s"] > asked["expect_s"] >= 0.5


@pytest.mark.parametrize(
    ("changes", "doubts"),
    [
        pytest.param(
            {"capture_err": b"9 packets captured\n2 packets dropped by kernel\n"},
            {"ens18": "tcpdump says: 2 packets dropped by kernel"},
            id="dropped",
        ),
        pytest.param(
            {"capture_err": b"tcpdump: listening on ens18\n"},
            {"ens18": "tcpdump did not end by itself: tcpdump: listening on ens18"},
            id="killed",
        ),
        pytest.param({"capture": None}, None, id="lost"),
        pytest.param({"capture_failed": b"absent\n"}, None, id="not-installed"),
        pytest.param({"ifname": b""}, None, id="no-nic-with-that-mac"),
        pytest.param({"ifname": b"a/b\nc"}, None, id="a-name-that-is-none"),
    ],
)
def test_what_a_capture_is_worth(changes, doubts) -> None:
    facts, _ = ask(sections(**changes))
    assert facts.problem is None
    assert (facts.capture.doubts if facts.capture else None) == doubts


def test_a_capture_that_reached_its_limit_is_in_doubt(monkeypatch) -> None:
    monkeypatch.setattr(probes, "_MAX_PACKETS", 2)
    facts, _ = ask(sections())
    assert facts.capture.doubts == {"ens18": "the capture ended at its limit of 2 packets"}


def test_rules_that_could_not_be_read_are_none() -> None:
    assert ask(sections(rules=None))[0].rules is None
    assert ask(sections(rules=b""))[0].rules == ()


@pytest.mark.parametrize(
    ("output", "problem", "said"),
    [
        (b"", ProxmoxError("POST", "agent/exec", status=500, reason="no agent"), "500: no agent"),
        (b"", None, "vm-1, probe output, byte 0: no section"),
        (sections(neigh=b'Cannot find device ""'), None, "vm-1, ip neigh, byte 0: expected"),
        (sections(capture=b"no base64"), None, "vm-1, capture, byte 0: packed data is damaged"),
    ],
)
def test_what_goes_wrong_is_the_problem(output, problem, said) -> None:
    facts, _ = ask(output, problem)
    assert facts.problem.startswith("vm-1 could not be asked: ")
    assert said in facts.problem
    assert (facts.pings, facts.neighbours, facts.rules, facts.capture) == ({}, (), None, None)


@given(st.sampled_from(["ping.3", "neigh", "rules", "capture", "capture.err", "ifname"]),
       st.binary(max_size=80))  # fmt: skip
def test_a_hostile_guest_harms_nobody(name, noise) -> None:
    facts, _ = ask(sections(**{name: noise}))
    assert facts.host == "vm-1"


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (ENDED, None),
        ("1 packet captured\n", None),
        ("0 packets captured\n0 packets dropped by kernel\n", None),
        ("1 packet captured\n3 packets dropped by interface\n", "3 packets dropped by interface"),
        ("", "tcpdump did not end by itself: it said nothing"),
    ],
)
def test_what_tcpdump_said_at_its_end(stderr, said) -> None:
    problem = capture_problem(stderr)
    assert problem is None if said is None else said in problem


class FakeShell:
    name = "workstation"

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer

    def run(self, script: str) -> SimpleNamespace:
        assert "wait $pings" in script
        if isinstance(self.answer, Exception):
            raise self.answer
        return SimpleNamespace(stdout=self.answer)


def test_the_gates_own_probes_become_facts() -> None:
    answer = probe_local(FakeShell(sections()), [flow(3, GATE)], mark=MARK, token=TOKEN)
    facts = read_gate([flow(3, GATE)], answer)
    assert (facts.host, facts.problem, facts.pings[3].transmitted) == (GATE, None, 5)
    assert len(facts.neighbours) == 1


def test_the_gates_own_trouble_is_the_problem() -> None:
    trouble = CommandError(["sh"], where="workstation")
    answer = probe_local(FakeShell(trouble), [flow(3, GATE)], mark=MARK, token=TOKEN)
    facts = read_gate([flow(3, GATE)], answer)
    assert facts.problem.startswith("the gate's own probes did not run: workstation: `sh`")
