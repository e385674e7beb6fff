"""Reads ``boxes.csv``: one row per box of one reading of one study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import DataError
from mmad.data.csv_table import check_header, open_table
from mmad.data.dataset import TOML, Study
from mmad.data.names import no_such, one_of
from mmad.data.problems import Problem, Refuse, raise_first

BOX_COLUMNS = ("study", "xmin", "ymin", "xmax", "ymax", "label")
OPTIONAL_COLUMNS = ("reading", "certainty")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = (*_SIDES, "certainty")


@dataclass(frozen=True, eq=False)
class BoxTable:
    """The boxes as parallel arrays, as ``mmad.data.dataset.DataSet`` holds them."""

    study: NDArray[np.int64]  # (M,)
    boxes: NDArray[np.float64]  # (M, 4)
    labels: NDArray[np.int64]  # (M,)
    reading: tuple[str, ...]
    certainty: NDArray[np.float64]  # (M,)


def read_boxes(
    path: Path, studies: tuple[Study, ...], labels: tuple[str, ...], refuse: Refuse = raise_first
) -> BoxTable:
    """``boxes.csv``, every row checked against its study and the labels.

    A row without study, label or numbers is refused and left out; a box without area or outside its image is
    refused and kept. Raises DataError for a table that cannot be read.
    """
    header, rows = open_table(path, refuse)
    check_header(path, header, BOX_COLUMNS, OPTIONAL_COLUMNS)
    place = {name: i for i, name in enumerate(header)}
    position = {study.study: i for i, study in enumerate(studies)}
    number = {label: i for i, label in enumerate(labels, 1)}
    strangers: set[str] = set()
    rows = [row for row in rows if _is_known(path, row, place, position, number, strangers, refuse)]
    sides = [place[name] for name in _SIDES] + ([place["certainty"]] if "certainty" in place else [])
    read = [_numbers(path, row, sides, row[1][place["study"]].strip(), refuse) for row in rows]
    rows = [row for row, values in zip(rows, read, strict=True) if values is not None]
    cells = np.array([values for values in read if values is not None], dtype=np.float64).reshape(len(rows), len(sides))
    boxes, certainty = cells[:, :4].copy(), cells[:, 4].copy() if cells.shape[1] > 4 else np.full(len(rows), np.nan)
    owner = np.array([position[row[place["study"]].strip()] for _, row in rows], dtype=np.int64)
    label = np.array([number[row[place["label"]].strip()] for _, row in rows], dtype=np.int64)
    _check_boxes(path, [line for line, _ in rows], boxes, owner, studies, refuse)
    reading = [row[place["reading"]].strip() for _, row in rows] if "reading" in place else [""] * len(rows)
    return BoxTable(owner, boxes, label, tuple(reading), certainty)


Row = tuple[int, list[str]]


def _is_known(
    path: Path,
    row: Row,
    place: Mapping[str, int],
    studies: Mapping[str, int],
    labels: Mapping[str, int],
    strangers: set[str],
    refuse: Refuse,
) -> bool:
    line, cells = row
    study, label = cells[place["study"]].strip(), cells[place["label"]].strip()
    if study in studies and label in labels:
        return True
    at = f"{path}:{line}"
    if study not in studies:
        what = no_such("study", study, () if strangers else studies)  # the nearest of the first is looked for alone
        strangers.add(study)
        error = DataError(what, where=at, mend="every box needs a row in studies.csv")
        refuse(Problem("box-without-study", error, study))
    else:
        mend = f"{one_of(labels)}, or add it to {TOML}"
        refuse(Problem("label-unknown", DataError(no_such("label", label, labels), where=at, mend=mend), study, label))
    return False


def _numbers(path: Path, row: Row, places: Sequence[int], study: str, refuse: Refuse) -> list[float] | None:
    """The numbers of a row: four sides and, where ``places`` has a fifth, the certainty (NaN where there is none).

    None for a box that cannot be read.
    """
    line, cells = row
    numbers = []
    for column, i in zip(_COLUMNS, places, strict=False):
        optional = column == "certainty"
        text = cells[i].strip()
        number = _finite(text)
        if number is None and not (optional and not text):
            mend = "leave the cell empty if it is not known" if optional else "write pixels of the stored image"
            error = DataError(f"column {column!r} is not a number: {text!r}", where=f"{path}:{line}", mend=mend)
            refuse(Problem("box-not-a-number", error, study, column))
            if not optional:
                return None
        numbers.append(math.nan if number is None else number)
    return numbers


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def without_area(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes (M, 4) have no area."""
    flat: NDArray[np.bool_] = np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)
    return flat


def outside(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes (M, 4) leave their image of (width, height) ``sizes`` (M, 2)."""
    beyond: NDArray[np.bool_] = np.any((boxes[:, :2] < 0) | (boxes[:, 2:] > sizes), axis=1)
    return beyond


def _check_boxes(
    path: Path,
    lines: Sequence[int],
    boxes: NDArray[np.float64],
    owner: NDArray[np.int64],
    studies: tuple[Study, ...],
    refuse: Refuse,
) -> None:
    sides = [(study.width or math.inf, study.height or math.inf) for study in studies]
    sizes = np.array(sides, dtype=np.float64).reshape(-1, 2)[owner]  # (M, 2)
    flat, beyond = without_area(boxes), outside(boxes, sizes)
    for i in np.flatnonzero(flat | beyond):
        study = studies[int(owner[i])]
        shown = ", ".join(f"{side:g}" for side in boxes[i])
        at = f"{path}:{lines[int(i)]}: study {study.study!r}"
        if flat[i]:
            mend = "xmax must exceed xmin, and ymax must exceed ymin"
            refuse(Problem("box-degenerate", DataError(f"box ({shown}) has no area", where=at, mend=mend), study.study))
            continue
        what = f"box ({shown}) leaves the image of {study.width} x {study.height} px"
        mend = "write pixels of the stored image, or clip the box"
        refuse(Problem("box-outside", DataError(what, where=at, mend=mend), study.study))
