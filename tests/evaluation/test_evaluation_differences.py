"""Differences: the published variance, interval and p that agree, families of pairs, plans."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_samples import compare, sample_split, several, simulated
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples
from scipy.stats import chi2, dunnett, multivariate_t
from scipy.stats import t as student

from mmad.analysis.comparison import plan_words
from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.differences import (
    Difference,
    FamilyPair,
    Goal,
    PairSample,
    bootstrap_t,
    decide,
    differences,
    influence,
    largest_t,
    mean_difference,
    obuchowski_rockette,
    pair_sample,
    permutation_p,
    plans,
    pooled_squares,
    t_test,
)
from mmad.evaluation.matching import Matched, match
from mmad.evaluation.resampling import Interval

NOTHING = Interval(math.nan, math.nan, math.nan)


def matched(seed: int, images: int, **how: float) -> Matched:
    return match(*simulated(seed, images, **how))


def runs(trial: int, seeds: int, spread: float, arm: int, **how: float) -> list[Matched]:
    return [match(*one) for one in several(trial, 100, seeds=seeds, spread=spread, arm=arm, patients=0.2, **how)]


def sample(reference: Sequence[float], other: Sequence[float], moved: np.ndarray | None = None) -> PairSample:
    """A pair of these APs; ``moved`` (S, P) is the difference without each patient."""
    without = np.zeros((len(reference), 30)) if moved is None else moved
    ap = tuple(reference), tuple(other)
    rows = tuple(map(tuple, without.tolist()))
    return PairSample(*ap, rows, NOTHING, (), 0.5, without.shape[1], without.shape[1], "all")


def pair_of(name: str, reference: Sequence[float], other: Sequence[float], baseline: str = "") -> FamilyPair:
    numbers = tuple(range(len(reference)))
    left, right = (tuple((arm, n) for n in numbers) for arm in (baseline or f"{name} reference", f"{name} other"))
    return FamilyPair(sample(reference, other), left, right, numbers)


def settled(found: Difference) -> bool:
    return not found.ap.low <= 0 <= found.ap.high


@pytest.mark.parametrize(
    ("seeds", "ms_tr", "cov2", "cov3", "error", "freedom"),
    [
        # Van Dyke, empirical AUC, jackknife covariances (RJafroc), then DeLong's (MRMCaov): 2 modalities, 5 readers
        (5, 0.000551031, 0.000344075, 0.000239028, 0.020748618, 15.259675),
        (5, 0.000551031, 0.0003395265, 0.0002358497, 0.0206825, 15.06611),
        # wAFROC of RJafroc's first data set
        (5, 0.000998883, 0.000571821, 0.000275134, 0.031510744, 24.702758),
    ],
)
def test_the_variance_is_the_published_one(
    seeds: int, ms_tr: float, cov2: float, cov3: float, error: float, freedom: float
) -> None:
    found = obuchowski_rockette(seeds, ms_tr, cov2, cov3, seeds - 1)
    assert found == (pytest.approx(error, rel=1e-5), pytest.approx(freedom, rel=1e-5))


def test_where_the_covariances_cross_the_spread_of_the_seeds_is_left() -> None:
    """The toy data set of RJafroc: Cov2 < Cov3, and 2 degrees of freedom."""
    error, freedom = obuchowski_rockette(3, 0.020372, 0.014581, 0.021331, 2)
    assert error == pytest.approx(math.sqrt(2 / 3 * 0.020372))
    assert freedom == 2


TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"


@pytest.mark.parametrize(("seeds", "near"), [(3, 0.0011), (5, 0.0011), (10, 0.0028)])
def test_the_tutorial_prints_the_interval_of_its_seeds(seeds: int, near: float) -> None:
    """From the differences that the page prints seed by seed; patients add a little to the spread of ten seeds."""
    text = TUTORIAL.read_text("utf-8")
    ((listed, last),) = re.findall(r"By seed the clinical arm is ahead by ([−\d., \n]+)\s+and (\d\.\d+)\.", text)
    each = [float(word.replace("−", "-")) for word in re.findall(r"−?\d\.\d+", listed)] + [float(last)]
    assert len(each) == 10
    (found,) = differences([pair_of("x", [0.0] * seeds, each[:seeds])])
    row = rf"^\| {seeds} seeds .*\| (\+\S+ \[.*\]) \| (.+) \| (\S+) \|$"
    ((printed, verdict, p),) = re.findall(row, text, re.MULTILINE)
    figures = [float(word.replace("−", "-")) for word in re.findall(r"[+−]\d\.\d+", printed)]
    assert [found.ap.value, found.ap.low, found.ap.high, found.p] == pytest.approx([*figures, float(p)], abs=near)
    assert verdict == ("higher" if settled(found) else "not settled")


#: Published figures by modality (rows) and reader: AUC of Van Dyke, and wAFROC of RJafroc's fourth data set.
VAN_DYKE = (
    (0.919645733, 0.858776167, 0.903864734, 0.973107890, 0.829790660),
    (0.947826087, 0.905314010, 0.921739130, 0.999355878, 0.929951691),
)
FED = (
    (0.77926667, 0.72489167, 0.703625, 0.80509167),
    (0.787, 0.7269, 0.72261667, 0.80378333),
    (0.72969167, 0.71575833, 0.67230833, 0.77265833),
    (0.81013333, 0.74311667, 0.69435833, 0.82940833),
    (0.7488, 0.682275, 0.655175, 0.77125),
)


def moved_alike(readers: int, shared: float) -> np.ndarray:
    """What patients do to ``readers`` alike, such that two readers' differences covary by ``shared``."""
    row = np.random.default_rng(0).normal(size=114)
    row -= row.mean()
    row *= math.sqrt(shared * 114 / 113 / (row @ row))
    return np.tile(row, (readers, 1))


