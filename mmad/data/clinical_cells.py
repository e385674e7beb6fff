"""The clinical cells of an import, by column: chosen from a table, read from DICOM headers, put side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mmad.base.errors import DataError
from mmad.data.csv_columns import Columns, choose_categorical, choose_numeric, number_text
from mmad.data.dataset import CategoricalColumn, NumericColumn
from mmad.data.image_import import SourceImage

#: Columns of a table (case aside) that say what a DICOM header says too.
_SAME = {
    "age": frozenset({"age", "age_years", "patient_age", "patientage"}),
    "sex": frozenset({"sex", "gender", "patient_sex", "patientsex"}),
}


@dataclass(frozen=True)
class ClinicalCells:
    """Clinical columns and, for each, its cells as text in the order of the images; empty where missing."""

    numeric: tuple[NumericColumn, ...] = ()
    categorical: tuple[CategoricalColumn, ...] = ()
    cells: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def row(self, position: int) -> tuple[str, ...]:
        """The cells of one image, numbers first."""
        names = [column.name for column in self.numeric] + [column.name for column in self.categorical]
        return tuple(self.cells[name][position] for name in names)

    def beside(self, other: ClinicalCells, where: str) -> ClinicalCells:
        """The columns of both. Raises DataError for a name that stands in both."""
        for name in other.cells:
            if name in self.cells:
                mend = "name the columns to take with --numeric and --categorical"
                raise DataError(f"clinical column {name!r} comes from two sources", where=where, mend=mend)
        return ClinicalCells(
            self.numeric + other.numeric, self.categorical + other.categorical, {**self.cells, **other.cells}
        )


def choose_cells(
    table: Columns,
    numeric: Sequence[str] | None,
    categorical: Sequence[str] | None,
    reserved: Collection[str],
    where: str,
    units: Mapping[str, str] | None = None,
) -> ClinicalCells:
    """The columns named, or guessed where None (see ``mmad.data.csv_columns``). Raises DataError."""
    numbers = choose_numeric(table, numeric, reserved, where, units or {})
    taken = {*reserved, *(column.name for column in numbers)}
    values = choose_categorical(table, categorical, taken, where)
    names = [column.name for column in numbers] + [column.name for column in values]
    return ClinicalCells(numbers, values, {name: table[name] for name in names})


def header_cells(found: Mapping[str, SourceImage], table: Collection[str]) -> ClinicalCells:
    """Age (years) and sex of the DICOM headers, as far as any has one and ``table`` has no such column."""
    has = {name.casefold() for name in table}
    headers = [source.header for source in found.values()]
    ages = ["" if h is None or h.age is None else number_text(round(h.age, 4)) for h in headers]
    sexes = ["" if h is None or h.sex is None else h.sex for h in headers]
    kept = {name: cells for name, cells in (("age", ages), ("sex", sexes)) if any(cells) and not _SAME[name] & has}
    return choose_cells(kept, [n for n in kept if n == "age"], [n for n in kept if n == "sex"], (), "DICOM headers")
