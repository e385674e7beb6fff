"""Statistics over patients and seeds: AP and AR of many resamples from one matching, intervals, differences, tests."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import EvaluationError
from mmad.evaluation.matching import Floats, Matched

RESAMPLES = 1000
LEVEL = 0.95
RECALLS = np.linspace(0.0, 1.00, 101)  # COCO's 101 recalls
_NEXT_RECALL = np.append(RECALLS, np.inf)
#: Weights times detections that are held at once: 16 million doubles are 128 MiB.
_CELLS = 2_000_000
_TINY = float(np.spacing(1))
#: Quantiles of the normal distribution: two-sided 5 %, and a power of 80 %.
_Z_TEST, _Z_POWER = 1.959964, 0.841621
#: More seeds than this are no answer.
_MOST_SEEDS = 1000

# AP and AR of weightings of the images.


@dataclass(frozen=True, eq=False)
class Weighted:
    """AP and AR of B weightings of the images; NaN where a weighting leaves a finding no true box."""

    ap: Floats  # (B, K)
    ar: Floats  # (B, K)

    @property
    def mean_ap(self) -> Floats:
        """Mean over the findings, (B,)."""
        return mean_over_findings(self.ap)

    @property
    def mean_ar(self) -> Floats:
        """Mean over the findings, (B,)."""
        return mean_over_findings(self.ar)


def mean_over_findings(values: Floats) -> Floats:
    """(B, K) to (B,), without those that are NaN."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        result: Floats = np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)
    return result


def weigh(matched: Matched, weights: NDArray[np.floating] | None = None, *, threshold: int = 0) -> Weighted:
    """AP and AR with every image counted ``weights`` times.

    A weight of 2 equals the image standing there twice: COCO's curve has its corners at the hits, and a
    repeated hit only adds points between them.

    Args:
        matched: the matches, found once.
        weights: (B, I) how often each image counts in each of B weightings; None counts each once.
        threshold: which of the matches' overlap thresholds, by position.
    """
    images = len(matched.patients)
    rows = np.ones((1, images)) if weights is None else np.asarray(weights, dtype=np.float64)
    findings = len(matched.categories)
    ap, ar = np.full((len(rows), findings), np.nan), np.full((len(rows), findings), np.nan)
    for k in range(findings):
        part = matched.of(k)
        count = max(1, part.stop - part.start)
        step = max(1, _CELLS // count)
        hit, counted = matched.hit[threshold, part], matched.counted[threshold, part]
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            there = slice(start, start + len(chunk))
            ap[there, k], ar[there, k] = _curve(chunk, matched.image[part], hit, counted, chunk @ matched.boxes[:, k])
    return Weighted(ap, ar)


def _curve(
    weights: Floats, image: NDArray[np.int64], hit: NDArray[np.bool_], counted: NDArray[np.bool_], boxes: Floats
) -> tuple[Floats, Floats]:
    """AP and AR of one finding, (B,) each."""
    return average_precision(weights.T[image].T, hit, counted, boxes)


def average_precision(
    weight: Floats, hit: NDArray[np.bool_], counted: NDArray[np.bool_], boxes: Floats
) -> tuple[Floats, Floats]:
    """AP over COCO's 101 recalls, and the highest recall, of B weightings.

    Args:
        weight: (B, N) weight of each detection, by falling score.
        hit: (N,) detections that found a box; counted: (N,) those that count at all.
        boxes: (B,) weighted number of true boxes; NaN results where it is 0.
    """
    known = boxes > 0
    if not hit.any():
        nothing: Floats = np.where(known, 0.0, np.nan)
        return nothing, nothing.copy()
    # resamples run along the last axis, for sums over detections are then sums of whole rows
    by_score = np.ascontiguousarray(weight.T)  # (N, B)
    places = np.flatnonzero(hit)
    hits = np.cumsum(by_score[places], axis=0)  # (H, B)
    so_far = np.cumsum(by_score if counted.all() else by_score * counted[:, None], axis=0)[places]
    precision = hits / (so_far + _TINY)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hits / boxes
    # hits that lie below each of COCO's recalls, (B, 101): the first one beyond is where the curve is read
    rows = np.arange(len(weight))
    counted_at = np.bincount((_recalls_up_to(recall) + 102 * rows).ravel(), minlength=102 * len(rows))
    below = np.cumsum(counted_at.reshape(-1, 102), axis=1)[:, :-1]
    read = np.concatenate([envelope, np.zeros((1, len(rows)))])[below, rows[:, None]]
    ap: Floats = np.where(known, read.sum(axis=1) / len(RECALLS), np.nan)
    ar: Floats = np.where(known, recall[-1], np.nan)
    return ap, ar


def _recalls_up_to(recall: Floats) -> NDArray[np.int64]:
    """How many of COCO's recalls are at most each of ``recall``; the first guess is at most one off."""
    guess = np.nan_to_num(np.minimum(recall, 1.0) * 100).astype(np.int64)
    guess -= RECALLS[guess] > recall
    found: NDArray[np.int64] = guess + 1 + (_NEXT_RECALL[guess + 1] <= recall)
    return found


@functools.lru_cache(maxsize=2)  # many runs are evaluated on the same patients, one after another
def patient_weights(patients: tuple[str, ...], resamples: int, seed: int) -> NDArray[np.float64]:
    """(resamples, images) how often each image stands in a resample of the PATIENTS, drawn with replacement.

    The images of one patient are not independent, so patients are drawn whole (Efron & Tibshirani, 1993).
    """
    names, place = np.unique(np.array(patients, dtype=object).astype(str), return_inverse=True)
    chance = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), chance, size=resamples)
    weights: NDArray[np.float64] = drawn[:, place].astype(np.float64)
    weights.setflags(write=False)
    return weights


