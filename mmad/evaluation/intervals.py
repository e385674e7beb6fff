"""How sure: bootstrap intervals over patients, paired differences of two arms, tests, and what would settle it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import EvaluationError
from mmad.evaluation.interval import LEVEL, RESAMPLES, Interval, percentiles
from mmad.evaluation.matching import Floats, Matched
from mmad.evaluation.resampling import Weighted, average_precision, patient_weights, weigh

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Difference",
    "Estimate",
    "Interval",
    "Needed",
    "compare",
    "estimate",
    "holm",
    "needed",
]

#: Quantiles of the normal distribution: two-sided 5 %, and a power of 80 %.
_Z_TEST, _Z_POWER = 1.959964, 0.841621


@dataclass(frozen=True)
class Estimate:
    """AP and AR of one run, or of the mean over several seeds, and of each finding."""

    ap: Interval
    ar: Interval
    per_class: tuple[tuple[str, Interval, Interval], ...]
    sd: float | None  # of AP over the seeds; None for one


@dataclass(frozen=True)
class Difference:
    """One arm less the reference on the same resamples: means over the seeds.

    ``p`` is the two-sided permutation test's: the arms' detections swapped within patients (and with several
    seeds the whole swap drawn anew for each). ``error_seeds`` and ``error_patients`` are the parts of the standard
    error that more seeds or more patients would shrink.
    """

    ap: Interval
    ar: Interval
    per_class: tuple[tuple[str, Interval], ...]
    p: float
    seeds: int
    patients: int
    images: int
    sd: float | None
    error_seeds: float | None
    error_patients: float

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


def estimate(runs: Sequence[Matched], *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL) -> Estimate:
    """AP and AR with their intervals; several runs are seeds of one setting, resampled before the patients.

    Args:
        runs: the matches of each seed, of the same split.
        resamples: of the patients (and seeds).
        seed: of the random numbers.
        level: of the intervals.

    Raises:
        EvaluationError: no run, or runs over other images.
    """
    _require_equal(runs)
    weights, seeds = _draws(runs[0], len(runs), resamples, seed)
    once, drawn = [weigh(run) for run in runs], [weigh(run, weights) for run in runs]
    return Estimate(
        _interval([w.mean_ap for w in once], [w.mean_ap for w in drawn], seeds, level),
        _interval([w.mean_ar for w in once], [w.mean_ar for w in drawn], seeds, level),
        tuple(
            (
                label,
                _interval([w.ap[:, k] for w in once], [w.ap[:, k] for w in drawn], seeds, level),
                _interval([w.ar[:, k] for w in once], [w.ar[:, k] for w in drawn], seeds, level),
            )
            for k, label in enumerate(runs[0].categories)
        ),
        _sd([float(w.mean_ap[0]) for w in once]),
    )


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
            mend="compare the seeds that both arms have",
        )
    _require_equal([*reference, *other])
    weights, seeds = _draws(reference[0], len(reference), resamples, seed)
    pairs = list(zip(reference, other, strict=True))
    once = [(weigh(a), weigh(b)) for a, b in pairs]
    drawn = [(weigh(a, weights), weigh(b, weights)) for a, b in pairs]

    def over(figure: str, k: int | None = None) -> Interval:
        return _interval(
            [_figure(b, figure, k) - _figure(a, figure, k) for a, b in once],
            [_figure(b, figure, k) - _figure(a, figure, k) for a, b in drawn],
            seeds,
            level,
        )

    each = [float(b.mean_ap[0] - a.mean_ap[0]) for a, b in once]
    sd = _sd(each)
    over_patients = np.mean([b.mean_ap - a.mean_ap for a, b in drawn], axis=0)
    return Difference(
        ap=over("mean_ap"),
        ar=over("mean_ar"),
        per_class=tuple((label, over("ap", k)) for k, label in enumerate(reference[0].categories)),
        p=permutation_p(pairs, resamples=resamples, seed=seed),
        seeds=len(pairs),
        patients=len(set(reference[0].patients)),
        images=len(reference[0].patients),
        sd=sd,
        error_seeds=None if sd is None else sd / math.sqrt(len(pairs)),
        error_patients=float(np.nanstd(over_patients, ddof=1)),
    )


def _figure(weighted: Weighted, figure: str, k: int | None) -> Floats:
    values: Floats = getattr(weighted, figure)
    return values if k is None else values[:, k]


def _draws(run: Matched, seeds: int, resamples: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Weights of the images (B, I), and which seeds each resample holds (B, seeds)."""
    chosen = np.random.default_rng([seed, 1]).integers(0, seeds, size=(resamples, seeds))
    return patient_weights(run.patients, resamples, seed), chosen


