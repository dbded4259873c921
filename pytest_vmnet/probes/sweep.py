"""All probes of all selected guests at once, and what comes back."""

from __future__ import annotations

import secrets
import string
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.backends.hosts import Shell
from pytest_vmnet.backends.proxmox import Proxmox
from pytest_vmnet.core.facts import GATE, FlowSpec
from pytest_vmnet.core.flow.route import capture_points, path_devices
from pytest_vmnet.core.site.topology import Guest, Inventory
from pytest_vmnet.errors import BackendError, VmnetError
from pytest_vmnet.probes import script
from pytest_vmnet.probes.answer import RawAnswer, RawSweep, split_output
from pytest_vmnet.probes.guest import probe_guest
from pytest_vmnet.probes.node import watches

_LEAD_S = 4.0
"""The first probes leave so many times later than the slowest agent took for a short command."""

_START_S = 30.0
"""How long the gate's own probes wait for an agent to start its guest's, in seconds."""

_LEAST_LEAD_S, _MOST_LEAD_S = 0.3, 5.0
_ALPHABET = string.ascii_lowercase + string.digits


def new_mark() -> str:
    """Return an unguessable mark for a sweep's probes: 12 ASCII characters, 62 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


def local_script(flows: Sequence[FlowSpec], *, mark: str, token: str, lead_s: float = 0) -> str:
    """Return the script of the gate's own host: its flows and its neighbour table."""
    return (
        script.preamble(token)
        + 'd=$(mktemp -d) || exit 70\ncd "$d" || exit 70\ntrap \'rm -rf "$d"\' EXIT\n'
        + "pings=\ntrap 'kill $pings 2>/dev/null; exit 71' HUP INT TERM\n"
        + script.wait_for_others(lead_s)
        + script.start_pings(flows, mark)
        + "wait $pings\nip -j -4 neigh >neigh 2>&1\n"
        + 'for f in ping.* neigh; do emit "$f" "$f"; done\n'
    )


def probe_local(
    shell: Shell, flows: Sequence[FlowSpec], *, mark: str, token: str, lead_s: float = 0
) -> RawAnswer:
    """Send the gate's own flows. What goes wrong is in ``problem``."""
    try:
        done = shell.run(local_script(flows, mark=mark, token=token, lead_s=lead_s))
    except BackendError as problem:
        return RawAnswer(host=GATE, problem=str(problem))
    return split_output(done.stdout, token, host=GATE, source="the gate's own probes")


def run_sweep(
    inventory: Inventory,
    flows: Sequence[FlowSpec],
    *,
    proxmox: Proxmox,
    shells: Mapping[str, Shell],
    local: Shell,
    clock: Clock,
    progress: Callable[[str], None],
) -> RawSweep:
    """Send all flows at once while the nodes' ports are watched.

    Args:
        inventory: The site.
        flows: What to send.
        proxmox: The API, for the guests' agents.
        shells: A shell for each node that has one; others are not watched.
        local: The shell of the gate's own host.
        clock: Time.
        progress: Called with one line per step.

    Returns:
        The answer of every host that took part. Hosts that could not be asked say so.
    """
    mark, token = new_mark(), new_mark()
    started = clock.monotonic()
    guests = taking_part(inventory, flows)
    points = {n: p for n, p in capture_points(flows, inventory).items() if n in shells}
    limit_s = script.time_limit_s(flows) + 30
    devices = path_devices(flows, inventory)
    plan = watches(points, flows, devices=devices, mark=mark, token=token, limit_s=limit_s)
    answers: list[RawAnswer] = []
    with ThreadPoolExecutor(max_workers=len(guests) + len(plan) + 2) as pool:
        starting = {watch: pool.submit(watch.start, shells[watch.node]) for watch in plan}
        running = []
        try:
            for watch, begun in starting.items():
                if problem := _problem(begun):
                    answers.append(watch.failed(problem))
                else:
                    running.append(watch)
            progress(f"probing: {summary(flows, len(guests))}")
            asked = _start_probes(
                pool, guests, flows, proxmox, local, clock=clock, mark=mark, token=token
            )
            for probe in wait(asked, timeout=script.time_limit_s(flows)).done:
                probe.result()
        except BaseException:  # Ctrl-C above all: nobody waits for what is not wanted any more
            proxmox.cancel()
            for watch in running:
                watch.clean(shells[watch.node])
            raise
        else:
            # A guest that hangs costs that guest: the captures would end before it is given up.
            fetched = [pool.submit(watch.fetch, shells[watch.node]) for watch in running]
            answers += _results(asked, proxmox)
            answers += [fetch.result() for fetch in fetched]
    return RawSweep(
        flows=tuple(flows),
        mark=mark,
        token=token,
        answers=tuple(answers),
        duration_s=clock.monotonic() - started,
    )


def _results(asked: Sequence[Future[RawAnswer]], proxmox: Proxmox) -> list[RawAnswer]:
    """Return every answer; each is bounded by itself."""
    try:
        return [probe.result() for probe in asked]
    except BaseException:
        proxmox.cancel()
        raise


def _start_probes(
    pool: ThreadPoolExecutor,
    guests: Sequence[Guest],
    flows: Sequence[FlowSpec],
    proxmox: Proxmox,
    local: Shell,
    *,
    clock: Clock,
    mark: str,
    token: str,
) -> list[Future[RawAnswer]]:
    hold_s = script.duration_s(flows)
    lead_s = min(max(_LEAD_S * proxmox.slowest_exec_s, _LEAST_LEAD_S), _MOST_LEAD_S)
    # Those that did not answer before come last, and nobody waits for them: a call may hang.
    able = sorted((g for g in guests if g.agent), key=lambda guest: not _answers(guest))
    started = {guest.ident: threading.Event() for guest in able}
    asked = [
        pool.submit(
            probe_guest,
            proxmox,
            guest,
            [flow for flow in flows if flow.source == guest.ident],
            mark=mark,
            token=token,
            hold_s=hold_s,
            lead_s=lead_s,
            on_start=started[guest.ident].set,
        )
        for guest in able
    ]
    own = [flow for flow in flows if flow.source == GATE]
    if own:
        end = clock.monotonic() + _START_S
        for guest in filter(_answers, able):  # two agents at a time: the last starts much later
            started[guest.ident].wait(max(end - clock.monotonic(), 0))
        asked.append(pool.submit(probe_local, local, own, mark=mark, token=token, lead_s=lead_s))
    return asked


def _answers(guest: Guest) -> bool:
    """Tell whether its agent answered when the site was discovered."""
    return "agent" in {guest.address_source, guest.address6_source}


def taking_part(inventory: Inventory, flows: Sequence[FlowSpec]) -> list[Guest]:
    """Return the guests at an end of a flow, in the inventory's order."""
    ends = {flow.source for flow in flows} | {flow.target for flow in flows}
    return [guest for guest in inventory.guests if guest.ident in ends]


def summary(flows: Sequence[FlowSpec], guests: int) -> str:
    """Return what a sweep sends, how fast and how long: ``30 flows, 5 guests, ...``."""
    full = max((flow.count for flow in flows), default=0)
    interval_ms = min((flow.interval_s for flow in flows), default=0.0) * 1000
    return (
        f"{len(flows)} flows, {guests} guests, {full} probes per flow, one per "
        f"{interval_ms:g} ms, {script.duration_s(flows):.1f} s"
    )


def _problem(begun: Future[None]) -> str | None:
    error = begun.exception()
    if error is None:
        return None
    if isinstance(error, VmnetError):
        return str(error)
    raise error
