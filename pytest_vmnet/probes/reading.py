"""From what came back to facts: the one place for a live run and for a replay."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vmnet.core.facts import GATE, FlowSpec, HostFacts, Sweep
from pytest_vmnet.core.parse.iproute import parse_neighbours
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.errors import ProbeError
from pytest_vmnet.probes import script
from pytest_vmnet.probes.answer import RawAnswer, RawSweep
from pytest_vmnet.probes.guest import read_guest, read_pings
from pytest_vmnet.probes.node import NodeWatch


def read_sweep(raw: RawSweep, inventory: Inventory) -> Sweep:
    """Return the facts of everything that came back from a sweep.

    Args:
        raw: What came back.
        inventory: The site as it was when the sweep began.
    """
    hosts = {answer.host: _read(answer, raw, inventory) for answer in raw.answers}
    return Sweep(flows=raw.flows, hosts=hosts, duration_s=raw.duration_s)


def _read(answer: RawAnswer, raw: RawSweep, inventory: Inventory) -> HostFacts:
    flows = tuple(flow for flow in raw.flows if flow.source == answer.host)
    if answer.host == GATE:
        return read_gate(flows, answer)
    if any(node.name == answer.host for node in inventory.nodes):
        watch = NodeWatch(
            node=answer.host,
            points=answer.points,
            flows=flows,
            mark=raw.mark,
            token=raw.token,
            limit_s=0,
        )
        return watch.read(answer)
    return read_guest(inventory.guest(answer.host), flows, answer, raw.mark)


def read_gate(flows: Sequence[FlowSpec], answer: RawAnswer) -> HostFacts:
    """Return the facts in the answer of the gate's own host. What goes wrong is in ``problem``."""
    problem = answer.problem
    if problem is None:
        try:
            return HostFacts(
                host=GATE,
                pings=read_pings(flows, answer.sections, GATE),
                neighbours=parse_neighbours(
                    script.text(answer.sections, "neigh"), "the gate's ip neigh"
                ),
            )
        except ProbeError as error:
            problem = str(error)
    return HostFacts(host=GATE, problem=f"the gate's own probes did not run: {problem}")
