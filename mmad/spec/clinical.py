"""Whether a setup's clinical branch fits the columns of a data set."""

from __future__ import annotations

from mmad.base.errors import SpecError
from mmad.base.records import ClinicalColumns
from mmad.spec.setup import ModelSetup


def require_fit(setup: ModelSetup, columns: ClinicalColumns) -> None:
    """Refuse clinical columns that ``setup`` cannot read; columns without ``use_clinical`` are idle.

    Args:
        setup: the hyper-parameters.
        columns: those that ``clinical_numeric`` and ``clinical_categorical`` leave of the data set's.

    Raises:
        SpecError: no column is left, their number is not the one given, or the vector has no room for them.
    """
    if not setup.use_clinical:
        return
    numbers = len(columns.numeric)
    if not numbers and not columns.categorical:
        raise SpecError(
            "use_clinical = true, but no clinical column is left",
            mend="name some in clinical_numeric or clinical_categorical, or set use_clinical = false",
        )
    if setup.clinical_num_len not in (None, numbers):
        raise SpecError(
            f"clinical_num_len = {setup.clinical_num_len}, but there are {numbers} numeric columns",
            mend="drop clinical_num_len, or choose columns with clinical_numeric",
        )
    require_room(columns, setup.clinical_input_channels, indicators=setup.clinical_missing_indicators)


def number_count(columns: ClinicalColumns, *, indicators: bool) -> int:
    """How many numbers a detector reads: one per numeric column, with missing-value indicators two."""
    return len(columns.numeric) * (2 if indicators else 1)


def require_room(columns: ClinicalColumns, length: int, *, indicators: bool = False) -> None:
    """Refuse a vector of ``length`` values that is too short: one per number, at least one per category.

    Raises:
        SpecError: with the least length.
    """
    needed = number_count(columns, indicators=indicators) + len(columns.categorical)
    if length < needed:
        beside = f" and their {len(columns.numeric)} missing-value indicators" if indicators else ""
        raise SpecError(
            f"clinical_input_channels = {length} is too small for {len(columns.numeric)} numbers{beside} "
            f"and {len(columns.categorical)} categorical columns",
            mend=f"use at least {needed}",
        )
