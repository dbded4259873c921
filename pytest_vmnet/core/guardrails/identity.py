"""Guard rail 6: state, API and measurement speak of the same guest."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_vmnet.core.guardrails.case import Case, Obstacle, mac_of
from pytest_vmnet.core.site.topology import Guest, ResourceAddress
from pytest_vmnet.core.words import Action


def identity_rail(case: Case) -> Iterator[Obstacle]:
    """VMID, name, node and MACs agree between state, API and what was measured."""
    subject = case.subject
    guest = subject.guest
    resource = guest.resource
    if resource is None:
        problem = subject.resource_problem or "Terraform's state has no resource for it"
        yield Obstacle(text=problem, rungs=(Action.REBUILD,))
    else:
        for text in _differences(guest, resource):
            yield Obstacle(text=f"{resource.address}: {text}")
    configured = mac_of(guest)
    strangers = sorted(set(subject.measured_macs) - {configured})
    if configured is None:
        yield Obstacle(text="it has no NIC on a bridge")
    elif not subject.measured_macs:
        yield Obstacle(text=f"no MAC was measured to compare with the configured {configured}")
    elif strangers:
        yield Obstacle(
            text=f"MAC: {', '.join(strangers)} was measured, {configured} is configured"
        )


def _differences(guest: Guest, resource: ResourceAddress) -> Iterator[str]:
    pairs: tuple[tuple[str, object, object], ...] = (
        ("VMID", resource.vmid, guest.vmid),
        ("name", resource.name, guest.name),
        ("node", resource.node, guest.node),
    )
    for word, state, api in pairs:
        if state != api:
            yield f"{word} {state!r} in Terraform's state, {api!r} in the API"
    state_macs = sorted(mac.lower() for mac in resource.macs)
    api_macs = sorted(nic.mac.lower() for nic in guest.nics)
    if state_macs != api_macs:
        yield (
            f"MACs {', '.join(state_macs) or 'none'} in Terraform's state, "
            f"{', '.join(api_macs) or 'none'} in the API"
        )
