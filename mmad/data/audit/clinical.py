"""Clinical columns: missing values, values out of the expected range, other units, columns that tell nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmad.base.records import SPLITS
from mmad.data.audit.findings import Finding, finding
from mmad.data.audit.leaks import Mask, missing_of
from mmad.data.audit.units import Confusion, confusion
from mmad.data.dataset import STUDIES, TOML, DataSet, NumericColumn

#: A column is told to be missing from this share of a split's studies on.
MOST_MISSING = 0.2
#: In a split with fewer studies a share says nothing.
FEWEST_STUDIES = 10


def clinical_findings(dataset: DataSet) -> list[Finding]:
    """What is to be known of the clinical columns, as warnings."""
    findings = [found for column, mask in missing_of(dataset).items() for found in _missing(dataset, column, mask)]
    for i, column in enumerate(dataset.numeric):
        cells = [np.nan if (value := study.numeric[i]) is None else value for study in dataset.studies]
        findings += _numbers(dataset, column, np.array(cells, dtype=np.float64))
    for i, category in enumerate(dataset.categorical):
        if len({study.categorical[i] for study in dataset.studies} - {None}) == 1:
            findings.append(_constant(category.name))
    return findings


def _missing(dataset: DataSet, column: str, mask: Mask) -> list[Finding]:
    shares = {}
    for split in SPLITS:
        positions = list(dataset.split(split))
        if positions:
            shares[split] = float(mask[positions].mean())
    studies = [dataset.studies[i].study for i in np.flatnonzero(mask)]
    where = f"{STUDIES}, column {column}"
    if shares.get("train") == 1.0:
        what = f"{column!r} has no value in the training split"
        return [finding("column-empty", "warning", where, what, "leave the column out", studies)]
    if all(share < MOST_MISSING or len(dataset.split(split)) < FEWEST_STUDIES for split, share in shares.items()):
        return []
    told = ", ".join(f"{100 * share:.0f} % of {split}" for split, share in shares.items())
    what = f"{column!r} is missing in {told}"
    mend = "fill the cells or leave the column out: a missing value is read as the training mean, or as zeros"
    return [finding("value-missing", "warning", where, what, mend, studies)]


def _numbers(dataset: DataSet, column: NumericColumn, values: NDArray[np.float64]) -> list[Finding]:
    findings = []
    where = f"{STUDIES}, column {column.name}"
    other = confusion(column, values)
    beyond = (values < column.low) | (values > column.high)
    if other is not None:
        findings.append(_other_unit(dataset, column, other))
        beyond &= ~other.values
    if beyond.any():
        ids = [dataset.studies[i].study for i in np.flatnonzero(beyond)]
        what = f"{column.name!r} is outside {column.low:g} to {column.high:g}{_unit(column.unit)} in {len(ids)} studies"
        mend = f"correct the values, or low and high in {TOML}"
        findings.append(finding("value-out-of-range", "warning", where, what, mend, ids))
    known = values[np.isfinite(values)]
    if len(known) > 1 and np.ptp(known) == 0:
        findings.append(_constant(column.name))
    return findings


def _other_unit(dataset: DataSet, column: NumericColumn, other: Confusion) -> Finding:
    ids = [dataset.studies[i].study for i in np.flatnonzero(other.values)]
    declared = f"declared in {other.declared}" if other.declared else "without a unit"
    low, high = other.interval
    many = "most of its values" if other.whole else f"{len(ids)} of its values"
    what = f"{column.name!r} is {declared}, and {many} lie where {other.other} would ({low:g} to {high:g})"
    mend = f"correct the unit in {TOML}" if other.whole else "convert these values to the column's unit"
    return finding("unit-confusion", "warning", f"{STUDIES}, column {column.name}", what, mend, ids)


def _constant(column: str) -> Finding:
    what, mend = f"{column!r} has one value wherever it has any", "leave the column out: it tells nothing"
    return finding("column-constant", "warning", f"{STUDIES}, column {column}", what, mend)


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""
