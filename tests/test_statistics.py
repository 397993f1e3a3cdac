"""Statistics against values computed by hand or taken from published tables."""

from __future__ import annotations

import pytest

from textunlearn.errors import UserError
from textunlearn.evaluation.statistics import Rate, mcnemar, mean_over_seeds, rogan_gladen


def test_wilson_by_hand() -> None:
    # z = 1.959964: centre (p + z²/2n) / (1 + z²/n), half width z sqrt(p(1-p)/n + z²/4n²) / (1 + z²/n), n = 10, p = .5.
    rate = Rate(5, 10)
    assert rate.value == 0.5
    assert rate.low == pytest.approx(0.236593, abs=1e-6)
    assert rate.high == pytest.approx(0.763407, abs=1e-6)


def test_wilson_at_the_ends() -> None:
    none, all_of = Rate(0, 100), Rate(100, 100)
    assert none.low == 0 and none.high == pytest.approx(3.841459 / 103.841459, abs=1e-6)  # z² / (n + z²)
    assert all_of.high == 1 and all_of.low == pytest.approx(100 / 103.841459, abs=1e-6)


def test_a_rate_of_nothing() -> None:
    rate = Rate(0, 0)
    assert (rate.value, rate.low, rate.high) == (None, None, None)
    assert rate.to_json() == {"k": 0, "n": 0, "rate": None, "low": None, "high": None}


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (1, 0)])
def test_impossible_rates(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= k <= n"):
        Rate(k, n)


def test_mean_over_three_seeds_by_hand() -> None:
    # mean 2, standard deviation 1, t(0.975, 2) = 4.302653: half width 4.302653 / sqrt(3) = 2.484138.
    mean, low, high = mean_over_seeds([1.0, 2.0, 3.0])
    assert mean == 2 and low == pytest.approx(2 - 2.484138, abs=1e-5) and high == pytest.approx(2 + 2.484138, abs=1e-5)


def test_mean_over_few_seeds() -> None:
    assert mean_over_seeds([0.3]) == (0.3, None, None)
    assert mean_over_seeds([0.25, 0.25]) == (0.25, 0.25, 0.25)
    with pytest.raises(ValueError, match="at least one"):
        mean_over_seeds([])


def test_mcnemar_by_hand() -> None:
    # 1 gained, 7 lost: two-sided binomial p = 2 (C(8,0) + C(8,1)) / 2**8 = 18 / 256.
    before = [False] + [True] * 7 + [True, False]
    after = [True] + [False] * 7 + [True, False]
    found = mcnemar(before, after)
    assert (found.gained, found.lost, found.same) == (1, 7, 2)
    assert found.p == pytest.approx(18 / 256)


def test_mcnemar_without_change_and_with_unequal_lengths() -> None:
    assert mcnemar([True, False], [True, False]).p == 1
    assert mcnemar([True, False], [False, True]).p == 1
    with pytest.raises(ValueError, match="shorter"):
        mcnemar([True, False], [True])


def test_rogan_gladen_by_hand() -> None:
    # 20 of 100 true, seen with sensitivity .9 and specificity .95: .2 * .9 + .8 * .05 = .22.
    assert rogan_gladen(0.22, 0.9, 0.95) == pytest.approx(0.2)
    assert rogan_gladen(0.01, 0.9, 0.95) == 0 and rogan_gladen(1.0, 0.9, 0.95) == 1
    assert rogan_gladen(0.37, 1, 1) == pytest.approx(0.37)


def test_a_judge_that_guesses_cannot_be_corrected() -> None:
    with pytest.raises(UserError, match=r"0\.50"):
        rogan_gladen(0.2, 0.5, 0.5)