# A figure with its interval, read off resamples.


@dataclass(frozen=True)
class Interval:
    """A figure with its interval; NaN where nothing could be measured, or too few ``patients`` have what it is of."""

    value: float
    low: float
    high: float
    patients: int | None = None


def percentiles(value: float, drawn: Floats, level: float = LEVEL) -> Interval:
    """``value`` within the middle ``level`` of what resamples gave, (B,); those that could not be measured left out."""
    known = drawn[~np.isnan(drawn)]
    if math.isnan(value) or not len(known):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


# The spread of a mean over seeds: what other patients would change of it, and what other seeds would.
#
# Several trainings evaluated on the same patients are what several readers of the same cases are in a reader study.
# The variance is therefore taken apart as Obuchowski and Rockette (1995) do it, with the degrees of freedom of Hillis
# (2007); the covariance that comes from shared patients is read off the bootstrap.


@dataclass(frozen=True)
class Spread:
    """How sure a mean over seeds is.

    ``error`` is its standard error over seeds and patients, with ``freedom`` degrees of freedom (infinite for one
    seed). ``error_seeds`` is the part of it between seeds alone (None for one), ``error_patients`` that between
    patients for these very seeds; squared they add up, as far as chance lets them.
    """

    error: float
    freedom: float
    error_seeds: float | None
    error_patients: float

    @property
    def seed_share(self) -> float | None:
        """The part of the variance that lies between seeds, 0 to 1; None for one seed or without any spread."""
        if self.error_seeds is None:
            return None
        seeds, patients = self.error_seeds**2, self.error_patients**2
        return seeds / (seeds + patients) if seeds + patients > 0 else None