@pytest.mark.parametrize(
    ("merits", "pair", "shared", "error", "freedom", "ends", "p"),
    [
        (
            *(VAN_DYKE, (0, 1), 2 * (0.000344075 - 0.000239028)),
            *(0.020748618, 15.259675, (-0.0003589, 0.0879595), 0.051665686),
        ),
        # five arms estimate one mean square; the covariances are those that its published standard error leaves
        (
            *(FED, (4, 3), 0.01218567**2 - 2 / 4 * 0.00016960348),
            *(0.01218567, 36.793343, (0.030183973, 0.079574361), 6.5228e-5),
        ),
    ],
)
def test_published_reader_studies_from_their_merits_to_interval_and_p(
    merits: tuple[tuple[float, ...], ...],
    pair: tuple[int, int],
    shared: float,
    error: float,
    freedom: float,
    ends: tuple[float, float],
    p: float,
) -> None:
    """With Hillis' degrees of freedom, as published; the test has fewer, between his and those of the mean square."""
    readers, names = len(merits[0]), [chr(97 + n) for n in range(len(merits))]
    numbers = tuple(range(readers))

    def one(a: int, b: int) -> FamilyPair:
        runs = (tuple((names[arm], n) for n in numbers) for arm in (a, b))
        return FamilyPair(sample(merits[a], merits[b], moved_alike(readers, shared)), *runs, numbers)

    found, *_ = differences([one(*pair), *(one(0, b) for b in range(1, len(merits)) if (0, b) != pair)])
    assert found.variance_seeds is not None
    measured = math.sqrt(found.variance_seeds + found.variance_patients)
    assert (measured, found.freedom_hillis) == (pytest.approx(error, abs=1e-7), pytest.approx(freedom, rel=1e-4))
    reach, published_p = t_test(found.ap.value, measured, found.freedom_hillis)
    assert (found.ap.value - reach, found.ap.value + reach) == pytest.approx(ends, abs=1e-6)
    assert published_p == pytest.approx(p, rel=1e-3)
    assert (readers - 1) * (len(merits) - 1) == found.lent_freedom < found.freedom < found.freedom_hillis
    assert published_p < found.p_pointwise


