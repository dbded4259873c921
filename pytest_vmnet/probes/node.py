"""Watch a node's ports while others probe.

The work runs detached in a private folder on the node and is fetched afterwards, because the
control channel may share the fault that is being looked for. All of it ends by itself: every
process has a time limit, and a reaper removes the folder and the canary's port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_vmnet.backends.hosts import Shell
from pytest_vmnet.core.facts import FlowSpec, HostFacts
from pytest_vmnet.core.parse.iproute import parse_fdb_monitor, parse_neighbours
from pytest_vmnet.core.parse.nft import parse_ruleset
from pytest_vmnet.core.site.topology import CapturePoint
from pytest_vmnet.errors import BackendError, CaptureError, ProbeError
from pytest_vmnet.probes import node_proof, node_script, script
from pytest_vmnet.probes.answer import RawAnswer, split_output
from pytest_vmnet.probes.guest import read_pings


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWatch:
    """A watch on one node.

    Attributes:
        node: The node's name.
        points: Interfaces to capture.
        devices: Devices whose counters are sampled; the captured ones if empty.
        flows: Control flows that the node itself sends.
        mark: The run's mark.
        token: Token of this sweep; names the folder and the canary's port.
        limit_s: Seconds after which everything ends by itself.
    """

    node: str
    points: tuple[CapturePoint, ...]
    devices: tuple[str, ...] = ()
    flows: tuple[FlowSpec, ...]
    mark: str
    token: str
    limit_s: int

    def start_script(self) -> str:
        """Return the script that starts the watch and ends once it is listening."""
        return node_script.start(
            points=self.points,
            devices=self.devices or self.points,
            flows=self.flows,
            mark=self.mark,
            token=self.token,
            limit_s=self.limit_s,
        )

    def stop_script(self) -> str:
        """Return the script that ends the watch and prints what it has."""
        return node_script.stop(mark=self.mark, token=self.token)

    def clean_script(self) -> str:
        """Return the script that removes whatever the watch left on the node."""
        return node_script.clean(token=self.token)

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
            answer = split_output(
                done.stdout, self.token, host=self.node, source=source, points=self.points
            )
        except (BackendError, ProbeError) as problem:
            answer = self.failed(problem)
        if answer.problem:  # else the script has cleaned up at its end
            self.clean(shell)
        return answer

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
        capture = node_proof.read_capture(
            found, node=self.node, points=self.points, mark=self.mark, token=self.token
        )
        rules = script.text(found, "rules") if "rules" in found else None
        return HostFacts(
            host=self.node,
            pings=read_pings(self.flows, found, self.node),
            neighbours=parse_neighbours(script.text(found, "neigh"), f"{self.node}, ip neigh"),
            rules=parse_ruleset(rules) if rules is not None else None,
            capture=capture,
            moves=parse_fdb_monitor(script.text(found, "fdb"), f"{self.node}, fdb events"),
            samples=node_proof.read_samples(found, self.node),
        )


def watches(
    points: Mapping[str, Sequence[CapturePoint]],
    flows: Sequence[FlowSpec],
    *,
    devices: Mapping[str, Sequence[str]] | None = None,
    mark: str,
    token: str,
    limit_s: int,
) -> list[NodeWatch]:
    """Return the watch of every node that has points, with the devices to sample by node."""
    return [
        NodeWatch(
            node=node,
            points=tuple(names),
            devices=tuple((devices or {}).get(node, ())),
            flows=tuple(flow for flow in flows if flow.source == node),
            mark=mark,
            token=token,
            limit_s=limit_s,
        )
        for node, names in sorted(points.items())
    ]
