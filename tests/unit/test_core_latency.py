"""Round-trip times in numbers that were measured, not interpolated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.statistics.latency import jitter, quantiles


def test_a_quantile_is_the_time_that_its_share_does_not_exceed() -> None:
    assert quantiles(range(1, 101)) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    assert quantiles([7.0]) == {"p50": 7.0, "p90": 7.0, "p99": 7.0, "max": 7.0}
    assert quantiles([]) == {}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_a_quantile_is_the_smallest_time_that_enough_do_not_exceed(rtts) -> None:
    found = quantiles(rtts)
    for name, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)):
        fitting = [r for r in rtts if sum(o <= r for o in rtts) * 100 >= percent * len(rtts)]
        assert found[name] == min(fitting)


def test_jitter_is_the_mean_difference_of_neighbours() -> None:
    assert jitter([{1: 1.0, 2: 3.0, 3: 2.0}]) == pytest.approx(1.5)
    assert jitter([{3: 2.0, 1: 1.0, 2: 3.0}]) == pytest.approx(1.5)
    assert jitter([{1: 1.0, 3: 9.0}, {4: 1.0, 5: 1.5}]) == pytest.approx(0.5)
    assert jitter([{1: 1.0}, {2: 5.0}]) is None
    assert jitter([]) is None
