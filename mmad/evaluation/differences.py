"""What may be said of a difference in AP: one variance for all seed counts, one procedure for interval, p and verdict.

The estimand is the expectation over seeds and patients of AP(other) minus AP(reference), with the training set fixed;
seeds count equally. Several trainings evaluated on the same patients are what several readers of the same cases are in
a reader study, so the variance is the one of Obuchowski and Rockette (1995); the degrees of freedom are those of Hillis
(2007), fewer where few seeds estimate the variance (``_test_of``). With one seed nothing is known of seeds: interval
and p are of these two networks, over patients.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, stdtr, stdtrit  # type: ignore[import-untyped]

from mmad.base.errors import EvaluationError
from mmad.evaluation.cross_validation import fold_error, over_folds
from mmad.evaluation.matching import Floats, Matched
from mmad.evaluation.resampling import (
    CELLS,
    LEVEL,
    RESAMPLES,
    Interval,
    average_precision,
    mean_over_findings,
    require_equal,
    weigh,
)
from mmad.evaluation.sequential import nominal_levels, repeated_p

T = TypeVar("T")
#: Draws of the largest of several t statistics.
DRAWS = 20_000
#: Patients that are left out at once, one each.
_LEFT_OUT = 500
#: Degrees of freedom behind the mean square, below which a study that adds seeds is not looked at.
LEAST_LOOK = 4
_UNKNOWN = math.nan
_NO_FREEDOM = (_UNKNOWN, _UNKNOWN)


# One pair on its patients: the figures of every seed, and what each patient does to them.


@dataclass(frozen=True)
class PairSample:
    """Two arms on the same patients, seed by seed.

    ``reference`` and ``other`` hold the AP of each seed, ``without`` the difference in AP without each patient,
    (S, P). AR and the findings have intervals of their own and take no verdict. ``p_patients`` is the permutation
    test's, of these very networks. ``cohort`` is a digest of the patients.
    """

    reference: tuple[float, ...]
    other: tuple[float, ...]
    without: tuple[tuple[float, ...], ...]
    ar: Interval
    per_class: tuple[tuple[str, Interval, Interval], ...]  # AP, AR
    p_patients: float
    patients: int
    images: int
    cohort: str

    @functools.cached_property
    def differences(self) -> Floats:
        """Other minus reference of each seed, (S,)."""
        found: Floats = np.array(self.other) - np.array(self.reference)
        return found

    @functools.cached_property
    def influence(self) -> Floats:
        """(S, P) what each patient does to each seed's difference: products sum to jackknife covariances."""
        return influence(np.array(self.without))


def influence(without: Floats) -> Floats:
    """Deviations (…, P) of figures without each patient, scaled so that products over patients are covariances.

    The covariance of two figures is (P − 1)/P times the sum of products of deviations (the delete-one jackknife).
    """
    patients = without.shape[-1]
    scaled: Floats = (without.mean(axis=-1, keepdims=True) - without) * math.sqrt((patients - 1) / patients)
    return scaled