@pytest.mark.parametrize(
    ("value", "error", "freedom", "margin", "p", "ends"),
    [
        # TOSTER's known results: one sample, Welch, paired, and an effect with a normal error
        (0.04, 0.12, 99, 0.36, 0.004474619, (-0.1592469, 0.2392469)),
        (0.03, (0.03 + 0.3835687) / 3.14973, 181.1344, 0.3835687, 0.003875522, (-0.1870843, 0.2470843)),
        (0.08, (0.08 + 0.350782) / 3.960381, 64, 0.350782, 0.00770235, (-0.1015433, 0.2615433)),
        (0.12, 0.09, math.inf, 0.2, 0.1870314, None),
    ],
)
def test_equivalence_is_decided_as_published(
    value: float, error: float, freedom: float, margin: float, p: float, ends: tuple[float, float] | None
) -> None:
    found = decide(Goal("equivalence", margin, 0.05), value, error, freedom)
    assert found.p == pytest.approx(p, rel=2e-3)
    assert found.level == pytest.approx(0.9)
    if ends is not None:
        assert (found.interval.low, found.interval.high) == pytest.approx(ends, abs=1e-5)
    assert found.reached == (p < 0.05) == (found.interval.low > -margin and found.interval.high < margin)


@given(st.floats(-0.3, 0.3), st.floats(0.001, 0.2), st.floats(2, 200), st.floats(0.01, 0.3), st.floats(0.01, 0.1))
def test_a_goal_is_reached_where_its_interval_leaves_out_what_would_be_none(
    value: float, error: float, freedom: float, margin: float, alpha: float
) -> None:
    equal = decide(Goal("equivalence", margin, alpha), value, error, freedom)
    assert equal.reached == (equal.interval.low > -margin and equal.interval.high < margin)
    fine = decide(Goal("non-inferiority", margin, alpha), value, error, freedom)
    assert fine.reached == (fine.interval.low > -margin)
    apart = decide(Goal("difference", 0.0, alpha), value, error, freedom)
    assert apart.reached == (not apart.interval.low <= 0 <= apart.interval.high)


def test_a_registered_pair_is_a_family_by_itself() -> None:
    rng = np.random.default_rng(8)
    family = [pair_of(str(n), *rng.normal(0.5, 0.05, (2, 4))) for n in range(6)]
    together = differences(family)
    registered = differences([replace(family[0], goal=Goal()), *family[1:]])
    first, was = registered[0], together[0]
    assert (first.family, first.lent) == (1, 5)
    assert (first.ap, first.p) == (was.pointwise, was.p_pointwise)
    assert (first.variance_seeds, first.freedom) == (was.variance_seeds, was.freedom)
    assert [one.family for one in registered[1:]] == [5] * 5
    assert all(new.p <= old.p + 0.01 for new, old in zip(registered[1:], together[1:], strict=True))
    wide = differences([replace(family[0], goal=Goal(alpha=0.2)), *family[1:]])[0]
    assert (wide.level, first.level) == (pytest.approx(0.8), 0.95)
    assert (wide.pointwise, wide.p_pointwise) == (was.pointwise, was.p_pointwise)
    assert was.pointwise.low < wide.ap.low


def test_squares_are_added_over_settings_and_a_shared_baseline_counts_once() -> None:
    rng = np.random.default_rng(3)
    base, one, two, far = rng.normal(size=(4, 3))
    apart = [pair_of("one", base, one), pair_of("far", far, two)]
    alone = [(1 / 2) * (np.subtract(b, a) - np.subtract(b, a).mean()) @ (np.subtract(b, a)) for a, b in
             ((base, one), (far, two))]  # fmt: skip
    assert pooled_squares(apart) == (pytest.approx(sum(alone)), 4)
    together = [pair_of("one", base, one, "base"), pair_of("two", base, two, "base")]
    table = np.stack([base, one, two])
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    assert pooled_squares(together) == (pytest.approx((left**2).sum()), 4)
    short = [together[0], FamilyPair(sample(base[:2], two[:2]), (("base", 0), ("base", 1)), ((2, 0), (2, 1)), (0, 1))]
    assert pooled_squares(short)[1] == 3  # a seed that one arm lacks costs one


def test_the_influence_of_patients_is_the_jackknife_s() -> None:
    values = np.random.default_rng(1).normal(size=40)
    without = (values.sum() - values) / 39
    moved = influence(without)
    assert moved @ moved == pytest.approx(values.var(ddof=1) / 40)


