"""The bounds are Clopper and Pearson's, and the three-way verdict keeps to them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.statistics import bounds
from pytest_vmnet.core.words import Verdict

CONFIDENCES = st.sampled_from([0.5, 0.8, 0.95, 0.99, 0.999999])
SAMPLES = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("lost", "sent", "confidence", "lower", "upper"),
    [
        # Published 90 % two-sided limits, so 95 % one-sided: qbeta in R.
        pytest.param(0, 300, 0.95, 0.0, 0.009936, id="none-of-300"),
        pytest.param(1, 10, 0.95, 0.005116, 0.394163, id="1-of-10"),
        pytest.param(5, 10, 0.95, 0.222441, 0.777559, id="5-of-10"),
        pytest.param(5, 100, 0.95, 0.019906, 0.102253, id="5-of-100"),
        pytest.param(165, 300, 0.95, 0.500875, 0.598384, id="165-of-300"),
        pytest.param(5, 300, 0.95, 0.006590, 0.034722, id="5-of-300"),
        pytest.param(5, 10, 0.975, 0.187086, 0.812914, id="5-of-10-two-sided-95"),
        pytest.param(300, 300, 0.95, 0.990064, 1.0, id="all-of-300"),
        pytest.param(0, 0, 0.95, 0.0, 1.0, id="nothing-sent"),
    ],
)
def test_bounds_have_their_known_values(lost, sent, confidence, lower, upper) -> None:
    assert bounds.lower_bound(lost, sent, confidence) == pytest.approx(lower, abs=1e-6)
    assert bounds.upper_bound(lost, sent, confidence) == pytest.approx(upper, abs=1e-6)


@given(SAMPLES, CONFIDENCES)
def test_a_bound_leaves_exactly_its_share_of_doubt(sample, confidence) -> None:
    lost, sent = sample

    def at_most(k: int, p: float) -> float:
        terms = [
            math.lgamma(sent + 1) - math.lgamma(i + 1) - math.lgamma(sent - i + 1)
            + (i * math.log(p) if i else 0) + (sent - i) * math.log1p(-p)
            for i in range(k + 1)
        ]  # fmt: skip
        return math.fsum(map(math.exp, terms))

    upper = bounds.upper_bound(lost, sent, confidence)
    if lost < sent:
        assert at_most(lost, upper) == pytest.approx(1 - confidence, rel=1e-6, abs=1e-9)
    lower = bounds.lower_bound(lost, sent, confidence)
    if lost:
        assert 1 - at_most(lost - 1, lower) == pytest.approx(1 - confidence, rel=1e-6, abs=1e-9)


@given(SAMPLES, CONFIDENCES)
def test_bounds_enclose_the_share_and_grow_with_it(sample, confidence) -> None:
    lost, sent = sample
    lower, upper = (bound(lost, sent, confidence) for bound in BOUNDS)
    assert 0 <= lower <= lost / sent <= upper <= 1
    if lost:
        assert bounds.upper_bound(lost - 1, sent, confidence) < upper or upper == 1
        assert bounds.lower_bound(lost - 1, sent, confidence) < lower
    assert bounds.upper_bound(lost, sent + 1, confidence) < upper
    assert bounds.lower_bound(lost, sent + 1, confidence) <= lower


BOUNDS = (bounds.lower_bound, bounds.upper_bound)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(
    ("lost", "sent", "confidence"), [(2, 1, 0.95), (-1, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0)]
)
def test_nonsense_is_refused(bound, lost, sent, confidence) -> None:
    with pytest.raises(ValueError, match=f"lost {lost} of {sent} at {confidence}"):
        bound(lost, sent, confidence)


def test_the_default_needs_299_probes() -> None:
    assert bounds.probes_needed(0.01, 0.95) == 299


@given(st.floats(0.0005, 0.5), CONFIDENCES)
def test_so_many_probes_are_enough_and_one_less_is_not(max_loss, confidence) -> None:
    needed = bounds.probes_needed(max_loss, confidence)
    limits = {"max_loss": max_loss, "confidence": confidence}
    assert bounds.flow_verdict(0, needed, **limits) is Verdict.HEALTHY
    if needed > 1:
        assert bounds.flow_verdict(0, needed - 1, **limits) is Verdict.INCONCLUSIVE


@given(SAMPLES, st.floats(0.001, 0.9), CONFIDENCES)
def test_a_verdict_is_what_the_bounds_say(sample, max_loss, confidence) -> None:
    lost, sent = sample
    said = bounds.flow_verdict(lost, sent, max_loss=max_loss, confidence=confidence)
    lower, upper = (bound(lost, sent, confidence) for bound in BOUNDS)
    assert (said is Verdict.HEALTHY) == (upper <= max_loss)
    assert (said is Verdict.UNHEALTHY) == (lower > max_loss)


@pytest.mark.parametrize(
    ("lost", "sent", "expected"),
    [
        pytest.param(0, 300, Verdict.HEALTHY, id="healthy-at-the-limit"),
        pytest.param(0, 298, Verdict.INCONCLUSIVE, id="inconclusive-one-probe-short"),
        pytest.param(1, 300, Verdict.INCONCLUSIVE, id="inconclusive-one-lost"),
        pytest.param(6, 300, Verdict.INCONCLUSIVE, id="inconclusive-below-the-limit"),
        pytest.param(7, 300, Verdict.UNHEALTHY, id="unhealthy-above-the-limit"),
        pytest.param(2, 30, Verdict.UNHEALTHY, id="unhealthy-few-probes"),
        pytest.param(1, 30, Verdict.INCONCLUSIVE, id="inconclusive-few-probes"),
        pytest.param(0, 0, Verdict.INCONCLUSIVE, id="inconclusive-nothing-sent"),
    ],
)
def test_verdicts_at_the_default_threshold(lost, sent, expected) -> None:
    assert bounds.flow_verdict(lost, sent, max_loss=0.01, confidence=0.95) is expected


@pytest.mark.parametrize(
    ("lost", "sent", "expected"),
    [
        pytest.param(0, 2995, Verdict.HEALTHY, id="healthy-a-tenth-of-a-percent-is-proven"),
        pytest.param(0, 2994, Verdict.INCONCLUSIVE, id="inconclusive-not-quite"),
        pytest.param(1, 60_000, Verdict.UNHEALTHY, id="unhealthy-a-single-loss"),
    ],
)
def test_a_threshold_of_zero_can_be_met(lost, sent, expected) -> None:
    assert bounds.flow_verdict(lost, sent, max_loss=0.0, confidence=0.95) is expected
    assert bounds.probes_needed(0.0, 0.95) == 2995


@pytest.mark.parametrize(
    ("hits", "trials", "share", "expected"),
    [
        (0, 5, 0.3, 1.0), (3, 5, 1.0, 1.0), (3, 5, 0.0, 0.0), (5, 5, 0.5, 1 / 32),
        (1, 5, 0.5, 31 / 32), (9, 10, 0.9, 10 * 0.9**9 * 0.1 + 0.9**10),
    ],
)  # fmt: skip
def test_the_chance_of_so_many(hits: int, trials: int, share: float, expected: float) -> None:
    assert bounds.tail(hits, trials, share) == pytest.approx(expected)
