"""Reads the folder of a data set; every problem is a DataError that names file, row, key and mend.

A message names rows and studies, never a clinical value: those belong to patients.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmad.base.errors import DataError
from mmad.data.box_table import BoxTable, read_boxes
from mmad.data.dataset import BOXES, IMAGES, STUDIES, TOML, CategoricalColumn, DataSet, NumericColumn, Study
from mmad.data.image_files import check_images
from mmad.data.names import no_such, one_of
from mmad.data.study_table import STUDY_COLUMNS, read_studies

#: What may not stand in two splits at once; ``patient`` is verified. ``documented`` is by row, as the log split.
SPLIT_POLICIES = ("patient", "image", "reading", "documented")
#: What a study is: an image with all its readings, one reading, or one reading without clinical data.
MODES = ("unified", "normal", "full")
_TOP_KEYS = ("name", "labels", "numeric", "categorical", "licence", "split_policy", "mode", "description")


@dataclass(frozen=True)
class Description:
    """What ``dataset.toml`` says."""

    name: str
    labels: tuple[str, ...]
    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]
    licence: str
    split_policy: str | None
    mode: str | None = None


def read_folder(root: Path) -> DataSet:
    """The data set in ``root``, checked. Raises DataError."""
    check_files(root)
    description = read_description(root / TOML)
    studies = read_studies(root / STUDIES, description.numeric, description.categorical)
    check_images(root, studies)
    if description.split_policy == "patient":
        _check_patients(root / STUDIES, studies)
    table = read_boxes(root / BOXES, studies, description.labels)
    return assemble(root, description, studies, table)


def check_files(root: Path) -> None:
    """Refuse a folder that is none or lacks one of its three tables. Raises DataError."""
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such data set"
        raise DataError(what, where=root, mend="make one with `mmad data phantom --out DIR` or name its folder")
    for name in (TOML, STUDIES, BOXES):
        if not (root / name).is_file():
            raise DataError(
                "file missing", where=root / name, mend=f"a data set holds {TOML}, {STUDIES}, {BOXES} and {IMAGES}/"
            )


def assemble(root: Path, description: Description, studies: tuple[Study, ...], table: BoxTable) -> DataSet:
    """The data set of what was read."""
    return DataSet(
        root=root,
        name=description.name,
        labels=description.labels,
        numeric=description.numeric,
        categorical=description.categorical,
        licence=description.licence,
        split_policy=description.split_policy,
        mode=description.mode,
        studies=studies,
        box_study=table.study,
        boxes=table.boxes,
        labels_of=table.labels,
        reading=table.reading,
        certainty=table.certainty,
    )


def read_description(path: Path) -> Description:
    """``dataset.toml`` as a record. Raises DataError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"not TOML: {error}", where=path, mend="correct the file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=path, mend="write it as UTF-8 text") from None
    except (RecursionError, ValueError):
        what = "is nested too deeply, or holds a number of thousands of digits"
        raise DataError(what, where=path, mend="correct the file") from None
    for key in raw:
        if key not in _TOP_KEYS:
            raise DataError(no_such("key", key, _TOP_KEYS), where=path, mend=one_of(_TOP_KEYS))
    labels = _texts(path, raw, "labels")
    numeric = tuple(_numeric(path, i, table) for i, table in enumerate(_tables(path, raw, "numeric"), 1))
    categorical = tuple(_category(path, i, table) for i, table in enumerate(_tables(path, raw, "categorical"), 1))
    names = [column.name for column in numeric] + [column.name for column in categorical]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"clinical column {name!r} is declared twice", where=path, mend="keep one of them")
        if name in (*STUDY_COLUMNS, "source"):
            raise DataError(f"clinical column {name!r} has a reserved name", where=path, mend="rename the column")
    policy = raw.get("split_policy")
    if policy is not None and policy not in SPLIT_POLICIES:
        raise DataError(no_such("split_policy", str(policy), SPLIT_POLICIES), where=path, mend=one_of(SPLIT_POLICIES))
    mode = raw.get("mode")
    if mode is not None and mode not in MODES:
        raise DataError(no_such("mode", str(mode), MODES), where=path, mend=one_of(MODES))
    name, licence = _text(path, raw, "name"), _text(path, raw, "licence")
    return Description(name, labels, numeric, categorical, licence, policy, mode)


def _text(path: Path, table: Mapping[str, Any], key: str, at: str = "") -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        found = "is missing" if key not in table else "is not a text"
        raise DataError(f"key {key!r} {found}", where=f"{path}{at}", mend=f'add {key} = "…"')
    return value


def _texts(path: Path, table: Mapping[str, Any], key: str, at: str = "") -> tuple[str, ...]:
    value = table.get(key)
    good = isinstance(value, list) and value and all(isinstance(v, str) and v.strip() for v in value)
    if not isinstance(value, list) or not good:
        raise DataError(
            f"key {key!r} is not a list of texts", where=f"{path}{at}", mend=f'write {key} = ["first", "second"]'
        )
    if len(set(value)) < len(value):
        raise DataError(f"key {key!r} names one of its entries twice", where=f"{path}{at}", mend="keep one of them")
    return tuple(value)


def _tables(path: Path, raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = raw.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise DataError(f"key {key!r} is not a list of tables", where=path, mend=f"start each column with [[{key}]]")
    return value


def _known(path: Path, table: Mapping[str, Any], known: tuple[str, ...], at: str) -> None:
    for key in table:
        if key not in known:
            raise DataError(no_such("key", key, known), where=f"{path}{at}", mend=one_of(known))


def _numeric(path: Path, number: int, table: dict[str, Any]) -> NumericColumn:
    at = f": [[numeric]] {number}"
    _known(path, table, ("name", "unit", "low", "high"), at)
    name, unit = _text(path, table, "name", at), table.get("unit", "")
    bounds = []
    for key in ("low", "high"):
        value = table.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise DataError(f"key {key!r} is not a finite number", where=f"{path}{at}", mend=f"write {key} = 0.0")
        bounds.append(float(value))
    if bounds[0] >= bounds[1]:
        raise DataError("low is not below high", where=f"{path}{at}", mend="correct the range")
    return NumericColumn(name, str(unit), bounds[0], bounds[1])


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _category(path: Path, number: int, table: dict[str, Any]) -> CategoricalColumn:
    at = f": [[categorical]] {number}"
    _known(path, table, ("name", "values"), at)
    return CategoricalColumn(_text(path, table, "name", at), _texts(path, table, "values", at))


def _check_patients(path: Path, studies: tuple[Study, ...]) -> None:
    first: dict[str, Study] = {}
    for study in studies:
        other = first.setdefault(study.patient, study)
        if other.split != study.split:
            raise DataError(
                f"patient of study {study.study!r} ({study.split}) also has study {other.study!r} ({other.split})",
                where=path,
                mend=f'keep a patient in one split, or drop split_policy = "patient" from {TOML}',
            )
