"""Writes the folder of a data set: complete under its own name, or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import DataError
from mmad.base.files import FolderFilled, folder_beside, write_atomically
from mmad.data.acquisition import ACQUIRED, ACQUISITION, NOT_KNOWN, Acquisition
from mmad.data.dataset import BOXES, IMAGES, STUDIES, TOML, UNKNOWN, Box, CategoricalColumn, NumericColumn
from mmad.data.exclusions import EXCLUDED, EXCLUDED_COUNTS, Excluded
from mmad.data.tables import number_text


@dataclass(frozen=True)
class StudyRow:
    """A row of ``studies.csv``; ``cells`` are the clinical cells as text, numbers first, empty if missing."""

    study: str
    image: str
    width: int
    height: int
    patient: str
    split: str
    cells: tuple[str, ...]
    source: str = ""
    taken: Acquisition = NOT_KNOWN


@dataclass(frozen=True)
class BoxRow:
    """A row of ``boxes.csv``; the box is in pixels of the stored image, None where the reading found nothing."""

    study: str
    reading: str
    box: Box | None
    label: str
    certainty: str = ""


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """As ``whole_folder``, with ``images/`` in it."""
    with whole_folder(out) as part:
        (part / IMAGES).mkdir()
        yield part


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out``, renamed to ``out`` when the block succeeds.

    Where another process made ``out`` meanwhile and wrote the same into it, that one is kept.

    Raises DataError when ``out`` holds something already or cannot be written; a failure leaves nothing.
    """
    try:
        with folder_beside(out) as part:
            yield part
    except FolderFilled:
        hint = "name a new folder or remove this one first"
        raise DataError("exists already", where=out, hint=hint) from None
    except OSError as error:
        raise DataError(
            f"cannot be written: {error.strerror or error}", where=out, hint="free some space or name another folder"
        ) from None


def write_tables(
    folder: Path,
    *,
    name: str,
    labels: Sequence[str],
    numeric: Sequence[NumericColumn],
    categorical: Sequence[CategoricalColumn],
    licence: str,
    split_policy: str | None,
    studies: Sequence[StudyRow],
    boxes: Iterable[BoxRow],
    mode: str | None = None,
    bits: int | None = None,
    excluded: Sequence[Excluded] = (),
) -> None:
    """``dataset.toml``, ``studies.csv`` and ``boxes.csv``; a ``source`` column only if a study names one.

    Likewise ``acquisition.csv`` and its columns, and ``excluded.csv``.
    """
    columns = [column.name for column in numeric] + [column.name for column in categorical]
    sources = any(row.source for row in studies)
    header = ["study", "image", "width", "height", "patient", "split", *columns, *(["source"] if sources else [])]
    study_rows = (
        [r.study, r.image, r.width, r.height, r.patient, r.split, *r.cells, *([r.source] if sources else [])]
        for r in studies
    )
    box_rows = (
        [b.study, b.reading, *(map(number_text, b.box) if b.box else [""] * 4), b.label, b.certainty] for b in boxes
    )
    box_header = ["study", "reading", "xmin", "ymin", "xmax", "ymax", "label", "certainty"]
    text = _toml(name, labels, numeric, categorical, licence, split_policy, mode, bits)
    write_atomically(folder / TOML, text.encode())
    write_atomically(folder / STUDIES, _csv(header, study_rows))
    write_atomically(folder / BOXES, _csv(box_header, box_rows))
    known = [name for name in ACQUIRED if any(getattr(row.taken, name) for row in studies)]
    if known:
        taken = ([row.study, *(getattr(row.taken, name) or "" for name in known)] for row in studies)
        write_atomically(folder / ACQUISITION, _csv(["study", *known], taken))
    if excluded:
        counts = ([one.reason, *(getattr(one, name) for name in EXCLUDED_COUNTS)] for one in excluded)
        write_atomically(folder / EXCLUDED, _csv(["reason", *EXCLUDED_COUNTS], counts))


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    quoting = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (
        header,
        *rows,
    ):
        (quoting if any("\r" in str(cell) for cell in row) else writer).writerow(row)
    return buffer.getvalue().encode()


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml(
    name: str,
    labels: Sequence[str],
    numeric: Sequence[NumericColumn],
    categorical: Sequence[CategoricalColumn],
    licence: str,
    split_policy: str | None,
    mode: str | None,
    bits: int | None,
) -> str:
    lines = [f"name = {_quoted(name)}", "labels = ["]
    lines += [f"    {_quoted(label)}," for label in labels] + ["]", f"licence = {_quoted(licence)}"]
    if split_policy is not None:
        lines.append(f"split_policy = {_quoted(split_policy)}")
    if mode is not None:
        lines.append(f"mode = {_quoted(mode)}")
    if bits is not None:
        lines.append(f"bits = {bits}")
    for number in numeric:
        lines += ["", "[[numeric]]", f"name = {_quoted(number.name)}", f"unit = {_quoted(number.unit)}"]
        lines += [f"low = {float(number.low)!r}", f"high = {float(number.high)!r}", *_measured(number)]
    for category in categorical:
        lines += ["", "[[categorical]]", f"name = {_quoted(category.name)}"]
        lines += [f"values = [{', '.join(_quoted(value) for value in category.values)}]", *_measured(category)]
    return "\n".join(lines) + "\n"


def _measured(column: NumericColumn | CategoricalColumn) -> list[str]:
    """When it was measured, where that is known."""
    return [] if column.measured == UNKNOWN else [f"measured = {_quoted(column.measured)}"]
