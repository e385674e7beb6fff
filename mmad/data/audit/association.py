"""Whether two yes-or-no questions go together: Fisher's exact test, its effect size, and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Table = tuple[int, int, int, int]  # (a, b, c, d): yes-yes, yes-no, no-yes, no-no


def fisher(table: Table) -> float:
    """The two-sided p-value: the chance of a table of these margins that is at most as likely as this one.

    R. A. Fisher, "Statistical Methods for Research Workers", 1934. It is exact for any counts, small or large.
    """
    a, b, c, d = table
    whole = a + b + c + d
    if 0 in (a + b, c + d, a + c, b + d):
        return 1.0
    cells = np.arange(max(0, a + c - c - d), min(a + b, a + c) + 1)
    f = _log_factorials(1 << whole.bit_length())
    log_p = -(f[cells] + f[a + b - cells] + f[a + c - cells] + f[c + d - (a + c) + cells])
    log_p -= log_p.max()
    chances = np.exp(log_p)
    here = chances[a - cells[0]]
    return float(min(1.0, chances[chances <= here * (1 + 1e-7)].sum() / chances.sum()))


@lru_cache(maxsize=4)
def _log_factorials(size: int) -> NDArray[np.float64]:
    """log 0! to log (size - 1)!."""
    logs = np.zeros(size)
    logs[1:] = np.log(np.arange(1, size))
    return np.asarray(np.cumsum(logs), dtype=np.float64)


def phi(table: Table) -> float:
    """The correlation of the two questions, -1 to 1; 0 where one of them has a single answer."""
    a, b, c, d = (float(n) for n in table)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    return 0.0 if margins == 0 else (a * d - b * c) / margins**0.5


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values as they are after so many tests: the chance of even one false alarm among all.

    S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


def scaled(table: Table, factor: float) -> Table:
    """The table as if of fewer independent cases; ``factor`` lies in (0, 1]."""
    a, b, c, d = (round(n * factor) for n in table)
    return a, b, c, d
