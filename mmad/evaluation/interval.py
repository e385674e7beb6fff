"""A figure with its interval, read off resamples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmad.evaluation.matching import Floats

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure with its bootstrap percentile interval; NaN where nothing could be measured."""

    value: float
    low: float
    high: float


def percentiles(value: float, drawn: Floats, level: float = LEVEL) -> Interval:
    """``value`` within the middle ``level`` of what resamples gave, (B,); those that could not be measured left out."""
    known = drawn[~np.isnan(drawn)]
    if math.isnan(value) or not len(known):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
