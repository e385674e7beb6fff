"""Imports a published data set by its description.

``NAME.toml`` beside this file describes one; a user's own description has the same form. It is read into the tables of
``mmad.data.importers.csv``, which does the rest. Forms that are no table of boxes need code, in ``forms.py``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas
from pydantic import ValidationError

from mmad.base.errors import DataError
from mmad.base.records import OnProgress
from mmad.config.messages import no_such, one_of, shown
from mmad.data.dataset import DataSet, split_by_patient
from mmad.data.exclusions import Excluded
from mmad.data.importers.common import ImportReport
from mmad.data.importers.csv import CsvLayout, Tables, import_csv, one_table
from mmad.data.importers.described.description import SIDES, SPLIT, PublishedSet
from mmad.data.importers.described.forms import FORMS
from mmad.data.tables import Table


@dataclass(frozen=True, eq=False)
class _RowsOfFiles(Table):
    """Rows of several files: the index of a row is its file and line."""

    def at(self, row: int) -> str:
        return str(self.frame.index[row])


def read_published_set(path: Path) -> PublishedSet:
    """A description of the user's own. Raises DataError, naming the key."""
    try:
        found = PublishedSet.model_validate(tomllib.loads(path.read_text("utf-8-sig")))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, hint="name the description") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"is no description: {error}", where=path, hint="correct it") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        what = f"key {key!r}: {first['msg'].removeprefix('Value error, ')}"
        raise DataError(what, where=path, hint="see docs/data.md") from None
    if found.form not in FORMS:
        raise DataError(no_such("form", found.form, FORMS), where=path, hint=one_of(list(FORMS)))
    return found


def import_published(
    src: str | Path,
    out: str | Path,
    of: PublishedSet,
    *,
    labels: Sequence[str] | None = None,
    progress: OnProgress | None = None,
    report: ImportReport | None = None,
) -> DataSet:
    """Copy the images of a published data set below ``src`` with their tables into the new folder ``out``, and load it.

    ``labels`` keeps only these, in this order; ``progress`` hears (done, all); ``report`` is filled with what was
    decided. Raises DataError.
    """
    src = Path(src)
    if not src.is_dir():
        raise DataError("no such folder", where=src, hint="name the folder into which the data set was unpacked")
    tables, layout = published_tables(src, of)
    columns = tables.subjects.frame.columns
    return import_csv(
        src,
        out,
        layout=layout,
        tables=tables,
        numeric=[name for name in of.numeric if of.subjects is None or name in columns],
        categorical=[name for name in of.categorical if of.subjects is None or name in columns],
        labels=labels,
        no_finding=of.no_finding,
        name=of.title,
        licence=of.licence,
        progress=progress,
        report=report,
    )


def published_tables(src: Path, of: PublishedSet) -> tuple[Tables, CsvLayout]:
    """The tables of a published data set below ``src``, and their layout. Raises DataError."""
    frame = _boxes(src, of)
    coded = of.form != "table"
    image, label = ("image", "label") if coded else (of.image, of.label)
    if of.labels:
        frame[label] = frame[label].map(lambda word: of.labels.get(word, word))
    if of.patient is not None and of.patient not in frame and not coded:
        raise DataError(no_such("column", of.patient, frame.columns.tolist()), where=src, hint="correct key 'patient'")
    patient = of.patient or "patient_id"
    if of.patient_pattern is not None:
        frame[patient] = [_patient(of.patient_pattern, name, at) for at, name in frame[image].items()]
    if of.splits:
        frame[SPLIT] = _listed(src, of, frame[image])
    if SPLIT in frame:
        frame[SPLIT] = _filled(frame, patient if patient in frame else image)
    layout = CsvLayout(
        image=image,
        label=label,
        patient=patient if patient in frame else CsvLayout.patient,
        sides=SIDES if coded else of.sides,
        box_format=of.box_format,
        box_size="stated",
        reading=of.reading if of.reading in frame else CsvLayout.reading,
    )
    tables = one_table(_RowsOfFiles(src, frame), layout)
    return (tables if of.subjects is None else _with_subjects(src, of, tables, image)), layout


