"""Watch a node's ports while others probe: one capture process, FDB events, control probes.

The work runs detached in a private folder on the node and is fetched afterwards, because the
control channel may share the fault that is being looked for. All of it ends by itself: every
process has a time limit, and a reaper removes the folder and the canary's port.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_vmnet.backends.hosts import Shell
from pytest_vmnet.core.facts import Capture, FlowSpec, HostFacts
from pytest_vmnet.core.parse.iproute import parse_fdb_monitor, parse_neighbours
from pytest_vmnet.core.parse.nft import parse_ruleset
from pytest_vmnet.core.parse.pcap import parse_capture
from pytest_vmnet.core.topology import CapturePoint
from pytest_vmnet.errors import BackendError, CaptureError, ProbeError
from pytest_vmnet.probes import script
from pytest_vmnet.probes.answer import RawAnswer, split_output
from pytest_vmnet.probes.guest import capture_problem, read_pings

_MAX_PACKETS = 2_000_000

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
setsid {tcpdump} >/dev/null 2>capture.err </dev/null & capture=$!
echo $capture >capture.pid
listening capture.err $capture || {{ cat capture.err >&2; exit 72; }}
setsid timeout {limit} bridge -t monitor fdb >fdb 2>&1 </dev/null & echo $! >fdb.pid
{canary_before}
{pings}
echo $pings >pings.pid
echo ready
"""

_CANARY = "ping -n -c 1 -W 1 -b -s 56 -I {canary} -p {pattern} 255.255.255.255 >/dev/null 2>&1"

_STOP = """\
d=/run/vmnet-gate-{token}
cd "$d" || {{ echo 'its folder is gone: the time limit was reached' >&2; exit 73; }}
i=0
while pgrep -f {running} >/dev/null 2>&1 && [ $i -lt 40 ]; do i=$((i+1)); sleep 0.25; done
{canary_after} & canary=$!
i=0
until grep -qaF {after} capture.pcap || [ $i -ge 30 ]; do i=$((i+1)); sleep 0.1; done
kill $canary 2>/dev/null
kill -INT "$(cat capture.pid)" 2>/dev/null
i=0
while kill -0 "$(cat capture.pid)" 2>/dev/null && [ $i -lt 50 ]; do i=$((i+1)); sleep 0.1; done
kill "$(cat fdb.pid)" 2>/dev/null
rm -f capture.pid fdb.pid pings.pid  # they have ended: their ids may be somebody else's soon
while read -r i p; do
  [ "$(cat /sys/class/net/$p/ifindex 2>/dev/null)" = "$i" ] && echo "$i $p"
done <points >points.after
ip -j -4 neigh >neigh 2>&1
nft -a list ruleset >rules 2>rules.err || rm -f rules
pack capture.pcap; emit capture capture.pcap.b64
for f in capture.err canary.failed points points.after fdb neigh rules ping.*; do
  emit "$f" "$f"
done
"""

