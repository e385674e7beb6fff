"""What one pair of axes shows: its lines, and how its values become places in a drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

#: Mid-tones of a palette that the common colour-blindnesses tell apart (after Okabe and Ito, 2008).
PALETTE: tuple[str, ...] = ("#2b7bba", "#d1661c", "#1f9e78", "#b0619b", "#8a7a12", "#5b6ee1", "#a3483d", "#5d7f8c")

Style = Literal["solid", "dashed", "dotted"]
#: What a panel runs along: epochs, a share from 0 to 1, or false positives per image (in doublings).
Across = Literal["epoch", "share", "rate"]
_RATES = (0.125, 0.5, 2.0, 8.0)
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST = 1e307
#: The least span of an axis: below it steps can no longer be told apart.
_LEAST = 1e-300


@dataclass(frozen=True)
class Series:
    """One line; a value that is None (or not finite) leaves a gap. ``colour`` counts through the palette.

    ``dots`` are values of ``x`` to mark on the line; ``band`` the lower and upper end of what is shaded around it.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    colour: int = 0
    style: Style = "solid"
    faint: bool = False
    dots: tuple[float, ...] = ()
    band: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes. ``marks`` are epochs to point out, ``y_range`` fixes the axis across panels."""

    title: str
    series: tuple[Series, ...]
    marks: tuple[int, ...] = ()
    y_range: tuple[float, float] | None = None
    log: bool = False
    across: Across = "epoch"


@dataclass(frozen=True)
class Axis:
    """From ``low`` to ``high``, drawn from ``start`` to ``end``; ``ticks`` are the values that are named."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()

    def place(self, value: float) -> float:
        """Where ``value`` stands; what a logarithmic axis has not stands at its low end."""
        (place,) = self.places((value,))
        assert place is not None
        return place

    @overload
    def places(self, values: Sequence[float]) -> list[float]: ...
    @overload
    def places(self, values: Sequence[float | None]) -> list[float | None]: ...
    def places(self, values: Sequence[float | None]) -> Sequence[float | None]:
        """Where each of ``values`` stands, None for None."""
        if self.log:
            low = math.log(self.low)
            scale = (self.end - self.start) / (math.log(self.high) - low)
            return [
                None if v is None else self.start + scale * (math.log(v) - low) if v > 0 else self.start for v in values
            ]
        start, low, scale = self.start, self.low, (self.end - self.start) / (self.high - self.low)
        return [None if v is None else start + scale * (v - low) for v in values]


def x_axis(panel: Panel, start: float, end: float) -> Axis:
    """The axis along the panel's lines."""
    xs = [x for series in panel.series for x in series.x]
    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if low == high:
        low, high = low - 1, high + 1
    if panel.across == "share":
        return Axis(0, 1, start, end, ticks=linear_ticks(0, 1, 5))
    if panel.across == "rate" and low > 0:
        return Axis(low, high, start, end, True, tuple((v, f"{v:g}") for v in _RATES if low <= v <= high))
    return Axis(low, high, start, end, ticks=linear_ticks(low, high, 5, whole=panel.across == "epoch"))


def y_axis(panel: Panel, start: float, end: float) -> Axis:
    """The axis of the panel's values: from 0 where none is below, unless the panel says otherwise."""
    values = [v for series in panel.series for v in series.y if v is not None and math.isfinite(v)]
    if panel.log and values and min(values) > 0:
        low, high = min(values), max(values)
        room = 3.0 if high < 10 * low else (high / low if high / low < _MOST else _MOST) ** 0.05
        low, high = max(low / room, 1e-307), min(high * room, _MOST)
        return Axis(low, high, start, end, True, decades(low, high))
    if panel.y_range is not None:
        low, high = panel.y_range
    elif values and min(values) < 0:
        low, high = max(min(values), -_MOST), min(max(values), _MOST)
        room = max(0.05 * max(high - low, abs(low) * 1e-6), _LEAST)
        low, high = low - room, high + room
    else:
        low, high = 0.0, max(min((max(values) if values else 1.0) or 1.0, _MOST) * 1.06, _LEAST)
    return Axis(low, high, start, end, ticks=linear_ticks(low, high, 6))


def linear_ticks(low: float, high: float, most: int, *, whole: bool = False) -> tuple[tuple[float, str], ...]:
    """Round values at equal steps between ``low`` and ``high``, at most ``most`` + 1, with their names."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    steps = [s * p for p in (power, power * 10) for s in _STEPS if not whole or (s * p >= 1 and (s * p) % 1 == 0)]
    step = next((s for s in steps if s >= span / most * (1 - 1e-9)), steps[-1] if steps else 1.0)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    values = [n * step for n in range(first, last + 1)]
    if step < 1e-4 or max(abs(low), abs(high)) >= 1e6:
        return tuple((v, f"{v:.3g}") for v in values)
    digits = max(0, -math.floor(math.log10(step)))
    if round(step * 10**digits, 6) % 1:  # a step of 2.5 has a digit more
        digits += 1
    return tuple((v, f"{v:.{digits}f}".replace("-", "−")) for v in values)


def decades(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """The powers of ten between, thinned out where there are many."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / 6))
    return tuple((10.0**n, f"{10.0**n:g}") for n in range(first, last + 1, step))
