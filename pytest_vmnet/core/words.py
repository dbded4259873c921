"""The closed vocabularies that reports and tests outside of this project rely on."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """Does a guest's traffic meet the thresholds?"""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    INCONCLUSIVE = "inconclusive"
    FLAPPING = "flapping"
    SKIPPED = "skipped"


class Scope(StrEnum):
    """Where a cause lives.

    ``guest`` inside the VM; ``vnic`` QEMU's device or backend; ``host`` this guest's own tap,
    fwbr and rules on the node; ``bridge`` the vmbr's configuration or state; ``node`` the whole
    node; ``uplink`` the node's physical port and the L2 beyond it; ``gateway``; ``peer`` one
    destination; ``observer`` the gate itself; ``unknown``.
    """

    GUEST = "guest"
    VNIC = "vnic"
    HOST = "host"
    BRIDGE = "bridge"
    NODE = "node"
    UPLINK = "uplink"
    GATEWAY = "gateway"
    PEER = "peer"
    OBSERVER = "observer"
    UNKNOWN = "unknown"


class Leg(StrEnum):
    """Which half of a probe's round trip: what the prober sent, or what came back."""

    REQUEST = "request"
    REPLY = "reply"
    BOTH = "both"
    UNKNOWN = "unknown"


class LossPattern(StrEnum):
    """How a flow's losses lie among its probes."""

    NONE = "none"
    ALL = "all"
    RANDOM = "random"
    BURSTS = "bursts"
    REGULAR = "regular"


class Severity(StrEnum):
    """How much a finding matters; a ``notice`` is worth saying and is no fault."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


class Rebuild(StrEnum):
    """Would a rebuild of the guest cure the cause?"""

    CURES = "cures"
    MAY_CURE = "may-cure"
    NO = "no"
    DANGEROUS = "dangerous"


class Action(StrEnum):
    """What the policy decided for a guest."""

    NONE = "none"
    RESTART = "restart"
    REMAC = "remac"
    REBUILD = "rebuild"
    HOLD = "hold"
    REFUSE = "refuse"


class AttemptOutcome(StrEnum):
    """How one rung of the ladder ended."""

    CURED = "cured"
    NOT_CURED = "not-cured"
    FAILED = "failed"
    REFUSED = "refused"


class FlowKind(StrEnum):
    """What a flow's far end is to the guest; ``control`` flows belong to no guest."""

    GATEWAY = "gateway"
    PEER = "peer"
    EXTERNAL = "external"
    INBOUND = "inbound"
    SERVICE = "service"
    CONTROL = "control"


class PingKind(StrEnum):
    """The ping program of a host.

    ``busybox`` marks its probes with one byte only; ``busybox-slow``, an old or a small one, sends
    once per second whatever it is asked for.
    """

    IPUTILS = "iputils"
    BUSYBOX = "busybox"
    BUSYBOX_SLOW = "busybox-slow"


MAIN_LANE, IPV6_LANE, LARGE_LANE = "main", "ipv6", "large"
"""Lanes of probes between the same two ends; the large one may add a failure, never a pass."""
