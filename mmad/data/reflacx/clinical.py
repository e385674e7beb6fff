"""The clinical cells of an image: who the patient is, and what triage measured in the stay the image belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmad.data.phantom_cases import CATEGORICAL, NUMERIC  # the documented log's columns, which the phantom has too
from mmad.data.reflacx.counts import Sieve
from mmad.data.reflacx.mimic import CxrImage, Patient, read_patients
from mmad.data.reflacx.stays import VITALS, Stay, Triage, read_stays, read_triage, stays_at

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
