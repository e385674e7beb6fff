"""Whether and from where the validation loss rises, by a test that says so of at most one resting curve in twenty.

A curve at rest has a lowest value, too: of a hundred noisy epochs it lies 2.5 standard deviations below the others.
So the lowest epoch proves nothing, and this asks for a trend. Straight lines are fitted to the last epochs, from six
starts on (all epochs, the last seven eighths, …, the last three eighths). Each slope is divided by its standard error
under noise that follows itself (first-order autoregressive, its correlation estimated from the residuals and
corrected for its bias in short curves). The loss rises where the largest of the six exceeds ``2.4 + 46 / epochs``: no
more than 4 % of curves of pure noise with a correlation of up to 0.6 do, at 20 to 1,000 epochs. Falling curves exceed
it more rarely.

The turn is the lowest epoch of the least-squares curve that first only falls and then only rises. Whether AP falls is
asked of the validation AP in the same way, and said apart.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from mmad.analysis.report_frame import RunFrame
from mmad.base.formatting import MINUS
from mmad.base.records import Split

Floats = NDArray[np.float64]

#: Fewer epochs tell nothing.
LEAST_EPOCHS = 20
#: Where the fitted lines begin, in shares of the epochs, and how many epochs each needs.
_STARTS, _LEAST_LINE = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625), 12
#: Epochs that follow a turn at least.
_LEAST_AFTER = 5
_HIGHEST_CORRELATION = 0.9


@dataclass(frozen=True)
class Onset:
    """The validation loss rises from ``epoch`` on: by which share until the end, and how far training loss fell.

    The end is the mean over the last third of the epochs that follow. ``ap_from`` is the epoch from which the
    validation AP falls, None where it is not seen to.
    """

    epoch: int
    rise: float
    fall: float
    ap_from: int | None = None


def rises(values: Sequence[float]) -> bool:
    """Whether ``values``, finite and one per epoch, rise by the test above; False where they are too few to tell."""
    return len(values) >= LEAST_EPOCHS and _largest_slope(np.array(values)) > 2.4 + 46 / len(values)


def turn_of(values: Sequence[float]) -> int | None:
    """The place from which ``values`` rise; None where they are not seen to."""
    if not rises(values):
        return None
    fitted = _valley(list(values))
    lowest = min(fitted)
    place = max(n for n, value in enumerate(fitted) if value == lowest)
    return min(place, len(values) - 1 - _LEAST_AFTER)


def _largest_slope(values: Floats) -> float:
    """The largest slope over its standard error."""
    found = 0.0
    for share in _STARTS:
        part = values[int(share * len(values)) :]
        if len(part) < _LEAST_LINE:
            continue
        time, square, lagged = _line(len(part))
        slope = float(part @ time) / square
        if slope <= 0:
            continue
        rest = part - part.mean() - slope * time
        squares = float(rest @ rest)
        if squares <= 1e-24 * float(part @ part):
            return math.inf
        error = _slope_error(float(rest[1:] @ rest[:-1]) / squares, squares, square, lagged)
        found = max(found, slope / error)
    return found


def _slope_error(correlation: float, squares: float, square: float, lagged: Floats) -> float:
    """Standard error of a slope from the lag-one correlation and the sum of squares of its residuals."""
    count = len(lagged) + 1
    correlation = (correlation + 2 / count) / (1 - 4 / count)  # residuals of few epochs correlate less than the noise
    power = min(max(correlation, 0.0), _HIGHEST_CORRELATION) ** np.arange(1, count)
    of_slope = (1 + 2 * float(power @ lagged)) / square
    of_mean = (1 + 2 * float(power @ (1 - np.arange(1, count) / count))) / count
    freedom = max(1.0, count - count * of_mean - square * of_slope)
    return math.sqrt(squares / freedom * of_slope)


@functools.lru_cache(maxsize=64)
def _line(count: int) -> tuple[Floats, float, Floats]:
    """Epochs around their mean (n,), their sum of squares, and their autocorrelations at lags 1 to n − 1."""
    time: Floats = np.arange(count, dtype=np.float64) - (count - 1) / 2
    square = float(time @ time)
    lagged = np.array([time[lag:] @ time[:-lag] for lag in range(1, count)]) / square
    return time, square, lagged


def _valley(values: list[float]) -> list[float]:
    """The least-squares curve that first never rises, then never falls."""
    falling, rising = _falling_errors(values), _falling_errors(values[::-1])[::-1]
    errors = [falling[n] + rising[n] for n in range(len(values) + 1)]
    split = min(range(len(errors)), key=errors.__getitem__)
    return _falling(values[:split]) + _falling(values[split:][::-1])[::-1]


def _blocks(values: Sequence[float]) -> list[tuple[float, int]]:
    """Means and lengths of the blocks of the never-rising least-squares curve (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        _pool(blocks, value)
    return blocks


def _pool(blocks: list[tuple[float, int]], value: float) -> float:
    """Add ``value`` to the curve; gives how much the sum of its squares grows."""
    mean, count, lost = value, 1, 0.0
    while blocks and blocks[-1][0] <= mean:
        before, length = blocks.pop()
        lost += length * before * before
        mean, count = (before * length + mean * count) / (length + count), length + count
    blocks.append((mean, count))
    return count * mean * mean - lost


def _falling(values: Sequence[float]) -> list[float]:
    return [mean for mean, count in _blocks(values) for _ in range(count)]


def _falling_errors(values: Sequence[float]) -> list[float]:
    """Sum of squared residuals of the never-rising curve through the first 0, 1, …, n values."""
    blocks: list[tuple[float, int]] = []
    errors = [0.0]
    for value in values:
        errors.append(errors[-1] + value * value - _pool(blocks, value))
    return errors


@functools.lru_cache(maxsize=4096)  # a report asks again in every form
def onset_of_curves(
    epochs: tuple[int, ...],
    training: tuple[float | None, ...],
    validation: tuple[float | None, ...],
    ap: tuple[float | None, ...],
) -> Onset | None:
    """Where the validation loss rises, or None. Epochs that lack a finite, positive loss of either split are left out.

    Args:
        epochs: their numbers; ``training`` and ``validation`` losses and validation ``ap`` are parallel to them.
    """
    rows = [
        (epoch, t, v)
        for epoch, t, v in zip(epochs, training, validation, strict=True)
        if t is not None and v is not None and 0 < t < math.inf and 0 < v < math.inf
    ]
    if not rows:
        return None
    middle = sorted(v for _, _, v in rows)[len(rows) // 2]
    place = turn_of([math.log(v / middle) for _, _, v in rows])
    if place is None:
        return None
    after = rows[place + 1 :]
    end = after[-math.ceil(len(after) / 3) :]
    near = rows[max(0, place - 1) : place + 2]

    def change(of: int) -> float:
        return fmean(row[of] for row in end) / fmean(row[of] for row in near) - 1

    measured = [(epoch, value) for epoch, value in zip(epochs, ap, strict=True) if value is not None and value == value]
    falls = turn_of([-value for _, value in measured])
    return Onset(rows[place][0], change(2), -change(1), None if falls is None else measured[falls][0])


def onset_of(run: RunFrame) -> Onset | None:
    """Where the total validation loss of a run rises."""
    missing = (None,) * len(run.epochs)
    overlap = run.record.protocol.get("selection_overlap", "iou")
    names: tuple[tuple[Split, str], ...] = (("train", "loss"), ("val", "loss"), ("val", f"ap_{overlap}"))
    return onset_of_curves(tuple(e.epoch for e in run.epochs), *(run.curves.get(name, missing) for name in names))


def lowest_loss(run: RunFrame) -> int | None:
    """The epoch of the lowest validation loss (the last of several), or None."""
    losses = run.curves.get(("val", "loss"), ())
    known = [
        (loss, -e.epoch)
        for e, loss in zip(run.epochs, losses, strict=False)
        if loss is not None and math.isfinite(loss)
    ]
    return -min(known)[1] if known else None


def onset_words(found: Onset | None, epochs: int = LEAST_EPOCHS) -> str:
    """``validation loss rises from epoch 14 (+12 % by the end; training loss −8 %); AP is not seen to fall``.

    Without one, that none is seen, or that the ``epochs`` are too few to tell.
    """
    if found is None:
        return "no rise seen" if epochs >= LEAST_EPOCHS else f"too few epochs to tell ({epochs})"
    rise, fall = (f"{'+' if share >= 0 else MINUS}{100 * abs(share):.0f} %" for share in (found.rise, -found.fall))
    ap = "AP is not seen to fall" if found.ap_from is None else f"AP falls from epoch {found.ap_from}"
    return f"validation loss rises from epoch {found.epoch} ({rise} by the end; training loss {fall}); {ap}"
