"""What an audit says: findings, and what each split holds. Both can be stored as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mmad.base.errors import DataError
from mmad.data.dataset import BOXES, STUDIES, TOML, DataSet
from mmad.data.reader import (
    assemble,
    check_files,
    check_images,
    read_boxes,
    read_description,
    read_studies,
    with_acquisition,
)
from mmad.data.tables import Problem

Level = Literal["error", "warning"]

#: Raised whenever equal data give other findings, so that a remembered audit is not taken for a new one.
VERSION = 5
#: So many rows of a finding are named; ``count`` says how many there are.
MOST_ROWS = 5
#: Begins the line that stores a finding with a run.
MARK = "data audit: "


@dataclass(frozen=True)
class AuditIssue:
    """One thing to fix or to know.

    ``rows`` are ids of studies, at most ``MOST_ROWS`` of ``count``; no clinical value of a patient is in
    any text. ``where`` is relative to the data set's folder.
    """

    code: str
    level: Level
    where: str
    what: str
    hint: str
    rows: tuple[str, ...] = ()
    count: int = 0

    @property
    def line(self) -> str:
        """The finding as the line that is stored with a run."""
        return f"{MARK}{self.code}: {self.what}"


@dataclass(frozen=True)
class LabelCount:
    """Boxes of one label in one split, by their share of the image's area, and the studies that have one."""

    label: str
    boxes: int
    studies: int
    small: int  # below 1 % of the image
    medium: int
    large: int  # 10 % and more


@dataclass(frozen=True)
class SplitCount:
    """What one split holds; ``present`` counts per clinical column the studies that have a value."""

    split: str
    studies: int
    patients: int
    images: int
    boxes: int
    labels: tuple[LabelCount, ...]
    present: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Audit:
    """All findings, errors first, and the counts of the splits."""

    findings: tuple[AuditIssue, ...]
    splits: tuple[SplitCount, ...]

    @property
    def errors(self) -> tuple[AuditIssue, ...]:
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[AuditIssue, ...]:
        return tuple(finding for finding in self.findings if finding.level == "warning")


def rows_of(studies: Iterable[str]) -> tuple[tuple[str, ...], int]:
    """The first rows to name, each once and in order, and how many there are."""
    each = tuple(dict.fromkeys(studies))
    return each[:MOST_ROWS], len(each)


def finding(code: str, level: Level, where: str, what: str, hint: str, studies: Iterable[str] = ()) -> AuditIssue:
    """A finding about ``studies``, of which the first are named."""
    rows, count = rows_of(studies)
    return AuditIssue(code, level, where, what, hint, rows, count)


def merged(problems: Iterable[Problem], root: object) -> list[AuditIssue]:
    """What the reader refused, as errors: one for each code and column or label, worded like the first of it."""
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.code, problem.of), []).append(problem)
    findings = []
    for (code, _), group in groups.items():
        error = group[0].error
        where = (error.where or "").removeprefix(f"{root}").removeprefix("/")
        what = error.what + (f" (and {len(group) - 1} more)" if len(group) > 1 else "")
        rows, _ = rows_of(problem.row for problem in group if problem.row)
        findings.append(AuditIssue(code, "error", where, what, error.hint or "", rows, len(group)))
    return findings


def audit_json(audit: Audit) -> dict[str, Any]:
    """``audit`` as JSON values, in the form that docs/json.md describes."""
    return {
        "errors": len(audit.errors),
        "warnings": len(audit.warnings),
        "findings": [{**asdict(one), "rows": list(one.rows)} for one in audit.findings],
        "splits": {split.split: _split_json(split) for split in audit.splits},
    }


def _split_json(split: SplitCount) -> dict[str, Any]:
    counts = {"studies": split.studies, "patients": split.patients, "images": split.images, "boxes": split.boxes}
    labels = {}
    for label in split.labels:
        labels[label.label] = {name: value for name, value in asdict(label).items() if name != "label"}
    return {**counts, "labels": labels, "present": dict(split.present)}


def audit_from_json(value: Mapping[str, Any]) -> Audit:
    """The audit that ``audit_json`` gave. Raises KeyError, TypeError or ValueError for anything else."""
    findings = tuple(AuditIssue(**{**one, "rows": tuple(one["rows"])}) for one in value["findings"])
    splits = tuple(
        SplitCount(
            split=name,
            studies=one["studies"],
            patients=one["patients"],
            images=one["images"],
            boxes=one["boxes"],
            labels=tuple(LabelCount(label=label, **counts) for label, counts in one["labels"].items()),
            present=tuple(one["present"].items()),
        )
        for name, one in value["splits"].items()
    )
    return Audit(findings, splits)


# Reads the tables of a data set to the end, whatever is wrong in them.


#: Problems after which a row is left out; a box of such a study is no mistake of its own.
_LEFT_OUT = frozenset({"cell-empty", "study-twice", "split-unknown", "row-width"})
#: Problems of a study's image that leave nothing to decode.
NO_IMAGE = frozenset({"image-missing", "image-outside"})


@dataclass(frozen=True, eq=False)
class ReadTables:
    """What could be read, as a data set, and what was refused on the way.

    Sides that cannot be read are 0, cells that cannot be read are missing, and boxes may be without area or
    leave their image.
    """

    dataset: DataSet
    problems: tuple[Problem, ...]

    @property
    def without_image(self) -> frozenset[str]:
        """Studies whose image is not there, or not in the folder."""
        return frozenset(problem.row for problem in self.problems if problem.code in NO_IMAGE)

    def findings(self) -> list[AuditIssue]:
        """The refusals, one finding for those of one kind."""
        return merged(self.problems, self.dataset.root)


def read_tolerantly(root: Path) -> ReadTables:
    """The tables in ``root``. Raises DataError for a folder, a description or a table that is none."""
    problems: list[Problem] = []
    check_files(root)
    description = read_description(root / TOML)
    studies = read_studies(root / STUDIES, description.numeric, description.categorical, problems.append)
    check_images(root, studies, problems.append)
    left_out = {problem.row for problem in problems if problem.code in _LEFT_OUT}
    table = read_boxes(root / BOXES, studies, description.labels, problems.append)
    apart = [p for p in problems if not (p.code == "box-without-study" and p.row in left_out)]
    dataset = assemble(root, description, with_acquisition(root, studies, apart.append), table)
    return ReadTables(dataset, tuple(apart))


def unreadable(root: Path, error: DataError) -> AuditIssue:
    """The finding of a data set whose tables cannot be read at all."""
    where = (error.where or "").removeprefix(f"{root}").removeprefix("/")
    return finding("data-unreadable", "error", where or str(root), error.what, error.hint or "")