_CLEAN = """\
d=/run/vmnet-gate-{token}
[ -d "$d" ] || exit 0
for f in capture.pid fdb.pid reaper; do
  [ -s "$d/$f" ] && kill -- -"$(cat "$d/$f")" 2>/dev/null
done
[ -s "$d/pings.pid" ] && kill $(cat "$d/pings.pid") 2>/dev/null
ip link del {canary} 2>/dev/null
rm -rf "$d"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWatch:
    """A watch on one node.

    Attributes:
        node: The node's name.
        points: Interfaces to capture.
        flows: Control flows that the node itself sends.
        mark: The run's mark.
        token: Token of this sweep; names the folder and the canary's port.
        limit_s: Seconds after which everything ends by itself.
    """

    node: str
    points: tuple[CapturePoint, ...]
    flows: tuple[FlowSpec, ...]
    mark: str
    token: str
    limit_s: int

    @property
    def _canary(self) -> str:
        return f"vmnc{self.token[:8]}"

    def _canary_token(self, when: str) -> str:
        """Return the 12 characters that the canary before or after carries."""
        return (self.token + "000000000000")[:11] + when

    def _send_canary(self, when: str) -> str:
        pattern = script.pattern(self._canary_token(when), 0)
        return _CANARY.format(canary=self._canary, pattern=pattern)

    def start_script(self) -> str:
        """Return the script that starts the watch and ends once it is listening."""
        wanted = script.probe_filter(self.mark)
        expression = f"(ifindex CANARY and icmp) or ((POINTS) and ({wanted}))"
        argv = script.tcpdump_argv("any", expression, self.limit_s, _MAX_PACKETS)
        quoted = " ".join(
            f'"{word.replace("CANARY", "$c").replace("POINTS", "$f")}"'
            if "CANARY" in word
            else shlex.quote(word)
            for word in argv
        )
        return script.preamble(self.token) + _START.format(
            token=self.token,
            ttl=self.limit_s + 60,
            canary=self._canary,
            points=shlex.join(self.points),
            tcpdump=quoted,
            limit=self.limit_s,
            canary_before=self._send_canary("B"),
            pings=script.start_pings(self.flows, self.mark).replace("2>&1 &", "2>&1 </dev/null &"),
        )

    def stop_script(self) -> str:
        """Return the script that ends the watch and prints what it has."""
        return script.preamble(self.token) + _STOP.format(
            token=self.token,
            # Written so that it does not match the shell whose argument this script is.
            running=shlex.quote(f"[p]ing .*{self.mark.encode().hex()}"),
            canary_after=self._send_canary("A"),
            after=self._canary_token("A"),
        )

    def clean_script(self) -> str:
        """Return the script that removes whatever the watch left on the node."""
        return _CLEAN.format(token=self.token, canary=self._canary)

    def start(self, shell: Shell) -> None:
        """Start the watch; it listens when this returns.

        Raises:
            CaptureError: It could not be started; nothing is left behind.
            CommandError: The node's shell could not be reached.
        """
        done = shell.run(self.start_script())
        if done.returncode or "ready" not in done.text:
            self.clean(shell)
            said = done.stderr.decode(errors="replace").strip()[-300:]
            raise CaptureError(f"{self.node}: the capture did not start: {said}")

    def fetch(self, shell: Shell) -> RawAnswer:
        """End the watch and return what it has; a problem is in the answer."""
        try:
            done = shell.run(self.stop_script())
            if done.returncode and not done.stdout:
                said = done.stderr.decode(errors="replace").strip()[-300:]
                raise CaptureError(f"{self.node}: the capture was lost: {said}")
            source = f"{self.node}, watch output"
            return split_output(
                done.stdout, self.token, host=self.node, source=source, points=self.points
            )
        except (BackendError, ProbeError) as problem:
            return self.failed(problem)
        finally:
            self.clean(shell)

    def failed(self, problem: Exception | str) -> RawAnswer:
        """Return the answer of a watch that could not start or was lost."""
        return RawAnswer(host=self.node, points=self.points, problem=str(problem))

    def read(self, answer: RawAnswer) -> HostFacts:
        """Return the facts in the watch's answer. What goes wrong is in ``problem``."""
        problem = answer.problem
        if problem is None:
            try:
                return self.facts(answer.sections)
            except ProbeError as error:
                problem = str(error)
        return HostFacts(host=self.node, problem=problem)

    def clean(self, shell: Shell) -> None:
        """Remove whatever the watch left on the node; its reaper does if this cannot."""
        try:
            shell.run(self.clean_script())
        except BackendError:
            return

    def facts(self, found: Mapping[str, bytes]) -> HostFacts:
        """Turn the sections of the watch's output into facts.

        Raises:
            ParseError: A section is damaged.
        """
        source = f"{self.node}, capture"
        data = script.unpack(found.get("capture", b""), source)
        points = dict(_points(script.text(found, "points")))
        capture = Capture(
            host=self.node,
            points=points,
            packets=parse_capture(data, source, self.mark.encode()),
            doubts=self._doubts(found, data, points),
        )
        rules = script.text(found, "rules") if "rules" in found else None
        return HostFacts(
            host=self.node,
            pings=read_pings(self.flows, found, self.node),
            neighbours=parse_neighbours(script.text(found, "neigh"), f"{self.node}, ip neigh"),
            rules=parse_ruleset(rules) if rules is not None else None,
            capture=capture,
            moves=parse_fdb_monitor(script.text(found, "fdb"), f"{self.node}, fdb events"),
        )

    def _doubts(
        self, found: Mapping[str, bytes], data: bytes, points: Mapping[int, CapturePoint]
    ) -> dict[CapturePoint, str]:
        """Return the reason for every point whose "not seen" proves nothing."""
        doubts = dict.fromkeys(self.points, "the interface did not exist")
        after = dict(_points(script.text(found, "points.after")))
        general = capture_problem(script.text(found, "capture.err"))
        for when, word in (("B", "before"), ("A", "after")):
            if general is None and self._canary_token(when).encode() not in data:
                general = f"the canary sent {word} the probes was not captured"
        for ifindex, name in points.items():
            if general:
                doubts[name] = general
            elif after.get(ifindex) != name:
                doubts[name] = "the interface changed during the sweep"
            else:
                doubts.pop(name, None)
        return doubts


def _points(listing: str) -> list[tuple[int, CapturePoint]]:
    rows = [line.split() for line in listing.splitlines()]
    return [(int(row[0]), row[1]) for row in rows if len(row) == 2 and row[0].isdigit()]


def watches(
    points: Mapping[str, Sequence[CapturePoint]],
    flows: Sequence[FlowSpec],
    *,
    mark: str,
    token: str,
    limit_s: int,
) -> list[NodeWatch]:
    """Return the watch of every node that has points."""
    return [
        NodeWatch(
            node=node,
            points=tuple(names),
            flows=tuple(flow for flow in flows if flow.source == node),
            mark=mark,
            token=token,
            limit_s=limit_s,
        )
        for node, names in sorted(points.items())
    ]
