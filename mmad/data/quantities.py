"""What a clinical number measures, as far as its column's name says: its unit, and what is plausible in it.

The intervals are what a living patient in a hospital can show, wide on purpose: they separate units, and values from
codes, not the ill from the well. Where two units overlap (a weight of 90 is possible in kg and lb) the column's median
decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmad.data.dataset import NumericColumn

ValueRange = tuple[float, float]


@dataclass(frozen=True)
class Quantity:
    """Something measured in one or several units. A column is one where a name stands in its own, word by word.

    ``units`` tells the units apart. ``plausible`` is what a patient can show, where that is wider.
    """

    names: tuple[str, ...]
    units: Mapping[str, ValueRange]
    by_median: bool = False  # the intervals overlap and hold the median of a column of adults
    plausible: Mapping[str, ValueRange] = field(default_factory=dict)

    def range_in(self, unit: str) -> ValueRange:
        """What is plausible in ``unit``."""
        return self.plausible.get(unit, self.units[unit])


QUANTITIES = (
    Quantity(("temp", "temperature"), {"°C": (25, 45), "°F": (77, 113)}),
    Quantity(
        ("o2sat", "spo2", "sao2", "sat", "saturation"),
        {"%": (30, 100), "fraction of 1": (0.3, 1), "mmHg": (100.5, 700)},
    ),
    Quantity(("pao2", "po2", "paco2", "pco2"), {"mmHg": (20, 700), "kPa": (1.5, 19.9)}),
    Quantity(("sbp", "dbp", "map", "bp", "systolic", "diastolic", "pressure"), {"mmHg": (26, 320), "kPa": (2.5, 25)}),
    Quantity(
        ("weight", "wt"),
        {"kg": (35, 110), "lb": (110, 300)},
        by_median=True,
        plausible={"kg": (0.3, 400), "lb": (0.7, 900)},
    ),
    Quantity(
        ("height", "ht", "length"),
        {"cm": (110, 250), "m": (0.4, 2.4), "in": (25, 100)},
        plausible={"cm": (25, 250), "m": (0.25, 2.5), "in": (10, 100)},
    ),
    Quantity(("age",), {"years": (0, 125), "months or days": (125.5, 50_000)}),
    Quantity(("hr", "heartrate", "heart rate", "pulse"), {"1/min": (15, 320)}),
    Quantity(("rr", "resprate", "resp rate", "respiratory rate"), {"1/min": (2, 100)}),
    Quantity(("bmi", "body mass index"), {"kg/m²": (8, 120)}),
    Quantity(("gcs", "glasgow coma scale"), {"points": (3, 15)}),
    Quantity(("pain",), {"points": (0, 10)}),
    Quantity(("acuity", "esi"), {"level": (1, 5)}),
)
_SPELLINGS = {
    "c": "°C", "degc": "°C", "celsius": "°C", "°c": "°C", "f": "°F", "degf": "°F", "fahrenheit": "°F", "°f": "°F",
    "pct": "%", "percent": "%", "%": "%", "mmhg": "mmHg", "torr": "mmHg", "kpa": "kPa", "kg": "kg", "lb": "lb",
    "lbs": "lb", "pounds": "lb", "cm": "cm", "m": "m", "in": "in", "inch": "in", "inches": "in", "years": "years",
    "year": "years", "y": "years", "1": "fraction of 1", "fraction": "fraction of 1",
}  # fmt: skip


def quantity_of(name: str) -> Quantity | None:
    """What a column of this name measures."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # PatientAge
    words = " | ".join(" ".join(re.split(r"[^a-z0-9]+", form.casefold())) for form in (name, apart))
    if " stay" in words:
        return None
    return next((q for q in QUANTITIES if any(f" {known} " in f" {words} " for known in q.names)), None)


def unit_of(column: NumericColumn, quantity: Quantity) -> str:
    """The unit that ``column`` declares, or its name ends with; empty where it says none that is known."""
    ending = re.split(r"[^a-z0-9]+", column.name.casefold())[-1]
    for spelling in (re.sub(r"[\s.]|deg(rees?)?\s+", "", column.unit.casefold()), ending):
        unit = _SPELLINGS.get(spelling, "")
        if unit in quantity.units:
            return unit
    return ""


def plausible_range(name: str, unit: str, values: NDArray[np.float64]) -> ValueRange | None:
    """What is plausible in a column of this name whose finite ``values`` (N,) are given; None if it is not known."""
    quantity = quantity_of(name)
    if quantity is None:
        return None
    return quantity.range_in(unit_of(NumericColumn(name, unit, 0, 1), quantity) or _most_frequent(quantity, values))


@dataclass(frozen=True, eq=False)
class UnitConfusion:
    """Values that another unit explains. ``declared`` is empty where the column says no unit."""

    declared: str
    other: str
    interval: ValueRange
    values: NDArray[np.bool_]  # (N,), parallel to the values looked at
    whole: bool  # of the whole column, not of single values


def confusion(column: NumericColumn, values: NDArray[np.float64]) -> UnitConfusion | None:
    """What of ``values`` (N,), NaN where missing, is in another unit than the column's; None where nothing is."""
    quantity = quantity_of(column.name)
    if quantity is None or len(quantity.units) < 2 or not np.isfinite(values).any():
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
    return UnitConfusion(unit, other, quantity.units[other], found[other], whole)


def _by_median(quantity: Quantity, unit: str, values: NDArray[np.float64]) -> UnitConfusion | None:
    """The whole column is in another unit if that is where its median lies."""
    if not unit:
        return None
    median = float(np.nanmedian(values))
    for other, (low, high) in quantity.units.items():
        own = quantity.units[unit]
        if other != unit and low < median <= high and not own[0] <= median <= own[1]:
            return UnitConfusion(unit, other, (low, high), np.isfinite(values), True)
    return None


def _most_frequent(quantity: Quantity, values: NDArray[np.float64]) -> str:
    return max(quantity.units, key=lambda unit: int(_within(values, quantity.units[unit]).sum()))


def _within(values: NDArray[np.float64], interval: ValueRange) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (values >= interval[0]) & (values <= interval[1])
    return inside


#: Numbers that tables write where a value is missing.
CODES = (-1, -9, -99, -999, -9999, 99, 999, 9999, 99999, 888, 777)
#: With fewer other values nothing lies apart from them.
_FEWEST = 4


def sentinels(name: str, unit: str, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of ``values`` (N,), NaN where missing, are codes for *missing*: one of ``CODES`` apart from the rest.

    Apart is what is not plausible; else, a negative code where nothing else is negative, or a code farther from the
    others than half of what they span.
    """
    coded = np.isin(values, CODES)
    rest = values[np.isfinite(values) & ~coded]
    if not coded.any() or len(rest) < _FEWEST:
        return np.zeros(len(values), dtype=np.bool_)
    low, high = float(rest.min()), float(rest.max())
    apart = (values < low - (high - low) / 2) | (values > high + (high - low) / 2) | ((values < 0) & (low >= 0))
    plausible = plausible_range(name, unit, rest)
    if plausible is not None:
        apart = ~_within(values, plausible)
    return np.asarray(coded & apart, dtype=np.bool_)
