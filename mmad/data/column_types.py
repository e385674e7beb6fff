"""What becomes of each column of a table of subjects: named by the user, or decided by its name and what it holds.

Nothing is decided silently: every column has an outcome and a reason, and every cell that is no plain number in a
column of numbers is listed with its row. A detector must not read the answer, so what says what was found, how the
image was taken or which row it is, is left out unless the user names it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mmad.base.clock import now
from mmad.base.errors import DataError
from mmad.config.messages import no_such, one_of, shown
from mmad.data.acquisition import SHIFTED
from mmad.data.dataset import CategoricalColumn, NumericColumn
from mmad.data.quantities import plausible_range, quantity_of, sentinels
from mmad.data.spellings import spelled_alike
from mmad.data.tables import number_text, read_number

if TYPE_CHECKING:
    import pandas

Outcome = Literal["used", "clinical number", "category", "identifier", "label-like", "acquisition", "ignored"]

#: A guess takes a column only if at least this share of the rows has a value.
LEAST_FILLED = 0.2
#: A guessed category has two to this many values.
MOST_VALUES = 8
#: So many odd cells of a column are listed; the others are counted.
MOST_CELLS = 5
#: Words that stand for a missing value, case aside.
MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "#na", "<na>", "n.a.", "nan", "-nan", "nat", "null", "nil", "none", "-", "--", "---", ".",
     "..", "?", "unknown", "unk", "missing", "not available", "not recorded", "not known", "not done"}
)  # fmt: skip
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


def unit_of(name: str) -> str:
    """The unit that a column's name gives away, or nothing."""
    if name.casefold() == "age":
        return "years"
    return next((unit for ending, unit in _UNITS if name.casefold().endswith(ending)), "")


#: Years in the units of an age string (DICOM PS3.5, value representation AS).
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_YEAR = re.compile(r"(?<!\d)([12]\d{3})(?=\d{4}(?!\d)|(?!\d))")  # 2019, 2019-05-17, 20190517, 17.5.2019
_BOUND = re.compile(r"(?:[<>]=?|[≤≥])\s*(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)\s*\+")
_AGE = re.compile(r"(\d{1,3})\s*([YMWD])", re.IGNORECASE)
_COMMA = re.compile(r"([+-]?\d+),(\d+)")


def read_age(text: str) -> float | None:
    """``045Y``, ``018M``, ``006W`` or ``020D``, or a plain number, in years. None for all else and for ``000Y``."""
    plain = read_number(text.strip())
    if plain is not None:
        return plain if plain >= 0 else None
    found = _AGE.fullmatch(text.strip())
    if found is None or (int(found[1]) == 0 and found[2].upper() == "Y"):
        return None
    return float(found[1]) * YEARS[found[2].upper()]


def year_of(text: str) -> str | None:
    """The year of a date in whatever form, ``SHIFTED`` for one that no radiograph has, and None where there is none.

    De-identified dates are often moved into a century that is yet to come.
    """
    found = _YEAR.search(text)
    if found is None:
        return SHIFTED if text.casefold() == SHIFTED else None
    return found[1] if 1900 <= int(found[1]) <= now().year else SHIFTED


def read_by_rule(text: str, name: str) -> float | None:
    """What an odd cell of a column of numbers stands for, None where no rule reads it.

    ``>89`` and ``90+`` are the bound itself, ``37,5`` has a decimal comma, and ``058Y`` is an age in years where the
    column's ``name`` says that it holds ages. ``1,234`` may be a thousand and is not read.
    """
    if found := _BOUND.fullmatch(text):
        return float(found[1] or found[2])
    if _AGE.fullmatch(text):
        quantity = quantity_of(name)
        return read_age(text) if quantity is not None and "age" in quantity.names else None
    if (found := _COMMA.fullmatch(text)) and (len(found[2]) != 3 or found[1].lstrip("+-") == "0"):
        return read_number(f"{found[1]}.{found[2]}")
    return None


@dataclass(frozen=True)
class ColumnOutcome:
    """What became of one column, why, and what is to be known of its cells."""

    name: str
    outcome: Outcome
    why: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ColumnChoice:
    """What the user says of a table's columns.

    ``numeric`` and ``categorical`` name the clinical ones; None leaves it to name and content. ``ignore`` leaves out.
    """

    numeric: Sequence[str] | None = None
    categorical: Sequence[str] | None = None
    ignore: Sequence[str] = ()
    units: Mapping[str, str] | None = None


