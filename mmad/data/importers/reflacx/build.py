"""From the original distributions to a data-set folder: reading, joining, leaving out, splitting, writing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mmad.base.errors import DataError
from mmad.base.records import DOCUMENTED_LABELS, OnProgress, Split
from mmad.config.messages import no_such, one_of
from mmad.data.acquisition import SHIFTED, Acquisition
from mmad.data.dataset import IMAGES, DataSet, policy_of, read_split, split_by_patient, split_by_row
from mmad.data.exclusions import Excluded
from mmad.data.importers.reflacx.boxes import (
    PHASES,
    REASONS,
    Counts,
    EllipseCounts,
    Reading,
    ReadingTable,
    Sieve,
    check_labels,
    ellipse_file,
    is_lost,
    read_ellipses,
    read_readings,
)
from mmad.data.importers.reflacx.mimic import FRONTAL, Clinical, CxrImage, read_clinical, read_images
from mmad.data.phantom.cases import CATEGORICAL, NUMERIC
from mmad.data.reader import MODES, load_dataset
from mmad.data.writer import BoxRow, StudyRow, new_folder, write_tables

# The JPEGs of MIMIC-CXR-JPG: where they are, how large, and how they come into a data set.


Size = tuple[int, int]


def jpeg_sizes(root: Path, images: Mapping[str, CxrImage], sieve: Sieve) -> dict[str, Size]:
    """Width and height of the JPEG of every image still in; readings whose JPEG is of no use are left out.

    Only the head of a file is read. An image may be stored smaller or larger than the original as long as its
    proportions are the original's within a pixel.
    """
    paths = {dicom: images[dicom].jpeg(root) for dicom in sieve.images()}
    sieve.drop("jpeg_missing", lambda reading: not paths[reading.dicom].is_file())
    sizes: dict[str, Size] = {}
    for dicom in sieve.images():
        size = _size(paths[dicom])
        if size is not None:
            sizes[dicom] = size
    sieve.drop("jpeg_unreadable", lambda reading: reading.dicom not in sizes)
    sieve.drop("jpeg_other_shape", lambda reading: not _same_shape(reading, sizes[reading.dicom]))
    original = {reading.dicom: (reading.width, reading.height) for reading in sieve.kept}
    sieve.notes["resized"] += sum(sizes[dicom] != size for dicom, size in original.items())
    return sizes


def place(source: Path, target: Path, *, link: bool) -> bool:
    """Make ``target`` a second name of the file ``source`` if ``link``, else or where that cannot be a copy.

    True if it was linked. A link in the source is followed, so that no link leads out of the data set. Raises OSError.
    """
    if link:
        try:
            os.link(source.resolve(), target)
        except OSError:  # another file system, or one without second names
            pass
        else:
            return True
    shutil.copyfile(source, target)
    return False


def _size(path: Path) -> Size | None:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _same_shape(reading: Reading, size: Size) -> bool:
    across, down = size[0] / reading.width, size[1] / reading.height
    return abs(across - down) <= 1 / reading.width + 1 / reading.height


# Where the four distributions lie, and what is to be made of them.


SPLITTINGS = ("patient", "reflacx", "documented")
KEEPING = ("drop", "keep")
PLACING = ("link", "copy")
#: What is held out for val and for test each by the splitting ``documented``: the log's entries e094 to e100 have
#: 468/101/101 of 670 readings, all others 472/59/59 of 590 images.
HELD_OUT = {"unified": 0.10, "normal": 0.15, "full": 0.10}


@dataclass(frozen=True)
class Sources:
    """The folders of the distributions as they were unpacked; the last two are not needed for the mode ``full``."""

    reflacx: Path
    mimic_cxr_jpg: Path
    mimic_iv: Path | None = None
    mimic_iv_ed: Path | None = None

    def clinical(self) -> tuple[Path, Path]:
        """The folders of MIMIC-IV and MIMIC-IV-ED. Raises DataError where one is not named."""
        return _given(self.mimic_iv, "--mimic-iv"), _given(self.mimic_iv_ed, "--mimic-iv-ed")


def _given(folder: Path | None, option: str) -> Path:
    if folder is None:
        raise DataError("is not given", where=option, hint="name the folder, or ask for --mode full")
    return folder


@dataclass(frozen=True)
class Choices:
    """What a data set from REFLACX shall be. Raises DataError for a word that is none of those allowed.

    ``mode``: a study is an image with all its readings (``unified``), a reading (``normal``), or a reading without
    clinical data (``full``). ``split``: whole ``patient`` s, ``reflacx``'s own, or by row as ``documented``, shuffled
    by ``split_seed``. ``without_stay`` and ``discarded`` say what becomes of readings without an ED stay and of those
    whose eye tracking was discarded (None: as the log, kept in the mode ``full`` alone).
    """

    mode: str = "unified"
    split: str = "patient"
    labels: Sequence[str] = DOCUMENTED_LABELS
    phases: Sequence[int] = PHASES
    without_stay: str = "drop"
    discarded: str | None = None
    images: str = "link"
    split_seed: int = 0

    def __post_init__(self) -> None:
        for option, word, words in (
            ("mode", self.mode, MODES),
            ("split", self.split, SPLITTINGS),
            ("without-stay", self.without_stay, KEEPING),
            ("discarded", self.discarded or "drop", KEEPING),
            ("images", self.images, PLACING),
        ):
            if word not in words:
                raise DataError(no_such("word", word, words), where=f"--{option}", hint=one_of(words))
        if not self.phases or not set(self.phases) <= set(PHASES):
            raise DataError("names no phase of REFLACX", where="--phases", hint="use some of 1,2,3")
        if self.split_seed < 0:
            raise DataError(f"{self.split_seed} is negative", where="--split-seed", hint="use 0 or more")
        object.__setattr__(self, "phases", tuple(sorted(set(self.phases))))
        object.__setattr__(self, "labels", check_labels(self.labels))

    @property
    def clinical(self) -> bool:
        """Whether studies have clinical data."""
        return self.mode != "full"

    @property
    def drops_discarded(self) -> bool:
        """Whether a reading whose eye tracking was discarded is left out."""
        return self.clinical if self.discarded is None else self.discarded == "drop"


# Rows of the data set: a study per image or per reading, its split, and its boxes.


def box_rows(sieve: Sieve, sizes: Mapping[str, Size], choices: Choices) -> tuple[list[BoxRow], EllipseCounts]:
    """The boxes of all readings still in; where a study is an image, also the readings that found nothing."""
    rows: list[BoxRow] = []
    bare: list[BoxRow] = []
    counts = EllipseCounts()
    for reading in sieve.kept:
        drawn, count = read_ellipses(reading, sizes[reading.dicom], choices.labels)
        study = _study_id(reading, choices)
        rows += [BoxRow(study, reading.reading, each.box, each.label, each.certainty) for each in drawn]
        if not drawn and choices.mode == "unified":
            bare.append(BoxRow(study, reading.reading, None, ""))
        counts += count
        shown = {each.label for each in drawn if each.certainty != "0"}
        sieve.notes["findings_differ"] += not count.no_area and shown != reading.findings
    return rows + bare, counts


def study_rows(
    kept: Sequence[Reading],
    table: ReadingTable,
    images: Mapping[str, CxrImage],
    clinical: Clinical | None,
    sizes: Mapping[str, Size],
    choices: Choices,
) -> tuple[list[StudyRow], str]:
    """A row per study in the order of the metadata, and the policy of their split."""
    first: dict[str, Reading] = {}
    for reading in kept:
        first.setdefault(_study_id(reading, choices), reading)
    chosen = list(first.values())
    patients = [images[reading.dicom].patient for reading in chosen]
    splits, policy = _splits(kept, chosen, patients, table, choices)
    rows = [
        StudyRow(
            study,
            stored(reading.dicom),
            *sizes[reading.dicom],
            patient,
            split,
            clinical.cells(reading.dicom) if clinical else (),
            taken=Acquisition(
                view=images[reading.dicom].view or None, year=SHIFTED if images[reading.dicom].day else None
            ),
        )
        for (study, reading), patient, split in zip(first.items(), patients, splits, strict=True)
    ]
    return rows, policy


def _splits(
    kept: Sequence[Reading], chosen: Sequence[Reading], patients: Sequence[str], table: ReadingTable, choices: Choices
) -> tuple[list[Split], str]:
    if choices.split == "documented":
        return split_by_row(len(chosen), choices.split_seed, HELD_OUT[choices.mode]), "documented"
    if choices.split == "patient":
        return split_by_patient(patients), "patient"
    own = {reading.reading: read_split(reading.split, table.at[reading.reading]) for reading in kept}
    of_image: dict[str, Split] = {}
    for reading in kept:
        if of_image.setdefault(reading.dicom, own[reading.reading]) != own[reading.reading]:
            what = f"image {reading.dicom!r} has readings in two splits"
            raise DataError(what, where=table.at[reading.reading], hint="use --split patient")
    splits = [own[reading.reading] for reading in chosen]
    return splits, policy_of(patients, splits)


def _study_id(reading: Reading, choices: Choices) -> str:
    return reading.dicom if choices.mode == "unified" else reading.reading


def stored(dicom: str) -> str:
    """Where the image stands in the data set's folder; readings of one image share it."""
    return f"{IMAGES}/{dicom}.jpg"


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
    sources: Sources, out: Path, choices: Choices | None = None, progress: OnProgress | None = None
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
            excluded=_excluded(joined, ellipses),
        )
        load_dataset(folder)
        counts = sieve.counts(joined.table.rows, ellipses, linked, len(sieve.images()) - linked)
    return Built(load_dataset(out), counts)