def pair_sample(
    reference: Sequence[Matched],
    other: Sequence[Matched],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> PairSample:
    """What is known of two arms on the same patients.

    Args:
        reference: the matches of each seed; ``other`` likewise, in the same order.
        resamples: of the patients, for bootstrap and permutation test.
        seed: of the random numbers.
        level: of the intervals of AR and of the findings.

    Raises:
        EvaluationError: no run, not one of each arm per seed, or runs over other images or findings.
    """
    if len(reference) != len(other):
        raise EvaluationError(
            f"{len(reference)} runs of one arm and {len(other)} of the other",
            where="comparison",
            hint="compare the seeds that both arms have",
        )
    require_equal([*reference, *other])
    sides = [[_Jackknifed.of(run) for run in side] for side in (reference, other)]
    names, draws = reference[0].categories, (resamples, seed, level)

    def over(figure: str, k: int) -> Interval:
        both = [[getattr(run, figure)[:, k] for run in side] for side in sides]
        differences = np.stack(both[1]) - np.stack(both[0])  # (S, 1 + P), all patients first
        return _alone(differences[:, 0], influence(differences[:, 1:]), *draws)

    ap = [np.stack([mean_over_findings(run.ap) for run in side]) for side in sides]
    ar = [np.stack([mean_over_findings(run.ar) for run in side]) for side in sides]
    return PairSample(
        reference=tuple(ap[0][:, 0].tolist()),
        other=tuple(ap[1][:, 0].tolist()),
        without=tuple(map(tuple, (ap[1] - ap[0])[:, 1:].tolist())),
        ar=_alone((ar[1] - ar[0])[:, 0], influence((ar[1] - ar[0])[:, 1:]), *draws),
        per_class=tuple((label, over("ap", k), over("ar", k)) for k, label in enumerate(names)),
        p_patients=permutation_p(list(zip(reference, other, strict=True)), resamples=resamples, seed=seed),
        patients=len(set(reference[0].patients)),
        images=len(reference[0].patients),
        cohort=hashlib.sha256("\n".join(reference[0].patients).encode("utf-8", "replace")).hexdigest(),
    )


@dataclass(frozen=True)
class FoldedSample:
    """Two arms on the folds of a cross-validation, whose patients are others in each: a sample of each finished fold.

    Args:
        folds: samples of the finished ones.
        of: how many folds there are.
        test_to_train: patients of a fold's test split for each of its training split.
    """

    folds: tuple[PairSample, ...]
    of: int
    test_to_train: float

    @property
    def differences(self) -> Floats:
        """Other minus reference of each fold, the mean over its seeds, (K,)."""
        found: Floats = np.array([one.differences.mean() for one in self.folds])
        return found


@dataclass(frozen=True, eq=False)
class _Jackknifed:
    """AP and AR of each finding, (1 + P, K): with all patients, then without each.

    A finding that is left without a true box counts 0: the list of findings that is averaged never changes, and what
    one patient decides is not taken for certain.
    """

    ap: Floats
    ar: Floats

    @classmethod
    def of(cls, run: Matched) -> _Jackknifed:
        names, place = np.unique(np.array(run.patients, dtype=object).astype(str), return_inverse=True)
        found = [weigh(run)]
        for start in range(0, len(names), _LEFT_OUT):
            rows = np.arange(start, min(start + _LEFT_OUT, len(names)))
            found.append(weigh(run, (place[None, :] != rows[:, None]).astype(np.float64)))
        return cls(*(_kept(np.concatenate([getattr(part, name) for part in found])) for name in ("ap", "ar")))


def _kept(values: Floats) -> Floats:
    kept: Floats = np.where(np.isnan(values), 0.0 * values[:1], values)
    return kept


# Obuchowski and Rockette's variance of a mean difference over seeds.


def obuchowski_rockette(seeds: int, ms_tr: float, cov2: float, cov3: float, df_tr: float) -> tuple[float, float]:
    """Standard error of a difference between two arms, and its degrees of freedom by Hillis.

    Args:
        seeds: r, of each arm.
        ms_tr: mean square of arm × seed, with ``df_tr`` degrees of freedom.
        cov2: covariance through common patients of one arm's seeds; ``cov3``: of different arms and seeds.
    """
    shared = seeds * max(cov2 - cov3, 0.0)
    error = math.sqrt(2 / seeds * (ms_tr + shared))
    return error, math.inf if ms_tr <= 0 else df_tr * ((ms_tr + shared) / ms_tr) ** 2


def _test_of(seeds: int, ms_tr: float, shared: float, df_tr: float) -> tuple[float, float, float]:
    """Standard error of a test, its degrees of freedom, and Hillis' as published.

    Hillis' formula takes the mean square for the truth. Where few seeds estimate it, that gives too many degrees of
    freedom: of three seeds by themselves 7.5 % of null differences would be settled. The test puts MS(T×R)·(1 + 8/df)
    into the same formula, and 5 % are: the degrees of freedom lie between ``df_tr`` and Hillis', and reach his as
    ``df_tr`` grows (benchmarks/RESULTS.md has the simulations).

    Args:
        shared: covariance through common patients of two seeds' differences, 2 (Cov2 − Cov3).
    """
    error, hillis = obuchowski_rockette(seeds, ms_tr, shared / 2, 0.0, df_tr)
    return error, obuchowski_rockette(seeds, ms_tr * (1 + 8 / df_tr), shared / 2, 0.0, df_tr)[1], hillis


def t_test(value: float, error: float, freedom: float, level: float = LEVEL) -> tuple[float, float]:
    """Half the width of the t interval of ``value``, and its two-sided p."""
    freedom = min(freedom, 1e9)
    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    return reach, 2 * float(stdtr(freedom, -abs(value) / error))


@dataclass(frozen=True)
class Goal:
    """What a pair that was registered beforehand sets out to show, with an error of ``alpha``.

    ``difference``; ``non-inferiority``: that the other arm is not worse by ``margin``; ``equivalence``: that the two
    differ by less than ``margin``.
    """

    name: str = "difference"
    margin: float = 0.0
    alpha: float = 1 - LEVEL


@dataclass(frozen=True)
class Decision:
    """Whether a goal is reached: where ``interval`` of ``level`` leaves out what would be none, and ``p`` < alpha."""

    goal: Goal
    interval: Interval
    level: float
    p: float

    @property
    def reached(self) -> bool:
        return self.p < self.goal.alpha


def decide(goal: Goal, value: float, error: float, freedom: float) -> Decision:
    """The decision on ``goal`` by t with this standard error and these degrees of freedom.

    Equivalence is decided by two one-sided tests (Schuirmann, 1987): p is the larger of theirs, and the interval of
    1 − 2 alpha lies within ± margin where it is below alpha. Non-inferiority is decided by the lower end of the
    two-sided interval of 1 − alpha, and p is that of a true difference of − margin, two-sided.
    """
    level = 1 - goal.alpha * (2 if goal.name == "equivalence" else 1)
    if not error > 0:
        return Decision(goal, _within(value, _UNKNOWN), level, _UNKNOWN)
    reach, p = t_test(value, error, freedom, level)
    above, below = (float(stdtr(min(freedom, 1e9), z / error)) for z in (-(value + goal.margin), value - goal.margin))
    if goal.name == "equivalence":
        p = max(above, below)
    elif goal.name == "non-inferiority":
        p = min(1.0, 2 * above)
    return Decision(goal, _within(value, reach), level, p)


def _shared(first: Floats, second: Floats | None = None) -> float:
    """Covariance through common patients of different seeds' differences; of one pair 2 (Cov2 − Cov3)."""
    second = first if second is None else second
    count = len(first) * len(second)
    both = min(len(first), len(second))
    if count == both:
        return 0.0
    products = first.sum(axis=0) @ second.sum(axis=0) - (first[:both] * second[:both]).sum()
    return float(products) / (count - both)


def _within(value: float, reach: float) -> Interval:
    if math.isnan(reach):
        return Interval(value, _UNKNOWN, _UNKNOWN)
    return Interval(value, max(-1.0, value - reach), min(1.0, value + reach))


def _alone(each: Floats, moved: Floats, resamples: int, seed: int, level: float) -> Interval:
    """The interval of a figure that takes no verdict, by the same reckoning; none where two seeds stand alone."""
    value, seeds = float(each.mean()), len(each)
    if math.isnan(value) or np.isnan(moved).any() or seeds == 2 or moved.shape[-1] < 2:
        return _within(value, _UNKNOWN)
    if seeds == 1:
        error, freedom = float(np.sqrt((moved**2).sum())), math.nan
    else:
        error, freedom, _ = _test_of(seeds, float(each.var(ddof=1)) / 2, _shared(moved), seeds - 1)
    if error == 0:
        return _within(value, 0.0 if value == 0 else _UNKNOWN)
    if seeds == 1:
        drawn = np.sort(np.abs(bootstrap_t(moved, resamples, seed))[:, 0])
        return _within(value, _critical(drawn, level) * error)
    return _within(value, t_test(value, error, freedom, level)[0])


# The bootstrap-t over patients: two networks, one seed each.


def bootstrap_t(moved: Floats, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """(B, K) t statistics of K figures on the same B resamples of the patients, each less the figure itself.

    Args:
        moved: (K, P) what each patient does to each figure (``influence``).
    """
    patients = moved.shape[1]
    drawn = _resamples(patients, resamples, seed)
    sums = drawn @ moved.T
    square = drawn @ (moved**2).T - sums**2 / patients
    with np.errstate(divide="ignore", invalid="ignore"):
        found = math.sqrt((patients - 1) / patients) * sums / np.sqrt(np.maximum(square, 0.0))
    # where a resample holds nobody of those who decide a figure, nothing is known of its spread
    scale = np.abs(moved).max(axis=1)
    unknown = square <= 1e-9 * np.maximum(scale, 1e-300) ** 2
    result: Floats = np.where(unknown, np.where(np.abs(sums) > 1e-9 * scale, np.inf, 0.0), found)
    return result


@functools.lru_cache(maxsize=2)  # the figures of a pair are asked for one after another
def _resamples(patients: int, resamples: int, seed: int) -> Floats:
    """(B, P) how often each patient stands in a resample."""
    chances = np.full(patients, 1 / patients)
    drawn: Floats = np.random.default_rng([seed, patients]).multinomial(patients, chances, resamples).astype(float)
    drawn.setflags(write=False)
    return drawn


def _critical(largest: Floats, level: float) -> float:
    """The value that a statistic has to exceed for ``_p`` to be below 1 − level; infinite where draws are too few.

    Args:
        largest: the draws, from the smallest.
        level: of the interval.
    """
    most = math.ceil(round((1 - level) * (len(largest) + 1), 9)) - 2  # draws that may reach it
    return float(largest[-1 - most]) if most >= 0 else math.inf


def _p(statistic: float, largest: Floats) -> float:
    """(1 + draws that reach the statistic) / (1 + draws) (Phipson & Smyth, 2010)."""
    return (1 + int((largest >= statistic).sum())) / (len(largest) + 1)


# A test of a difference between two arms: swapping their detections within patients.


def permutation_p(pairs: Sequence[tuple[Matched, Matched]], *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p of no difference in AP between these very networks, over the patients.

    A patient's detections change arms with chance one half, those of all seeds together: what one patient does to
    several seeds is no independent evidence. The statistic is the mean difference over the seeds. The smallest p is
    1 / (resamples + 1) (Phipson & Smyth, 2010).
    """
    first = pairs[0][0]
    names, place = np.unique(np.array(first.patients, dtype=object).astype(str), return_inverse=True)
    swapped = (np.random.default_rng([seed, 2]).random((resamples, len(names))) < 0.5)[:, place]  # (B, I)
    observed, permuted = 0.0, np.zeros(resamples)
    for one, other in pairs:
        observed += float(weigh(other).mean_ap[0] - weigh(one).mean_ap[0])
        permuted += _swapped(other, one, swapped) - _swapped(one, other, swapped)
    extreme = int((np.abs(permuted) >= abs(observed) - 1e-12).sum())
    return (extreme + 1) / (resamples + 1)


def _swapped(own: Matched, others: Matched, swapped: NDArray[np.bool_]) -> Floats:
    """Mean AP (B,) of ``own`` with the detections of ``others`` where patients are swapped."""
    findings = len(own.categories)
    ap = np.full((len(swapped), findings), np.nan)
    for k in range(findings):
        mine, theirs = own.of(k), others.of(k)
        score = np.r_[own.score[mine], others.score[theirs]]
        order = np.argsort(-score, kind="stable")
        hit = np.r_[own.hit[0, mine], others.hit[0, theirs]][order]
        counted = np.r_[own.counted[0, mine], others.counted[0, theirs]][order]
        boxes = np.full(len(swapped), float(own.boxes[:, k].sum()))
        step = max(1, CELLS // max(1, len(order)))
        for start in range(0, len(swapped), step):
            chunk = swapped[start : start + step]
            weight = np.concatenate([~chunk[:, own.image[mine]], chunk[:, others.image[theirs]]], axis=1)[:, order]
            there = slice(start, start + len(chunk))
            ap[there, k] = average_precision(weight.astype(np.float64), hit, counted, boxes[there])[0]
    return mean_over_findings(ap)


# A family of pairs: one variance between seeds, and intervals that hold together.


@dataclass(frozen=True)
class FamilyPair:
    """One pair of a family: its sample, the runs of both arms (by key) and their seeds, in the sample's order.

    One with a ``goal`` was registered beforehand. It lends and borrows variance as all do, and stands outside of what
    is tested together. ``looks`` are the seeds of the first and of the last look of a study that adds seeds until its
    pairs are settled: it is looked at after each seed, and what is said holds for all looks together.
    """

    sample: PairSample
    reference: tuple[Hashable, ...]
    other: tuple[Hashable, ...]
    seeds: tuple[Hashable, ...]
    goal: Goal | None = None
    looks: tuple[int, int] | None = None

    def first(self, count: int) -> FamilyPair:
        """The pair as it was when it had at most ``count`` seeds."""
        return self.of(self.seeds[:count])

    def of(self, seeds: Sequence[Hashable]) -> FamilyPair:
        """The pair with these of its seeds alone."""
        if tuple(seeds) == self.seeds:
            return self
        places = [self.seeds.index(seed) for seed in seeds]

        def kept(values: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(values[n] for n in places)

        whole = self.sample
        sample = replace(whole, reference=kept(whole.reference), other=kept(whole.other), without=kept(whole.without))
        return FamilyPair(sample, kept(self.reference), kept(self.other), tuple(seeds), self.goal, self.looks)


@dataclass(frozen=True)
class FoldedPair:
    """One pair of a family over the folds of a cross-validation; one with a ``goal`` was registered beforehand."""

    sample: FoldedSample
    goal: Goal | None = None


@dataclass(frozen=True)
class Difference:
    """Other minus reference: the mean over the seeds, and what may be said of it.

    ``ap`` is the interval that holds for all ``family`` pairs together (single-step largest |t|) and ``p`` the p
    adjusted likewise: the interval leaves 0 out exactly where p is below 0.05. A registered pair is a family by itself,
    at its own alpha (``level``), and has a ``decision`` on its goal. ``pointwise`` and ``p_pointwise`` look at
    this pair alone, at 5 % whatever alpha was registered. With one seed all of them are over patients for these two
    networks (bootstrap-t).

    ``lent`` counts the other pairs whose seeds share their variance, ``lent_freedom`` are the degrees of freedom of
    that variance, ``freedom`` those of t, ``freedom_hillis`` what Hillis' formula gives as published.
    ``variance_seeds`` and ``variance_patients`` sum to the squared standard error; None and the patients' for one seed.

    Over ``folds`` (0 without cross-validation) seeds are averaged within each, ``sd`` is that of the folds, and nothing
    is said of seeds and patients apart.
    """

    ap: Interval
    p: float
    pointwise: Interval
    p_pointwise: float
    ar: Interval
    per_class: tuple[tuple[str, Interval, Interval], ...]  # AP, AR
    p_patients: float
    seeds: int
    patients: int
    images: int
    family: int
    freedom: float
    freedom_hillis: float
    lent: int
    lent_freedom: int
    sd: float | None
    variance_seeds: float | None
    variance_patients: float
    seed_share: float | None
    decision: Decision | None = None
    folds: int = 0

    @property
    def level(self) -> float:
        """Of the interval ``ap``."""
        return LEVEL if self.decision is None else round(1 - self.decision.goal.alpha, 9)


def differences(
    family: Sequence[FamilyPair | FoldedPair],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    draws: int = DRAWS,
) -> list[Difference]:
    """What may be said of every pair of a family, in its order.

    Pairs of one seed are a family of their own: they speak of networks, the others of arms. So are pairs over folds.

    Args:
        resamples: of the patients, with ``seed``: for pairs of one seed.
        level: of the intervals.
        draws: of the largest |t|: for pairs of several seeds.
    """
    plain = {n: one for n, one in enumerate(family) if isinstance(one, FamilyPair)}
    folded = {n: one for n, one in enumerate(family) if isinstance(one, FoldedPair)}
    found = dict(zip(folded, _over_folds(list(folded.values()), level), strict=True))
    order = sorted(plain, key=lambda n: repr(sorted((plain[n].reference, plain[n].other))))
    known = [n for n in order if np.isfinite(plain[n].sample.differences).all()]  # draws do not depend on who asks
    single = [n for n in known if len(plain[n].seeds) == 1]
    several = [n for n in known if len(plain[n].seeds) > 1]
    found |= zip(single, _networks([plain[n] for n in single], resamples, seed, level), strict=True)
    found |= zip(several, _arms([plain[n] for n in several], level, draws), strict=True)
    return [found[n] if n in found else _unknown(plain[n]) for n in range(len(family))]


def _over_folds(family: Sequence[FoldedPair], level: float) -> Iterator[Difference]:
    """Pairs over folds: Nadeau and Bengio's variance; of several pairs each at its share of the error (Bonferroni)."""
    together = max(1, sum(one.goal is None for one in family))
    for one in family:
        sample, ratio = one.sample, one.sample.test_to_train
        error, freedom = fold_error(sample.differences, ratio)
        value, pairs = float(sample.differences.mean()), 1 if one.goal is not None else together
        own_level = level if one.goal is None else 1 - one.goal.alpha
        reach, decision = _Reach(_UNKNOWN, _UNKNOWN, _UNKNOWN, _UNKNOWN), None
        if error > 0:
            alone, p = t_test(value, error, freedom, level)
            shared = t_test(value, error, freedom, 1 - (1 - own_level) / pairs)[0]
            reach = _Reach(shared, alone, min(1.0, pairs * p), p)
        if one.goal is not None:
            decision = decide(one.goal, value, error, freedom)

        def over(intervals: Iterable[Interval], ratio: float = ratio) -> Interval:
            return over_folds([one.value for one in intervals], ratio, -1.0, level=level)

        findings = list(zip(*(part.per_class for part in sample.folds), strict=True))
        yield Difference(
            ap=_within(value, reach.together),
            p=reach.p,
            pointwise=_within(value, reach.alone),
            p_pointwise=reach.p_pointwise,
            ar=over(part.ar for part in sample.folds),
            per_class=tuple((rows[0][0], over(r[1] for r in rows), over(r[2] for r in rows)) for rows in findings),
            p_patients=_UNKNOWN,
            seeds=min(len(part.reference) for part in sample.folds),
            patients=sum(part.patients for part in sample.folds),
            images=sum(part.images for part in sample.folds),
            family=pairs,
            freedom=float(freedom),
            freedom_hillis=_UNKNOWN,
            lent=0,
            lent_freedom=0,
            sd=float(sample.differences.std(ddof=1)) if freedom else None,
            variance_seeds=error**2,
            variance_patients=_UNKNOWN,
            seed_share=None,
            decision=decision,
            folds=len(sample.folds),
        )


def on_common_patients(sample: PairSample, folds: Sequence[Hashable], shared_training: float) -> Difference:
    """A pair over folds on patients whom no network was trained on, the same for all of them; it takes no verdict.

    Seeds are averaged within each fold, and the folds are readers of common cases (Obuchowski and Rockette): the
    variance of their mean is s²/K and the covariance over patients. It is s² (1/K + o/(1 − o)) where their training
    sets overlap by o and differences go with training patients as one sum: no pair of folds can have more in common by
    these, so that it errs on the safe side. ``_test_of`` gives the degrees of freedom.

    Args:
        sample: of every fold and seed.
        folds: which fold each of them is of.
        shared_training: o/(1 − o).
    """
    places = [[n for n, one in enumerate(folds) if one == fold] for fold in dict.fromkeys(folds)]
    each = np.array([sample.differences[rows].mean() for rows in places])
    moved = np.stack([sample.influence[rows].mean(axis=0) for rows in places])
    count, value, reach, freedom = len(each), float(each.mean()), (_UNKNOWN, _UNKNOWN), _NO_FREEDOM
    error = _UNKNOWN
    if count > 1 and sample.patients > 1 and np.isfinite(each).all():
        mean_square = float(each.var(ddof=1)) / 2 * (1 + count * shared_training)
        error, *freedom_of_t = _test_of(count, mean_square, max(0.0, _shared(moved)), count - 1)
        freedom = (freedom_of_t[0], freedom_of_t[1])
        reach = t_test(value, error, freedom[0]) if error > 0 else reach
    return Difference(
        ap=(found := _within(value, reach[0])),
        p=reach[1],
        pointwise=found,
        p_pointwise=reach[1],
        ar=_within(sample.ar.value, _UNKNOWN),
        per_class=(),
        p_patients=sample.p_patients,
        seeds=min(map(len, places)),
        patients=sample.patients,
        images=sample.images,
        family=1,
        freedom=freedom[0],
        freedom_hillis=freedom[1],
        lent=0,
        lent_freedom=0,
        sd=float(each.std(ddof=1)) if count > 1 else None,
        variance_seeds=error**2,
        variance_patients=_UNKNOWN,
        seed_share=None,
        folds=count,
    )


def _unknown(one: FamilyPair) -> Difference:
    """A pair without an AP: nothing to find."""
    return _assembled(one, 0, _Reach(_UNKNOWN, _UNKNOWN, _UNKNOWN, _UNKNOWN), _NO_FREEDOM, 0, 0, None, _UNKNOWN)


@dataclass(frozen=True)
class _Reach:
    """Half widths of the intervals that hold together and alone, and both p."""

    together: float
    alone: float
    p: float
    p_pointwise: float


def _assembled(
    one: FamilyPair,
    family: int,
    reach: _Reach,
    freedom: tuple[float, float],
    lent: int,
    lent_freedom: int,
    variance_seeds: float | None,
    variance_patients: float,
    decision: Decision | None = None,
) -> Difference:
    sample = one.sample
    value, seeds = float(sample.differences.mean()), len(sample.reference)
    share = None
    if seeds > 1 and sample.patients > 1 and not math.isnan(value):
        moved = sample.influence
        mean = moved.mean(axis=0)
        patients, each = float(mean @ mean), float((moved**2).sum(axis=1).mean())
        # the variance between seeds holds what the patients do to each seed by itself, too
        own = float(sample.differences.var(ddof=1)) / seeds
        between = max(0.0, own - (each - patients) / (seeds - 1))
        share = between / (between + patients) if between + patients > 0 else None
    return Difference(
        ap=_within(value, reach.together),
        p=reach.p,
        pointwise=_within(value, reach.alone),
        p_pointwise=reach.p_pointwise,
        ar=sample.ar,
        per_class=sample.per_class,
        p_patients=sample.p_patients,
        seeds=seeds,
        patients=sample.patients,
        images=sample.images,
        family=family,
        freedom=freedom[0],
        freedom_hillis=freedom[1],
        lent=lent,
        lent_freedom=lent_freedom,
        sd=float(sample.differences.std(ddof=1)) if seeds > 1 else None,
        variance_seeds=variance_seeds,
        variance_patients=variance_patients,
        seed_share=share,
        decision=decision,
    )


def _networks(family: Sequence[FamilyPair], resamples: int, seed: int, level: float) -> Iterator[Difference]:
    """Pairs of one seed: the bootstrap-t over patients; pairs of equal patients share their resamples."""
    moved = [one.sample.influence for one in family]
    errors = [float(np.sqrt((m**2).sum())) for m in moved]
    drawn: dict[int, Floats] = {}
    cohorts = list(dict.fromkeys(one.sample.cohort for one in family))
    for number, cohort in enumerate(cohorts):
        places = [n for n, one in enumerate(family) if one.sample.cohort == cohort and errors[n] > 0]
        if places:
            found = np.abs(bootstrap_t(np.concatenate([moved[n] for n in places]), resamples, seed + number))
            drawn |= {n: found[:, k] for k, n in enumerate(places)}
    largest = np.sort(np.max(np.stack(list(drawn.values())), axis=0)) if drawn else np.zeros(resamples)
    for n, one in enumerate(family):
        value, error = float(one.sample.differences[0]), errors[n]
        if error == 0:
            same = value == 0 and one.sample.patients > 1
            reach = _Reach(*([0.0] * 2 if same else [_UNKNOWN] * 2), *([1.0] * 2 if same else [_UNKNOWN] * 2))
        else:
            t, own = abs(value) / error, np.sort(drawn[n])
            reach = _Reach(_critical(largest, level) * error, _critical(own, level) * error, _p(t, largest), _p(t, own))
        yield _assembled(one, len(family), reach, (math.inf, math.inf), 0, 0, None, error**2)


def _arms(family: Sequence[FamilyPair], level: float, draws: int) -> Iterator[Difference]:
    """Pairs of several seeds, as one family.

    A pair that is looked at after each seed stands beside what the others had at its last look: that is when it was
    settled, or not, and more seeds of others change nothing about it.
    """
    counts = [len(one.seeds) if one.looks else None for one in family]
    found = {
        count: list(_tested(family if count is None else [one.first(count) for one in family], level, draws))
        for count in dict.fromkeys(counts)
    }
    for n, count in enumerate(counts):
        yield found[count][n]


def _fractions(family: Sequence[FamilyPair], place: int) -> Floats:
    """(L,) of the information at each look at a pair: 1 / (patients' variance + seeds' variance / seeds), of the last.

    The mean square is taken as for the degrees of freedom: what few seeds tell of it is not the truth. There is no look
    before it has ``LEAST_LOOK`` of them; empty where the last has not.
    """
    first, most = family[place].looks or (0, 0)
    found = []
    for count in range(first, len(family[place].seeds) + 1):
        part = [one.first(count) for one in family]
        squares, freedom = pooled_squares(part)
        if freedom < LEAST_LOOK:
            continue
        sample = part[place].sample
        mean_square = max(float(sample.differences.var(ddof=1)) / 2, squares / freedom) * (1 + 8 / freedom)
        shared = max(0.0, _shared(sample.influence))
        ends = (shared + 2 * mean_square / seeds for seeds in (most, count))
        last, now = ends
        found.append(last / now if now > 0 else count / most)
    return np.array(found)


def _tested(family: Sequence[FamilyPair], level: float, draws: int) -> Iterator[Difference]:
    """Pairs of several seeds: Obuchowski and Rockette's variance, and the largest |t| of the family."""
    squares, freedom = pooled_squares(family)
    pooled = squares / freedom if freedom else 0.0
    moved = [one.sample.influence for one in family]
    shared = [max(0.0, _shared(m)) for m in moved]
    own = [float(one.sample.differences.var(ddof=1)) / 2 for one in family]
    # two seeds by themselves can agree by luck, and one patient says nothing of others
    known = [n for n, one in enumerate(family) if (len(one.seeds) > 2 or len(family) > 1) and one.sample.patients > 1]
    tests = {}
    for n in known:
        seeds = len(family[n].seeds)
        tests[n] = _test_of(seeds, max(own[n], pooled), shared[n], freedom)
    sure = [n for n in known if tests[n][0] > 0]
    tested = [n for n in sure if family[n].goal is None]
    largest = None
    if len(tested) > 1:
        parts = [family[n] for n in tested], [moved[n] for n in tested], [shared[n] for n in tested]
        largest = np.sort(largest_t(_correlation(*parts, pooled), min(tests[n][1] for n in tested), draws))
    together = sum(one.goal is None for one in family)
    for n, one in enumerate(family):
        value, seeds = float(one.sample.differences.mean()), len(one.seeds)
        error, *of_t = tests.get(n, (_UNKNOWN, float(freedom), float(freedom)))
        if n not in sure:
            same = error == 0 and value == 0
            reach = _Reach(*([0.0] * 2 if same else [_UNKNOWN] * 2), *([1.0] * 2 if same else [_UNKNOWN] * 2))
        else:
            alone = one.goal is not None
            own_level = level if one.goal is None else 1 - one.goal.alpha
            looks = None if one.looks is None else _fractions(family, n)
            reach = _reach(value, error, of_t[0], None if alone else largest, own_level, looks)
            if alone and own_level != level:
                reach = replace(_reach(value, error, of_t[0], None, level, looks), together=reach.together, p=reach.p)
        among = 2 / seeds * max(own[n], pooled)
        decision = None if one.goal is None else decide(one.goal, value, error, of_t[0])
        if decision is not None and one.looks is not None:  # a difference, by all looks together
            decision = replace(decision, interval=_within(value, reach.together), p=reach.p)
        size = (1 if one.goal is not None else together, reach, (of_t[0], of_t[1]), len(family) - 1, freedom)
        yield _assembled(one, *size, among, shared[n], decision)


def _reach(
    value: float, error: float, freedom: float, largest: Floats | None, level: float, looks: Floats | None = None
) -> _Reach:
    """By t, and by the largest |t| of a family; ``looks`` (L,) are the shares of the information at each look."""
    alone, p = t_test(value, error, freedom, level)
    together = alone if largest is None else max(alone, _critical(largest, level) * error)
    if looks is None:
        return _Reach(together, alone, p if largest is None else max(p, _p(abs(value) / error, largest)), p)
    if not len(looks):  # before the first
        return _Reach(_UNKNOWN, _UNKNOWN, _UNKNOWN, _UNKNOWN)
    freedom = min(freedom, 1e9)
    # of one look the family's critical value is as much as this alpha of a pair by itself, and the looks share it
    alphas = (2 * float(stdtr(freedom, -together / error)), 1 - level)
    levels = [float(nominal_levels(looks, alpha)[-1]) for alpha in alphas]
    ends = [error * -float(stdtrit(freedom, nominal / 2)) if nominal > 0 else math.inf for nominal in levels]
    repeated = repeated_p(p, looks, *alphas)
    adjusted = repeated
    if largest is not None:
        adjusted = max(repeated, _p(-float(stdtrit(freedom, repeated / 2)), largest))
    return _Reach(ends[0], ends[1], adjusted, repeated)


@dataclass(frozen=True)
class MeanDifference:
    """Other minus the mean of ``references`` arms, by itself: ``ap`` over seeds and patients with its p.

    ``seeds`` counts the folds of a cross-validation.
    """

    ap: Interval
    p: float
    seeds: int
    references: int


def mean_difference(
    family: Sequence[FamilyPair], places: Sequence[int], sample: PairSample | None = None
) -> MeanDifference:
    """One arm against the mean of several that differ in a random factor alone, such as permutations of the records.

    The references are averaged within each seed. What they differ by among themselves does not shrink with seeds: the
    squared error gains (variance of their means over the seeds − MS(T×R) / seeds) / references, where that is above 0.
    Degrees of freedom are Satterthwaite's, with this part taken (1 + 8/df)-fold there, as ``_test_of`` takes the other
    (benchmarks/RESULTS.md has the simulations).

    Args:
        family: whose seeds share their variance.
        places: the pairs in it, all of the same other arm; the seeds that all have count.
        sample: in place of the one pair's, of the same seeds.
    """
    seeds = [seed for seed in family[places[0]].seeds if all(seed in family[n].seeds for n in places)]
    ones = [family[n].of(seeds) for n in places]
    samples = [one.sample for one in ones] if sample is None else [sample]
    if not seeds:
        return MeanDifference(_within(_UNKNOWN, _UNKNOWN), _UNKNOWN, 0, len(samples))
    references = np.array([one.reference for one in samples])  # (K, S)
    each = np.array(samples[0].other) - references.mean(axis=0)
    value, count, arms = float(each.mean()), len(seeds), len(samples)
    squares, freedom = pooled_squares(family)
    unknown = MeanDifference(_within(value, _UNKNOWN), _UNKNOWN, count, arms)
    if count < 2 or not freedom or not np.isfinite(each).all() or samples[0].patients < 2:
        return unknown
    pooled = squares / freedom
    shared = max(0.0, _shared(influence(np.mean([one.without for one in samples], axis=0))))
    mean_square = max(float(each.var(ddof=1)), pooled * (1 + 1 / arms)) / 2
    error, freedom_of_t, _ = _test_of(count, mean_square, shared, freedom)
    if arms > 1:
        apart = max(0.0, float(references.mean(axis=1).var(ddof=1)) - pooled / count) / arms
        most = apart * (1 + 8 / (arms - 1))
        freedom_of_t = (error**2 + most) ** 2 / (error**4 / freedom_of_t + most**2 / (arms - 1)) if error else arms - 1
        error = math.sqrt(error**2 + apart)
    if not error > 0:
        return unknown
    looks = None if ones[0].looks is None else _fractions(family, places[0])
    reach = _reach(value, error, freedom_of_t, None, LEVEL, looks)
    return MeanDifference(_within(value, reach.alone), reach.p_pointwise, count, arms)


def folded_mean_difference(samples: Sequence[FoldedSample]) -> MeanDifference:
    """The same over folds: the references are averaged within each fold, so that its spread holds what they differ by.

    Args:
        samples: of pairs of the same other arm; where they are not of the same folds, nothing is known.
    """
    if len({tuple(part.cohort for part in one.folds) for one in samples}) > 1:
        return MeanDifference(_within(_UNKNOWN, _UNKNOWN), _UNKNOWN, 0, len(samples))
    each = np.mean([one.differences for one in samples], axis=0)
    error, freedom = fold_error(each, samples[0].test_to_train)
    value = float(each.mean())
    if not error > 0:
        return MeanDifference(_within(value, _UNKNOWN), _UNKNOWN, len(each), len(samples))
    reach, p = t_test(value, error, freedom)
    return MeanDifference(_within(value, reach), p, len(each), len(samples))


def pooled_squares(family: Sequence[FamilyPair]) -> tuple[float, int]:
    """Sum of squares of arm × seed over all arms of all settings, and its degrees of freedom.

    Within settings that share no run an arm and a seed have an effect each; runs that serve several settings count
    once. What the two effects leave is summed, as in Obuchowski and Rockette's MS(T×R).
    """
    table = _Columns()
    for one in family:
        table.add(one)
    squares, freedom = 0.0, 0
    for cells in table.parts():
        columns = {name: n for n, name in enumerate(dict.fromkeys(column for column, _, _ in cells))}
        rows = {name: n + len(columns) for n, name in enumerate(dict.fromkeys(seed for _, seed, _ in cells))}
        design = np.zeros((len(cells), len(columns) + len(rows)))
        for n, (column, seed, _) in enumerate(cells):
            design[n, columns[column]] = design[n, rows[seed]] = 1.0
        values = np.array([value for _, _, value in cells])
        fit, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
        squares += float(((values - design @ fit) ** 2).sum())
        freedom += len(cells) - int(rank)
    return squares, freedom


class _Columns:
    """Runs joined into arms, and arms into parts of the family that share none with another."""

    def __init__(self) -> None:
        self._cells: dict[Hashable, tuple[Hashable, float]] = {}  # run: seed, AP
        self._arm: dict[Hashable, Hashable] = {}
        self._part: dict[Hashable, Hashable] = {}

    def add(self, one: FamilyPair) -> None:
        sides = ((one.reference, one.sample.reference), (one.other, one.sample.other))
        for runs, values in sides:
            self._cells |= {run: (seed, value) for run, seed, value in zip(runs, one.seeds, values, strict=True)}
            for run in runs:
                _join(self._arm, runs[0], run)
        for run in (*one.reference, *one.other):
            _join(self._part, one.reference[0], run)

    def parts(self) -> list[list[tuple[Hashable, Hashable, float]]]:
        """(arm, seed, AP) of every run, part by part."""
        found: dict[Hashable, list[tuple[Hashable, Hashable, float]]] = {}
        for run, (seed, value) in self._cells.items():
            found.setdefault(_root(self._part, run), []).append((_root(self._arm, run), seed, value))
        return list(found.values())


def _root(parents: dict[Hashable, Hashable], one: Hashable) -> Hashable:
    while parents.setdefault(one, one) != one:
        one = parents[one]
    return one


def _join(parents: dict[Hashable, Hashable], one: Hashable, other: Hashable) -> None:
    parents[_root(parents, one)] = _root(parents, other)


def _correlation(
    family: Sequence[FamilyPair], moved: Sequence[Floats], shared: Sequence[float], pooled: float
) -> Floats:
    """(K, K) how the differences of a family go together: by runs that pairs share, and by common patients."""
    runs = {run: n for n, run in enumerate(dict.fromkeys(r for one in family for r in (*one.reference, *one.other)))}
    weight = np.zeros((len(family), len(runs)))
    for k, one in enumerate(family):
        for a, b in zip(one.reference, one.other, strict=True):
            weight[k, runs[a]] -= 1 / len(one.seeds)
            weight[k, runs[b]] += 1 / len(one.seeds)
    found: Floats = pooled * weight @ weight.T
    for k, one in enumerate(family):
        found[k, k] += shared[k]
        for m in range(k):
            if one.sample.cohort == family[m].sample.cohort:
                among = _shared(moved[k], moved[m])
                found[k, m] += among
                found[m, k] += among
    scale = np.sqrt(np.maximum(np.diag(found), 1e-300))
    found /= np.outer(scale, scale)
    return found


def largest_t(correlation: Floats, freedom: float, draws: int = DRAWS) -> NDArray[np.float64]:
    """Draws of the largest |t| of K statistics with a common denominator (multivariate t).

    Args:
        correlation: (K, K); made positive semi-definite where estimates are not.
        freedom: degrees of freedom.
    """
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    root /= np.maximum(np.sqrt((root**2).sum(axis=1, keepdims=True)), 1e-12)
    drawn, random = _normal(draws, len(correlation))
    freedom = min(freedom, 1e6)
    spread = np.sqrt(2 * copy.deepcopy(random).standard_gamma(freedom / 2, draws) / freedom)
    found: Floats = np.abs(drawn @ root.T).max(axis=1) / spread
    return found


@functools.lru_cache(maxsize=1)  # families of as many pairs have the same
def _normal(draws: int, count: int) -> tuple[Floats, np.random.Generator]:
    """(draws, count) normal numbers, and the generator after them."""
    random = np.random.default_rng([draws, count])
    return random.standard_normal((draws, count)), random


# How many seeds or patients a study would need: a plan for an effect declared beforehand, never for the one seen.

#: Effects in AP that a plan is made for where none is declared.
EFFECTS = (0.02, 0.05, 0.10)
POWER = 0.8
#: A variance with fewer degrees of freedom plans nothing.
LEAST_FREEDOM = 9
#: So many seeds a plan looks at.
MOST_SEEDS = 1000


@dataclass(frozen=True)
class StudyPlan:
    """``number`` of ``unit`` that show a true difference of ``effect`` in AP with a power of 80 % at 5 %.

    ``low`` and ``high`` are the numbers at the ends of the variance's 95 % interval (χ²). None: ``MOST_SEEDS`` do not.
    """

    effect: float
    unit: str  # seeds or patients
    number: int | None
    low: int | None
    high: int | None


def plans(found: Difference, effects: Sequence[float] = EFFECTS) -> tuple[StudyPlan, ...]:
    """Plans for a study like this one: of seeds where there are several, else of patients for two networks alone.

    Empty where the variance has fewer than 9 degrees of freedom, or there is none.
    """
    single = found.variance_seeds is None
    freedom = found.patients - 1 if single else found.lent_freedom
    variance = found.variance_patients if found.variance_seeds is None else found.variance_seeds
    if freedom < LEAST_FREEDOM or not variance > 0 or found.patients < 2:
        return ()
    scales = (1.0, *(freedom / float(chdtri(freedom, tail)) for tail in (0.025, 0.975)))

    def number(effect: float, scale: float) -> int | None:
        if single:
            return _patients(effect, found.patients, variance * scale)
        return seeds_for(effect, found.seeds * variance * scale, found.variance_patients, pairs=found.lent + 1)

    unit = "patients" if single else "seeds"
    return tuple(StudyPlan(effect, unit, *(number(effect, scale) for scale in scales)) for effect in effects)


def _patients(effect: float, there: int, variance: float) -> int:
    wanted = (effect / (_quantile(math.inf, 0.975) + _quantile(math.inf, POWER))) ** 2
    return max(2, math.ceil(there * variance / wanted))


def seeds_for(
    effect: float, variance: float, patients: float, *, pairs: int = 1, goal: Goal = Goal(), power: float = POWER
) -> int | None:
    """The fewest seeds that show ``effect``; None where these patients would not show it with ``MOST_SEEDS``.

    Args:
        effect: the true difference; of a goal with a margin the margin, where the arms differ by nothing.
        variance: of a difference between seeds; ``patients``: of one through its patients.
        pairs: whose seeds share their variance.
    """
    for count in range(2 if pairs > 1 else 3, MOST_SEEDS + 1):
        if effect >= provable(count, variance, patients, pairs=pairs, goal=goal, power=power):
            return count
    return None


def provable(
    seeds: int, variance: float, patients: float, *, pairs: int = 1, goal: Goal = Goal(), power: float = POWER
) -> float:
    """The smallest effect, or margin, that so many seeds show; arguments as for ``seeds_for``."""
    error, freedom, side, chance = _planned(seeds, variance, patients, pairs, goal, power)
    return (_quantile(freedom, 1 - side) + _quantile(freedom, chance)) * error


def power_of(
    effect: float, seeds: int, variance: float, patients: float, *, pairs: int = 1, goal: Goal = Goal()
) -> float:
    """The chance that so many seeds show ``effect``; arguments as for ``seeds_for``."""
    error, freedom, side, _ = _planned(seeds, variance, patients, pairs, goal, POWER)
    chance = float(stdtr(min(freedom, 1e9), effect / error - _quantile(freedom, 1 - side)))
    return max(0.0, 2 * chance - 1) if goal.name == "equivalence" else chance


def _planned(
    seeds: int, variance: float, patients: float, pairs: int, goal: Goal, power: float
) -> tuple[float, float, float, float]:
    """Standard error, degrees of freedom, and the error and the chance of each side, as the test will have them."""
    error, freedom, _ = _test_of(seeds, variance / 2, patients, pairs * (seeds - 1))
    both = goal.name == "equivalence"  # two one-sided tests, both of which have to succeed
    return error, freedom, goal.alpha if both else goal.alpha / 2, (1 + power) / 2 if both else power


def _quantile(freedom: float, chance: float) -> float:
    return float(stdtrit(min(freedom, 1e9), chance))
