"""Probe from inside a guest: one command, whatever the number of its flows and peers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from math import ceil

from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.facts import Capture, FlowSpec, HostFacts, PingResult
from pytest_vmnet.core.parse.counter import counted
from pytest_vmnet.core.parse.iproute import parse_neighbours
from pytest_vmnet.core.parse.nft import parse_ruleset
from pytest_vmnet.core.parse.pcap import parse_capture
from pytest_vmnet.core.parse.ping import parse_ping
from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.errors import BackendError, ParseError, ProbeError
from pytest_vmnet.probes import script
from pytest_vmnet.probes.answer import RawAnswer, split_output

_MAX_PACKETS = 200_000
_MAX_STDIN = 48 * 1024
"""What Proxmox hands to a command of the agent, in bytes."""

_QUIET_S = 0.25
_FLUSHED_S = 1.6
"""A capture that does not say how many frames it has gets this long to write the last of them."""
_IFNAME = re.compile(r"[\w.@+-]{1,15}", re.ASCII)
_NANOSECONDS = re.compile(r"\d{19}", re.ASCII)
_SUMMARY = re.compile(r"^\d+ packets? captured$", re.MULTILINE | re.ASCII)
"""What tcpdump says at its end; asked on its way, it puts its name before that."""

_NIC = """\
ifname=
for f in /sys/class/net/*/address; do
  [ "$(cat "$f")" = {mac} ] || continue
  f=${{f%/address}}
  [ -n "$ifname" ] || ifname=${{f##*/}}
  [ -e "$f/master" ] || {{ ifname=${{f##*/}}; break; }}
done
printf %s "$ifname" >ifname
counters() {{
  cat /proc/net/snmp /proc/net/snmp6 >"snmp.$1" 2>/dev/null
  for f in "/sys/class/net/$ifname/statistics/"*; do
    echo "nic.${{f##*/}} $(cat "$f")"
  done >>"snmp.$1" 2>/dev/null
}}
fit() {{  # its own MTU may be smaller than the plan's
  m=$(cat "/sys/class/net/$ifname/mtu" 2>/dev/null || echo 65535)
  [ $((m-28)) -lt "$1" ] && echo $((m-28)) || echo "$1"
}}
"""

_CAPTURE = """\
if [ -n "$ifname" ] && command -v tcpdump >/dev/null; then
  {tcpdump} >/dev/null 2>capture.err & capture=$!
elif [ -n "$ifname" ] && command -v python3 >/dev/null; then
  {python} >/dev/null 2>capture.err & capture=$!
else
  echo absent >capture.failed; capture=
fi
if [ -n "$capture" ]; then
  listening capture.err $capture || echo failed >capture.failed
  date +%s%N >capture.since
fi
counters before
"""

_ASK = """\
counters after
ip -j -4 neigh show dev "$ifname" >neigh 2>&1
ip -j -6 neigh show dev "$ifname" >neigh6 2>/dev/null
if nft -a list ruleset >rules 2>rules.err; then
  iptables-legacy-save >>rules 2>>rules.err
else
  iptables-save >rules 2>>rules.err || rm -f rules
fi
[ -e capture.failed ] && emit capture.err capture.err
for f in ping.*; do emit "$f" "$f"; done
for f in ifname neigh neigh6 rules capture.failed snmp.before snmp.after; do emit "$f" "$f"; done
"""

_END_CAPTURE = """\
heard() {
  # The capture says how many frames it has; its parent may be a time limit.
  pid=; name=; read -r pid _ <"/proc/$capture/task/$capture/children"
  read -r name <"/proc/${pid:-$capture}/comm"
  case $name in tcpdump*|python3*) kill -USR1 "${pid:-$capture}" ;; esac
} 2>/dev/null
if [ -n "$capture" ]; then
  before=; i=0; still=0
  while heard; sleep {pause}; [ $i -lt {rounds} ]; do  # others may still be probing this guest
    now=$(tail -n 1 capture.err)
    has=${now#*: }; got=${now#*captured, }  # what came, and what of it is written
    case $now in *' captured, '*) ;; *) got= ;; esac
    [ "$now" = "$before" ] && still=$((still+1)) || still=0
    [ $still -ge 1 ] && [ "${has%% *}" = "${got%% *}" ] && break
    [ $still -ge {patience} ] && break
    before=$now; i=$((i+1))
  done
  date +%s%N >capture.until
  kill -INT $capture 2>/dev/null; wait $capture
  pack capture.pcap; emit capture capture.pcap.b64
  for f in capture.err capture.since capture.until; do emit "$f" "$f"; done
fi
"""


def guest_script(
    flows: Sequence[FlowSpec],
    *,
    mark: str,
    token: str,
    mac: str,
    hold_s: float = 0,
    lead_s: float = 0,
) -> str:
    """Return the script that sends a guest's flows and says what the guest saw.

    Args:
        flows: The guest's flows; may be empty, then it only captures and answers.
        mark: The run's mark.
        token: Token of the output's frames.
        mac: MAC of the NIC under test.
        hold_s: Keep capturing for at least this long, in seconds: others probe this guest.
        lead_s: Send nothing before this time, in seconds: others may still be starting.
    """
    limit = script.time_limit_s(flows) + int(hold_s)
    expression = script.probe_filter(mark).replace("arp or ", "", 1)
    tcpdump = script.tcpdump_argv("IFNAME", expression, limit, _MAX_PACKETS)
    sniffer = script.sniffer_argv("IFNAME", mark, limit, _MAX_PACKETS)
    return (
        script.preamble(token)
        + 'd=$(mktemp -d) || exit 70\ncd "$d" || exit 70\n'
        + "trap 'rm -rf \"$d\"' EXIT\ntrap 'exit 71' HUP INT TERM\n"
        + _NIC.format(mac=shlex.quote(mac))
        + _CAPTURE.format(
            **{
                program: shlex.join(argv).replace("IFNAME", '"$ifname"', 1)
                for program, argv in (("tcpdump", tcpdump), ("python", sniffer))
            }
        )
        + f"sleep {hold_s:g} & pings0=$!\n"
        + script.wait_for_others(lead_s)
        + script.start_pings(flows, mark)
        + "wait $pings $pings0\n"
        + _end_capture(flows, hold_s)
        + _ASK
    )


def _end_capture(flows: Sequence[FlowSpec], hold_s: float) -> str:
    """Return the lines that end the capture once nothing more comes and all of it is written."""
    pace_s = min((flow.interval_s for flow in flows), default=0.0)
    pause_s = max(_QUIET_S, 2 * pace_s)
    return (
        _END_CAPTURE.replace("{pause}", f"{pause_s:g}")
        .replace("{patience}", str(ceil(_FLUSHED_S / pause_s)))
        .replace("{rounds}", str(ceil((hold_s + _FLUSHED_S) / pause_s)))
    )


def probe_guest(
    proxmox: Proxmox,
    guest: Guest,
    flows: Sequence[FlowSpec],
    *,
    mark: str,
    token: str,
    hold_s: float,
    lead_s: float = 0,
    on_start: Callable[[], None] = lambda: None,
) -> RawAnswer:
    """Run a guest's probes through its agent. What goes wrong is in ``problem``."""
    hold_s += lead_s
    body = guest_script(
        flows, mark=mark, token=token, mac=guest.nic.mac, hold_s=hold_s, lead_s=lead_s
    )
    try:
        done = proxmox.agent_exec(
            guest.node,
            guest.vmid,
            ["/bin/sh", "-s"],
            stdin=script.within(body, _MAX_STDIN),
            expect_s=max(script.duration_s(flows) + lead_s, hold_s),
            timeout_s=script.time_limit_s(flows) + hold_s + 30,
            on_start=on_start,
        )
    except (BackendError, ProbeError) as problem:
        return RawAnswer(host=guest.ident, problem=str(problem))
    finally:
        on_start()  # nobody waits for a guest that did not start
    source = f"{guest.ident}, probe output"
    return split_output(done.stdout, token, host=guest.ident, source=source)


def read_guest(guest: Guest, flows: Sequence[FlowSpec], answer: RawAnswer, mark: str) -> HostFacts:
    """Return the facts in a guest's answer. What goes wrong is in ``problem``."""
    problem = answer.problem
    if problem is None:
        try:
            return guest_facts(guest, flows, answer.sections, mark)
        except ProbeError as error:
            problem = str(error)
    return HostFacts(host=guest.ident, problem=f"{guest.ident} could not be asked: {problem}")


def guest_facts(
    guest: Guest, flows: Sequence[FlowSpec], found: Mapping[str, bytes], mark: str
) -> HostFacts:
    """Turn the sections of a guest's output into facts.

    Raises:
        ParseError: The neighbour table or a capture is damaged.
    """
    named = script.text(found, "ifname")
    ifname = named if _IFNAME.fullmatch(named) else None
    rules = script.text(found, "rules") if "rules" in found else None
    return HostFacts(
        host=guest.ident,
        pings=read_pings(flows, found, guest.ident),
        neighbours=(
            *parse_neighbours(script.text(found, "neigh"), f"{guest.ident}, ip neigh"),
            *parse_neighbours(script.text(found, "neigh6"), f"{guest.ident}, ip -6 neigh"),
        ),
        rules=parse_ruleset(rules) if rules is not None else None,
        capture=_capture(guest, found, mark, ifname) if ifname else None,
        ifname=ifname,
        counters=counted(script.text(found, "snmp.before"), script.text(found, "snmp.after")),
        unwatched=unwatched(found),
    )


def unwatched(found: Mapping[str, bytes]) -> str | None:
    """Return why there is no capture of a guest's own NIC, or None if there is one."""
    if "capture" in found and "capture.failed" not in found:
        return None
    if script.text(found, "capture.failed").strip() == "absent":
        return "neither tcpdump nor python3 is in the guest, so its own NIC was not watched"
    said = script.text(found, "capture.err").strip()[-200:]
    return f"the guest's own capture did not start: {said or 'it said nothing'}"


def read_pings(
    flows: Sequence[FlowSpec], found: Mapping[str, bytes], host: str
) -> dict[int, PingResult]:
    """Return what each flow's ping said; a flow whose ping said nothing useful is left out."""
    pings = {}
    for flow in flows:
        try:
            source = f"{host}, flow to {flow.target}"
            pings[flow.number] = parse_ping(
                script.text(found, f"ping.{flow.number}"), source, count=flow.count
            )
        except ParseError:
            continue
    return pings


def _capture(guest: Guest, found: Mapping[str, bytes], mark: str, ifname: str) -> Capture | None:
    if "capture" not in found or "capture.failed" in found:
        return None
    source = f"{guest.ident}, capture"
    data = script.unpack(found["capture"], source)
    packets = parse_capture(data, source, mark.encode(), own_mac=guest.nic.mac)
    doubts = {}
    if packets.records >= _MAX_PACKETS:
        doubts[ifname] = f"the capture ended at its limit of {_MAX_PACKETS} packets"
    if problem := capture_problem(script.text(found, "capture.err")):
        doubts[ifname] = problem
    return Capture(
        host=guest.ident,
        points={0: ifname},
        packets=packets,
        doubts=doubts,
        since_ns=_stamp(script.text(found, "capture.since")),
        until_ns=_stamp(script.text(found, "capture.until")),
    )


def _stamp(text: str) -> int | None:
    """Return a time in ns since the epoch; None for what a date without nanoseconds prints."""
    return int(text) if _NANOSECONDS.fullmatch(text.strip()) else None


def capture_problem(stderr: str) -> str | None:
    """Return why a capture cannot be trusted by tcpdump's own words, or None."""
    for line in stderr.splitlines():
        number, _, rest = line.strip().partition(" ")
        if "dropped by" in rest and number.isdigit() and int(number):
            return f"tcpdump says: {line.strip()}"
    if not _SUMMARY.search(stderr):
        return f"tcpdump did not end by itself: {stderr.strip()[-200:] or 'it said nothing'}"
    return None
