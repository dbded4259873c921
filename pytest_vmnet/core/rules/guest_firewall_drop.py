"""A rule inside of the guest drops what reaches its NIC, or what would leave it.

Cause:
    An nftables or iptables rule in the guest.
Evidence for:
    The packets were seen on the guest's own NIC and the prober inside did not get them, or the
    guest's kernel refused to send; and a dropping rule is loaded in the guest.
Evidence against:
    The packets died outside of the guest; or its rules were read and none of them can drop an
    ICMP packet on that way.
Not proof:
    A dropping rule by itself: most firewalls end with one.
Remedy:
    Change the rule in the guest or in what configures it. A rebuild may cure it; provisioning
    may also bring the rule back.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vmnet.core.facts import NftRule
from pytest_vmnet.core.outcome import Death, RuledOut
from pytest_vmnet.core.rules.case import Answer, Case, can_take_probe, loss, most_likely
from pytest_vmnet.core.site.topology import GUEST_STACK
from pytest_vmnet.core.words import Leg, Rebuild, Scope

REASON = "GuestFirewallDrop"
_INWARDS = frozenset({"input", "prerouting", "ingress"})
_OUTWARDS = frozenset({"output", "postrouting", "egress"})
_PLACES = {
    "in": "arrived on {name}'s own NIC and were dropped behind it",
    "turn": "arrived on {name}'s own NIC and no reply left by it",
    "out": "never left {name}: its own kernel kept them",
}
_HOOKS = {"in": _INWARDS, "turn": _INWARDS | _OUTWARDS, "out": _OUTWARDS}


def examine(case: Case) -> Answer:
    """Look for packets that died between the guest's NIC and its programs."""
    death, flow = case.death, case.telling
    if death is None or flow is None:
        return None
    way = _way(death)
    if way is None:
        place = death.last_seen or "an unknown point"
        return RuledOut(
            reason=REASON,
            message=f"the packets died behind {place}, outside of the guest's own network stack",
        )
    facts = case.facts(case.guest.ident)
    if facts is None or facts.rules is None:
        return None
    suspects = [
        rule
        for rule in facts.rules
        if (rule.hook is None or rule.hook in _HOOKS[way])
        and can_take_probe(rule, facts.ifname, is_ipv6=case.is_ipv6)
    ]
    if not suspects:
        return RuledOut(reason=REASON, message="no rule in the guest drops ICMP on that way")
    return _finding(case, death, suspects, way)


def _way(death: Death) -> str | None:
    """Return how far into the guest the packets came: ``in``, ``turn``, ``out`` or None."""
    if death.last_seen is None:
        leaving = death.next_point is not None and death.next_point.startswith("guest:")
        return "out" if leaving else None
    if death.last_seen.startswith("guest:") and death.next_point == GUEST_STACK:
        return "in" if death.leg is Leg.REPLY else "turn"
    return None


def _finding(case: Case, death: Death, suspects: Sequence[NftRule], way: str) -> Answer:
    flow = case.telling
    name, rule = case.guest.ident, most_likely(suspects)
    kind = "replies" if death.leg is Leg.REPLY else "requests"
    story = f"{death.packets} {kind} {_PLACES[way].format(name=name)}"
    which = (
        "The rule is" if len(suspects) == 1 else f"Of {len(suspects)} such rules the likeliest is"
    )
    innocent = "" if way == "out" else " Bridge, tap and QEMU delivered every one of them."
    return case.finding(
        REASON,
        f"A firewall rule inside of {name} drops the packets: {story}. {which} "
        f"`{rule.quote()}`.{innocent} Change the rule in "
        f"{name}, or in what configures it (`nft -a list ruleset` in the guest shows it).",
        scope=Scope.GUEST,
        rebuild=Rebuild.MAY_CURE,
        why="a fresh system starts without the rule, unless provisioning brings it back",
        evidence=(
            *((loss(flow),) if flow else ()),
            story,
            f"in the guest: {rule.quote()}",
        ),
        death=death,
    )
