"""MIMIC-CXR-JPG's metadata and MIMIC-IV's patients, filtered to what REFLACX names."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path

from mmad.data.csv_columns import parse
from mmad.data.reflacx.tables import add_once, find_table, id_of, stream, whole

FRONTAL = ("AP", "PA")


@dataclass(frozen=True)
class CxrImage:
    """One image of MIMIC-CXR. ``day`` and ``moment`` are shifted as all of MIMIC's, None where not usable."""

    dicom: str
    patient: str
    study: str
    view: str
    day: date | None
    moment: datetime | None

    def jpeg(self, root: Path) -> Path:
        """The image below the folder ``root`` of MIMIC-CXR-JPG."""
        patient = f"p{self.patient}"
        return root / "files" / patient[:3] / patient / f"s{self.study}" / f"{self.dicom}.jpg"


@dataclass(frozen=True)
class Patient:
    """A patient of MIMIC-IV; ``age`` in years is that of the year ``year``."""

    gender: str
    age: float | None
    year: int | None

    def age_on(self, day: date | None) -> float | None:
        """Age in years on ``day``: the anchor's age and the years between."""
        if day is None or self.age is None or self.year is None:
            return None
        return self.age + day.year - self.year


def read_images(root: Path, dicoms: Collection[str]) -> tuple[dict[str, CxrImage], int]:
    """The images ``dicoms`` by id as far as they are there, and how many rows stand twice. Raises DataError."""
    path = find_table(root, (".",), ("mimic-cxr-2.0.0-metadata", "*-metadata", "metadata"), "--mimic-cxr-jpg")
    columns = ("dicom_id", "subject_id", "study_id", "ViewPosition", "StudyDate", "StudyTime")
    images: dict[str, CxrImage] = {}
    twice = 0
    for row in stream(path, columns):
        dicom, patient, study, view, day, clock = row.cells
        if dicom in dicoms:
            at = f"{path}:{row.line}"
            found, hour = study_day(day), study_time(clock)
            moment = None if found is None or hour is None else datetime.combine(found, hour)
            ids = id_of(patient, "subject_id", at), id_of(study, "study_id", at)
            twice += not add_once(images, dicom, CxrImage(dicom, *ids, view.upper(), found, moment), "dicom_id", at)
    return images, twice


def read_patients(root: Path, wanted: Collection[str]) -> tuple[dict[str, Patient], int]:
    """The patients ``wanted`` by id as far as they are there, and how many rows stand twice. Raises DataError."""
    path = find_table(root, ("hosp", "core", "."), ("patients",), "--mimic-iv")
    patients: dict[str, Patient] = {}
    twice = 0
    for row in stream(path, ("subject_id", "gender", "anchor_age", "anchor_year")):
        subject, gender, age, year = row.cells
        patient = whole(subject)
        if patient in wanted and patient is not None:
            anchor = whole(year)
            record = Patient(gender.upper(), parse(age), None if anchor is None else int(anchor))
            twice += not add_once(patients, patient, record, "subject_id", f"{path}:{row.line}")
    return patients, twice


def study_day(text: str) -> date | None:
    """A day written ``yyyymmdd``, also ``yyyymmdd.0`` or ``yyyy-mm-dd``, or None."""
    digits = whole(text.replace("-", ""))
    if digits is None or len(digits) != 8:
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def study_time(text: str) -> time | None:
    """A time written as the number ``hhmmss.fff``, whose leading zeros are lost, or None.

    ``83045.515`` is 08:30:45.515, ``130`` is 00:01:30; ``93.5`` would be 93 seconds and is None.
    """
    if not re.fullmatch(r"[\d.eE+]+", text):
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number < 240000:
        return None
    seconds = int(number)
    micro = int((number - seconds) * 1_000_000)
    try:
        return time(seconds // 10000, seconds // 100 % 100, seconds % 100, micro)
    except ValueError:
        return None