def test_a_finding_that_one_patient_has_stays_in_the_list_that_is_averaged() -> None:
    detections, truth = simulated(0, 30)
    labels = truth.labels.copy()
    labels[0] = 2
    both = GroundTruth(truth.studies, truth.patients, ("A", "B"), truth.study, truth.boxes, labels)
    run = match(detections, both)
    other = match(simulated(0, 30, arm=1)[0], both)
    found = pair_sample([run], [other], resamples=50)
    assert np.isfinite(found.without).all()
    assert found.differences[0] + 0.5 > found.without[0][0] > found.differences[0] - 0.5


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_finding_that_one_arm_always_finds_and_the_other_never_has_no_interval(seeds: int) -> None:
    truth = simulated(0, 12)[1]
    nothing = np.empty(0, int)
    none = match(Detections(truth.studies, nothing, np.empty((0, 4)), np.empty(0), nothing), truth)
    all_found = match(
        Detections(truth.studies, truth.study, truth.boxes, np.ones(len(truth.labels)), truth.labels), truth
    )
    (_, ap, ar), *_ = pair_sample([none] * seeds, [all_found] * seeds, resamples=50).per_class
    assert (ap.value, ar.value) == (1, 1)
    assert np.isnan([ap.low, ap.high, ar.low, ar.high]).all()  # twelve patients do not prove a difference of exactly 1
    (_, ap, _), *_ = pair_sample([none] * seeds, [none] * seeds, resamples=50).per_class
    assert (ap.low, ap.value, ap.high) == (0, 0, 0)


@given(st.integers(0, 2**31), st.floats(-0.2, 0.2), st.integers(2, 5), st.integers(1, 4))
@examples(20)
def test_interval_p_and_verdict_agree(seed: int, shift: float, seeds: int, pairs: int) -> None:
    rng = np.random.default_rng(seed)
    family = []
    for n in range(pairs):
        moved = rng.normal(0, 0.005, (1, 30)) + rng.normal(0, 0.002, (seeds, 30))
        one = pair_of(str(n), rng.normal(0.5, 0.05, seeds), rng.normal(0.5 + shift, 0.05, seeds))
        family.append(replace(one, sample=replace(one.sample, without=tuple(map(tuple, moved.tolist())))))
    for found in differences(family):
        if seeds == 2 and pairs == 1:
            assert math.isnan(found.p)
            continue
        assert (found.p < 0.05) == settled(found)
        assert (found.p_pointwise < 0.05) == (not found.pointwise.low <= 0 <= found.pointwise.high)
        assert found.p >= found.p_pointwise
        assert found.ap.low <= found.pointwise.low <= found.pointwise.high <= found.ap.high
        assert (found.family, found.lent) == (pairs, pairs - 1)
    if seeds > 2 or pairs > 1:
        turned = differences(list(reversed(family)))
        assert [one.p for one in reversed(turned)] == [one.p for one in differences(family)]


@given(st.integers(0, 2**31), st.floats(-0.05, 0.05), st.integers(1, 3), st.sampled_from([20, 39, 50, 199, 999]))
@examples(20)
def test_of_one_seed_interval_and_p_agree(seed: int, shift: float, pairs: int, resamples: int) -> None:
    rng = np.random.default_rng(seed)
    family = []
    for n in range(pairs):
        one = pair_of(str(n), [0.5], [0.5 + shift])
        family.append(replace(one, sample=replace(one.sample, without=(tuple(rng.normal(0, 0.004, 30).tolist()),))))
    for found in differences(family, resamples=resamples):
        assert (found.p < 0.05) == settled(found)
        assert (found.p_pointwise < 0.05) == (not found.pointwise.low <= 0 <= found.pointwise.high)
        assert found.p >= found.p_pointwise


def test_two_seeds_alone_settle_nothing_and_others_lend_them_their_variance() -> None:
    rng = np.random.default_rng(5)
    clear = pair_of("clear", [0.50, 0.52], [0.80, 0.82])
    (alone,) = differences([clear])
    assert (math.isnan(alone.p), math.isnan(alone.ap.low), alone.lent) == (True, True, 0)
    others = [pair_of(str(n), *rng.normal(0.5, 0.03, (2, 2))) for n in range(10)]
    found = differences([clear, *others])
    assert settled(found[0])
    assert (found[0].lent, found[0].lent_freedom, found[0].family) == (10, 11, 11)


