"""A node's watch: when "not seen" counts, and that nothing is built on it when it does not."""

from __future__ import annotations

import base64
import gzip
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.backends.hosts import Output
from pytest_vmnet.core.facts import FlowSpec
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.errors import CaptureError, CommandError, ParseError
from pytest_vmnet.probes.node import NodeWatch, watches

DATA = Path(__file__).parents[1] / "data" / "core"
W, PCAP, PING = (
    SimpleNamespace(**runpy.run_path(str(DATA / f"{name}.py")))
    for name in ("world", "frames", "pings")
)
MARK, TOKEN = "abcdefghijkl", "0123456789ab"
BEFORE, DURING, AFTER = b"0123456789aB", b"0123456789aD", b"0123456789aA"
BEATS = 4
POINTS = ("enp4s0", "tap111i0", "tap112i0", "tap113i0")
ENDED = b"5 packets captured\n5 packets received by filter\n0 packets dropped by kernel\n"


def control(number: int = 3) -> FlowSpec:
    return FlowSpec(
        number=number, source="pve1", target="192.0.2.1", kind=FlowKind.CONTROL,
        address=W.GATEWAY, count=5, interval_s=0.02,
    )  # fmt: skip


WATCH = NodeWatch(
    node="pve1", points=POINTS, flows=(control(),), mark=MARK, token=TOKEN, limit_s=90
)


def capture(*canaries: bytes, beats: range | tuple[int, ...] = range(1, BEATS + 1)) -> bytes:
    marks = [(each, 1) for each in canaries] + [(DURING, seq) for seq in beats]
    frames = [
        PCAP.sll2(PCAP.ipv4(PCAP.icmp(mark=each, seq=seq)), ifindex=99) for each, seq in marks
    ]
    probe = PCAP.sll2(PCAP.ipv4(PCAP.icmp()), ifindex=111)
    return base64.b64encode(gzip.compress(PCAP.pcap(*frames, probe)))


def found(**changes: bytes | None) -> dict[str, bytes]:
    listing = "".join(f"{W.World()._ifindex('pve1', name)} {name}\n" for name in POINTS).encode()
    usual: dict[str, bytes | None] = {
        "capture": capture(BEFORE, AFTER),
        "capture.err": ENDED,
        "points": listing,
        "points.after": listing,
        "beat": f"{BEATS} packets transmitted, 0 received, 100% packet loss".encode(),
        "links.before": b"2: enp4s0: <UP,LOWER_UP> mtu 1500 master vmbr0 state UP group default\n"
        b"111: tap111i0: <UP,LOWER_UP> mtu 1500 master vmbr0 state UP group default\n",
        "clock.before": b"100.00 1764000000000000000 100.00\n",
        "clock.after": b"106.00 1764000006000000000 106.00\n",
        "samples": b"T 100.00\nD tap111i0 1 2 0 0 3 4 0 0\nT 100.20\nD tap111i0 9 8 0 0 3 4 0 0\n",
        "qdisc.after": b'[{"kind":"htb","handle":"1:","dev":"tap111i0","drops":7},{"dev":"eth9"}]',
        "fdb": b"Timestamp: Mon Nov 23 20:26:38 2026 1 usec\n"
        b"bc:24:11:00:01:0b dev enp4s0 master vmbr0\n",
        "neigh": b'[{"dst":"192.0.2.1","dev":"vmbr0","state":["STALE"]}]',
        "rules": b"table netdev t {\n\tchain c {\n"
        b'\t\ttype filter hook egress device "tap112i0" priority filter; policy accept;\n'
        b"\t\tdrop # handle 3\n\t}\n}\n",
        "ping.3": PING.LOSSY.encode(),
    }
    parts = usual | {key.replace("_", "."): value for key, value in changes.items()}
    return {name: data for name, data in parts.items() if data is not None}


def test_a_watch_becomes_facts() -> None:
    facts = WATCH.facts(found())
    assert facts.problem is None
    assert facts.capture.points == {2: "enp4s0", 111: "tap111i0", 112: "tap112i0", 113: "tap113i0"}
    assert facts.capture.doubts == {}
    assert facts.capture.packets.records == 3 + BEATS
    assert len(facts.capture.packets.sightings) == 1
    assert [(move.mac, move.ifname) for move in facts.moves] == [("bc:24:11:00:01:0b", "enp4s0")]
    assert [(rule.hook, rule.device) for rule in facts.rules] == [("egress", "tap112i0")]
    assert facts.pings[3].transmitted == 5
    assert len(facts.neighbours) == 1
    assert facts.capture.time_doubt is None
    assert [(s.t_ns - 1764000000000000000, s.kind, s.ifname) for s in facts.samples] == [
        (0, "counters", "tap111i0"),
        (200_000_000, "counters", "tap111i0"),
        (6_000_000_000, "qdisc", "tap111i0"),
    ]
    assert facts.samples[1].values["rx_packets"] == 8
    assert facts.samples[2].values == {"kind": "htb", "handle": "1:", "drops": 7}


