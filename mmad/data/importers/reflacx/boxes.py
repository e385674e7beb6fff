"""REFLACX's own files: the readings of its three phases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmad.base.errors import DataError
from mmad.config.messages import no_such, one_of
from mmad.data.dataset import Box
from mmad.data.importers.reflacx.records import (
    ENDINGS,
    add_once,
    find_table,
    flag,
    id_of,
    is_blank,
    name_of,
    records,
    whole,
)
from mmad.data.tables import read_number

# The findings of REFLACX: which names its phases use, and which of phase 1 became others in phases 2 and 3.


PHASES = (1, 2, 3)
#: Findings a reader of phase 1 could draw, in the order of the files.
PHASE_1 = (
    "Airway wall thickening",
    "Atelectasis",
    "Consolidation",
    "Emphysema",
    "Enlarged cardiac silhouette",
    "Fibrosis",
    "Fracture",
    "Groundglass opacity",
    "Mass",
    "Nodule",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary edema",
    "Wide mediastinum",
)
#: The same of phases 2 and 3.
PHASES_2_3 = (
    "Abnormal mediastinal contour",
    "Acute fracture",
    "Atelectasis",
    "Consolidation",
    "Enlarged cardiac silhouette",
    "Enlarged hilum",
    "Groundglass opacity",
    "Hiatal hernia",
    "High lung volume / emphysema",
    "Interstitial lung disease",
    "Lung nodule or mass",
    "Pleural abnormality",
    "Pneumothorax",
    "Pulmonary edema",
)
#: Names of phase 1 and what they are called here. The first five are the documented log's; it left the last three
#: apart, which touches none of its five findings.
MERGED = {
    "Emphysema": "High lung volume / emphysema",
    "Mass": "Lung nodule or mass",
    "Nodule": "Lung nodule or mass",
    "Pleural effusion": "Pleural abnormality",
    "Pleural thickening": "Pleural abnormality",
    "Fracture": "Acute fracture",
    "Fibrosis": "Interstitial lung disease",
    "Wide mediastinum": "Abnormal mediastinal contour",
}
#: Columns of the files that are no findings with a place: nothing was drawn for them.
NEVER_DRAWN = ("Other", "Quality issue", "Support devices")
#: Every label a data set can have.
KNOWN = tuple(sorted({MERGED.get(name, name) for name in (*PHASE_1, *PHASES_2_3)}))


def check_labels(wanted: Sequence[str]) -> tuple[str, ...]:
    """``wanted`` without repetition. Raises DataError for a name that no label has, saying what it is part of."""
    if not wanted:
        raise DataError("names no label", where="--labels", hint=one_of(KNOWN))
    for name in wanted:
        if name in MERGED:
            raise DataError(f"{name!r} is part of {MERGED[name]!r}", where="--labels", hint="ask for that")
        if name in NEVER_DRAWN:
            raise DataError(f"nothing was drawn for {name!r}", where="--labels", hint="leave it out")
        if name not in KNOWN:
            raise DataError(no_such("label", name, KNOWN), where="--labels", hint=f"use some of {', '.join(KNOWN)}")
    return tuple(dict.fromkeys(wanted))


def columns_of(phase: int, labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The columns of the files of ``phase`` that make up ``labels``: pairs of (column, label)."""
    pairs = ((name, MERGED.get(name, name)) for name in (PHASE_1 if phase == 1 else PHASES_2_3))
    return tuple((name, label) for name, label in pairs if label in labels)


_COLUMNS = (
    "id",
    "split",
    "eye_tracking_data_discarded",
    "dicom_id",
    "subject_id",
    "image_size_x",
    "image_size_y",
)


@dataclass(frozen=True)
class Reading:
    """One radiologist's annotation of one image.

    ``width`` and ``height`` are the original image's, in pixels; ``findings`` are those of the wanted labels that the
    metadata record with a certainty above 0; ``folder`` holds the reading's own files.
    """

    reading: str
    phase: int
    split: str
    discarded: bool
    dicom: str
    patient: str
    width: int
    height: int
    findings: frozenset[str]
    folder: Path