def _boxes(src: Path, of: PublishedSet) -> pandas.DataFrame:
    """The rows of all tables of boxes that are there."""
    frames = []
    for one in of.boxes:
        for path in sorted(src.glob(one.file)):
            frame = FORMS[of.form](path, of, src)
            frame.index = pandas.Index([f"{path}:{line}" for line in frame.index])
            if one.split is not None:
                frame[SPLIT] = one.split
            frames.append(frame)
    if not frames:
        files = ", ".join(one.file for one in of.boxes)
        raise DataError(f"holds no table of {of.title}", where=src, hint=f"name the folder in which there is {files}")
    return pandas.concat(frames).fillna("")


def _with_subjects(src: Path, of: PublishedSet, tables: Tables, image: str) -> Tables:
    """With the clinical columns of the table of subjects, of the images that have boxes."""
    pattern = of.subjects or ""
    paths = sorted(src.glob(pattern))
    if not paths:
        return tables
    wanted = {image, *of.numeric, *of.categorical}
    # not read_table: the published file names a column more than its rows have
    try:
        rows = pandas.read_csv(
            paths[0], dtype="str", index_col=False, keep_default_na=False, usecols=lambda name: name in wanted
        )
    except (OSError, ValueError) as error:
        what = f"cannot be read ({type(error).__name__})"
        raise DataError(what, where=paths[0], hint="take the published file") from None
    if image not in rows:
        raise DataError(no_such("column", image, rows.columns.tolist()), where=paths[0], hint="take the published file")
    rows = rows.drop_duplicates(image).set_index(image)
    frame = tables.subjects.frame.join(rows, on=image).fillna("")
    excluded = _without_boxes(of, frame[image].tolist(), rows.index.tolist())
    return Tables(_RowsOfFiles(src, frame), tables.boxes, True, tables.varying, excluded)


def _without_boxes(of: PublishedSet, taken: Sequence[str], listed: Sequence[str]) -> tuple[Excluded, ...]:
    """The images of the table of subjects that are in no table of boxes."""
    names = dict.fromkeys((*taken, *listed))
    if len(names) == len(taken):
        return ()
    whose = {name: re.search(of.patient_pattern or "$^", name) for name in names}
    gone = len(names) - len(taken)
    if not all(whose.values()):
        return (Excluded("no box is published", images=gone),)
    before, after = ([(found[1], name) for name in some if (found := whose[name])] for some in (names, taken))
    return (Excluded.step("no box is published", before, after),)


def _patient(pattern: str, name: str, at: object) -> str:
    found = re.search(pattern, name)
    if found is None or not found[1]:
        what = f"image {shown(name)} does not name its patient ({pattern})"
        raise DataError(what, where=str(at), hint="leave the file's name as it was published")
    return found[1]


def _listed(src: Path, of: PublishedSet, images: pandas.Series[str]) -> list[str]:
    """The split of each image by the lists of names, empty where none has it."""
    split_of: dict[str, str] = {}
    for split, pattern in of.splits.items():
        for path in sorted(src.glob(pattern)):
            try:
                split_of |= dict.fromkeys(path.read_text("utf-8-sig").split(), split)
            except (OSError, UnicodeDecodeError) as error:
                what = f"cannot be read ({type(error).__name__})"
                raise DataError(what, where=path, hint="save it as UTF-8 text, one image a line") from None
    return [split_of.get(image, "") for image in images]


def _filled(frame: pandas.DataFrame, patient: str) -> list[str]:
    """The splits; patients without one are divided, and the share of a split that is published goes to train."""
    known = frame[SPLIT].tolist()
    divided = split_by_patient(frame[patient].tolist())
    return [word or ("train" if new in known else new) for word, new in zip(known, divided, strict=True)]
