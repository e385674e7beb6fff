"""MIMIC-CXR-JPG's metadata and MIMIC-IV's patients, filtered to what REFLACX names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path

from mmad.data.importers.reflacx.boxes import Sieve
from mmad.data.importers.reflacx.records import add_once, among, find_table, id_of, records, whole
from mmad.data.phantom.cases import CATEGORICAL, NUMERIC  # the documented log's columns, which the phantom has too
from mmad.data.tables import read_number

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
    for at, dicom, patient, study, view, day, clock in records(path, columns, among("dicom_id", dicoms, str)):
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
    columns = ("subject_id", "gender", "anchor_age", "anchor_year")
    for at, subject, gender, age, year in records(path, columns, among("subject_id", wanted)):
        anchor = whole(year)
        record = Patient(gender.upper(), read_number(age), None if anchor is None else int(anchor))
        twice += not add_once(patients, id_of(subject, "subject_id", at), record, "subject_id", at)
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


# The pain score of triage: free text in MIMIC-IV-ED 2.x, a number in 1.0.


_NUMBER = r"(\d+(?:\.\d+)?)"
_ONE = re.compile(_NUMBER + r"\++")
_OF_TEN = re.compile(_NUMBER + r"\s*(?:/|of|out of)\s*10(?:\.0)?")
_RANGE = re.compile(_NUMBER + r"\s*(?:-|–|to)\s*" + _NUMBER)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_FREE_OF_PAIN = ("none", "no", "no pain", "denies", "denies pain")


def pain_number(text: str) -> float | None:
    """Pain from 0 (none) to 10, or None where ``text`` does not say a number.

    Understood, in any case and with blanks around: a number (``7``, ``7.0``, ``10+``), a number of ten (``7/10``,
    ``7 out of 10``), a range, which gives its middle (``5-6``: 5.5), a word from *zero* to *ten*, and *none*, *no*,
    *no pain*, *denies* (0). Everything else is None: *unable*, *asleep*, *severe*, two scores in one cell, ``3/5``,
    and numbers above 10, which some wards write for *not assessable*.
    """
    plain = " ".join(text.casefold().split())
    if plain in _FREE_OF_PAIN:
        return 0.0
    if plain in _WORDS:
        return float(_WORDS.index(plain))
    return _within(_value(plain))


def _value(plain: str) -> float | None:
    if spread := _RANGE.fullmatch(plain):
        low, high = float(spread[1]), float(spread[2])
        return (low + high) / 2 if max(low, high) <= 10 else None
    single = re.fullmatch(_NUMBER, plain) or _ONE.fullmatch(plain) or _OF_TEN.fullmatch(plain)
    return None if single is None else float(single[1])


def _within(value: float | None) -> float | None:
    return value if value is not None and value <= 10 else None


# MIMIC-IV-ED: the stay in the emergency department during which an image was taken, and its triage.


#: Columns of triage that become clinical columns, in the order of the documented log; pain is text.
VITALS = ("temperature", "heartrate", "resprate", "o2sat", "sbp", "dbp", "pain", "acuity")


@dataclass(frozen=True)
class Stay:
    """One stay; a moment that is missing or no moment is None."""

    stay: str
    patient: str
    intime: datetime | None
    outtime: datetime | None


@dataclass(frozen=True)
class Triage:
    """The values of one triage in the order of ``VITALS``, and what could not be read of it."""

    values: tuple[float | None, ...]
    pain_not_understood: bool = False
    not_numbers: int = 0


def read_stays(root: Path, patients: Collection[str]) -> tuple[dict[str, list[Stay]], int]:
    """The stays of ``patients`` by patient, and how many rows stand twice. Raises DataError."""
    path = find_table(root, ("ed", "."), ("edstays",), "--mimic-iv-ed")
    stays: dict[str, Stay] = {}
    twice = 0
    columns = ("subject_id", "stay_id", "intime", "outtime")
    for at, subject, name, intime, outtime in records(path, columns, among("subject_id", patients)):
        patient = id_of(subject, "subject_id", at)
        stay = Stay(id_of(name, "stay_id", at), patient, _moment(intime), _moment(outtime))
        twice += not add_once(stays, stay.stay, stay, "stay_id", at)
    of_patient: dict[str, list[Stay]] = {}
    for stay in stays.values():
        of_patient.setdefault(stay.patient, []).append(stay)
    return of_patient, twice


def stays_at(stays: Sequence[Stay], moment: datetime) -> list[Stay]:
    """The stays whose time from ``intime`` to ``outtime``, both included, holds ``moment``: nearest intime first."""
    around = [
        (moment - stay.intime, stay.stay, stay)
        for stay in stays
        if stay.intime is not None and stay.outtime is not None and stay.intime <= moment <= stay.outtime
    ]
    return [stay for _, _, stay in sorted(around, key=lambda entry: entry[:2])]


def read_triage(root: Path, stays: Collection[str]) -> tuple[dict[str, Triage], int]:
    """The triage of ``stays`` by stay, and how many rows stand twice. Raises DataError."""
    path = find_table(root, ("ed", "."), ("triage",), "--mimic-iv-ed")
    triages: dict[str, Triage] = {}
    twice = 0
    for at, stay, *cells in records(path, ("stay_id", *VITALS), among("stay_id", stays)):
        twice += not add_once(triages, id_of(stay, "stay_id", at), _triage(cells), "stay_id", at)
    return triages, twice


def _triage(cells: Sequence[str]) -> Triage:
    values: list[float | None] = []
    strange = 0
    for name, cell in zip(VITALS, cells, strict=True):
        value = pain_number(cell) if name == "pain" else read_number(cell)
        strange += bool(cell) and value is None and name != "pain"
        values.append(value)
    pain = VITALS.index("pain")
    return Triage(tuple(values), bool(cells[pain]) and values[pain] is None, strange)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None


# The clinical cells of an image: who the patient is, and what triage measured in the stay the image belongs to.


GENDERS = CATEGORICAL[0].values
#: The cells of an image without clinical data.
NOTHING = ("",) * (len(NUMERIC) + len(CATEGORICAL))


@dataclass(frozen=True)
class Clinical:
    """The chosen stay of every image that has one, and the tables to fill its cells from."""

    images: Mapping[str, CxrImage]
    stays: Mapping[str, Stay]
    several: frozenset[str]
    triages: Mapping[str, Triage]
    patients: Mapping[str, Patient]

    def cells(self, dicom: str) -> tuple[str, ...]:
        """The clinical cells of one image, numbers first, empty where missing; all are without a stay."""
        stay = self.stays.get(dicom)
        if stay is None:
            return NOTHING
        image = self.images[dicom]
        patient = self.patients.get(image.patient)
        triage = self.triages.get(stay.stay)
        age = None if patient is None else patient.age_on(image.day)
        vitals = (None,) * len(VITALS) if triage is None else triage.values
        gender = patient.gender if patient is not None and patient.gender in GENDERS else ""
        return (*("" if value is None else f"{value:.10g}" for value in (age, *vitals)), gender)

    def note(self, sieve: Sieve) -> None:
        """Count what is missing or was chosen among several, over the images that are still in."""
        for dicom in sieve.images():
            stay = self.stays.get(dicom)
            if stay is None:
                continue
            triage = self.triages.get(stay.stay)
            sieve.notes["several_stays"] += dicom in self.several
            sieve.notes["no_triage"] += triage is None
            sieve.notes["no_patient"] += self.images[dicom].patient not in self.patients
            sieve.notes["pain_not_understood"] += triage is not None and triage.pain_not_understood
            sieve.notes["not_a_number"] += 0 if triage is None else triage.not_numbers


def read_clinical(iv: Path, ed: Path, images: Mapping[str, CxrImage], dicoms: Sequence[str], sieve: Sieve) -> Clinical:
    """What MIMIC-IV (``iv``) and MIMIC-IV-ED (``ed``) say of the images ``dicoms``. Raises DataError."""
    wanted = {images[dicom].patient for dicom in dicoms}
    of_patient, twice_stays = read_stays(ed, wanted)
    stays: dict[str, Stay] = {}
    several = set()
    for dicom in dicoms:
        image = images[dicom]
        around = [] if image.moment is None else stays_at(of_patient.get(image.patient, ()), image.moment)
        if around:
            stays[dicom] = around[0]
        if len(around) > 1:
            several.add(dicom)
    triages, twice_triage = read_triage(ed, {stay.stay for stay in stays.values()})
    patients, twice_patients = read_patients(iv, wanted)
    sieve.notes["duplicate_rows"] += twice_stays + twice_triage + twice_patients
    return Clinical(images, stays, frozenset(several), triages, patients)
