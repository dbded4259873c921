"""The shell that probes are made of: valid POSIX, bounded, and framed against hostile output."""

from __future__ import annotations

import base64
import gzip
import runpy
import secrets
import shlex
import shutil
import subprocess
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.facts import FlowSpec
from pytest_vmnet.core.words import FlowKind
from pytest_vmnet.errors import ParseError, ProbeError
from pytest_vmnet.probes import script
from pytest_vmnet.probes.guest import guest_script
from pytest_vmnet.probes.node import NodeWatch
from pytest_vmnet.probes.sampler import PROGRAM
from pytest_vmnet.probes.sweep import local_script, new_mark

PCAP = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "data" / "core" / "frames.py"))
)
MARK, TOKEN = "abcdefghijkl", "0123456789ab"


def flow(number: int = 3, count: int = 300, interval_s: float = 0.02) -> FlowSpec:
    return FlowSpec(
        number=number, source="vm-1", target="192.0.2.1", kind=FlowKind.GATEWAY,
        address=PCAP.IPv4Address("192.0.2.1"), count=count, interval_s=interval_s,
    )  # fmt: skip


def watch(*flows: FlowSpec) -> NodeWatch:
    return NodeWatch(
        node="pve1", points=("enp4s0", "tap111i0"), flows=flows, mark=MARK, token=TOKEN, limit_s=90
    )


