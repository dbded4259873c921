"""The POSIX shell of a node's watch: capture, canaries, events, sampler, control probes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pytest_vmnet.core.facts import FlowSpec
from pytest_vmnet.core.site.topology import CapturePoint
from pytest_vmnet.probes import sampler, script

_MAX_PACKETS = 2_000_000
_MAX_OUTPUT = 256_000_000
"""Bytes of one section: so many packets, packed, with room to spare."""
_SCOPE = "systemd-run --quiet --scope -p MemoryMax=256M -p TasksMax=16"
"""What the capture runs under where there is systemd: it runs the command in its own place."""

_BEAT_S = 0.25

_CLOCK = """\
clock() {
  read -r first _ </proc/uptime; real=$(date +%s%N); read -r last _ </proc/uptime
  echo "$first $real $last"
}
"""

_UNTIL_SEEN = """\
until_seen() {
  i=0
  until [ -e canary.failed ] || grep -qaF "$1" capture.pcap || [ $i -ge 60 ]; do
    i=$((i+1)); sleep 0.05
  done
  kill $canary 2>/dev/null
}
"""

_START = """\
command -v tcpdump >/dev/null || {{ echo 'tcpdump is not installed' >&2; exit 69; }}
d=/run/vmnet-gate-{token}
mkdir -m 700 "$d" && cd "$d" || exit 70
setsid sh -c 'sleep {ttl}; ip link del {canary}; rm -rf "$1"' reaper "$d" \\
  >/dev/null 2>&1 </dev/null & echo $! >reaper
ip link add {canary} type veth peer name {canary}p && ip link set {canary} up \\
  && ip link set {canary}p up || echo 'no canary port' >canary.failed
for p in {points}; do
  i=$(cat /sys/class/net/$p/ifindex 2>/dev/null) && echo "$i $p" >>points
done
[ -s points ] || {{ echo 'none of its interfaces exists' >&2; exit 71; }}
f=
while read -r i p; do f="$f${{f:+ or }}ifindex $i"; done <points
c=$(cat /sys/class/net/{canary}/ifindex 2>/dev/null || echo 0)
scope=
timeout 5 {scope} true >/dev/null 2>&1 </dev/null && scope={scope_word}
setsid $scope {tcpdump} >/dev/null 2>capture.err </dev/null & capture=$!
echo $capture >capture.pid
listening capture.err $capture || {{ cat capture.err >&2; exit 72; }}
setsid timeout {limit} bridge -t monitor fdb >fdb 2>&1 </dev/null & echo $! >fdb.pid
setsid timeout {limit} ip -o monitor link >links 2>&1 </dev/null & echo $! >links.pid
ip -o link >links.before 2>&1
tc -s -j qdisc show >qdisc.before 2>/dev/null || rm -f qdisc.before
{canary_before} & canary=$!
until_seen {before}
setsid timeout {limit} {beat} >beat 2>&1 </dev/null & echo $! >beat.pid
clock >clock.before
setsid timeout {limit} {sampler} >samples 2>/dev/null </dev/null & echo $! >samples.pid
{pings}
echo $pings >pings.pid
echo ready
"""

_STOP = """\
d=/run/vmnet-gate-{token}
cd "$d" || {{ echo 'its folder is gone: the time limit was reached' >&2; exit 73; }}
i=0
while pgrep -f {running} >/dev/null 2>&1 && [ $i -lt 40 ]; do i=$((i+1)); sleep 0.25; done
gone() {{
  i=0
  while kill -0 "$1" 2>/dev/null && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.05; done
}}
kill -INT "$(cat beat.pid)" 2>/dev/null
gone "$(cat beat.pid)"
{canary_after} & canary=$!
until_seen {after}
kill -INT "$(cat capture.pid)" 2>/dev/null
gone "$(cat capture.pid)"
clock >clock.after
kill "$(cat fdb.pid)" "$(cat links.pid)" "$(cat samples.pid)" 2>/dev/null
# They have ended: their ids may be somebody else's soon.
rm -f capture.pid fdb.pid links.pid samples.pid beat.pid pings.pid
while read -r i p; do
  [ "$(cat /sys/class/net/$p/ifindex 2>/dev/null)" = "$i" ] && echo "$i $p"
