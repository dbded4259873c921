"""Exact tests of two-by-two tables against counting, and against published values."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vmnet.core.statistics.association import fisher, overlap, trend


def marks(places, size: int) -> np.ndarray:
    found = np.zeros(size, dtype=np.bool_)
    found[list(places)] = True
    return found


@pytest.mark.parametrize(
    ("lost", "sent", "p_value"),
    [
        ((3, 1), (4, 4), 0.485714),  # Fisher's lady tasting tea, two-sided
        ((1, 9), (10, 10), 0.001093),
        ((8, 1), (10, 6), 0.034965),  # fisher.test(matrix(c(8,2,1,5), 2)) of R
        ((0, 0), (5, 7), 1.0),
        ((5, 7), (5, 7), 1.0),
        ((0, 0), (0, 7), 1.0),
    ],
)
def test_fisher_has_its_known_values(lost, sent, p_value) -> None:
    assert fisher(lost, sent) == pytest.approx(p_value, abs=1e-6)


@given(st.integers(1, 8), st.data())
def test_overlap_is_what_counting_all_orders_gives(size, data) -> None:
    one = marks(data.draw(st.sets(st.integers(0, size - 1))), size)
    other = marks(data.draw(st.sets(st.integers(0, size - 1))), size)
    both, p_value = overlap(one, other)
    assert both == int((one & other).sum())
    orders = [
        (marks(places, size) & other).sum() >= both
        for places in combinations(range(size), int(one.sum()))
    ]
    assert p_value == pytest.approx(sum(orders) / len(orders))


def test_a_loss_that_grows_is_seen() -> None:
    early, late, p_value = trend(np.arange(300) >= 270)
    assert (early, late) == (0, 30)
    assert p_value < 1e-8
    assert trend(np.arange(300) % 10 == 0) == (15, 15, 1.0)
    assert trend(np.array([True])) == (0, 1, 1.0)
