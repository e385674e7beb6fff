"""What an alteration of the data costs a detector, with an interval over the patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmad.base.errors import EvaluationError
from mmad.evaluation.interval import LEVEL, RESAMPLES, Interval, percentiles
from mmad.evaluation.matching import Floats, Matched
from mmad.evaluation.resampling import patient_weights, weigh


@dataclass(frozen=True)
class Drop:
    """Figures as they are less those after an alteration, means over its ``repeats``; above 0: it hurts."""

    ap: Interval
    ar: Interval
    per_class: tuple[tuple[str, Interval], ...]  # of AP
    before: float  # AP as it is
    after: float  # AP altered, mean over the repeats
    repeats: int


def drop(
    original: Matched,
    altered: Sequence[Matched],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Drop:
    """The drop from ``original`` to the mean of ``altered``, on the same resamples of the patients.

    The importance of an input is what its permutation costs (Breiman, 2001; Fisher et al., 2019).

    Args:
        original: matches of the detections as they are.
        altered: matches of each repeat of the alteration, on the same images.
        resamples: of the patients.
        seed: of the random numbers.
        level: of the intervals.

    Raises:
        EvaluationError: no repeat, or repeats on other images.
    """
    if not altered or any(a.patients != original.patients for a in altered):
        raise EvaluationError("no repeat on the same images", where="control")
    weights = patient_weights(original.patients, resamples, seed)
    once, drawn = weigh(original), weigh(original, weights)
    again, redrawn = [weigh(a) for a in altered], [weigh(a, weights) for a in altered]

    def of(figure: str, k: int | None = None) -> Interval:
        def values(weighted: object) -> Floats:
            whole: Floats = getattr(weighted, figure)
            return whole if k is None else whole[:, k]

        # differences first: what an alteration leaves alone then drops by 0 to the last digit
        value = np.mean([values(once) - values(w) for w in again], axis=0)
        return percentiles(float(value[0]), np.mean([values(drawn) - values(w) for w in redrawn], axis=0), level)

    return Drop(
        ap=of("mean_ap"),
        ar=of("mean_ar"),
        per_class=tuple((label, of("ap", k)) for k, label in enumerate(original.categories)),
        before=float(once.mean_ap[0]),
        after=float(np.mean([w.mean_ap[0] for w in again])),
        repeats=len(altered),
    )