def test_of_the_pair_s_own_spread_and_the_common_one_the_larger_counts() -> None:
    quiet = [pair_of(str(n), [0.50, 0.51, 0.49], [0.50, 0.52, 0.48]) for n in range(9)]
    loud = pair_of("loud", [0.2, 0.5, 0.8], [0.8, 0.5, 0.2])
    *rest, last = differences([*quiet, loud])
    assert last.variance_seeds == pytest.approx(np.var([0.6, 0, -0.6], ddof=1) / 3)
    assert rest[0].variance_seeds is not None
    assert rest[0].variance_seeds < last.variance_seeds


def permuted(rng: np.random.Generator, seeds: int, spread: float, shift: float = 0.0) -> list[FamilyPair]:
    """One arm against three permutations that differ by ``spread``, in units of what a run varies by."""
    seed = rng.normal(0.5, 0.1, seeds)
    other = seed + rng.normal(shift, 0.01, seeds)
    references = [seed + rng.normal(0, 0.01 * spread) + rng.normal(0, 0.01, seeds) for _ in range(3)]
    pairs = [pair_of(f"{n}", one, other, f"permuted {n}") for n, one in enumerate(references)]
    return [replace(one, other=pairs[0].other) for one in pairs]


def test_the_mean_of_one_reference_is_its_pair() -> None:
    rng = np.random.default_rng(2)
    family = [pair_of(str(n), *rng.normal(0.5, 0.03, (2, 3))) for n in range(4)]
    (one, *_) = differences(family)
    mean = mean_difference(family, [0])
    assert (mean.seeds, mean.references) == (3, 1)
    assert (mean.ap, mean.p) == (one.pointwise, one.p_pointwise)
    assert mean_difference(family, [0], family[1].sample).ap == differences(family)[1].pointwise


def test_references_are_averaged_within_the_seeds_that_all_have() -> None:
    pairs = permuted(np.random.default_rng(3), 4, 1)
    fewer = [*pairs[:2], pairs[2].of((0, 2, 3))]
    mean = mean_difference(fewer, [0, 1, 2])
    expected = np.mean([[one.sample.differences[n] for n in (0, 2, 3)] for one in pairs])
    assert mean.ap.value == pytest.approx(expected)
    assert (mean.seeds, mean.references) == (3, 3)
    assert math.isnan(mean_difference([pairs[0].of((0, 1)), pairs[1].of((2, 3))], [0, 1]).p)


def test_what_permutations_vary_by_does_not_shrink_with_seeds() -> None:
    """By hand: means of 0.5, 0.6 and 0.7 have a variance of 0.01, and a mean of three of them a third of it."""
    for seeds in (2, 20):
        each = np.tile([1e-5, -1e-5], seeds // 2)
        pairs = [pair_of(str(n), level + each * n, 0.9 + each, f"p{n}") for n, level in enumerate((0.5, 0.6, 0.7))]
        mean = mean_difference([replace(one, other=pairs[0].other) for one in pairs], [0, 1, 2])
        reach = student.ppf(0.975, 2) * math.sqrt(0.01 / 3)
        assert mean.ap.value == pytest.approx(0.3)
        assert mean.ap.high == pytest.approx(0.3 + reach, rel=1e-3)
        assert mean.p == pytest.approx(2 * student.sf(0.3 / math.sqrt(0.01 / 3), 2), rel=1e-3)


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.0), (3, 2.0), (5, 2.0)])
def test_one_in_twenty_is_ahead_of_permutations_it_does_not_differ_from(seeds: int, spread: float) -> None:
    rng = np.random.default_rng(round(10 * seeds + spread))
    found = [mean_difference(permuted(rng, seeds, spread), [0, 1, 2]) for _ in range(400)]
    assert np.mean([one.p < 0.05 for one in found]) <= 0.075
    for one in found:
        assert (one.p < 0.05) == (not one.ap.low <= 0 <= one.ap.high)