def without(listing: bytes, name: str) -> bytes:
    return b"".join(line for line in listing.splitlines(True) if name.encode() not in line)


LISTING = found()["points"]
ALL = frozenset(POINTS)
DOUBTS = [
    ("no-canary-before", {"capture": capture(AFTER)}, ALL,
     "the canary sent before the probes was not captured"),
    ("no-canary-after", {"capture": capture(BEFORE)}, ALL,
     "the canary sent after the probes was not captured"),
    ("packets-dropped", {"capture_err": ENDED.replace(b"0 packets dropped", b"7 packets dropped")},
     ALL, "tcpdump says: 7 packets dropped by kernel"),
    ("killed", {"capture_err": b""}, ALL, "tcpdump did not end by itself: it said nothing"),
    ("deaf-for-a-while", {"capture": capture(BEFORE, AFTER, beats=(1, 4))}, ALL,
     "2 of the 4 canaries sent during the probes were not captured"),
    ("no-beat", {"beat": b"Killed\n"}, ALL,
     "the canary that beats during the probes did not end by itself"),
    ("cut-off", {"capture": capture(BEFORE, AFTER)[:12]}, ALL,
     "pve1, capture, byte 0: packed data is cut off or too large"),
    ("went-down", {"links":
     b"111: tap111i0: <UP> mtu 1500 master vmbr0 state DOWN group default\n"
     b"111: tap111i0: <UP,LOWER_UP> mtu 1500 master vmbr0 state UP group default\n"},
     {"tap111i0"}, "the interface changed during the sweep: it lost its carrier"),
    ("left-its-bridge", {"links":
     b"2: enp4s0: <UP,LOWER_UP> mtu 1500 state UP group default\n"},
     {"enp4s0"},
     "the interface changed during the sweep: its master changed from vmbr0 to none"),
    ("never-there", {"points": without(LISTING, "tap111i0")}, {"tap111i0"},
     "the interface did not exist"),
    ("gone-at-the-end", {"points_after": without(LISTING, "enp4s0")}, {"enp4s0"},
     "the interface changed during the sweep"),
    ("another-one-at-the-end",
     {"points_after": LISTING.replace(b"111 tap111i0", b"222 tap111i0")}, {"tap111i0"},
     "the interface changed during the sweep"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "points", "why"), [pytest.param(*row, id=name) for name, *row in DOUBTS]
)
def test_what_is_not_proven_is_in_doubt(changes, points, why) -> None:
    assert WATCH.facts(found(**changes)).capture.doubts == dict.fromkeys(points, why)


@pytest.mark.parametrize(
    ("changes", "points", "why"), [pytest.param(*row, id=name) for name, *row in DOUBTS]
)
@pytest.mark.parametrize("fault", sorted(W.FAULTS))
def test_no_finding_says_that_a_doubted_point_did_not_see(fault, changes, points, why) -> None:
    world = W.World(doubts={"pve1": WATCH.facts(found(**changes)).capture.doubts})
    W.FAULTS[fault](world)
    judgement = world.judge()
    for finding in world.diagnose()[1]:
        assert not {finding.last_seen, finding.next_point} & points
        assert not any(f"not on {point}" in finding.message for point in points)
    cells = [c for f in judgement.guests["vm-1"].flows for c in f.points if c.point in points]
    assert {(cell.requests, cell.replies, cell.doubt) for cell in cells} == {(None, None, why)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"capture": None}, "pve1, capture, byte 0: packed data is cut off"),
        ({"capture": b"!"}, "pve1, capture, byte 0: packed data is damaged"),
        ({"capture": base64.b64encode(gzip.compress(b"no pcap"))}, "pve1, capture, byte 7"),
    ],
)
def test_a_damaged_capture_costs_its_own_points_and_nothing_else(changes, said) -> None:
    facts = WATCH.facts(found(**changes))
    assert facts.problem is None
    assert set(facts.capture.doubts) == set(POINTS)
    assert all(said in doubt for doubt in facts.capture.doubts.values())
    assert facts.pings[3].transmitted == 5
    assert facts.moves
    assert facts.rules


def test_a_capture_that_is_cut_in_a_record_counts_for_nothing_at_any_point() -> None:
    whole = gzip.decompress(base64.b64decode(capture(BEFORE, AFTER)))
    cut = base64.b64encode(gzip.compress(whole[:-7]))
    taken = WATCH.facts(found(capture=cut)).capture
    assert all("damaged" in (taken.doubt(name) or "") for name in POINTS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clock_after": b"106.00 1764000009000000000 106.00\n"}, "stepped by +3.000 s"),
        ({"clock_after": b"106.00 1764000005500000000 106.00\n"}, "stepped by -0.500 s"),
        ({"clock_after": b"date: not found\n"}, "could not be read"),
        ({"clock_before": None}, "could not be read"),
    ],
)
def test_a_step_of_the_clock_is_a_doubt_about_times_and_not_about_sightings(changes, said) -> None:
    capture = WATCH.facts(found(**changes)).capture
    assert said in capture.time_doubt
    assert capture.doubts == {}


