"""Which unit a clinical column is in, as far as its name, its declared unit and its values tell.

The intervals are what a living patient in a hospital can show, wide on purpose: they tell units apart, not the ill
from the well. Where two units overlap (a weight of 90 is possible in kg and lb) the column's median decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmad.data.dataset import NumericColumn

Interval = tuple[float, float]


@dataclass(frozen=True)
class Quantity:
    """Something measured in several units. ``names`` begin or stand in a column's name."""

    names: tuple[str, ...]
    units: dict[str, Interval]
    by_median: bool = False  # the intervals overlap and hold the median of a column of adults


QUANTITIES = (
    Quantity(("temp", "temperature"), {"°C": (25, 45), "°F": (77, 113)}),
    Quantity(
        ("o2sat", "spo2", "sao2", "sat", "saturation"),
        {"%": (30, 100), "fraction of 1": (0.3, 1), "mmHg": (100.5, 700)},
    ),
    Quantity(("pao2", "po2", "paco2", "pco2"), {"mmHg": (20, 700), "kPa": (1.5, 19.9)}),
    Quantity(("sbp", "dbp", "map", "bp", "systolic", "diastolic", "pressure"), {"mmHg": (26, 320), "kPa": (2.5, 25)}),
    Quantity(("weight", "wt"), {"kg": (35, 110), "lb": (110, 300)}, by_median=True),
    Quantity(("height", "ht", "length"), {"cm": (110, 250), "m": (0.4, 2.4), "in": (25, 100)}),
    Quantity(("age",), {"years": (0, 125), "months or days": (125.5, 50_000)}),
)
_SPELLINGS = {
    "c": "°C", "degc": "°C", "celsius": "°C", "°c": "°C", "f": "°F", "degf": "°F", "fahrenheit": "°F", "°f": "°F",
    "pct": "%", "percent": "%", "%": "%", "mmhg": "mmHg", "torr": "mmHg", "kpa": "kPa", "kg": "kg", "lb": "lb",
    "lbs": "lb", "pounds": "lb", "cm": "cm", "m": "m", "in": "in", "inch": "in", "inches": "in", "years": "years",
    "year": "years", "y": "years", "1": "fraction of 1", "fraction": "fraction of 1",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Confusion:
    """Values that another unit explains. ``declared`` is empty where the column says no unit."""

    declared: str
    other: str
    interval: Interval
    values: NDArray[np.bool_]  # (N,), parallel to the values looked at
    whole: bool  # of the whole column, not of single values


def quantity_of(column: NumericColumn) -> Quantity | None:
    """What the column's name says it measures."""
    words = [word for word in re.split(r"[^a-z0-9]+", column.name.casefold()) if word]
    return next((q for q in QUANTITIES if any(word in q.names for word in words)), None)


def unit_of(column: NumericColumn, quantity: Quantity) -> str:
    """The unit that ``column`` declares, or its name ends with; empty where it says none that is known."""
    ending = re.split(r"[^a-z0-9]+", column.name.casefold())[-1]
    for spelling in (re.sub(r"[\s.]|deg(rees?)?\s+", "", column.unit.casefold()), ending):
        unit = _SPELLINGS.get(spelling, "")
        if unit in quantity.units:
            return unit
    return ""


def confusion(column: NumericColumn, values: NDArray[np.float64]) -> Confusion | None:
    """What of ``values`` (N,), NaN where missing, is in another unit than the column's; None where nothing is."""
    quantity = quantity_of(column)
    if quantity is None or not np.isfinite(values).any():
        return None
    unit = unit_of(column, quantity)
    if quantity.by_median:
        return _by_median(quantity, unit, values)
    own = unit or _most_frequent(quantity, values)
    strange = np.isfinite(values) & ~_within(values, quantity.units[own])
    found = {other: strange & _within(values, interval) for other, interval in quantity.units.items() if other != own}
    other = max(found, key=lambda name: int(found[name].sum()))
    if not found[other].any():
        return None
    whole = bool(found[other].sum() > np.isfinite(values).sum() / 2)
    return Confusion(unit, other, quantity.units[other], found[other], whole)


def _by_median(quantity: Quantity, unit: str, values: NDArray[np.float64]) -> Confusion | None:
    """The whole column is in another unit if that is where its median lies."""
    if not unit:
        return None
    median = float(np.nanmedian(values))
    for other, (low, high) in quantity.units.items():
        own = quantity.units[unit]
        if other != unit and low < median <= high and not own[0] <= median <= own[1]:
            return Confusion(unit, other, (low, high), np.isfinite(values), True)
    return None


def _most_frequent(quantity: Quantity, values: NDArray[np.float64]) -> str:
    return max(quantity.units, key=lambda unit: int(_within(values, quantity.units[unit]).sum()))


def _within(values: NDArray[np.float64], interval: Interval) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (values >= interval[0]) & (values <= interval[1])
    return inside
