"""From the original distributions to a data-set folder: reading, joining, leaving out, splitting, writing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import DataError
from mmad.data.dataset import DataSet, load_dataset
from mmad.data.phantom_cases import CATEGORICAL, NUMERIC
from mmad.data.reflacx.choices import Choices, Sources
from mmad.data.reflacx.clinical import Clinical, read_clinical
from mmad.data.reflacx.counts import REASONS, Counts, Sieve
from mmad.data.reflacx.ellipses import ellipse_file, is_lost
from mmad.data.reflacx.images import Size, jpeg_sizes, place
from mmad.data.reflacx.mimic import FRONTAL, CxrImage, read_images
from mmad.data.reflacx.readings import ReadingTable, read_readings
from mmad.data.reflacx.rows import box_rows, stored, study_rows
from mmad.data.writing import new_folder, write_tables

Progress = Callable[[int, int], None]
LICENCE = (
    "PhysioNet Credentialed Health Data License 1.5.0 (REFLACX, MIMIC-CXR-JPG, MIMIC-IV, MIMIC-IV-ED): "
    "for credentialed users who signed the data use agreement; not to be passed on"
)


@dataclass(frozen=True)
class Built:
    """The data set that was made, and what became of every reading."""

    dataset: DataSet
    counts: Counts


def build_reflacx(
    sources: Sources, out: Path, choices: Choices | None = None, progress: Progress | None = None
) -> Built:
    """Make the data set of the documented log from ``sources`` in the new folder ``out``, and load it.

    ``progress`` hears (done, all) images. Raises DataError for a table that is missing or cannot be understood, naming
    file, line and column; for a folder ``out`` that is filled; and where no reading is left. Nothing half-made stays.
    """
    choices = choices or Choices()
    with new_folder(out) as folder:  # first of all: a folder that is filled is refused before anything is read
        joined = _joined(sources, choices)
        sieve = joined.sieve
        boxes, ellipses = box_rows(sieve, joined.sizes, choices)
        studies, policy = study_rows(sieve.kept, joined.table, joined.images, joined.clinical, joined.sizes, choices)
        linked = _place_all(joined, sources, choices, folder, progress)
        write_tables(
            folder,
            name=f"REFLACX ({choices.mode})",
            labels=choices.labels,
            numeric=NUMERIC if choices.clinical else (),
            categorical=CATEGORICAL if choices.clinical else (),
            licence=LICENCE,
            split_policy=policy,
            studies=studies,
            boxes=boxes,
            mode=choices.mode,
        )
        load_dataset(folder)
        counts = sieve.counts(joined.table.rows, ellipses, linked, len(sieve.images()) - linked)
    return Built(load_dataset(out), counts)


def _place_all(joined: _Joined, sources: Sources, choices: Choices, folder: Path, progress: Progress | None) -> int:
    """Link or copy every image; how many were linked."""
    linked, dicoms = 0, joined.sieve.images()
    for done, dicom in enumerate(dicoms, 1):
        jpeg = joined.images[dicom].jpeg(sources.mimic_cxr_jpg)
        linked += place(jpeg, folder / stored(dicom), link=choices.images == "link")
        if progress is not None:
            progress(done, len(dicoms))
    return linked


@dataclass(frozen=True)
class _Joined:
    """The readings that stay, and what the other distributions say of their images."""

    table: ReadingTable
    images: Mapping[str, CxrImage]
    clinical: Clinical | None
    sizes: Mapping[str, Size]
    sieve: Sieve


def _joined(sources: Sources, choices: Choices) -> _Joined:
    try:
        return _join(sources, choices)
    except OSError as error:
        what, mend = f"cannot be read: {error.strerror or error}", "check that you may read it"
        raise DataError(what, where=error.filename or sources.reflacx, mend=mend) from None


def _join(sources: Sources, choices: Choices) -> _Joined:
    folders = sources.clinical() if choices.clinical else None
    table = read_readings(sources.reflacx, choices.phases, choices.labels)
    images, twice = read_images(sources.mimic_cxr_jpg, {reading.dicom for reading in table.readings})
    sieve = Sieve(list(table.readings))
    sieve.dropped["duplicate_row"].extend(table.duplicates)
    sieve.notes["duplicate_rows"] += twice
    _leave_out(sieve, images, choices)
    clinical = None
    if folders is not None:
        clinical = read_clinical(*folders, images, sieve.images(), sieve)
        _leave_out_without_stay(sieve, clinical, choices)
    sizes = jpeg_sizes(sources.mimic_cxr_jpg, images, sieve)
    sieve.drop("ellipses_missing", lambda reading: ellipse_file(reading) is None)
    sieve.drop("ellipses_lost", is_lost)
    if not sieve.kept:
        raise _nothing_left(sieve, table.rows, sources)
    _note(sieve, clinical)
    return _Joined(table, images, clinical, sizes, sieve)


def _leave_out(sieve: Sieve, images: Mapping[str, CxrImage], choices: Choices) -> None:
    """What the tables of REFLACX and MIMIC-CXR alone decide."""
    if choices.drops_discarded:
        sieve.drop("discarded", lambda reading: reading.discarded)
    sieve.drop("unknown_image", lambda reading: reading.dicom not in images)
    sieve.drop("other_patient", lambda reading: reading.patient != images[reading.dicom].patient)
    sieve.drop("lateral", lambda reading: images[reading.dicom].view not in FRONTAL)


def _leave_out_without_stay(sieve: Sieve, clinical: Clinical, choices: Choices) -> None:
    if choices.without_stay == "drop":
        sieve.drop("no_time", lambda reading: clinical.images[reading.dicom].moment is None)
        sieve.drop("no_stay", lambda reading: reading.dicom not in clinical.stays)


def _nothing_left(sieve: Sieve, rows: int, sources: Sources) -> DataError:
    why = ", ".join(f"{len(ids)} x {REASONS[reason]}" for reason, ids in sieve.dropped.items() if ids)
    mend = "check that all four folders are the whole distributions"
    return DataError(f"none of {rows} readings is left ({why})", where=sources.reflacx, mend=mend)


def _note(sieve: Sieve, clinical: Clinical | None) -> None:
    sieve.notes["discarded_kept"] += sum(reading.discarded for reading in sieve.kept)
    if clinical is not None:
        sieve.notes["without_stay_kept"] += sum(reading.dicom not in clinical.stays for reading in sieve.kept)
        clinical.note(sieve)
