"""What a gate run ends with: flows, findings, decisions and attempts, per guest and per run.

These are the data that tests assert on and every report shows; `report.json` gives them the
shape of the public schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_vmnet.core.site.topology import CapturePoint, Guest, Skipped
from pytest_vmnet.core.words import (
    LARGE_LANE,
    Action,
    AttemptOutcome,
    FlowKind,
    Leg,
    LossPattern,
    Rebuild,
    Scope,
    Severity,
    Verdict,
)
from pytest_vmnet.options.settings import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCount:
    """How many of a flow's packets one capture point saw, each packet counted once.

    Attributes:
        point: The capture point.
        requests: Requests seen there; None if the capture there cannot be trusted.
        replies: Replies seen there; None likewise.
        doubt: Why the counts are None, or None.
    """

    point: CapturePoint
    requests: int | None
    replies: int | None
    doubt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A group of a flow's packets that died between the same two points.

    Attributes:
        leg: Which half of the round trip.
        last_seen: Last capture point that saw them, or None if none did.
        next_point: First point or end that should have seen them and did not.
        packets: How many.
    """

    leg: Leg
    last_seen: CapturePoint | None
    next_point: str | None
    packets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one end's probes show of a flow that both ends probed.

    Attributes:
        source: Who started the probes.
        target: Who was to answer.
        transmitted: Probes sent.
        received: Probes answered.
        points: Capture points from *source* to *target*, named as in the flow.
        deaths: Where the lost packets died, the largest group first.
    """

    source: str
    target: str
    transmitted: int
    received: int
    points: tuple[PointCount, ...]
    deaths: tuple[Death, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """How a flow's losses lie among its probes.

    Attributes:
        pattern: ``none``, ``all``, ``random``, ``bursts`` or ``regular`` (more evenly than by
            chance); other than ``random`` only where chance alone would do it in less than 1 %.
        stretches: Stretches of lost probes in a row.
        longest: Probes in the longest stretch.
        mean: Mean length of a stretch, 0 without a loss.
        p_value: Chance of so few stretches, or of so many, if losses were independent; None if
            nothing, or everything, was lost.
        outages: Outages with a calm between each two of them (see `core.statistics.bursts`).
        flaps: Whether the loss comes and goes: at least two such outages.
    """

    pattern: LossPattern
    stretches: int
    longest: int
    mean: float
    p_value: float | None
    outages: int = 0
    flaps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Whether a flow's loss differs within itself, or belongs together with another's.

    Attributes:
        subject: ``time`` (early and late half), ``direction`` (requests and replies), ``prober``
            (either end's probes), ``size`` (against the same flow in another lane) or ``event``
            (lost at the same moments as another flow).
        sentence: What was compared, with its numbers.
        p_value: Chance of as large a difference if there were none; for ``event`` of as many
            common moments if the two had nothing to do with each other.
    """

    subject: str
    sentence: str
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCount:
    """ICMP errors that came for a flow's packets.

    Attributes:
        source: Address that sent them.
        type: ICMP type.
        code: ICMP code.
        packets: How many.
    """

    source: str
    type: int
    code: int
    packets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """How a flow's deaths lie in time beside the moves of the guest's MAC to a foreign port.

    Attributes:
        port: The bridge port that the FDB entry moved to.
        mac: The guest's MAC address.
        window_ms: Distance from such a move that was looked at, in ms, either way (events are
            stamped a little late); chosen from the data.
        within: Deaths within that distance from a move.
        deaths: Deaths whose time is known.
        by_chance: Deaths that would lie there if deaths and moves had nothing to do with each
            other.
        answered_within: Answered packets within that distance, at the same point.
        answered: Answered packets whose time there is known.
        p_value: Probability of so many by chance, corrected for the number of windows tried.
        sentence: All this for people.
    """

    port: CapturePoint
    mac: str
    window_ms: int
    within: int
    deaths: int
    by_chance: float
    answered_within: int
    answered: int
    p_value: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A flow's packets in time over the moves of the guest's MAC in its bridge's FDB.

    All times are in us after ``started_ns``, on the clock of the guest's node.

    Attributes:
        started_ns: First packet at the guest's node, in ns since the Unix epoch.
        sent_us: When each packet passed the node first, in ascending order.
        fates: One letter for each packet of ``sent_us``: ``.`` was answered, ``a`` died in the
            first group of the flow's ``deaths``, ``b`` in the second, and so on; ``?`` in
            a further one.
        packets: How many packets there were; more than are listed if every n-th was kept.
        ports: Ports of the bridge that the FDB entry was on; the first is the guest's own.
        moved_us: When the entry moved, in ascending order; negative before the first packet.
        moved_to: One letter for each move: ``a`` for the first of ``ports``, ``b`` for the
            second, and so on; ``-`` if the entry was removed.
        moves: How many moves there were; more than are listed if the shortest stays were left
            out.
        alignment: How deaths and moves hang together, or None if nothing is proven.
    """

    started_ns: int
    sent_us: tuple[int, ...]
    fates: str
    packets: int
    ports: tuple[CapturePoint, ...]
    moved_us: tuple[int, ...] = ()
    moved_to: str = ""
    moves: int = 0
    alignment: Alignment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The outcome of one flow of probes as it is reported for a guest.

    Attributes:
        source: Who started the probes: a guest's id, ``workstation`` or a node's name.
        target: A guest's id, or an address.
        kind: What the far end is.
        transmitted: Probes sent.
        received: Probes answered.
        loss_lower_bound: Clopper-Pearson lower bound of the loss, 0..1.
        loss_upper_bound: Clopper-Pearson upper bound of the loss, 0..1.
        confidence: Confidence of either bound, 0..1.
        max_loss: The threshold, 0..1.
        verdict: Verdict of this flow alone.
        points: Capture points from the prober's side to the far end, with their counts.
        deaths: Where the lost packets died, the largest group first.
        counted_against: Id of the guest that a failure counts against, None if against none.
        rtt_avg_ms: Mean round-trip time in ms, None without replies.
        rtt_max_ms: Largest round-trip time in ms, None likewise.
        note: One sentence on this flow, or None.
        size: Payload of a probe in bytes.
        lane: Lane of probes that it is: ``main``, or what runs beside it.
        rtt_quantiles_ms: Round-trip times in ms by quantile: ``p50 p90 p99 max``.
        jitter_ms: Mean absolute difference of neighbouring round-trip times in ms, or None.
        bursts: How its losses lie among its probes, None if nothing was sent.
        duplicates: Packets that one point saw more than once.
        reordered: Answers that overtook another one.
        foreign: Replies from an address other than the one that was probed.
        icmp_errors: ICMP errors for its packets, by source.
        comparisons: How its loss differs in time, by direction, prober and size, and what else was
            lost at the same moments; of flows with losses only.
        sides: The same by who started the probes, if both ends did and it is not clean;
            ``points`` are of one of them.
        timeline: Its packets over the moves of the guest's MAC; only of the flow that tells
            a sick guest's story.
    """

    source: str
    target: str
    kind: FlowKind
    transmitted: int
    received: int
    loss_lower_bound: float
    loss_upper_bound: float
    confidence: float
    max_loss: float
    verdict: Verdict
    points: tuple[PointCount, ...] = ()
    deaths: tuple[Death, ...] = ()
    counted_against: str | None = None
    rtt_avg_ms: float | None = None
    rtt_max_ms: float | None = None
    note: str | None = None
    size: int = 56
    lane: str = "main"
    rtt_quantiles_ms: Mapping[str, float] = field(default_factory=dict, hash=False)
    jitter_ms: float | None = None
    bursts: Bursts | None = None
    duplicates: int = 0
    reordered: int = 0
    foreign: int = 0
    icmp_errors: tuple[ErrorCount, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    sides: tuple[Side, ...] = ()
    timeline: Timeline | None = None

    @property
    def loss(self) -> float:
        """Share of the probes that stayed without an answer, 0..1; 1.0 if none was sent."""
        return 1 - self.received / self.transmitted if self.transmitted else 1.0

    @property
    def is_bad(self) -> bool:
        """Whether it speaks against somebody, or should have proven something and did not.

        The lane of large packets is too small for a proof: it fails, or it says nothing.
        """
        if self.lane == LARGE_LANE:
            return self.verdict is Verdict.UNHEALTHY
        return self.verdict is not Verdict.HEALTHY

    @property
    def lost(self) -> int:
        """Number of probes that stayed without an answer."""
        return self.transmitted - self.received


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourCheck:
    """What one guest's neighbour table says of another host.

    Attributes:
        address: Address of the other host.
        target: Its id, or its address.
        state: State as ``ip neigh`` says it, or None without an entry.
        lladdr: Its MAC in the table, or None.
        expected: The MAC that it should be, or None if that is not known.
        broken: Whether this is a fault.
        counted_against: Id of the guest that a fault counts against, None if there is no fault.
    """

    address: str
    target: str
    state: str | None
    lladdr: str | None
    expected: str | None
    broken: bool
    counted_against: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A cause, for machines (``reason``) and for people (``message``).

    Attributes:
        reason: CamelCase name of the cause; ``Unknown`` if none was found.
        severity: How much it matters.
        message: One paragraph that an administrator can act upon.
        scope: Where the cause lives.
        leg: Which leg of the guest's flow it hits.
        last_seen: Last capture point that saw the packets, or None.
        next_point: Where they should have been seen next, or None.
        packets: How many packets died there.
        evidence: What speaks for it, one sentence each.
        rebuild: Whether a rebuild would cure it.
        why_rebuild: One sentence on why.
    """

    reason: str
    severity: Severity
    message: str
    scope: Scope
    leg: Leg
    last_seen: CapturePoint | None
    next_point: str | None
    packets: int
    evidence: tuple[str, ...]
    rebuild: Rebuild
    why_rebuild: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledOut:
    """A cause that the facts speak against, and how."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done for a guest, with the reason and its numbers.

    Attributes:
        action: The act, ``none``, ``hold`` or ``refuse``.
        reason: Why, with the numbers of the guard rail that decided.
        ladder: Rungs to try, the gentlest first; empty unless there is an act.
    """

    action: Action
    reason: str
    ladder: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One rung that was tried.

    Attributes:
        rung: ``restart``, ``remac`` or ``rebuild``.
        outcome: How it ended.
        duration_s: How long it took, the proof included, in seconds.
        mac_before: MAC of the NIC under test before, lower case, or None.
        mac_after: MAC afterwards, or None.
        message: What happened, in a sentence or two.
        proof: What shows that it is a new VM and that its siblings are untouched.
        commands: The commands that were run, secrets not among them.
        caution: What the reader has to know although, or because, it ended so; or None.
    """

    rung: Action
    outcome: AttemptOutcome
    duration_s: float
    mac_before: str | None
    mac_after: str | None
    message: str = ""
    proof: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    caution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestOutcome:
    """Everything that the run says of one guest.

    Attributes:
        guest: The guest as discovered (after a rebuild: as discovered again).
        verdict: Final verdict.
        reason: Why, in one sentence.
        flows: Final flows.
        neighbours: Final neighbour checks.
        findings: Findings before any act; the first is the diagnosis.
        ruled_out: Causes that the facts spoke against, before any act.
        decision: What was decided.
        attempts: What was tried.
        healed: Whether it was sick, was acted upon, and is proven healthy.
        flows_before: Flows before the act, empty if there was none.
    """

    guest: Guest
    verdict: Verdict
    reason: str
    flows: tuple[Flow, ...] = ()
    neighbours: tuple[NeighbourCheck, ...] = ()
    findings: tuple[Finding, ...] = ()
    ruled_out: tuple[RuledOut, ...] = ()
    decision: Decision = Decision(action=Action.NONE, reason="healthy")
    attempts: tuple[Attempt, ...] = ()
    healed: bool = False
    flows_before: tuple[Flow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """A whole gate run.

    Attributes:
        run_id: Unguessable id of the run, lower-case hex.
        started_at: RFC 3339 UTC.
        duration_s: Whole run in seconds.
        nodes: Node names.
        versions: Versions of what took part, by name.
        settings: Settings with their sources.
        guests: Outcomes by VMID.
        skipped: Guests that were not tested.
        controls: Flows that belong to no guest: node or gate to the gateway.
        notes: Things worth saying once for the whole run.
        sweep_s: Duration of the first sweep in seconds.
        error: Why the run could not look, or None.
    """

    run_id: str
    started_at: str
    duration_s: float
    nodes: tuple[str, ...]
    versions: dict[str, str] = field(default_factory=dict)
    settings: tuple[Setting, ...] = ()
    guests: tuple[GuestOutcome, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    controls: tuple[Flow, ...] = ()
    notes: tuple[str, ...] = ()
    sweep_s: float = 0.0
    error: str | None = None

    def guest(self, ident: str) -> GuestOutcome:
        """Return the outcome of the guest with that id; KeyError if there is none."""
        for outcome in self.guests:
            if outcome.guest.ident == ident:
                return outcome
        raise KeyError(ident)