def test_readings_that_were_taken_far_apart_prove_no_step() -> None:
    slow = {"clock_after": b"106.00 1764000006400000000 107.00\n"}
    assert WATCH.facts(found(**slow)).capture.time_doubt is None


@pytest.mark.parametrize("points", [{"enp4s0"}, {"tap111i0"}, set(POINTS)])
def test_in_doubt_the_look_alikes_stay_unknown(points) -> None:
    """Both die between enp4s0 and tap111i0: with one of the two in doubt nobody can tell."""
    for fault in ("reflected-mac", "tap-egress-drop"):
        world = W.World(doubts={"pve1": dict.fromkeys(points, "the canary was not captured")})
        W.FAULTS[fault](world)
        (finding,) = world.diagnose()[1]
        assert (finding.reason, str(finding.scope), str(finding.rebuild)) == (
            "Unknown", "unknown", "no",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"neigh": b"Cannot open netlink socket"}, "pve1, ip neigh, byte 0: expected"),
        ({"fdb": b"Timestamp: today 1 usec\n"}, "pve1, fdb events, line 1: stamp 'today'"),
    ],
)
def test_damage_is_told(changes, said) -> None:
    with pytest.raises(ParseError) as caught:
        WATCH.facts(found(**changes))
    assert said in str(caught.value)


@given(st.sampled_from(sorted(found())), st.binary(max_size=60))
def test_noise_raises_nothing_else(name, noise) -> None:
    try:
        WATCH.facts({**found(), name: noise})
    except ParseError:
        return


class FakeShell:
    """Answers start, stop and clean-up, and remembers what was run."""

    name = "pve1"

    def __init__(self, *answers: Output | CommandError) -> None:
        self.answers = [*answers]
        self.scripts: list[str] = []

    def run(self, script: str) -> Output:
        self.scripts.append(script)
        answer = self.answers.pop(0)
        if isinstance(answer, CommandError):
            raise answer
        return answer


OK = Output(0, b"", b"")
LOST = CommandError(["ssh"], where="pve1", returncode=255)
FRAMED = b"".join(
    f"@@{TOKEN} {name} {len(data)}\n".encode() + data + b"\n" for name, data in found().items()
)


def test_a_watch_that_is_ready_stays() -> None:
    shell = FakeShell(Output(0, b"ready\n", b""))
    WATCH.start(shell)
    assert shell.scripts == [WATCH.start_script()]


@pytest.mark.parametrize(
    "answer", [Output(72, b"", b"tcpdump: no such device"), Output(0, b"", b"no such device")]
)
def test_a_watch_that_did_not_start_leaves_nothing_behind(answer) -> None:
    shell = FakeShell(answer, OK)
    with pytest.raises(CaptureError, match=r"^pve1: the capture did not start: .*no such device"):
        WATCH.start(shell)
    assert 'rm -rf "$d"' in shell.scripts[1]
    assert f"/run/vmnet-gate-{TOKEN}" in shell.scripts[1]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Output(0, FRAMED, b""), None),
        (Output(73, b"", b"its folder is gone"), "pve1: the capture was lost: its folder is gone"),
        (Output(0, FRAMED[:-40], b""), "is cut off"),
        (Output(0, b"", b""), "pve1, watch output, byte 0: no section"),
        (LOST, "pve1: `ssh` ended with 255"),
    ],
)
@pytest.mark.parametrize("cleaned", [OK, LOST])
def test_fetching_ends_with_facts_or_a_problem_and_cleans_up(answer, said, cleaned) -> None:
    shell = FakeShell(answer, cleaned)
    facts = WATCH.read(WATCH.fetch(shell))
    assert facts.host == "pve1"
    assert (facts.problem is None) == (said is None) == (facts.capture is not None)
    assert said is None or said in facts.problem
    assert "ip link del vmnc01234567" in shell.scripts[0], "it cleans up at its own end"
    assert len(shell.scripts) == (1 if said is None else 2), "and again if that is in doubt"
    assert "ip link del vmnc01234567" in shell.scripts[-1]


def test_each_node_watches_its_own_points_and_sends_its_own_flows() -> None:
    flows = [control(1), replace(control(2), source="pve2"), replace(control(3), source="vm-1")]
    made = watches(
        {"pve2": ("eno1",), "pve1": ("enp4s0",)}, flows, mark=MARK, token=TOKEN, limit_s=9
    )
    assert [(w.node, w.points, [f.number for f in w.flows]) for w in made] == [
        ("pve1", ("enp4s0",), [1]),
        ("pve2", ("eno1",), [2]),
    ]