SCRIPTS = {
    "guest": guest_script([flow()], mark=MARK, token=TOKEN, mac=PCAP.MAC.hex(":"), hold_s=6),
    "guest-without-flows": guest_script([], mark=MARK, token=TOKEN, mac="02:00:00:00:00:01"),
    "gate": local_script([flow()], mark=MARK, token=TOKEN),
    "node-start": watch(flow()).start_script(),
    "node-start-without-flows": watch().start_script(),
    "node-stop": watch(flow()).stop_script(),
}


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "busybox"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_posix_shell(name, shell) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    argv = [shell, *(["sh"] if shell == "busybox" else []), "-n"]
    done = subprocess.run(argv, input=SCRIPTS[name], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_whatever_runs_for_long_has_a_limit(name) -> None:
    text = SCRIPTS[name].replace(shlex.quote(PROGRAM), "SAMPLER")  # it ends by an argument too
    assert "{" not in text.replace("{ ", "").replace("${", "").replace("() {\n", "")
    for line in text.splitlines():
        words = line.replace("setsid ", "").split()
        for program in ("ping", "tcpdump", "bridge", "monitor", "perl"):
            if program in words and not line.startswith(("if ", "command", "until", "while")):
                limited = "timeout" in words[: words.index(program)]
                assert limited or {"-c", "1", "-W"} <= set(words), line


def test_the_limits_are_those_of_the_flows() -> None:
    flows = [flow(count=300), flow(count=1200, interval_s=0.05)]
    assert script.duration_s(flows) == 60.0
    assert script.duration_s([]) == 0.0
    assert script.time_limit_s(flows) == 210
    assert "timeout -k 2 48 ping" in SCRIPTS["guest"]
    assert "timeout -k 2 54 tcpdump" in SCRIPTS["guest"]
    assert "timeout -k 2 90 tcpdump" in SCRIPTS["node-start"]
    assert "setsid timeout 90 bridge" in SCRIPTS["node-start"]
    assert "sleep 150; ip link del vmnc01234567" in SCRIPTS["node-start"]
    assert "-c 200000" in SCRIPTS["guest"]
    assert "-c 2000000" in SCRIPTS["node-start"]


def test_a_capture_file_has_a_name_that_tcpdumps_profile_allows() -> None:
    for name in ("guest", "node-start"):
        assert " -w capture.pcap " in SCRIPTS[name]
    for name in ("guest", "node-stop"):
        assert "pack capture.pcap; emit capture capture.pcap.b64" in SCRIPTS[name]


def test_a_ping_carries_mark_and_number() -> None:
    assert script.ping_argv(flow(number=258), MARK) == [
        "ping", "-n", "-c", "300", "-i", "0.02", "-W", "2", "-s", "56",
        "-p", b"abcdefghijkl\x01\x02vn".hex(), "192.0.2.1",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="12 ASCII characters, not 3"):
        script.pattern("abc", 0)


def test_marks_are_twelve_letters_and_never_the_same() -> None:
    marks = {new_mark() for _ in range(50)}
    assert len(marks) == 50
    assert all(len(mark) == 12 and mark.isascii() and mark.isalnum() for mark in marks)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_the_filter_takes_probes_arp_and_errors_only(tmp_path) -> None:
    frames = [
        PCAP.ethernet(PCAP.ipv4(PCAP.icmp(seq=1))),
        PCAP.ethernet(PCAP.ipv4(PCAP.icmp(seq=2, mark=b"abcdefghijkX"))),
        PCAP.ethernet(PCAP.arp(), ethertype=0x0806),
        PCAP.ethernet(PCAP.ipv4(PCAP.icmp(kind=3))),
        PCAP.ethernet(PCAP.ipv4(PCAP.icmp(), protocol=17)),
    ]
    read = tmp_path / "in.pcap"
    read.write_bytes(PCAP.pcap(*frames, linktype=1))
    argv = ["tcpdump", "-n", "-r", str(read), script.probe_filter(MARK)]
    done = subprocess.run(argv, text=True, capture_output=True, check=True)
    kept = [line.partition(" ")[2] for line in done.stdout.splitlines()]
    assert len(kept) == 3
    assert "echo request, id 4711, seq 1" in kept[0]
    assert kept[1].startswith("ARP, Reply")
    assert "unreachable" in kept[2]


def framed(**parts: bytes) -> bytes:
    return b"".join(
        f"@@{TOKEN} {name} {len(data)}\n".encode() + data + b"\n" for name, data in parts.items()
    )


NAMES = st.text(alphabet="abcdefghijkl.0123456789", min_size=1, max_size=12)


@given(st.dictionaries(NAMES, st.binary(max_size=60), min_size=1), st.binary(max_size=20))
def test_sections_come_back_as_they_were(parts, banner) -> None:
    assert script.sections(banner + framed(**parts), TOKEN, "x") == parts


def test_what_is_inside_of_a_section_is_no_frame() -> None:
    inner = framed(rules=b"forged")
    assert script.sections(framed(neigh=inner, rules=b"true"), TOKEN, "x") == {
        "neigh": inner,
        "rules": b"true",
    }


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (b"sh: 1: cannot open\n", "vm-1, byte 0: no section in its output: b'sh: 1: cannot open"),
        (framed(a=b"12345")[:-3], "vm-1, byte 0: section b'a' is cut off"),
        (f"@@{TOKEN} a\n".encode(), "a section's header is damaged"),
        (f"@@{TOKEN} a b\n".encode(), "a section's header is damaged"),
        (f"@@{TOKEN} a 1".encode(), "a section's header is damaged"),
        (f"@@{TOKEN} a {'9' * 5000}\n".encode(), "a section's header is damaged"),
    ],
)
def test_damaged_output_is_told(output, said) -> None:
    with pytest.raises(ParseError) as caught:
        script.sections(output, TOKEN, "vm-1")
    assert said in str(caught.value)


@given(st.lists(st.sampled_from([f"@@{TOKEN} ".encode(), b"a", b" ", b"5\n", b"a\n", b"\n"])
                | st.binary(max_size=9), max_size=12))  # fmt: skip
def test_hostile_output_raises_nothing_else(parts) -> None:
    try:
        found = script.sections(b"".join(parts), TOKEN, "x")
    except ParseError:
        return
    assert found


@given(st.binary(max_size=500))
def test_what_was_packed_is_unpacked(data) -> None:
    packed = base64.b64encode(gzip.compress(data))
    assert script.unpack(packed, "x") == data


