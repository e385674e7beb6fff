"""The spread of a mean over seeds: what other patients would change of it, and what other seeds would.

Several trainings judged on the same patients are what several readers of the same cases are in a reader study.
The variance is therefore taken apart as Obuchowski and Rockette (1995) do it, with the degrees of freedom of Hillis
(2007); the covariance that comes from shared patients is read off the bootstrap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmad.evaluation.interval import Interval, percentiles
from mmad.evaluation.matching import Floats


@dataclass(frozen=True)
class Spread:
    """How sure a mean over seeds is.

    ``error`` is its standard error over seeds and patients, with ``freedom`` degrees of freedom (infinite for one
    seed). ``error_seeds`` is the part of it that seeds alone are to blame for (None for one), ``error_patients``
    that of the patients for these very seeds; squared they add up, as far as chance lets them.
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


def mean_interval(once: Floats, drawn: Floats, level: float, limits: tuple[float, float]) -> Interval:
    """The mean over seeds with its interval over seeds and patients.

    The bootstrap's percentiles over the patients give its shape; with several seeds they are widened by what t with
    the spread's degrees of freedom asks for. Drawing few seeds with replacement tells too little of their spread.

    Args:
        once: (S,) the figure of each seed.
        drawn: (S, B) the same on resamples of the patients.
        level: of the interval.
        limits: between which the figure lies.
    """
    value, means = float(once.mean()), drawn.mean(axis=0)
    found = percentiles(value, means, level)
    if len(once) == 1 or math.isnan(found.low):
        return found
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    spread = spread_of(once, drawn)
    if spread.error == 0:
        return found
    tail = (1 + level) / 2
    reach = float(stdtrit(min(spread.freedom, 1e9), tail)) * spread.error
    if spread.error_patients > 0:
        wider = reach / (float(stdtrit(1e9, tail)) * spread.error_patients)
        low, high = value + wider * (found.low - value), value + wider * (found.high - value)
    else:
        low, high = value - reach, value + reach
    return Interval(value, max(limits[0], low), min(limits[1], high))


def difference_interval(once: Floats, drawn: Floats, level: float, limits: tuple[float, float]) -> Interval:
    """A mean difference over seeds with its interval over seeds and patients, which leaves out 0 where ``t_test`` does.

    Several seeds: t with the spread's degrees of freedom, the same on both sides. One: the bootstrap's percentiles.
    """
    value = float(once.mean())
    spread = spread_of(once, drawn)
    if len(once) == 1 or math.isnan(spread.error):
        return percentiles(value, drawn.mean(axis=0), level)
    from scipy.special import stdtrit

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