def test_an_arm_that_is_ahead_of_permutations_is_found() -> None:
    rng = np.random.default_rng(4)
    found = [mean_difference(permuted(rng, 3, 0.5, shift=0.05), [0, 1, 2]) for _ in range(100)]
    assert np.mean([one.ap.low > 0 for one in found]) > 0.75


def test_the_largest_t_is_dunnett_s_where_a_baseline_is_shared() -> None:
    """Against scipy: the multivariate t, and Dunnett's test of raw samples of equal size."""
    correlation = np.full((4, 4), 0.5) + np.eye(4) * 0.5
    drawn = largest_t(correlation, 20)
    limit = 2.65
    known = multivariate_t(shape=correlation, df=20).cdf([limit] * 4, lower_limit=[-limit] * 4, random_state=0)
    assert (drawn <= limit).mean() == pytest.approx(known, abs=0.006)
    rng = np.random.default_rng(2)
    arms = rng.normal(size=(4, 6)) + np.array([0.0, 0.4, 1.0, 1.6])[:, None]
    published = dunnett(*arms[1:], control=arms[0], random_state=np.random.default_rng(0))
    pooled = arms.var(axis=1, ddof=1).mean()
    t = np.abs(arms[1:].mean(axis=1) - arms[0].mean()) / math.sqrt(2 * pooled / 6)
    own = largest_t(np.full((3, 3), 0.5) + np.eye(3) * 0.5, 20)
    assert [(own >= one).mean() for one in t] == pytest.approx(published.pvalue.tolist(), abs=0.01)


def test_the_bootstrap_t_of_one_patient_who_decides_everything_knows_nothing() -> None:
    moved = np.zeros((1, 20))
    moved[0, 0] = 1.0
    drawn = bootstrap_t(moved, 200)
    assert not np.isnan(drawn).any()


def test_a_difference_is_found_and_named() -> None:
    found = compare([matched(0, 200, shift=-0.3)], [matched(0, 200, shift=0.2, arm=1)], resamples=200)
    assert found.ap.low > 0
    assert found.p < 0.01
    back = compare([matched(0, 200, shift=0.2, arm=1)], [matched(0, 200, shift=-0.3)], resamples=200)
    assert back.ap.value == pytest.approx(-found.ap.value)
    assert (back.ap.low, back.ap.high) == (pytest.approx(-found.ap.high), pytest.approx(-found.ap.low))


def test_a_difference_between_seeds_that_differ_is_still_found() -> None:
    found = compare(runs(0, 4, 0.03, 1, shift=-0.3), runs(0, 4, 0.03, 2), resamples=200)
    assert found.ap.low > 0
    assert found.p < 0.01
    assert len(found.per_class[0]) == 3


def test_an_arm_against_itself_differs_by_nothing() -> None:
    same = [match(*sample_split(1, images=40))]
    found = compare(same, same, resamples=100)
    assert (found.ap.value, found.ap.low, found.ap.high) == (0, 0, 0)
    assert found.p == 1


def test_seeds_of_one_patient_are_swapped_together() -> None:
    """The same run under three names is no more evidence than once."""
    one, other = runs(1, 1, 0.0, 1)[0], runs(1, 1, 0.0, 2, shift=0.1)[0]
    assert permutation_p([(one, other)] * 3, resamples=200) == permutation_p([(one, other)], resamples=200)


def test_what_cannot_be_compared_is_refused() -> None:
    run = matched(0, 20)
    with pytest.raises(EvaluationError, match="1 runs of one arm and 2"):
        compare([run], [run, run])
    with pytest.raises(EvaluationError, match="other patients"):
        compare([run], [matched(0, 21)])
    truth = simulated(0, 20)[1]
    other = GroundTruth(truth.studies, truth.patients, ("B",), truth.study, truth.boxes, truth.labels)
    with pytest.raises(EvaluationError, match="other categories"):
        compare([run], [match(simulated(0, 20)[0], other)])


@pytest.mark.slow
@pytest.mark.parametrize("images", [20, 120])
def test_without_a_difference_one_in_twenty_pairs_of_networks_is_named(images: int) -> None:
    found = [compare([matched(i, images, arm=1)], [matched(i, images, arm=2)], resamples=300) for i in range(300)]
    assert sum(map(settled, found)) / 300 <= 0.08
    assert sum(f.p_patients <= 0.05 for f in found) / 300 <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.0), (3, 0.1), (5, 0.1)])
