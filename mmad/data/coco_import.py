"""Imports a COCO detection file with its images and, joined to them, a table of clinical values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import DataError
from mmad.base.records import Split
from mmad.data.clinical_cells import ClinicalCells, choose_cells, header_cells
from mmad.data.clipping import clip_box
from mmad.data.coco_file import CocoFile, CocoImage, read_coco
from mmad.data.coco_form import CocoForm
from mmad.data.coco_join import Joined, join_table
from mmad.data.dataset import DataSet, load_dataset
from mmad.data.image_import import Progress, SourceImage, copy_images, find_images, study_ids
from mmad.data.importing import choose_labels, folder_name, importing
from mmad.data.names import shown
from mmad.data.splits import policy_of, read_split, split_by_patient
from mmad.data.writing import BoxRow, StudyRow, write_tables


@dataclass(frozen=True)
class ClinicalTable:
    """A CSV file of clinical values: ``on`` says of which image a row is; a patient and a split, if columns say them.

    ``numeric`` and ``categorical`` name the clinical columns; None guesses them (see ``mmad.data.csv_columns``).
    """

    path: Path
    on: str | None
    patient: str | None = None
    split: str | None = None
    numeric: Sequence[str] | None = None
    categorical: Sequence[str] | None = None
    units: Mapping[str, str] | None = None


@dataclass(frozen=True)
class CocoImport:
    """What was made, what was left out (``crowds``), and how the table was joined.

    ``outlined`` counts boxes drawn around polygons because the annotation had none.
    """

    dataset: DataSet
    crowds: int
    outlined: int
    joined: Joined | None


def import_coco(
    annotations: Path,
    images: Path,
    out: Path,
    *,
    clinical: ClinicalTable | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    licence: str | None = None,
    dicom_header: bool = False,
    progress: Progress | None = None,
) -> CocoImport:
    """Copy the images of the COCO file ``annotations``, found below ``images``, into the new folder ``out``.

    DICOM images are stored as 8-bit PNG. ``labels`` keeps only these categories, in this order; ``dicom_header``
    adds age and sex from DICOM headers where no table has them. A file that ``mmad data export coco`` wrote
    becomes the data set that it was. ``progress`` hears (done, all). Raises DataError naming entry, key and mend.
    """
    coco = read_coco(annotations)
    if not images.is_dir():
        raise DataError("no such folder", where=images, mend="name the folder of the images with --images")
    studies = _given(coco.images, [image.study for image in coco.images], "study")
    found = _found(coco, images, shared=studies is not None)
    joined = join_table(clinical.path, clinical.on, coco.images) if clinical is not None else None
    cells = _cells(coco, clinical, joined)
    if dicom_header:
        cells = cells.beside(header_cells(found, cells.cells), str(annotations))
    ids = studies or list(study_ids([image.file_name for image in coco.images]).values())
    patients = _patients(coco, clinical, joined, ids)
    splits = _splits(coco, clinical, joined, patients)
    chosen = choose_labels(coco.labels, labels, str(annotations))
    with importing(out) as folder:
        copy_images(found, folder, progress)
        write_tables(
            folder,
            name=name or (coco.form.name if coco.form else folder_name(annotations.with_suffix(""))),
            labels=chosen,
            numeric=cells.numeric,
            categorical=cells.categorical,
            licence=licence or (coco.form.licence if coco.form else coco.licence) or "not stated",
            split_policy=_policy(coco.form, clinical, patients, splits),
            studies=_studies(coco, found, ids, patients, splits, cells),
            boxes=_boxes(coco, found, ids, chosen),
            mode=coco.form.mode if coco.form else None,
        )
    return CocoImport(load_dataset(out), coco.crowds, coco.outlined, joined)


def _found(coco: CocoFile, folder: Path, *, shared: bool) -> dict[str, SourceImage]:
    """The image files, each of the size that is stated; studies with ids of their own may share one."""
    entries = coco.images
    if shared:
        entries = tuple({image.file_name: image for image in reversed(entries)}.values())[::-1]
    found = find_images(folder, [image.file_name for image in entries], lambda position: entries[position].where)
    for image in coco.images:
        source = found[image.file_name]
        if image.size is not None and image.size != (source.width, source.height):
            stated = f"{image.size[0]} x {image.size[1]}"
            what = f"image {shown(image.file_name)} is {source.width} x {source.height} px where {stated} is stated"
            raise DataError(what, where=image.where, mend="name the images that were annotated, in that size")
    return found


def _cells(coco: CocoFile, clinical: ClinicalTable | None, joined: Joined | None) -> ClinicalCells:
    """The columns that the file itself declares, and those of the table."""
    form, own = coco.form, ClinicalCells()
    if form is not None:
        columns = [*form.numeric_names, *form.categorical_names]
        cells = {column: [image.clinical.get(column, "") for image in coco.images] for column in columns}
        own = ClinicalCells(form.numeric, form.categorical, cells)
    if clinical is None or joined is None:
        return own
    table = {column: joined.column(column) for column in joined.table.columns}
    reserved = {clinical.on or "", clinical.patient or "", clinical.split or ""}
    reserved |= {"study", "image", "width", "height", "patient", "split"}
    where = str(clinical.path)
    return own.beside(
        choose_cells(table, clinical.numeric, clinical.categorical, reserved, where, clinical.units), where
    )


def _given(images: Sequence[CocoImage], values: Sequence[str | None], key: str) -> list[str] | None:
    """The values, None where no image has one. Raises DataError where only some have."""
    known = [value for value in values if value]
    if not known:
        return None
    for image, value in zip(images, values, strict=True):
        if not value:
            what = f"image {shown(image.file_name)} has no {key}, and others have one"
            raise DataError(what, where=image.where, mend="give one to every image, or to none")
    return known


def _patients(
    coco: CocoFile, clinical: ClinicalTable | None, joined: Joined | None, ids: Sequence[str]
) -> Sequence[str]:
    if clinical is not None and joined is not None and clinical.patient is not None:
        return _given(coco.images, joined.column(clinical.patient), "patient") or _empty(clinical, clinical.patient)
    return _given(coco.images, [image.patient for image in coco.images], "patient") or ids


def _splits(
    coco: CocoFile, clinical: ClinicalTable | None, joined: Joined | None, patients: Sequence[str]
) -> list[Split]:
    if clinical is not None and joined is not None and clinical.split is not None:
        words = _given(coco.images, joined.column(clinical.split), "split") or _empty(clinical, clinical.split)
    else:
        words = _given(coco.images, [image.split for image in coco.images], "split") or []
    if not words:
        return split_by_patient(patients)
    return [read_split(word, image.where) for word, image in zip(words, coco.images, strict=True)]


def _empty(clinical: ClinicalTable, column: str) -> list[str]:
    raise DataError(f"column {shown(column)} is empty", where=clinical.path, mend="name another column, or none")


def _policy(
    form: CocoForm | None, clinical: ClinicalTable | None, patients: Sequence[str], splits: Sequence[Split]
) -> str | None:
    if form is not None and (clinical is None or (clinical.patient is None and clinical.split is None)):
        return form.split_policy
    return policy_of(patients, splits)


def _studies(
    coco: CocoFile,
    found: Mapping[str, SourceImage],
    ids: Sequence[str],
    patients: Sequence[str],
    splits: Sequence[Split],
    cells: ClinicalCells,
) -> list[StudyRow]:
    rows = []
    for i, image in enumerate(coco.images):
        source = found[image.file_name]
        size = source.width, source.height
        rows.append(StudyRow(ids[i], source.stored, *size, patients[i], splits[i], cells.row(i), image.source))
    return rows


def _boxes(coco: CocoFile, found: Mapping[str, SourceImage], ids: Sequence[str], labels: Sequence[str]) -> list[BoxRow]:
    place = {image.identity: i for i, image in enumerate(coco.images)}
    rows = []
    for mark in coco.boxes:
        if mark.label in labels:
            position = place[mark.image]
            name = coco.images[position].file_name
            box = clip_box(mark.box, (found[name].width, found[name].height), mark.where, name)
            rows.append(BoxRow(ids[position], mark.reading, box, mark.label, mark.certainty))
    return rows
