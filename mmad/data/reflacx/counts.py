"""What became of every reading and every ellipse: nothing leaves a data set uncounted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mmad.data.reflacx.readings import Reading

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
        told = ellipses.drawn + ellipses.other_findings + ellipses.no_area + ellipses.duplicates
        if len(self.kept) + gone != readings or told != ellipses.rows:
            raise RuntimeError(f"{readings} readings became {len(self.kept)} and {gone}; {ellipses}")
        dropped = {reason: tuple(ids) for reason, ids in self.dropped.items()}
        return Counts(readings, len(self.kept), dropped, dict(self.notes), ellipses, linked, copied)