@dataclass(frozen=True, eq=False)
class ClinicalCells:
    """Clinical columns, and their cells as text, empty where missing: ``frame`` has a row per image.

    ``outcomes`` says what became of every column of the table they are from.
    """

    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]
    frame: pandas.DataFrame
    outcomes: tuple[ColumnOutcome, ...] = ()

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The cells of each image, numbers first."""
        names = [column.name for column in self.numeric] + [column.name for column in self.categorical]
        columns = [self.frame[name].tolist() for name in names]
        return zip(*columns, strict=True) if columns else repeat((), len(self.frame))

    def beside(self, other: ClinicalCells, where: str) -> ClinicalCells:
        """The columns of both. Raises DataError for a name that stands in both."""
        import pandas

        for name in other.frame:
            if name in self.frame:
                hint = "name the columns to take with --numeric and --categorical"
                raise DataError(f"clinical column {name!r} comes from two sources", where=where, hint=hint)
        frame = pandas.concat([self.frame, other.frame], axis=1)
        outcomes = self.outcomes + other.outcomes
        return ClinicalCells(self.numeric + other.numeric, self.categorical + other.categorical, frame, outcomes)


LabelMasks = Mapping[str, NDArray[np.bool_]]


def choose_columns(
    table: pandas.DataFrame,
    choice: ColumnChoice,
    used: Mapping[str, str],
    labels: LabelMasks,
    path: str,
    at: Callable[[int], str],
) -> ClinicalCells:
    """Decide every column of ``table`` (text, a row per image).

    Args:
        table: the cells; its rows have nothing to do with its index.
        choice: what the user says.
        used: columns that are something else → what.
        labels: by label which rows (N,) have a box of it.
        path: of the table, for a message.
        at: ``file:line`` of the row at a position.

    Raises:
        DataError: a column named that is unknown or used, twice, without a value, or with words in most cells.
    """
    import pandas

    _check_choice(table, choice, used, path)
    make = _Chooser(table, choice, used, labels, at)
    outcomes = tuple(make.column(name) for name in table.columns.tolist())
    numeric = _in_order(make.numeric, choice.numeric)
    categorical = _in_order(make.categorical, choice.categorical)
    names = [column.name for column in (*numeric, *categorical)]
    frame = pandas.DataFrame({name: make.cells[name] for name in names}, index=range(len(table)), dtype="str")
    return ClinicalCells(
        tuple(column for column in numeric if isinstance(column, NumericColumn)),
        tuple(column for column in categorical if isinstance(column, CategoricalColumn)),
        frame,
        outcomes,
    )


def _in_order(
    columns: Sequence[NumericColumn | CategoricalColumn], wanted: Sequence[str] | None
) -> list[NumericColumn | CategoricalColumn]:
    """In the order of the user, else in that of the table."""
    return list(columns) if wanted is None else sorted(columns, key=lambda column: list(wanted).index(column.name))


def _check_choice(table: pandas.DataFrame, choice: ColumnChoice, used: Mapping[str, str], path: str) -> None:
    free = [column for column in table.columns.tolist() if column not in used]
    clinical = [*(choice.numeric or ()), *(choice.categorical or ())]
    for name in clinical:
        if name not in free:
            raise DataError(no_such("clinical column", name, free), where=path, hint=one_of(free))
        if clinical.count(name) > 1 or name in choice.ignore:
            what = f"column {name!r} is named twice"
            raise DataError(what, where=path, hint="name it in one of --numeric, --categorical and --ignore")
    for name in choice.ignore:
        if name not in table.columns:
            raise DataError(no_such("column", name, free), where=path, hint=f"--ignore: {one_of(free)}")


class _Chooser:
    """Decides one column after the other, and holds the clinical ones with their cells."""

    def __init__(
        self,
        table: pandas.DataFrame,
        choice: ColumnChoice,
        used: Mapping[str, str],
        labels: LabelMasks,
        at: Callable[[int], str],
    ) -> None:
        self._table, self._choice, self._used, self._labels, self._at = table, choice, used, labels, at
        self._words = {name: name_words(name) for name in table.columns.tolist()}
        self._has_width = any("width" in words for words in self._words.values())
        self.numeric: list[NumericColumn] = []
        self.categorical: list[CategoricalColumn] = []
        self.cells: dict[str, list[str]] = {}

    def column(self, name: str) -> ColumnOutcome:
        cells: list[str] = self._table[name].tolist()
        if name in self._used:
            return ColumnOutcome(name, "used", self._used[name])
        if name in self._choice.ignore:
            return ColumnOutcome(name, "ignored", "--ignore")
        if name in (self._choice.numeric or ()):
            return self._number(name, cells, "--numeric", required=True)
        if name in (self._choice.categorical or ()):
            return self._category(name, cells, "--categorical")
        left_out = self._left_out(name, cells)
        if left_out is not None:
            return left_out
        odd = [cell for cell in cells if not _is_missing(cell)]
        numbers = sum(read_number(cell) is not None or read_by_rule(cell, name) is not None for cell in odd)
        if numbers > len(odd) / 2:
            if self._choice.numeric is not None:
                return ColumnOutcome(name, "ignored", "numbers, and not named with --numeric")
            return self._number(name, cells, "numbers")
        known = set(_words_of(cells)) - {""}
        if 2 <= len(known) <= MOST_VALUES:
            if self._choice.categorical is not None:
                return ColumnOutcome(name, "ignored", "words, and not named with --categorical")
            return self._category(name, cells, "words")
        if len(known) < 2:
            return ColumnOutcome(name, "ignored", "one value wherever it has any")
        why = f"{len(known)} different words" + (f", and {numbers} numbers" if numbers else "")
        return ColumnOutcome(name, "ignored", why)

    def _left_out(self, name: str, cells: Sequence[str]) -> ColumnOutcome | None:
        """The column as something that no guess takes, None where it may be clinical."""
        filled = [word for word in _words_of(cells) if word]
        by_name = self._by_name(name)
        if by_name is not None:
            return ColumnOutcome(name, *by_name)
        if not filled:
            return ColumnOutcome(name, "ignored", "no value")
        why = identifying(name, filled)
        if why:
            return ColumnOutcome(name, "identifier", why)
        if len(set(filled)) == 1:
            return ColumnOutcome(name, "ignored", "one value wherever it has any")
        if len(filled) < LEAST_FILLED * len(cells):
            return ColumnOutcome(name, "ignored", f"{len(filled)} of {len(cells)} rows have a value")
        label = determined_label(cells, self._labels) if quantity_of(name) is None else None
        return None if label is None else ColumnOutcome(name, "label-like", f"its values tell {shown(label)}")

    def _by_name(self, name: str) -> tuple[Outcome, str] | None:
        words = self._words[name]
        if not words or words[0] == "unnamed":
            return "identifier", "has no name"
        for label in self._labels:
            of_label = name_words(label)
            inside = of_label and set(of_label) <= set(words) and quantity_of(name) is None
            if inside or spelled_alike(label) == spelled_alike(name):
                return "label-like", f"named like the label {shown(label)}"
        if quantity_of(name) is not None and not (self._has_width and words[-1] == "height"):
            return None
        if found := sorted(set(words) & _ABOUT_FINDINGS) or sorted(set(words) & _FINDINGS):
            return "label-like", f"its name says {found[0]!r}"
        if set(words) <= _VIEWS:
            return "acquisition", "its name says how the image was taken"
        if found := sorted(set(words) & _ABOUT_IMAGES) or (["height"] if words[-1] == "height" else []):
            return "acquisition", f"its name says {found[0]!r}"
        return None

    def _number(self, name: str, cells: Sequence[str], why: str, *, required: bool = False) -> ColumnOutcome:
        """A column of numbers. Raises DataError where it is ``required`` and most of its cells are none."""
        texts, by_rule, emptied, words = [], [], [], Counter[str]()
        for row, cell in enumerate(cells):
            value = read_number(cell)
            if value is not None or not cell:
                texts.append(cell)
                continue
            texts.append("")
            if _is_missing(cell):
                words[cell] += 1
            elif (value := read_by_rule(cell, name)) is not None:
                texts[-1] = number_text(round(value, 6))
                by_rule.append(f"{_line(self._at(row))} {cell!r} is {texts[-1]}")
            else:
                emptied.append((row, cell))
        values = [float(text) for text in texts if text]
        if required and len(emptied) >= max(1, len(values)):
            row, cell = emptied[0]
            what = f"column {name!r} holds {shown(cell)}, which is not a number"
            raise DataError(what, where=self._at(row), hint="leave it out of --numeric, or correct the cells")
        if not values:
            hint = f"leave it out of {'--numeric' if required else 'the table'}"
            raise DataError(f"column {name!r} holds no value", where=self._at(0), hint=hint)
        unit = (self._choice.units or {}).get(name, unit_of(name))
        column, notes = _ranged(name, unit, np.array(values, dtype=np.float64))
        self.numeric.append(column)
        self.cells[name] = texts
        left = [f"{_line(self._at(row))} {cell!r}" for row, cell in emptied]
        notes = [
            *_missing_note(words),
            *_listed("read by rule", by_rule),
            *_listed("no number, left empty", left),
            *notes,
        ]
        return ColumnOutcome(name, "clinical number", why + (f", {unit}" if unit else ""), tuple(notes))

    def _category(self, name: str, cells: Sequence[str], why: str) -> ColumnOutcome:
        texts = _words_of(cells)
        values = tuple(sorted(set(texts) - {""}))
        if not values:
            raise DataError(f"column {name!r} holds no value", where=self._at(0), hint="leave it out of --categorical")
        self.categorical.append(CategoricalColumn(name, values))
        self.cells[name] = texts
        words = Counter(cell for cell, text in zip(cells, texts, strict=True) if cell and not text)
        alike = [f"{one_spelling(group)} look like one value" for group in alike_values(values)]
        why += f": {', '.join(values[:MOST_VALUES])}{', …' if len(values) > MOST_VALUES else ''}"
        return ColumnOutcome(name, "category", why, (*_missing_note(words), *alike))


def _line(at: str) -> str:
    return f"line {at.rpartition(':')[2]}"


def _listed(what: str, cells: Sequence[str]) -> list[str]:
    more = len(cells) - MOST_CELLS
    return [f"{what}: {', '.join(cells[:MOST_CELLS])}{f' and {more} more' if more > 0 else ''}"] if cells else []


def _missing_note(words: Mapping[str, int]) -> list[str]:
    counted = ", ".join(f"{word!r} {count} times" if count > 1 else f"{word!r} once" for word, count in words.items())
    return [f"read as missing: {counted}"] if words else []


def _is_missing(cell: str) -> bool:
    return cell.casefold() in MISSING


def known_word(cell: str) -> str:
    """The cell, empty where it is a word for a missing value."""
    return "" if _is_missing(cell) else cell


def _words_of(cells: Sequence[str]) -> list[str]:
    """The cells of a category, empty where missing; ``-`` beside ``+``, and a *none* in small letters, are values."""
    signs = "+" in cells
    return [cell if cell == "none" or (signs and cell == "-") or not _is_missing(cell) else "" for cell in cells]


def _ranged(name: str, unit: str, values: NDArray[np.float64]) -> tuple[NumericColumn, list[str]]:
    """The column with the range that is plausible, and what leaves it.

    Where the name says nothing the range is what the values span, codes for *missing* aside.
    """
    coded = sentinels(name, unit, values)
    rest = values[~coded]
    known = plausible_range(name, unit, rest)
    if known is not None and ((rest < known[0]) | (rest > known[1])).sum() > len(rest) / 2:
        known = None  # the column is something else than its name says
    low, high = known if known is not None else _span(rest)
    notes = []
    if coded.any():
        counts = Counter(number_text(value) for value in values[coded].tolist())
        said = ", ".join(f"{value} ({count})" for value, count in counts.items())
        notes.append(f"apart from all others: {said}; empty the cells if that stands for a missing value")
    beyond = rest[(rest < low) | (rest > high)]
    if len(beyond):
        count = f"{len(beyond)} value{'s' * (len(beyond) > 1)}"
        notes.append(f"{count} outside the plausible {low:g} to {high:g}{f' {unit}' if unit else ''}")
    return NumericColumn(name, unit, float(low), float(high)), notes


def _span(values: NDArray[np.float64]) -> tuple[float, float]:
    """The least and the greatest; around a single value one more, or as much as so large a number can tell apart."""
    low, high = float(values.min()), float(values.max())
    if high > low:
        return low, high
    step = 1.0 if low + 1.0 > low else abs(low) / 2
    return (low, low + step) if math.isfinite(low + step) else (low - step, low)


# What a column's name says. Words are taken from the name as a person would read it: ``StudyInstanceUID`` has three.


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
#: Words of columns that say what was found.
_ABOUT_FINDINGS = frozenset(
    {"label", "labels", "finding", "findings", "target", "class", "classes", "diagnosis", "diagnoses", "dx", "report",
     "impression", "pathology", "abnormal", "abnormality", "abnormalities", "annotation", "annotations", "sentence",
     "phrase", "truth", "opacity", "box", "boxes", "bbox"}
)  # fmt: skip
#: Findings by their name: of VinDr-CXR's and ChestX-Det's labels (docs/data.md) the words that mean nothing else.
_FINDINGS = frozenset(
    {"atelectasis", "calcification", "cardiomegaly", "consolidation", "edema", "effusion", "emphysema", "fibrosis",
     "ild", "infiltration", "nodule", "pneumonia", "pneumothorax"}
)  # fmt: skip
#: Words of which a column's name may consist whole, where it says from which side an image was taken.
_VIEWS = frozenset({"ap", "pa", "or", "frontal", "lateral"})
#: Words of columns that say how or where an image was taken, who read it, or how it is stored.
_ABOUT_IMAGES = frozenset(
    {"view", "projection", "position", "orientation", "modality", "manufacturer", "scanner", "detector", "device",
     "devices", "station", "institution", "hospital", "site", "source", "licence", "license", "url", "doi", "rad",
     "reader", "radiologist", "annotator", "rater", "reading", "kvp", "exposure", "spacing", "pixel", "pixels", "width",
     "dpi", "rows", "columns", "image", "images", "dicom", "file", "filename", "path", "followup", "follow", "series",
     "split", "fold", "certainty"}
)  # fmt: skip
#: Words of columns that say which row, patient or moment it is.
_ABOUT_ROWS = frozenset(
    {"id", "ids", "uid", "uuid", "guid", "mrn", "accession", "name", "key", "hash", "date", "datetime", "timestamp",
     "intime", "outtime", "dob", "birth", "birthdate", "year", "month"}
)  # fmt: skip
#: Words of which such a column's name may consist whole.
_ROWS = frozenset({"row", "index", "idx", "number", "no", "nr", "code", "patient", "patients", "subject", "study"})
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?"  # 2020-01-31 12:00
    r"|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}( .*)?"  # 31.1.2020
    r"|(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])"  # 20200131
)


def name_words(name: str) -> list[str]:
    """The words of a name, in small letters."""
    return [word.casefold() for word in _WORD.findall(name)]


#: So many numbers that only rise, or only fall, count the rows.
_FEWEST_IN_ORDER = 8


def identifying(name: str, filled: Sequence[str]) -> str:
    """Why a column is an identifier or a date, by its name and its cells ``filled``; empty where it is none."""
    words = set(name_words(name))
    if all(_DATE.fullmatch(cell) for cell in filled):
        return "holds dates"
    if quantity_of(name) is not None:
        return ""
    if found := sorted(words & _ABOUT_ROWS) or (sorted(words) if words <= _ROWS else []):
        return f"its name says {found[0]!r}"
    if all(cell.isascii() and cell.isdecimal() for cell in filled):
        if any(len(cell) > 1 and cell.startswith("0") for cell in filled):
            return "whole numbers with zeros in front"
        numbers = np.array([int(cell) for cell in filled], dtype=np.float64)
        steps = np.diff(numbers)
        different = len(set(filled))
        if different >= max(_FEWEST_IN_ORDER, len(filled) / 4) and (np.all(steps >= 0) or np.all(steps <= 0)):
            return "whole numbers in the order of the rows"
    elif len(set(filled)) == len(filled) > MOST_VALUES and not any(read_number(cell) is not None for cell in filled):
        return "a word of its own in every row"
    return ""


# Whether a column says what the label says. What is measured on a patient may: a fever, a pressure.


#: A column tells a label where a rule on its values agrees with it so far (the correlation of the two) and so surely.
LEAST_AGREEMENT = 0.9
_ALPHA = 1e-3
_MOST_LEVELS = 20


def determined_label(cells: Sequence[str], labels: LabelMasks) -> str | None:
    """The label that the cells of a column tell, see ``told_label``. Rows without a value have one more value."""
    values, codes = np.unique(np.array(cells, dtype=np.str_), return_inverse=True)
    numbers = np.array([np.nan if (number := read_number(value)) is None else number for value in values.tolist()])
    return told_label(codes, numbers, labels)


RowCounts = NDArray[np.int64]


def told_label(codes: NDArray[np.int64], numbers: NDArray[np.float64], labels: LabelMasks) -> str | None:
    """The label that a column tells, or nearly so; None where it tells none.

    The rule may be any set of up to 20 values, or a threshold of a number. Chance is corrected for all rules of a kind
    that could have been chosen.

    Args:
        codes: per row (N,) its value, counted from 0.
        numbers: per value (V,) what it is as a number, NaN where it is none.
        labels: by label which rows (N,) have it.
    """
    for label, has in labels.items():
        for agreement, table, rules in _best_rules(codes, numbers, has):
            if agreement >= LEAST_AGREEMENT and _chance(table) * rules <= _ALPHA:
                return label
    return None


def _best_rules(
    codes: NDArray[np.int64], numbers: NDArray[np.float64], has: NDArray[np.bool_]
) -> Iterator[tuple[float, RowCounts, int]]:
    """The best set of values and the best threshold: how far it agrees with ``has``, its table, how many there were.

    How far is the correlation (0 to 1); the table (2, 2) holds rows that have the label and rows that have not, of
    those in the rule and those beside it.
    """
    yes = np.bincount(codes[has], minlength=len(numbers))
    no = np.bincount(codes[~has], minlength=len(numbers))
    whole = np.array([yes.sum(), no.sum()], dtype=np.int64)
    orders: list[tuple[RowCounts, int]] = []
    if len(numbers) <= _MOST_LEVELS:  # the best set holds the values with the highest share
        orders.append((np.argsort(-(yes / np.maximum(yes + no, 1)), kind="stable"), 2 ** len(numbers)))
    known = np.flatnonzero(np.isfinite(numbers))
    if len(known) > 1:
        orders.append((known[np.argsort(numbers[known], kind="stable")], 2 * len(known)))
    for order, rules in orders:
        inside = np.stack([np.cumsum(yes[order]), np.cumsum(no[order])], axis=1)
        sizes = _correlation(inside, whole)
        best = int(np.argmax(sizes))
        yield float(sizes[best]), np.stack([inside[best], whole - inside[best]]), rules


def _correlation(inside: RowCounts, whole: RowCounts) -> NDArray[np.float64]:
    a, b = inside.astype(np.float64).T
    c, d = whole[0] - a, whole[1] - b
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    size = np.abs(a * d - b * c) / np.sqrt(np.where(margins > 0, margins, 1.0))
    return np.asarray(np.where(margins > 0, size, 0.0), dtype=np.float64)


def _chance(table: RowCounts) -> float:
    from scipy.stats import fisher_exact

    return float(fisher_exact(table.tolist()).pvalue)


# Values of a category that look like one.


_SEXES = {"f": "female", "w": "female", "woman": "female", "m": "male", "man": "male"}


def alike_values(values: Iterable[str]) -> list[list[str]]:
    """Groups of values that are one but for case, blanks or Unicode form, or for the word for a sex."""
    values = list(values)
    folded = {value: spelled_alike(value) for value in values}
    sexes = {"female", "male"} & set(folded.values()) or {"f", "m"} <= set(folded.values())
    groups: dict[str, list[str]] = {}
    for value, form in folded.items():
        groups.setdefault(_SEXES.get(form, form) if sexes else form, []).append(value)
    return [group for group in groups.values() if len(group) > 1]


def one_spelling(group: Collection[str]) -> str:
    """A group of words that look like one, for a message; what Unicode hides is written as it is coded."""
    *first, last = map(ascii, group)
    return f"{', '.join(first)} and {last}"