def _interval(once: list[Floats], drawn: list[Floats], seeds: NDArray[np.int64], level: float) -> Interval:
    """Mean over the seeds, with the percentiles of means over drawn seeds of drawn patients."""
    values = np.stack(drawn)  # (S, B)
    means = values[seeds, np.arange(values.shape[1])[:, None]].mean(axis=1)
    return percentiles(float(np.mean([v[0] for v in once])), means, level)


def _sd(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _require_equal(runs: Sequence[Matched]) -> None:
    if not runs:
        raise EvaluationError("no run to judge", where="comparison")
    for run in runs[1:]:
        for name in ("patients", "categories"):
            if getattr(run, name) != getattr(runs[0], name):
                raise EvaluationError(
                    f"the runs were judged on other {name}", where="comparison", mend="compare runs of one split"
                )
        if not np.array_equal(run.boxes, runs[0].boxes):
            raise EvaluationError("the runs were judged against other true boxes", where="comparison")


def permutation_p(pairs: Sequence[tuple[Matched, Matched]], *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p of no difference in AP: every patient's detections change arms with chance one half.

    The smallest p is 1 / (resamples + 1) (Phipson & Smyth, 2010).
    """
    rng = np.random.default_rng([seed, 2])
    observed, permuted = 0.0, np.zeros(resamples)
    for first, second in pairs:
        names, place = np.unique(np.array(first.patients, dtype=object).astype(str), return_inverse=True)
        swapped = (rng.random((resamples, len(names))) < 0.5)[:, place]  # (B, I)
        observed += float(weigh(second).mean_ap[0] - weigh(first).mean_ap[0])
        permuted += _swapped(second, first, swapped) - _swapped(first, second, swapped)
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
        step = max(1, 2_000_000 // max(1, len(order)))
        for start in range(0, len(swapped), step):
            chunk = swapped[start : start + step]
            weight = np.concatenate([~chunk[:, own.image[mine]], chunk[:, others.image[theirs]]], axis=1)[:, order]
            there = slice(start, start + len(chunk))
            ap[there, k] = average_precision(weight.astype(np.float64), hit, counted, boxes[there])[0]
    known = ~np.isnan(ap)
    with np.errstate(invalid="ignore"):
        result: Floats = np.where(known, ap, 0.0).sum(axis=1) / known.sum(axis=1)
    return result


def holm(values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p of several tests, in the order given; NaN stays NaN and counts as no test."""
    known = [i for i, p in enumerate(values) if not math.isnan(p)]
    adjusted = list(values)
    highest = 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(known) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted


def needed(difference: Difference) -> Needed:
    """Seeds or images that would settle the observed difference in AP at 5 % with a power of 80 %.

    The standard error has a part that shrinks with the seeds and one that shrinks with the patients; each
    answer lets one grow and keeps the other. With one seed the seeds' part is unknown: no answer for them.
    """
    effect = abs(difference.ap.value)
    if math.isnan(effect) or effect == 0:
        return Needed(None, None)
    allowed = (effect / (_Z_TEST + _Z_POWER)) ** 2
    patients, seeds = difference.error_patients**2, (difference.error_seeds or 0.0) ** 2
    more_seeds = more_images = None
    if difference.error_seeds is not None and allowed > patients:
        more_seeds = max(2, math.ceil(difference.seeds * seeds / (allowed - patients)))
    if allowed > seeds:
        more_images = max(1, math.ceil(difference.images * patients / (allowed - seeds)))
    return Needed(more_seeds, more_images)
