"""Reads ``boxes.csv``: one row per box of one reading of one study."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import DataError
from mmad.data.csv_table import check_header, open_table
from mmad.data.dataset import TOML, Study
from mmad.data.names import no_such, one_of

BOX_COLUMNS = ("study", "xmin", "ymin", "xmax", "ymax", "label")
OPTIONAL_COLUMNS = ("reading", "certainty")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, eq=False)
class BoxTable:
    """The boxes as parallel arrays, as :class:`mmad.data.dataset.DataSet` holds them."""

    study: NDArray[np.int64]  # (M,)
    boxes: NDArray[np.float64]  # (M, 4)
    labels: NDArray[np.int64]  # (M,)
    reading: tuple[str, ...]
    certainty: NDArray[np.float64]  # (M,)


def read_boxes(path: Path, studies: tuple[Study, ...], labels: tuple[str, ...]) -> BoxTable:
    """``boxes.csv``, every row checked against its study and the labels. Raises DataError."""
    header, rows = open_table(path)
    check_header(path, header, BOX_COLUMNS, OPTIONAL_COLUMNS)
    place = {name: i for i, name in enumerate(header)}
    position = {study.study: i for i, study in enumerate(studies)}
    number = {label: i for i, label in enumerate(labels, 1)}
    lines = [line for line, _ in rows]
    of_study, of_label = [], []
    for line, row in rows:
        study, label = row[place["study"]].strip(), row[place["label"]].strip()
        if study not in position:
            raise DataError(
                no_such("study", study, position), where=f"{path}:{line}", mend="every box needs a row in studies.csv"
            )
        if label not in number:
            raise DataError(
                no_such("label", label, labels), where=f"{path}:{line}", mend=f"{one_of(labels)}, or add it to {TOML}"
            )
        of_study.append(position[study])
        of_label.append(number[label])
    boxes = np.stack([_numbers(path, rows, place[name], name) for name in _SIDES], axis=1)  # (M, 4)
    owner = np.array(of_study, dtype=np.int64)
    _check_boxes(path, lines, boxes, owner, studies)
    read = [row[place["reading"]].strip() for _, row in rows] if "reading" in place else [""] * len(rows)
    if "certainty" in place:
        certainty = _numbers(path, rows, place["certainty"], "certainty", empty=True)
    else:
        certainty = np.full(len(rows), np.nan)
    return BoxTable(owner, boxes, np.array(of_label, dtype=np.int64), tuple(read), certainty)


def _numbers(
    path: Path, rows: list[tuple[int, list[str]]], place: int, column: str, *, empty: bool = False
) -> NDArray[np.float64]:
    values = np.empty(len(rows))
    for i, (line, row) in enumerate(rows):
        text = row[place].strip()
        if empty and not text:
            values[i] = np.nan
            continue
        try:
            number = float(text)
        except ValueError:
            number = math.inf
        if not math.isfinite(number):
            mend = "leave the cell empty if it is not known" if empty else "write pixels of the stored image"
            raise DataError(f"column {column!r} is not a number: {text!r}", where=f"{path}:{line}", mend=mend)
        values[i] = number
    return values


def _check_boxes(
    path: Path, lines: list[int], boxes: NDArray[np.float64], owner: NDArray[np.int64], studies: tuple[Study, ...]
) -> None:
    size = np.array([(study.width, study.height) for study in studies], dtype=np.float64)[owner]  # (M, 2)
    flat: NDArray[np.bool_] = np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)
    outside = np.any((boxes[:, :2] < 0) | (boxes[:, 2:] > size), axis=1)
    for i in np.flatnonzero(flat | outside)[:1]:
        study = studies[int(owner[i])]
        shown = ", ".join(f"{side:g}" for side in boxes[i])
        at = f"{path}:{lines[int(i)]}: study {study.study!r}"
        if flat[i]:
            raise DataError(
                f"box ({shown}) has no area", where=at, mend="xmax must exceed xmin, and ymax must exceed ymin"
            )
        raise DataError(
            f"box ({shown}) leaves the image of {study.width} x {study.height} px",
            where=at,
            mend="write pixels of the stored image, or clip the box",
        )
