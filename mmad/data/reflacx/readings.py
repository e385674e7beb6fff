"""REFLACX's own files: the readings of its three phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import DataError
from mmad.data.csv_columns import parse
from mmad.data.reflacx.labels import columns_of
from mmad.data.reflacx.tables import Row, add_once, find_table, flag, id_of, name_of, stream, whole

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
        for row in stream(path, (*_COLUMNS, *(name for name, _ in columns))):
            reading = _reading(path, row, phase, [label for _, label in columns])
            where = f"{path}:{row.line}"
            if add_once(found, reading.reading, reading, "reading", where):
                at[reading.reading] = where
            else:
                duplicates.append(reading.reading)
    if not found:
        raise DataError("its metadata hold no reading", where=root, mend="download the metadata again")
    return ReadingTable(tuple(found.values()), at, tuple(duplicates))


def _reading(path: Path, row: Row, phase: int, labels: Sequence[str]) -> Reading:
    at = f"{path}:{row.line}"
    name, split, discarded, dicom, patient, width, height, *certainties = row.cells
    reading = name_of(name, "id", at)
    found = (label for label, cell in zip(labels, certainties, strict=True) if (parse(cell) or 0) > 0)
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
        raise DataError(f"column {column!r} is not a number of pixels", where=at, mend="take the file as distributed")
    return int(number)