PACKED = base64.b64encode(gzip.compress(b"x" * 999))


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (b"", "vm-1, byte 0: packed data is cut off or too large"),
        (PACKED[:-8], "packed data is cut off or too large"),
        (PACKED[:-1], "packed data is damaged"),
        (b"!" + PACKED[1:], "packed data is damaged"),
        (base64.b64encode(b"no gzip at all"), "packed data is damaged"),
    ],
)
def test_damaged_packs_are_told(packed, said) -> None:
    with pytest.raises(ParseError) as caught:
        script.unpack(packed, "vm-1")
    assert said in str(caught.value)


@given(st.binary(max_size=80), st.integers(0, 40))
def test_hostile_packs_raise_nothing_else(noise, at) -> None:
    raw = base64.b64decode(PACKED)
    for packed in (noise, base64.b64encode(raw[:at] + noise), PACKED[:at] + noise):
        try:
            script.unpack(packed, "x")
        except ParseError:
            continue


def test_a_pack_that_grows_without_end_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(script, "_MAX_UNPACKED", 100)
    with pytest.raises(ParseError, match="byte 100: packed data is cut off or too large"):
        script.unpack(PACKED, "x")


@pytest.mark.parametrize(("slept_s", "waits"), [(0, True), (0.6, False)])
def test_nobody_sends_before_the_captures_of_all_listen(slept_s, waits) -> None:
    text = script.preamble("t" * 12) + f"sleep {slept_s}\n" + script.wait_for_others(0.5)
    begun = time.monotonic()
    done = subprocess.run(["sh"], input=text, text=True, capture_output=True, check=True)
    took = time.monotonic() - begun
    assert done.stderr == ""
    assert took >= 0.45
    traced = subprocess.run(["sh", "-x"], input=text, text=True, capture_output=True, check=True)
    assert ("printf" in traced.stderr) is waits


def many(number: int) -> list[FlowSpec]:
    return [flow(number=n) for n in range(number)]


def test_a_command_that_the_agent_would_not_take_is_packed() -> None:
    body = guest_script(many(400), mark=MARK, token=TOKEN, mac=PCAP.MAC.hex(":"))
    assert len(body) > 49152
    packed = script.within(body, 49152)
    assert len(packed) < 49152
    said = subprocess.run(["sh", "-n"], input=packed, capture_output=True, check=True)
    assert said.stderr == b""
    shown = packed.replace(b"/bin/sh -s", b"cat")
    done = subprocess.run(["sh", "-s"], input=shown, capture_output=True, check=True)
    assert done.stdout == body.encode()
    assert script.within("echo 1\n", 49152) == b"echo 1\n"


def test_a_command_that_is_too_large_even_packed_is_told() -> None:
    noise = secrets.token_hex(200_000)
    with pytest.raises(ProbeError, match=r"the agent takes 49152: choose fewer peers"):
        script.within(noise, 49152)


def test_endless_output_is_cut_where_it_arises(tmp_path) -> None:
    lines = f"cd {tmp_path}\nhead -c 9000000 /dev/zero >x\nemit x x\nemit y nothing\n"
    done = subprocess.run(
        ["sh", "-s"], input=(script.preamble(TOKEN) + lines).encode(),
        capture_output=True, check=True,
    )  # fmt: skip
    assert {
        name: len(data) for name, data in script.sections(done.stdout, TOKEN, "x").items()
    } == {"x": 8_000_000}


def test_what_unpacks_to_more_than_it_may_is_refused_before_it_is_held(monkeypatch) -> None:
    monkeypatch.setattr(script, "_MAX_UNPACKED", 1_000_000)
    bomb = base64.b64encode(gzip.compress(bytes(50_000_000)))
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(ParseError, match="cut off or too large"):
        script.unpack(bomb, "vm-1, capture")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 5_000_000