def spread_of(once: Floats, drawn: Floats) -> Spread:
    """The spread of the mean of ``once`` (S,), whose values on B resamples of the patients are ``drawn`` (S, B)."""
    seeds = len(once)
    known = drawn[:, ~np.isnan(drawn).any(axis=0)]
    if known.shape[1] < 2 or np.isnan(once).any():
        return Spread(math.nan, math.nan, None if seeds == 1 else math.nan, math.nan)
    patients = float(known.mean(axis=0).var(ddof=1))  # of the mean of these seeds
    if seeds == 1:
        return Spread(math.sqrt(patients), math.inf, None, math.sqrt(patients))
    alone = float(known.var(axis=1, ddof=1).mean())  # of one seed
    among = float(once.var(ddof=1)) / seeds
    shared = max(0.0, (seeds * patients - alone) / (seeds - 1))  # covariance of two seeds, by their common patients
    both = among + shared
    # two seeds alone can agree by luck, which the formula would take for certainty
    known_better = (both / among) ** 2 if among > 0 and seeds > 2 else 1.0
    freedom = (seeds - 1) * known_better
    # ``among`` holds what the patients do to each seed by itself, too
    between = max(0.0, among - (alone - patients) / (seeds - 1))
    return Spread(math.sqrt(both), freedom, math.sqrt(between), math.sqrt(patients))


def difference_interval(once: Floats, drawn: Floats, level: float, limits: tuple[float, float]) -> Interval:
    """A mean difference over seeds with its interval over seeds and patients, which leaves out 0 where ``t_test`` does.

    Several seeds: t with the spread's degrees of freedom, the same on both sides. One: the bootstrap's percentiles.
    """
    value = float(once.mean())
    spread = spread_of(once, drawn)
    if len(once) == 1 or math.isnan(spread.error):
        return percentiles(value, drawn.mean(axis=0), level)
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    reach = float(stdtrit(min(spread.freedom, 1e9), (1 + level) / 2)) * spread.error
    return Interval(value, max(limits[0], value - reach), min(limits[1], value + reach))


