"""From settings to what a sweep sends: pace, threshold, budget, peers and the flows themselves."""

from __future__ import annotations

from collections.abc import Collection

from pytest_vmnet.core.flow.budget import Budget, Fitted, Sampling, affordable_peers, fit
from pytest_vmnet.core.flow.external import External, parse_external
from pytest_vmnet.core.flow.plan import Pace, Targets, plan_flows
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.core.statistics import bounds
from pytest_vmnet.core.statistics.bounds import Threshold
from pytest_vmnet.errors import ConfigError
from pytest_vmnet.options.settings import Settings


class Planning:
    """What the settings ask of every sweep.

    Args:
        settings: Resolved settings.

    Attributes:
        external: Addresses beyond the gateway.

    Raises:
        ConfigError: A setting is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.external = _external(settings)

    @property
    def budget(self) -> Budget:
        """Most packets per second that a sweep may send."""
        return Budget.parse(self._settings["vmnet_budget"])

    @property
    def pace(self) -> Pace:
        """How many probes, how fast."""
        settings = self._settings
        needed = bounds.probes_needed(settings["vmnet_max_loss"], settings["vmnet_confidence"])
        count = settings["vmnet_count"] or -(-needed // 10) * 10
        return Pace(count=count, interval_s=settings["vmnet_interval"])

    @property
    def threshold(self) -> Threshold:
        """What a healthy flow has to prove."""
        settings = self._settings
        return Threshold(
            max_loss=settings["vmnet_max_loss"], confidence=settings["vmnet_confidence"]
        )

    def sampling(self, site: Inventory) -> Sampling:
        """Return how many peers of each guest the budget affords."""
        targets = self._targets(self._settings["vmnet_peers"], _all_nodes(site))
        return affordable_peers(site, targets, self.pace, self.budget)

    def plan(
        self,
        site: Inventory,
        tested: Collection[str],
        peers: str,
        *,
        shells: frozenset[str] | None,
        pace: Pace | None = None,
    ) -> Fitted:
        """Return what a sweep sends, within the budget.

        Args:
            site: The site.
            tested: Ids of the guests under test.
            peers: Peers of each guest: ``segment``, ``all`` or a number.
            shells: Nodes that have a shell; None for all.
            pace: How many probes, how fast, if not as the settings say.
        """
        targets = self._targets(peers, _all_nodes(site) if shells is None else shells)
        flows = plan_flows(site, tested, targets, pace or self.pace)
        return fit(flows, site, self.budget)

    def _targets(self, peers: str, nodes_with_shell: frozenset[str]) -> Targets:
        return Targets(
            peers=peers,
            external=self.external.v4,
            external6=self.external.v6,
            large=True,
            inbound=self._settings["vmnet_inbound"] == "auto",
            nodes_with_shell=nodes_with_shell,
        )


def _all_nodes(site: Inventory) -> frozenset[str]:
    return frozenset(node.name for node in site.nodes)


def _external(settings: Settings) -> External:
    try:
        return parse_external(settings["vmnet_external"])
    except ValueError as problem:
        raise ConfigError(f"{settings.describe('vmnet_external')}: {problem}") from problem