def test_without_a_difference_one_in_twenty_arms_is_named_also_of_seeds_that_differ(seeds: int, spread: float) -> None:
    found = [compare(*(runs(i, seeds, spread, arm) for arm in (1, 2)), resamples=50) for i in range(250)]
    assert 0.02 <= sum(map(settled, found)) / 250 <= 0.08
    alone = sum(f.p_patients <= 0.05 for f in found) / 250
    assert alone <= 0.08 if spread == 0 else alone > 0.25  # what the swap within patients takes for a difference
    share = float(np.mean([f.seed_share or 0 for f in found]))
    assert share < 0.25 if spread == 0 else share > 0.5


def known(seeds: float | None, patients: float, *, freedom: int = 20, count: int = 3, people: int = 100) -> Difference:
    some = Interval(0.05, -0.1, 0.2)
    size = (0.5, count, people, people, 1, float(freedom), float(freedom), 3, freedom, 0.1)
    return Difference(some, 0.5, some, 0.5, some, (), *size, seeds, patients, None)


def test_a_plan_is_for_an_effect_named_beforehand() -> None:
    found = plans(known(0.02**2, 0.0), effects=(0.05,))
    assert [(one.effect, one.unit) for one in found] == [(0.05, "seeds")]
    assert plans(replace(known(0.02**2, 0.0), ap=Interval(0.3, 0.2, 0.4)), effects=(0.05,)) == found
    assert [one.effect for one in plans(known(0.02**2, 0.0))] == [0.02, 0.05, 0.10]
    assert plans(known(0.02**2, 0.01**2), effects=(0.02,))[0].number is None  # these patients would not show it
    assert plans(known(0.02**2, 0.0, freedom=8)) == ()
    assert plans(known(None, 0.03**2, count=1, people=9)) == ()


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        (0.0060, "81 seeds [48 to 168]"),
        (0.0070, "612 seeds [358 to over 1,000]"),
        (0.0071, "over 1,000 seeds: more patients are needed"),
        (0.00707, "over 1,000 seeds [719 to over 1,000]: more patients are needed"),
    ],
)
def test_a_plan_says_when_seeds_alone_are_not_enough(patients: float, said: str) -> None:
    assert plan_words(known(0.02**2, patients**2), (0.02,)) == [
        f"A study to show a true difference of 0.02 at 80 % power: {said}"
    ]


def test_the_plan_of_two_networks_is_of_patients() -> None:
    (one,) = plans(known(None, 0.03**2, count=1), effects=(0.05,))
    factor = (1.959964 + 0.841621) ** 2 / 0.05**2
    low, high = (99 / chi2.ppf(tail, 99) for tail in (0.975, 0.025))
    assert (one.unit, one.number) == ("patients", math.ceil(100 * 0.03**2 * factor))
    assert (one.low, one.high) == tuple(math.ceil(100 * 0.03**2 * factor * scale) for scale in (low, high))


@given(effect=st.floats(0.01, 0.5), seeds=st.floats(0.001, 0.2), patients=st.floats(0, 0.1), count=st.integers(2, 9))
def test_a_plan_of_seeds_is_enough_and_no_more(effect: float, seeds: float, patients: float, count: int) -> None:
    (one,) = plans(known(seeds**2, patients**2, count=count), effects=(effect,))

    def power(number: int) -> float:
        error, behind = math.sqrt(seeds**2 * count / number + patients**2), 4 * (number - 1)  # of four pairs
        assumed = seeds**2 * count / number * (1 + 8 / behind)
        freedom = behind * (1 + patients**2 / assumed) ** 2
        return float(student.cdf(effect / error - student.ppf(0.975, freedom), freedom))

    if one.number is None:
        assert power(1000) < 0.8 + 1e-9
    else:
        assert power(one.number) >= 0.8 - 1e-9
        assert one.number == 2 or power(one.number - 1) < 0.8
        assert one.low is not None
        assert one.low <= one.number <= (one.high or math.inf)