def t_test(value: float, spread: Spread, least: float) -> float:
    """Two-sided p of a mean over seeds being 0, never below ``least``; NaN where the spread is unknown."""
    from scipy.special import stdtr

    if math.isnan(value) or math.isnan(spread.error):
        return math.nan
    if spread.error == 0:
        return 1.0 if value == 0 else least
    return max(least, 2 * float(stdtr(min(spread.freedom, 1e9), -abs(value) / spread.error)))


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
        step = max(1, _CELLS // max(1, len(order)))
        for start in range(0, len(swapped), step):
            chunk = swapped[start : start + step]
            weight = np.concatenate([~chunk[:, own.image[mine]], chunk[:, others.image[theirs]]], axis=1)[:, order]
            there = slice(start, start + len(chunk))
            ap[there, k] = average_precision(weight.astype(np.float64), hit, counted, boxes[there])[0]
    return mean_over_findings(ap)


# The paired difference of two arms, and how much more would settle it.


@dataclass(frozen=True)
class Difference:
    """One arm minus the reference on the same resamples: means over the seeds.

    ``p`` is two-sided. With several seeds it asks whether other seeds and other patients would show the difference,
    too: a t-test that counts both (``mmad.evaluation.intervals``). With one it is ``p_patients``, which asks of these
    very networks alone: the permutation test that swaps the arms' detections within patients.

    ``error_seeds`` and ``error_patients`` are the parts of the standard error that more seeds or more patients would
    shrink, ``seed_share`` the part of the variance that lies between seeds.
    """

    ap: Interval
    ar: Interval
    per_class: tuple[tuple[str, Interval, Interval], ...]  # AP, AR
    p: float
    p_patients: float
    seeds: int
    patients: int
    images: int
    sd: float | None
    error_seeds: float | None
    error_patients: float
    seed_share: float | None

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` when the interval leaves 0 out, else ``not settled``."""
        if self.ap.low > 0:
            return "better"
        return "worse" if self.ap.high < 0 else "not settled"


@dataclass(frozen=True)
class Needed:
    """How much would settle the observed difference at a power of 80 %; None where more of it alone cannot."""

    seeds: int | None
    images: int | None


def compare(
    reference: Sequence[Matched],
    other: Sequence[Matched],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Difference:
    """The paired difference of two arms, seed by seed on the same resamples of the patients.

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
    weights = patient_weights(reference[0].patients, resamples, seed)
    once = [[weigh(run) for run in side] for side in (reference, other)]
    drawn = [[weigh(run, weights) for run in side] for side in (reference, other)]

    def minus(of: Sequence[Sequence[Weighted]], figure: str, k: int | None = None) -> Floats:
        return _stacked(of[1], figure, k) - _stacked(of[0], figure, k)  # (S, B)

    def over(figure: str, k: int | None = None) -> Interval:
        return difference_interval(minus(once, figure, k)[:, 0], minus(drawn, figure, k), level, (-1.0, 1.0))

    each = minus(once, "mean_ap")[:, 0]
    spread = spread_of(each, minus(drawn, "mean_ap"))
    p_patients = permutation_p(list(zip(reference, other, strict=True)), resamples=resamples, seed=seed)
    several = len(reference) > 1
    return Difference(
        ap=over("mean_ap"),
        ar=over("mean_ar"),
        per_class=tuple((label, over("ap", k), over("ar", k)) for k, label in enumerate(reference[0].categories)),
        p=t_test(float(each.mean()), spread, 1 / (resamples + 1)) if several else p_patients,
        p_patients=p_patients,
        seeds=len(reference),
        patients=len(set(reference[0].patients)),
        images=len(reference[0].patients),
        sd=_sd(each.tolist()),
        error_seeds=spread.error_seeds,
        error_patients=spread.error_patients,
        seed_share=spread.seed_share,
    )


def _stacked(weighted: Sequence[Weighted], figure: str, k: int | None) -> Floats:
    """A figure of every seed, (S, B); of finding ``k`` alone, or the mean over all."""
    values = np.stack([getattr(w, figure) for w in weighted])
    stacked: Floats = values if k is None else values[:, :, k]
    return stacked


def _sd(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def require_equal(runs: Sequence[Matched]) -> None:
    """Refuse runs over other patients, findings or true boxes, and no run. Raises EvaluationError."""
    if not runs:
        raise EvaluationError("no run to evaluate", where="comparison")
    for run in runs[1:]:
        for name in ("patients", "categories"):
            if getattr(run, name) != getattr(runs[0], name):
                raise EvaluationError(
                    f"the runs were evaluated on other {name}", where="comparison", hint="compare runs of one split"
                )
        if not np.array_equal(run.boxes, runs[0].boxes):
            raise EvaluationError("the runs were evaluated against other true boxes", where="comparison")


def needed(difference: Difference) -> Needed:
    """Seeds or images, in all, that would settle the observed difference in AP at 5 % with a power of 80 %.

    The standard error has a part that shrinks with the seeds and one that shrinks with the patients; each answer lets
    one grow and keeps the other. Few seeds follow the t distribution. With one seed the seeds' part is
    unknown: no answer for them. An answer is always more than there are.
    """
    effect = abs(difference.ap.value)
    if math.isnan(effect) or effect == 0:
        return Needed(None, None)
    patients, seeds = difference.error_patients**2, (difference.error_seeds or 0.0) ** 2
    more_seeds = more_images = None
    if difference.error_seeds is not None and (effect / (_Z_TEST + _Z_POWER)) ** 2 > patients:
        more_seeds = _enough_seeds(effect, difference.seeds, seeds, patients)
    allowed = (effect / _quantiles(difference.seeds)) ** 2
    if allowed > seeds:
        more_images = max(difference.images + 1, math.ceil(difference.images * patients / (allowed - seeds)))
    return Needed(more_seeds, more_images)


def _enough_seeds(effect: float, there: int, seeds: float, patients: float) -> int | None:
    """The fewest seeds, more than ``there``, whose standard error ``effect`` exceeds often enough."""
    for count in range(max(2, there + 1), _MOST_SEEDS + 1):
        if effect >= _quantiles(count) * math.sqrt(seeds * there / count + patients):
            return count
    return None


def _quantiles(seeds: int) -> float:
    """Of the test plus that of the power, in standard errors: Student's for several seeds, else the normal ones."""
    if seeds < 2:
        return _Z_TEST + _Z_POWER
    from scipy.special import stdtrit

    return float(stdtrit(seeds - 1, 0.975) + stdtrit(seeds - 1, 0.8))
