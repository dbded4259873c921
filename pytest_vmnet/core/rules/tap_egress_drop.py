"""A rule on the node drops what the bridge sends out by the guest's tap.

Cause:
    An nftables rule in a netdev egress chain on the guest's tap.
Evidence for:
    The packets reached the node's other port and never left by the tap, and such a rule is
    loaded.
Evidence against:
    The packets were seen on the tap; or the ruleset was read and holds no such rule.
Not proof:
    Interface counters at zero: netfilter moves none.
Remedy:
    Delete the rule on the node. A rebuild does not: the chain is bound to the tap's name, and
    the new VM's tap has the same one.

References:
    Linux ``net/netfilter/nf_tables_api.c``: since 6.16 a netdev hook outlives its device and is
    bound again by name.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from pytest_vmnet.core.facts import NftRule
from pytest_vmnet.core.outcome import RuledOut
from pytest_vmnet.core.rules.case import Answer, Case, can_take_probe, loss, most_likely
from pytest_vmnet.core.words import Rebuild, Scope

REASON = "TapEgressDrop"


def examine(case: Case) -> Answer:
    """Look for a dropping netdev egress rule on the tap where packets are missed."""
    death, flow, tap = case.death, case.telling, case.guest.tap
    if death is None or flow is None:
        return None
    if death.next_point != tap or death.last_seen is None or death.last_seen.startswith("guest"):
        return RuledOut(
            reason=REASON,
            message=f"the packets did not die on the way out by {tap}",
        )
    rules = case.rules(case.guest.node)
    if rules is None:
        return None
    suspects = [
        rule
        for rule in rules
        if _is_on(rule, tap) and can_take_probe(rule, tap, is_ipv6=case.is_ipv6)
    ]
    if not suspects:
        return RuledOut(
            reason=REASON,
            message=f"none of the node's {len(rules)} dropping rules is a netdev egress rule on "
            f"{tap} that takes ICMP",
        )
    rule = most_likely(suspects)
    return case.finding(
        REASON,
        f"A rule on {case.guest.node} drops what is sent out by {tap}: {death.packets} packets "
        f"were seen on {death.last_seen} and not on {tap}. The rule is `{rule.quote()}`. "
        f"{case.guest.ident} and QEMU never got them. Find out who loaded the rule and delete it "
        f"(`nft -a list ruleset` on {case.guest.node} shows it).",
        scope=Scope.HOST,
        rebuild=Rebuild.NO,
        why=f"the rule belongs to the node and is bound to the name {tap}, which the new VM "
        "would have as well",
        evidence=(
            loss(flow),
            f"{death.packets} packets were seen on {death.last_seen} and not on {tap}",
            f"on {case.guest.node}: {rule.quote()}",
        ),
    )


def _is_on(rule: NftRule, tap: str) -> bool:
    devices = re.split(r"[,\s]+", rule.device or "")
    is_named = any(device and fnmatchcase(tap, device) for device in devices)
    return rule.family == "netdev" and rule.hook == "egress" and is_named
