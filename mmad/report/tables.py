"""The tables of a report as data: for every figure a column with its name, unit and meaning, in full precision.

CSV is written of ``columns`` and ``rows``, LaTeX of ``printed``: the same figures, rounded and put together as the
page shows them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from mmad.base.records import MemberRecord
from mmad.report.frames import MemberFrame

Cell = str | int | float | bool | datetime | None
Row = tuple[Cell, ...]

#: The unit of AP, AR, precision, recall and whatever else lies in [0, 1].
FRACTION = "fraction"


@dataclass(frozen=True)
class Column:
    """One column; ``name`` ends with the unit where a figure has one (``time_s``)."""

    name: str
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Printed:
    """A table in words for a paper; columns from ``numbers_from`` on are set to the right.

    ``groups`` are headings above the headings: words, and over how many columns they stand.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers_from: int = 1
    note: str = ""
    groups: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Table:
    """One table; ``name`` is its file's name without the ending. ``printed`` is None where it is for machines alone."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    printed: Printed | None = None


#: What names a member in every table.
MEMBER = (
    Column("ablation", "name of the ablation's file"),
    Column("setting", "setting of the ablation"),
    Column("arm", "arm of the pair"),
    Column("seed", "seed of the run"),
    Column("replicate", "number of a true repeat, from 1"),
    Column("run", "first 12 digits of the run's key"),
)
#: Under what the figures of a member were judged.
JUDGED = (
    Column("overlap", "overlap by which a detection hits: iou or iobb"),
    Column("threshold", "least overlap of a hit", FRACTION),
    Column("max_detections", "detections of an image that count, best first"),
    Column("proposals", "whose proposals were judged"),
)


def of_member(member: MemberFrame) -> Row:
    """The cells of ``MEMBER``."""
    record: MemberRecord = member.record
    return (record.ablation, record.setting, record.arm, record.seed, record.replicate, member.run.key[:12])


def of_judged(member: MemberFrame) -> Row:
    """The cells of ``JUDGED``."""
    judged = member.judged
    return (judged.overlap, judged.threshold, judged.max_detections, judged.proposals)


def file_stem(ablation: str, kind: str) -> str:
    """``patience--pairs-1``: a file name that is the same in every export and safe for any name of an ablation.

    A name of small letters, digits, ``_`` and single ``-`` stays as it is; of any other, what can be kept is
    followed by eight digits of its SHA-256 (and so is a name that ends as if it were), so that no two names share
    a file.
    """
    kept = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9_]+", "-", ablation.lower()))[:60].strip("-")
    if kept != ablation or not kept or re.search(r"-[0-9a-f]{8}$|^[0-9a-f]{8}$", kept):
        digest = hashlib.sha256(ablation.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        kept = f"{kept}-{digest}" if kept else digest
    return f"{kept}--{kind}"


def each(items: Iterable[MemberFrame], cells: Callable[[MemberFrame], Iterable[Row]]) -> list[Row]:
    """The rows of every member, each begun with the cells that name it."""
    return [(*of_member(member), *row) for member in items for row in cells(member)]