done <points >points.after
ip -j -4 neigh >neigh 2>&1
tc -s -j qdisc show >qdisc.after 2>/dev/null || rm -f qdisc.after
nft -a list ruleset >rules 2>rules.err || rm -f rules
pack capture.pcap; emit capture capture.pcap.b64
for f in capture.err canary.failed points points.after beat links.before links fdb neigh rules \\
  clock.before clock.after samples qdisc.before qdisc.after ping.*; do
  emit "$f" "$f"
done
"""

_CLEAN = """\
d=/run/vmnet-gate-{token}
[ -d "$d" ] || exit 0
for f in capture.pid fdb.pid links.pid samples.pid beat.pid reaper; do
  [ -s "$d/$f" ] && kill -- -"$(cat "$d/$f")" 2>/dev/null
done
[ -s "$d/pings.pid" ] && kill $(cat "$d/pings.pid") 2>/dev/null
ip link del {canary} 2>/dev/null
rm -rf "$d"
"""


def canary_token(token: str, when: str) -> str:
    """Return the 12 characters that a canary carries: ``B`` before, ``D`` during, ``A`` after."""
    return (token + "000000000000")[:11] + when


def _port(token: str) -> str:
    """Return the name of the port that is made for the canaries."""
    return f"vmnc{token[:8]}"


def _canary(token: str, when: str, *how: str) -> str:
    words = ["ping", "-n", *how, "-W", "1", "-b", "-s", "56", "-I", _port(token)]
    return shlex.join(
        [*words, "-p", script.pattern(canary_token(token, when), 0), "255.255.255.255"]
    )


def start(
    *,
    points: Sequence[CapturePoint],
    devices: Sequence[str],
    flows: Sequence[FlowSpec],
    mark: str,
    token: str,
    limit_s: int,
) -> str:
    """Return the script that starts a watch and ends once it is listening.

    Args:
        points: Interfaces to capture.
        devices: Devices whose counters are sampled.
        flows: Control flows that the node itself sends.
        mark: The run's mark.
        token: Token of the sweep; names the folder and the canaries' port.
        limit_s: Seconds after which everything ends by itself.
    """
    wanted = script.probe_filter(mark)
    expression = f"(ifindex CANARY and icmp) or ((POINTS) and ({wanted}))"
    argv = script.tcpdump_argv("any", expression, limit_s, _MAX_PACKETS)
    quoted = " ".join(
        f'"{word.replace("CANARY", "$c").replace("POINTS", "$f")}"'
        if "CANARY" in word
        else shlex.quote(word)
        for word in argv
    )
    return (
        script.preamble(token)
        + _CLOCK
        + _UNTIL_SEEN
        + _START.format(
            token=token,
            ttl=limit_s + 60,
            canary=_port(token),
            points=shlex.join(points),
            tcpdump=quoted,
            scope=_SCOPE,
            scope_word=shlex.quote(_SCOPE),
            limit=limit_s,
            canary_before=_canary(token, "B", "-c", "1") + " >/dev/null 2>&1 </dev/null",
            before=canary_token(token, "B"),
            beat=_canary(token, "D", "-i", f"{_BEAT_S:g}"),
            sampler=sampler.command(devices, limit_s),
            pings=script.start_pings(flows, mark).replace("2>&1 &", "2>&1 </dev/null &"),
        )
    )


def stop(*, mark: str, token: str) -> str:
    """Return the script that ends a watch, prints what it has and leaves nothing behind."""
    return (
        script.preamble(token, limit=_MAX_OUTPUT)
        + _CLOCK
        + _UNTIL_SEEN
        + _STOP.format(
            token=token,
            # Written so that it does not match the shell whose argument this script is.
            running=shlex.quote(f"[p]ing .*{mark.encode().hex()}"),
            canary_after=_canary(token, "A", "-c", "1") + " >/dev/null 2>&1",
            after=canary_token(token, "A"),
        )
        + clean(token=token)
    )


def clean(*, token: str) -> str:
    """Return the script that removes whatever a watch left."""
    return _CLEAN.format(token=token, canary=_port(token))
