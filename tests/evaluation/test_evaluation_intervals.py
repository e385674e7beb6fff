"""Intervals that cover, tests that reject as often as they should."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from evaluation_samples import sample_split, simulated
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from mmad.base.errors import EvaluationError
from mmad.base.multiple_testing import holm
from mmad.base.records import GroundTruth
from mmad.evaluation.intervals import Difference, Interval, compare, needed
from mmad.evaluation.matching import Matched, match


def matched(seed: int, images: int, **how: float) -> Matched:
    return match(*simulated(seed, images, **how))


@pytest.mark.slow
def test_without_a_difference_the_paired_test_rejects_one_in_twenty() -> None:
    rejected = outside = 0
    for i in range(500):
        found = compare([matched(i, 120, arm=1)], [matched(i, 120, arm=2)], resamples=200, seed=i)
        rejected += found.p <= 0.05
        outside += found.verdict != "not settled"
    assert 0.03 <= rejected / 500 <= 0.07
    assert 0.02 <= outside / 500 <= 0.08


def test_a_difference_is_found_and_named() -> None:
    found = compare([matched(0, 200, shift=-0.3)], [matched(0, 200, shift=0.2, arm=1)], resamples=200)
    assert found.verdict == "better"
    assert found.p < 0.01
    assert found.ap.low < found.ap.value < found.ap.high
    back = compare([matched(0, 200, shift=0.2, arm=1)], [matched(0, 200, shift=-0.3)], resamples=200)
    assert back.verdict == "worse"
    assert back.ap.value == pytest.approx(-found.ap.value)


def test_an_arm_against_itself_differs_by_nothing() -> None:
    runs = [match(*sample_split(seed, images=40)) for seed in (1,)]
    found = compare(runs, runs, resamples=100)
    assert (found.ap.value, found.ap.low, found.ap.high) == (0, 0, 0)
    assert found.p == 1


def test_what_cannot_be_compared_is_refused() -> None:
    run = matched(0, 20)
    with pytest.raises(EvaluationError, match="no run to evaluate"):
        compare([], [])
    with pytest.raises(EvaluationError, match="1 runs of one arm and 2"):
        compare([run], [run, run])
    with pytest.raises(EvaluationError, match="other patients"):
        compare([run], [matched(0, 21)])
    other = GroundTruth(
        *(getattr(simulated(0, 20)[1], n) for n in ("studies", "patients")),
        ("B",),
        *(getattr(simulated(0, 20)[1], n) for n in ("study", "boxes", "labels")),
    )
    with pytest.raises(EvaluationError, match="other categories"):
        compare([run], [match(simulated(0, 20)[0], other)])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(a >= p for a, p in zip(adjusted, values, strict=True))
    assert all(a <= 1 for a in adjusted)
    order = sorted(range(len(values)), key=lambda i: values[i])
    assert all(adjusted[a] <= adjusted[b] for a, b in itertools.pairwise(order))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(holm([math.nan, 0.2])[0])
    assert holm([math.nan, 0.2])[1] == 0.2


def _difference(value: float, seeds: float | None, patients: float) -> Difference:
    some = Interval(value, value - 1, value + 1)
    return Difference(some, some, (), 0.5, 0.5, 3, 50, 100, 0.1, seeds, patients, None)


def test_what_would_settle_it() -> None:
    asked = needed(_difference(0.05, 0.02, 0.01))
    assert (asked.seeds, asked.images) == (9, None)  # the seeds alone vary too much
    alone = replace(_difference(0.05, None, 0.03), seeds=1)
    assert needed(alone).seeds is None
    assert needed(alone).images == math.ceil(100 * 0.03**2 / (0.05 / 2.801585) ** 2)
    assert needed(_difference(0.0, 0.1, 0.1)) == needed(_difference(math.nan, 0.1, 0.1))


@given(
    effect=st.floats(0.001, 0.5), seeds=st.floats(0.001, 0.2), patients=st.floats(0.001, 0.2), there=st.integers(2, 9)
)
def test_what_would_settle_it_is_more_than_there_is_and_enough(
    effect: float, seeds: float, patients: float, there: int
) -> None:
    asked = needed(replace(_difference(effect, seeds, patients), seeds=there))

    def power(count: int) -> float:
        error = math.sqrt(seeds**2 * there / count + patients**2)
        return float(student.cdf(effect / error - student.ppf(0.975, count - 1), count - 1))

    if asked.seeds is not None:
        assert asked.seeds > there
        assert power(asked.seeds) >= 0.8 - 1e-9
        assert asked.seeds == there + 1 or power(asked.seeds - 1) < 0.8
    else:
        assert power(1000) < 0.8
    if asked.images is not None:
        assert asked.images > 100
