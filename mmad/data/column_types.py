"""Chooses the clinical columns of a table of subjects: named by the user, or guessed from what they hold."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from mmad.base.errors import DataError
from mmad.config.messages import no_such, one_of
from mmad.data.dataset import CategoricalColumn, NumericColumn

if TYPE_CHECKING:
    import pandas

#: Columns that a guess leaves out: they say how a picture was taken or what was found on it.
NEVER_GUESSED = frozenset({"view", "finding", "findings", "diagnosis", "label", "report", "modality", "source"})
#: A guess takes a column only if at least this share of the rows has a value.
LEAST_FILLED = 0.2
#: A guessed category has two to this many values.
MOST_VALUES = 8
_UNITS = (
    ("_c", "°C"),
    ("_f", "°F"),
    ("_pct", "%"),
    ("_mmhg", "mmHg"),
    ("_k_ul", "10^3/µl"),
    ("_days", "days"),
    ("_kg", "kg"),
    ("_cm", "cm"),
)


def parse(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def number_text(value: float) -> str:
    """The shortest text that ``parse`` reads as exactly ``value``; a whole number without its ``.0``."""
    return repr(float(value)).removesuffix(".0")


def unit_of(name: str) -> str:
    """The unit that a column's name gives away, or nothing."""
    if name.casefold() == "age":
        return "years"
    return next((unit for ending, unit in _UNITS if name.casefold().endswith(ending)), "")


def choose_numeric(
    table: pandas.DataFrame,
    wanted: Sequence[str] | None,
    reserved: Collection[str],
    where: str,
    units: Mapping[str, str],
) -> tuple[NumericColumn, ...]:
    """The numeric columns ``wanted``, or every column that holds nothing but numbers and is filled enough.

    ``table`` holds text, empty where missing. The range of a column is what it holds.
    Raises DataError for an unknown column, one without a number, or one with something else in it.
    """
    names = wanted if wanted is not None else [n for n in _candidates(table, reserved) if _all_numbers(table[n])]
    chosen = []
    for name in names:
        _known(name, table, reserved, where)
        numbers = [parse(cell) for cell in table.loc[table[name] != "", name].tolist()]
        values = [number for number in numbers if number is not None]
        if len(values) < len(numbers) or not values:
            what = "holds something that is not a number" if numbers else "holds no value"
            raise DataError(f"column {name!r} {what}", where=where, hint="leave it out of --numeric")
        chosen.append(NumericColumn(name, units.get(name, unit_of(name)), *_range(values)))
    return tuple(chosen)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest; around a single value one more, or as much as so large a number can tell apart."""
    low, high = min(values), max(values)
    if high > low:
        return low, high
    step = 1.0 if low + 1.0 > low else abs(low) / 2
    return (low, low + step) if math.isfinite(low + step) else (low - step, low)


def choose_categorical(
    table: pandas.DataFrame, wanted: Sequence[str] | None, reserved: Collection[str], where: str
) -> tuple[CategoricalColumn, ...]:
    """The categories ``wanted``, or every filled column of words with two to eight values (sorted).

    Raises DataError for an unknown column or one without a value.
    """
    names = wanted
    if names is None:
        names = [n for n in _candidates(table, reserved) if not _all_numbers(table[n]) and _few_values(table[n])]
    chosen = []
    for name in names:
        _known(name, table, reserved, where)
        values = tuple(sorted(set(table[name].tolist()) - {""}))
        if not values:
            raise DataError(f"column {name!r} holds no value", where=where, hint="leave it out of --categorical")
        chosen.append(CategoricalColumn(name, values))
    return tuple(chosen)


def _candidates(table: pandas.DataFrame, reserved: Collection[str]) -> list[str]:
    free = [n for n in table.columns.tolist() if n and n not in reserved and n.casefold() not in NEVER_GUESSED]
    filled = {name: table.loc[table[name] != "", name] for name in free}
    return [name for name, cells in filled.items() if cells.nunique() > 1 and len(cells) >= LEAST_FILLED * len(table)]


def _all_numbers(cells: pandas.Series[str]) -> bool:
    return all(parse(cell) is not None for cell in cells[cells != ""].tolist())


def _few_values(cells: pandas.Series[str]) -> bool:
    return cells[cells != ""].nunique() <= MOST_VALUES


def _known(name: str, table: pandas.DataFrame, reserved: Collection[str], where: str) -> None:
    free = [column for column in table.columns.tolist() if column not in reserved]
    if name not in free:
        raise DataError(no_such("clinical column", name, free), where=where, hint=one_of(free))
