"""A rule inside of the guest drops what reaches its NIC, or what would leave it.

Cause:
    An nftables or iptables rule in the guest.
Evidence for:
    The packets were seen on the guest's own NIC and the prober inside did not get them, or the
    guest's kernel refused to send; and a dropping rule is loaded in the guest.
Evidence against:
    The packets never reached the guest's NIC.
Not proof:
    A dropping rule by itself: most firewalls end with one.
Remedy:
    Change the rule in the guest or in what configures it. A rebuild may cure it; provisioning
    may also bring the rule back.
"""

from __future__ import annotations

from pytest_vmnet.core.facts import NftRule
from pytest_vmnet.core.outcome import Death, RuledOut
from pytest_vmnet.core.rules.case import Answer, Case, loss
from pytest_vmnet.core.words import Leg, Rebuild, Scope

REASON = "GuestFirewallDrop"
_INWARDS = frozenset({"input", "prerouting", "ingress"})
_OUTWARDS = frozenset({"output", "postrouting", "egress"})


def examine(case: Case) -> Answer:
    """Look for packets that died between the guest's NIC and its programs."""
    death, flow = case.death, case.telling
    if death is None or flow is None:
        return None
    inwards = bool(
        death.last_seen
        and death.last_seen.startswith("guest:")
        and death.next_point == "guest:stack"
    )
    outwards = death.last_seen is None and bool(
        death.next_point and death.next_point.startswith("guest:")
    )
    if not (inwards or outwards):
        place = death.last_seen or "an unknown point"
        return RuledOut(
            reason=REASON,
            message=f"the packets died behind {place}, outside of the guest's own network stack",
        )
    rules = case.rules(case.guest.ident)
    if rules is None:
        return None
    wanted = _INWARDS if inwards else _OUTWARDS
    suspects = [rule for rule in rules if rule.hook in wanted or rule.hook is None]
    if not suspects:
        return RuledOut(reason=REASON, message="no rule in the guest drops anything on that way")
    return _finding(case, death, suspects[0], inwards=inwards)


def _finding(case: Case, death: Death, rule: NftRule, *, inwards: bool) -> Answer:
    flow = case.telling
    name = case.guest.ident
    if inwards:
        kind = "replies" if death.leg is Leg.REPLY else "requests"
        story = f"{death.packets} {kind} arrived on {name}'s own NIC and were dropped behind it"
    else:
        story = f"{death.packets} requests never left {name}: its own kernel kept them"
    return case.finding(
        REASON,
        f"A firewall rule inside of {name} drops the packets: {story}. The rule is "
        f"`{rule.quote()}`. Bridge, tap and QEMU delivered every one of them. Change the rule in "
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
