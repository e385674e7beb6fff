"""What an importer left out of its source and why: a table beside a data set's three, no part of its fingerprint."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EXCLUDED = "excluded.csv"


@dataclass(frozen=True)
class Excluded:
    """What an importer left out of its source for one ``reason``; None is not known.

    ``patients``, ``images`` and ``readings`` are those of which nothing is left after this step, so that they add up
    over the steps; ``boxes`` are those of the images and readings that stay.
    """

    reason: str
    patients: int | None = None
    images: int | None = None
    readings: int | None = None
    boxes: int | None = None

    @classmethod
    def step(cls, reason: str, before: Iterable[Sequence[str]], after: Iterable[Sequence[str]]) -> Excluded:
        """What a step left out, of (patient, image) or (patient, image, reading) ``before`` and ``after`` it."""
        counts = [[len(set(column)) for column in zip(*rows, strict=True)] for rows in (before, after)]
        gone = [was - stays for was, stays in zip(*counts, strict=True)] if counts[1] else counts[0]
        return cls(reason, *gone)


#: What is counted, in the order of the table.
EXCLUDED_COUNTS = tuple(one.name for one in dataclasses.fields(Excluded))[1:]


def in_source(excluded: Sequence[Excluded], count: str, kept: int) -> int | None:
    """How many patients, images or readings (``count``) the source had of which ``kept`` stay; None is not known."""
    gone = [getattr(one, count) for one in excluded]
    return None if None in gone else kept + sum(gone)