def _excluded(joined: _Joined, ellipses: EllipseCounts) -> list[Excluded]:
    """Every reading and ellipse that is left out, by the first reason that holds."""
    dropped, stay = joined.sieve.dropped, list(joined.table.readings)
    found = [Excluded(REASONS["duplicate_row"], 0, 0, len(dropped["duplicate_row"]))]
    for reason in [reason for reason in REASONS if reason != "duplicate_row"]:
        gone = set(dropped[reason])
        before, stay = stay, [reading for reading in stay if reading.reading not in gone]
        rows = ([(one.patient, one.dicom, one.reading) for one in some] for some in (before, stay))
        found.append(Excluded.step(REASONS[reason], *rows))
    found += [
        Excluded("ellipse of other findings only", 0, 0, 0, ellipses.other_findings),
        Excluded("ellipse without area inside the image", 0, 0, 0, ellipses.no_area),
        Excluded("ellipse whose row stands twice", 0, 0, 0, ellipses.duplicates),
    ]
    return [one for one in found if one.readings or one.boxes]


def _place_all(joined: _Joined, sources: Sources, choices: Choices, folder: Path, progress: OnProgress | None) -> int:
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
        what, hint = f"cannot be read: {error.strerror or error}", "check that you may read it"
        raise DataError(what, where=error.filename or sources.reflacx, hint=hint) from None


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
    hint = "check that all four folders are the whole distributions"
    return DataError(f"none of {rows} readings is left ({why})", where=sources.reflacx, hint=hint)


def _note(sieve: Sieve, clinical: Clinical | None) -> None:
    sieve.notes["discarded_kept"] += sum(reading.discarded for reading in sieve.kept)
    if clinical is not None:
        sieve.notes["without_stay_kept"] += sum(reading.dicom not in clinical.stays for reading in sieve.kept)
        clinical.note(sieve)
