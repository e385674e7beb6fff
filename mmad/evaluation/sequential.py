"""Looks at a study that adds seeds until its differences are settled: how much of the error each look may spend.

A difference over k seeds on fixed patients has the variance σ_p² + σ_s²/k, and its inverse, the information, grows
from look to look as in any group-sequential design: the mean over k seeds holds the mean over j < k of them. A spending
function (Lan and DeMets') gives each look its share of alpha; what is left of it is a boundary, given as a nominal p,
which t with the degrees of freedom of that look turns into a critical value.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr  # type: ignore[import-untyped]

from mmad.evaluation.matching import Floats

#: Alpha is spent as the information's share to this power.
_POWER = 2.0
#: Points of the numerical integration between two boundaries, odd.
_POINTS = 97
#: A look that adds less of the information than this spends nothing.
_LEAST_STEP = 1e-4
_HALVINGS = 36
#: The alphas among which ``repeated_p`` looks.
_ALPHAS = np.geomspace(1e-8, 0.999, 48)


def nominal_levels(fractions: Floats, alpha: Floats | float) -> Floats:
    """The two-sided p (…, L) that each look has to stay below, so that all of them together err in ``alpha``.

    Args:
        fractions: of the information at each look, (…, L); one that adds none spends nothing.
        alpha: of a whole study, (…,).
    """
    known = np.maximum.accumulate(np.clip(fractions, 0.0, 1.0), axis=-1)
    return boundaries(known, np.asarray(alpha)[..., None] * known**_POWER)


def boundaries(fractions: Floats, spent: Floats) -> Floats:
    """The same where each look has ``spent`` so much (…, L), all looks before it included."""
    fractions, spent = np.broadcast_arrays(fractions, spent)
    shape, looks = fractions.shape, fractions.shape[-1]
    fractions, spent = fractions.reshape(-1, looks), spent.reshape(-1, looks)
    rows = len(fractions)
    levels, before, done = np.zeros((rows, looks)), np.zeros(rows), np.zeros(rows)
    # the scores that no look has stopped yet: at first all at 0
    points, weights = np.zeros((rows, _POINTS)), np.eye(1, _POINTS).repeat(rows, axis=0)
    simpson = np.full(_POINTS, 2.0)
    simpson[1::2], simpson[[0, -1]] = 4.0, 1.0
    for look in range(looks):
        step, share = fractions[:, look] - before, spent[:, look] - done
        on = np.flatnonzero((step >= _LEAST_STEP) & (share > 0))
        if not len(on):
            continue
        scale, now = np.sqrt(step[on])[:, None], np.sqrt(fractions[on, look])
        low, high = np.zeros(len(on)), 9 * now
        for _ in range(_HALVINGS):
            middle = ((low + high) / 2)[:, None]
            tails = ndtr((-middle - points[on]) / scale) + ndtr((points[on] - middle) / scale)
            beyond = (tails * weights[on]).sum(axis=1) > share[on]
            low, high = np.where(beyond, middle[:, 0], low), np.where(beyond, high, middle[:, 0])
        bound = (low + high) / 2
        levels[on, look] = 2 * ndtr(-bound / now)
        following = bound[:, None] * np.linspace(-1, 1, _POINTS)
        density = np.zeros_like(following)
        for k in np.flatnonzero((weights[on] != 0).any(axis=0)):
            density += weights[on, k, None] * np.exp(-(((following - points[on, k, None]) / scale) ** 2) / 2)
        density /= scale * math.sqrt(2 * math.pi)
        points[on] = following
        weights[on] = density * simpson * (2 * bound / (_POINTS - 1) / 3)[:, None]
        before[on], done[on] = fractions[on, look], spent[on, look]
    return levels.reshape(shape)


def repeated_p(p: float, fractions: Floats, *alphas: float) -> float:
    """The smallest alpha of a whole study at which its last look would stop at ``p``, on the same side of ``alphas``.

    Args:
        p: of the last look by itself.
        fractions: of the information at each look, (L,).
        alphas: that a verdict asks for.
    """
    every = np.unique(np.append(_ALPHAS, alphas))
    levels = nominal_levels(np.broadcast_to(fractions, (len(every), len(fractions))), every)[:, -1]
    first = int(np.argmax(levels > p))
    if not levels[first] > p:
        return 1.0
    if first == 0:
        return float(every[0])
    with np.errstate(divide="ignore"):
        part = np.log(p / levels[first - 1]) / np.log(levels[first] / levels[first - 1])
    part = float(np.clip(part, 0, 1 - 1e-9)) if np.isfinite(part) else 0.5
    return float(every[first - 1] * (every[first] / every[first - 1]) ** part)
