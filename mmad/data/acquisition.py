"""Where, how and when images were taken: a table of its own beside a data set's three, no part of its fingerprint."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ACQUISITION = "acquisition.csv"
#: Stands for a year where the source says that its dates are shifted.
SHIFTED = "shifted"


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Where, how and in which year an image was taken; None is not known, a year may be ``SHIFTED``."""

    site: str | None = None
    scanner: str | None = None
    view: str | None = None
    year: str | None = None


#: Nothing is known of an image.
NOT_KNOWN = Acquisition()
#: What of it an image's row can say, in the order of the table.
ACQUIRED = tuple(one.name for one in dataclasses.fields(Acquisition))


@dataclass(frozen=True)
class Acquired:
    """Where and when images were taken.

    Args:
        sites, scanners, views: how many patients have images of each, "" of none that is known; empty if none is known.
        first, last: years, None where no year is known.
        shifted, undated: images whose dates are shifted, and without a date.
    """

    sites: tuple[tuple[str, int], ...]
    scanners: tuple[tuple[str, int], ...]
    views: tuple[tuple[str, int], ...]
    first: int | None
    last: int | None
    shifted: int
    undated: int


def acquired(images: Iterable[tuple[str, str, Acquisition]]) -> Acquired:
    """What is known of ``images``, each with its patient."""
    taken = list(images)
    years = {image: one.year for image, _, one in taken}
    known = sorted(int(year) for year in years.values() if year and year != SHIFTED)
    counts = [sum(year == word for year in years.values()) for word in (SHIFTED, None)]
    return Acquired(
        _patients_by([(who, one.site) for _, who, one in taken]),
        _patients_by([(who, one.scanner) for _, who, one in taken]),
        _patients_by([(who, one.view) for _, who, one in taken]),
        *((known[0], known[-1]) if known else (None, None)),
        *counts,
    )


def _patients_by(words: Sequence[tuple[str, str | None]]) -> tuple[tuple[str, int], ...]:
    whose: dict[str, set[str]] = {}
    for patient, word in words:
        whose.setdefault(word or "", set()).add(patient)
    names = sorted(whose, key=lambda name: (not name, name))
    return tuple((name, len(whose[name])) for name in names) if any(names) else ()
