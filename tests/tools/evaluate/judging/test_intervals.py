"""Bounds against their definitions, published tables and scipy's own scalar functions."""

import numpy as np
import pytest

from tools.evaluate.judging.intervals import (
    binomial_cdf,
    independent_weight,
    interval,
    lower_bound,
    most_errors,
    proving_count,
    wilson,
)

ERROR = 0.05


def test_the_binomials_tail_is_the_sum_of_its_terms() -> None:
    terms = 0.7**10 + 10 * 0.3 * 0.7**9 + 45 * 0.3**2 * 0.7**8
    assert binomial_cdf(2, 10, 0.3) == pytest.approx(terms)
    assert binomial_cdf(1000, 3000, 0.3) == pytest.approx(0.999968, abs=1e-5)
    assert binomial_cdf(10, 10, 0.3) == 1.0


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # By R's binom.test.
    [
        (0, 10, 0.0, 0.3084971),
        (10, 10, 0.6915029, 1.0),
        (7, 20, 0.1539092, 0.5921885),
        (95, 100, 0.8871651, 0.9835681),
    ],
)
def test_a_shares_interval_is_clopper_pearsons(
    hits: int, count: int, low: float, high: float
) -> None:
    assert interval(hits, count) == pytest.approx((hits / count, low, high), abs=1e-6)


def test_wilsons_intervals_are_scipys_for_whole_arrays() -> None:
    # Takes a second to import, which everybody who collects these tests would wait for.
    from scipy.stats import binomtest

    rng = np.random.default_rng(3)
    counts = rng.integers(1, 400, 50)
    hits = rng.integers(0, counts + 1)
    for hit, count, *found in zip(hits, counts, *wilson(hits, counts), strict=True):
        ends = binomtest(hit, count).proportion_ci(method="wilson")
        assert found == pytest.approx([hit / count, ends.low, ends.high], abs=1e-9)
    assert np.isnan(wilson(np.array([0]), np.array([0]))).all()


def test_five_frames_each_of_20_scenes_are_worth_20_images() -> None:
    groups = np.repeat(np.arange(20), 5)
    assert independent_weight(np.ones(100, np.bool_), groups) == 0.2
    frames = wilson(np.array(35), np.array(100), 0.2)
    scenes = wilson(np.array(7), np.array(20))
    for one, other in zip(frames, scenes, strict=True):
        assert one == pytest.approx(other)


@pytest.mark.parametrize(
    ("level", "errors", "count"), [(0.90, 0, 29), (0.95, 0, 59), (0.99, 0, 299), (0.95, 1, 93)]
)
def test_how_many_images_prove_a_share(level: float, errors: int, count: int) -> None:
    assert proving_count(level, ERROR, errors) == count


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_a_count_proves_a_share_if_its_lower_bound_reaches_it(level: float) -> None:
    for count in (1, 10, 60, 93, 94, 500):
        allowed = most_errors(count, level, ERROR)
        if allowed >= 0:
            assert lower_bound(count - allowed, count, ERROR) >= level
            assert proving_count(level, ERROR, allowed) <= count
        assert lower_bound(count - allowed - 1, count, ERROR) < level
        assert proving_count(level, ERROR, allowed + 1) > count


def test_levels_near_1_cost_no_time() -> None:
    assert proving_count(0.999999, ERROR, 3) > 7_000_000
