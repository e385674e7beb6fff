"""How sure: bootstrap intervals over patients, paired differences of two arms, tests, and what would settle it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmad.base.errors import EvaluationError
from mmad.evaluation.interval import LEVEL, RESAMPLES, Interval
from mmad.evaluation.matching import Floats, Matched
from mmad.evaluation.permutation import holm, permutation_p
from mmad.evaluation.resampling import Weighted, patient_weights, weigh
from mmad.evaluation.seeds import difference_interval, mean_interval, spread_of, t_test

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
#: More seeds than this are no answer.
_MOST_SEEDS = 1000


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

    ``p`` is two-sided. With several seeds it asks whether other seeds and other patients would show the difference,
    too: a t-test that counts both (``mmad.evaluation.seeds``). With one it is ``p_patients``, which asks of these
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


def estimate(runs: Sequence[Matched], *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL) -> Estimate:
    """AP and AR with their intervals; several runs are seeds of one setting, whose spread counts.

    Args:
        runs: the matches of each seed, of the same split.
        resamples: of the patients.
        seed: of the random numbers.
        level: of the intervals.

    Raises:
        EvaluationError: no run, or runs over other images.
    """
    _require_equal(runs)
    weights = patient_weights(runs[0].patients, resamples, seed)
    once, drawn = [weigh(run) for run in runs], [weigh(run, weights) for run in runs]

    def over(figure: str, k: int | None = None) -> Interval:
        return mean_interval(_stacked(once, figure, k)[:, 0], _stacked(drawn, figure, k), level, (0.0, 1.0))

    return Estimate(
        over("mean_ap"),
        over("mean_ar"),
        tuple((label, over("ap", k), over("ar", k)) for k, label in enumerate(runs[0].categories)),
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
    weights = patient_weights(reference[0].patients, resamples, seed)
    once = [[weigh(run) for run in side] for side in (reference, other)]
    drawn = [[weigh(run, weights) for run in side] for side in (reference, other)]

    def less(of: Sequence[Sequence[Weighted]], figure: str, k: int | None = None) -> Floats:
        return _stacked(of[1], figure, k) - _stacked(of[0], figure, k)  # (S, B)

    def over(figure: str, k: int | None = None) -> Interval:
        return difference_interval(less(once, figure, k)[:, 0], less(drawn, figure, k), level, (-1.0, 1.0))

    each = less(once, "mean_ap")[:, 0]
    spread = spread_of(each, less(drawn, "mean_ap"))
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


def needed(difference: Difference) -> Needed:
    """Seeds or images, in all, that would settle the observed difference in AP at 5 % with a power of 80 %.

    The standard error has a part that shrinks with the seeds and one that shrinks with the patients; each answer lets
    one grow and keeps the other. Few seeds are judged by the t distribution. With one seed the seeds' part is
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
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    return float(stdtrit(seeds - 1, 0.975) + stdtrit(seeds - 1, 0.8))