@dataclass(frozen=True)
class ReadingTable:
    """Every reading once; ``at`` is where it stands; ``duplicates`` are the ids of rows that stand again."""

    readings: tuple[Reading, ...]
    at: dict[str, str]
    duplicates: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many rows the metadata have."""
        return len(self.readings) + len(self.duplicates)


def read_readings(root: Path, phases: Sequence[int], labels: Sequence[str]) -> ReadingTable:
    """The readings of ``phases`` below the folder ``root`` of REFLACX. Raises DataError."""
    found: dict[str, Reading] = {}
    at: dict[str, str] = {}
    duplicates: list[str] = []
    for phase in phases:
        path = find_table(root, ("main_data", "."), (f"metadata_phase_{phase}",), "--reflacx")
        columns = columns_of(phase, labels)
        for where, *cells in records(path, (*_COLUMNS, *(name for name, _ in columns))):
            reading = _reading(path, where, cells, phase, [label for _, label in columns])
            if add_once(found, reading.reading, reading, "reading", where):
                at[reading.reading] = where
            else:
                duplicates.append(reading.reading)
    if not found:
        raise DataError("its metadata hold no reading", where=root, hint="download the metadata again")
    return ReadingTable(tuple(found.values()), at, tuple(duplicates))


def _reading(path: Path, at: str, cells: Sequence[str], phase: int, labels: Sequence[str]) -> Reading:
    name, split, discarded, dicom, patient, width, height, *certainties = cells
    reading = name_of(name, "id", at)
    found = (label for label, cell in zip(labels, certainties, strict=True) if (read_number(cell) or 0) > 0)
    return Reading(
        reading=reading,
        phase=phase,
        split=split,
        discarded=flag(discarded, "eye_tracking_data_discarded", at),
        dicom=name_of(dicom, "dicom_id", at),
        patient=id_of(patient, "subject_id", at),
        width=_pixels(width, "image_size_x", at),
        height=_pixels(height, "image_size_y", at),
        findings=frozenset(found),
        folder=path.parent / reading,
    )


def _pixels(text: str, column: str, at: str) -> int:
    number = whole(text)
    if number is None or number == "0":
        raise DataError(f"column {column!r} is not a number of pixels", where=at, hint="take the file as distributed")
    return int(number)


# The outcome of every reading and every ellipse: nothing leaves a data set uncounted.


#: Why a reading is left out, in the order in which it is asked; the first reason that holds is counted.
REASONS: Mapping[str, str] = {
    "duplicate_row": "row stands twice in REFLACX's metadata",
    "discarded": "eye_tracking_data_discarded in REFLACX",
    "unknown_image": "dicom_id is not in MIMIC-CXR-JPG",
    "other_patient": "subject_id differs between REFLACX and MIMIC-CXR-JPG",
    "lateral": "view is neither AP nor PA",
    "no_time": "study has no usable date and time",
    "no_stay": "no ED stay at the time of the study",
    "jpeg_missing": "JPEG is missing",
    "jpeg_unreadable": "JPEG cannot be opened",
    "jpeg_other_shape": "JPEG has other proportions than REFLACX says",
    "ellipses_missing": "ellipse file is missing",
    "ellipses_lost": "ellipse file is empty although findings are recorded",
}
#: What is worth knowing of what stayed, with the unit that is counted.
NOTES: Mapping[str, str] = {
    "discarded_kept": "readings kept although eye_tracking_data_discarded",
    "without_stay_kept": "readings kept without clinical data (no ED stay)",
    "findings_differ": "readings whose ellipses and recorded findings differ",
    "several_stays": "images with several ED stays at their time: the nearest intime taken",
    "no_triage": "images whose stay has no triage row: its values are missing",
    "no_patient": "images whose patient is not in MIMIC-IV: age and gender are missing",
    "pain_not_understood": "images whose pain is no number from 0 to 10: missing",
    "not_a_number": "triage cells with something that is no number: missing",
    "resized": "images stored in another size: their boxes are scaled",
    "duplicate_rows": "rows of the MIMIC tables that stand twice: one taken",
}


@dataclass(frozen=True)
class EllipseCounts:
    """Rows of the ellipse files of the readings kept. ``rows`` is the sum of the next four.

    ``boxes`` counts one per ellipse and wanted label; ``clipped`` the ellipses of ``drawn`` that overshot the image.
    """

    rows: int = 0
    drawn: int = 0
    other_findings: int = 0
    no_area: int = 0
    duplicates: int = 0
    boxes: int = 0
    clipped: int = 0

    def __add__(self, other: EllipseCounts) -> EllipseCounts:
        return EllipseCounts(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Counts:
    """``readings`` rows were read, ``kept`` of them are in the data set; ``dropped`` has the ids by reason."""

    readings: int
    kept: int
    dropped: Mapping[str, tuple[str, ...]]
    notes: Mapping[str, int]
    ellipses: EllipseCounts
    linked: int
    copied: int


@dataclass
class Sieve:
    """The readings still in, and those left out with their reason."""

    kept: list[Reading]
    dropped: dict[str, list[str]] = field(default_factory=lambda: {reason: [] for reason in REASONS})
    notes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(NOTES, 0)))

    def drop(self, reason: str, goes: Callable[[Reading], bool]) -> None:
        """Leave out every reading for which ``goes`` holds."""
        stay: list[Reading] = []
        for reading in self.kept:
            if goes(reading):
                self.dropped[reason].append(reading.reading)
            else:
                stay.append(reading)
        self.kept = stay

    def images(self) -> Sequence[str]:
        """The dicom ids of the readings still in, each once, in their order."""
        return tuple(dict.fromkeys(reading.dicom for reading in self.kept))

    def counts(self, readings: int, ellipses: EllipseCounts, linked: int, copied: int) -> Counts:
        """The account. A sum that does not come out is a bug and raises RuntimeError."""
        gone = sum(len(ids) for ids in self.dropped.values())
        counted = ellipses.drawn + ellipses.other_findings + ellipses.no_area + ellipses.duplicates
        if len(self.kept) + gone != readings or counted != ellipses.rows:
            raise RuntimeError(f"{readings} readings became {len(self.kept)} and {gone}; {ellipses}")
        dropped = {reason: tuple(ids) for reason, ids in self.dropped.items()}
        return Counts(readings, len(self.kept), dropped, dict(self.notes), ellipses, linked, copied)


# Ellipses of one reading as boxes: the extremes of an ellipse are the sides of its box.


SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class DrawnEllipse:
    """One box in pixels of the stored image; ``certainty`` is 0 to 5 as text, empty if missing."""

    box: Box
    label: str
    certainty: str


def ellipse_file(reading: Reading) -> Path | None:
    """The file with the ellipses of ``reading``, or None where there is none."""
    files = (reading.folder / f"anomaly_location_ellipses{ending}" for ending in ENDINGS)
    return next((file for file in files if file.is_file()), None)


def is_lost(reading: Reading) -> bool:
    """Whether the ellipse file holds not even a header although findings are recorded. Raises DataError."""
    path = ellipse_file(reading)
    return path is not None and bool(reading.findings) and is_blank(path)


def read_ellipses(
    reading: Reading, size: tuple[int, int], labels: Sequence[str]
) -> tuple[tuple[DrawnEllipse, ...], EllipseCounts]:
    """The boxes of ``labels`` on the stored image of ``size`` (width, height), and what became of every row.

    An ellipse of several labels gives one box for each; two names that became one label give one. Boxes are scaled
    from the original's pixels to the stored image's, then clipped to it. Raises DataError for a cell that is no number.
    """
    path = ellipse_file(reading)
    if path is None or is_blank(path):
        return (), EllipseCounts()
    columns = columns_of(reading.phase, labels)
    of_column = [label for _, label in columns]
    drawn: list[DrawnEllipse] = []
    counts = EllipseCounts()
    seen: set[tuple[str, ...]] = set()
    for at, *cells in records(path, (*SIDES, "certainty", *(name for name, _ in columns))):
        twice = tuple(cells) in seen
        seen.add(tuple(cells))
        boxes, count = ((), EllipseCounts(1, duplicates=1)) if twice else _boxes(at, cells, reading, size, of_column)
        drawn.extend(boxes)
        counts += count
    return tuple(drawn), counts


def _boxes(
    at: str, cells: Sequence[str], reading: Reading, size: tuple[int, int], of_column: Sequence[str]
) -> tuple[tuple[DrawnEllipse, ...], EllipseCounts]:
    true = [label for label, cell in zip(of_column, cells[5:], strict=True) if flag(cell, label, at)]
    found = tuple(dict.fromkeys(true))
    whole = _scaled(cells[:4], at, (reading.width, reading.height), size)
    box = _clipped(whole, size)
    if not found:
        return (), EllipseCounts(1, other_findings=1)
    if box is None:
        return (), EllipseCounts(1, no_area=1)
    sure = _certainty(cells[4], at)
    boxes = tuple(DrawnEllipse(box, label, sure) for label in found)
    return boxes, EllipseCounts(1, drawn=1, boxes=len(boxes), clipped=int(box != whole))


def _scaled(cells: Sequence[str], at: str, original: tuple[int, int], stored: tuple[int, int]) -> Box:
    numbers: list[float] = []
    for name, cell in zip(SIDES, cells, strict=True):
        number = read_number(cell)
        if number is None:
            raise DataError(f"column {name!r} is not a number", where=at, hint="download the file again")
        numbers.append(number)
    across, down = stored[0] / original[0], stored[1] / original[1]
    return numbers[0] * across, numbers[1] * down, numbers[2] * across, numbers[3] * down


def _clipped(box: Box, size: tuple[int, int]) -> Box | None:
    """``box`` within the image, or None if nothing of it is left."""
    width, height = float(size[0]), float(size[1])
    inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height))
    return inside if inside[0] < inside[2] and inside[1] < inside[3] else None


def _certainty(text: str, at: str) -> str:
    number = read_number(text) if text else None
    if text and (number is None or not 0 <= number <= 5):
        raise DataError("column 'certainty' is not a number from 0 to 5", where=at, hint="download the file again")
    return "" if number is None else f"{number:g}"
