"""What an audit says: findings, and what each split holds. Both are plain enough to be kept as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mmad.data.problems import Problem

Level = Literal["error", "warning"]

#: Raised whenever equal data give other findings, so that a remembered audit is not taken for a new one.
VERSION = 1
#: So many rows of a finding are named; ``count`` says how many there are.
MOST_ROWS = 5
#: Begins the line that keeps a finding with a run.
MARK = "data audit: "


@dataclass(frozen=True)
class Finding:
    """One thing to mend or to know.

    ``rows`` are ids of studies, at most ``MOST_ROWS`` of ``count``; no clinical value of a patient is in
    any text. ``where`` is relative to the data set's folder.
    """

    code: str
    level: Level
    where: str
    what: str
    mend: str
    rows: tuple[str, ...] = ()
    count: int = 0

    @property
    def line(self) -> str:
        """The finding as the line that is kept with a run."""
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

    findings: tuple[Finding, ...]
    splits: tuple[SplitCount, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == "warning")


def rows_of(studies: Iterable[str]) -> tuple[tuple[str, ...], int]:
    """The first rows to name, each once and in order, and how many there are."""
    each = tuple(dict.fromkeys(studies))
    return each[:MOST_ROWS], len(each)


def finding(code: str, level: Level, where: str, what: str, mend: str, studies: Iterable[str] = ()) -> Finding:
    """A finding about ``studies``, of which the first are named."""
    rows, count = rows_of(studies)
    return Finding(code, level, where, what, mend, rows, count)


def told_together(problems: Iterable[Problem], root: object) -> list[Finding]:
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
        findings.append(Finding(code, "error", where, what, error.mend or "", rows, len(group)))
    return findings


def plain(audit: Audit) -> dict[str, Any]:
    """``audit`` as JSON values, in the form that docs/json.md describes."""
    return {
        "errors": len(audit.errors),
        "warnings": len(audit.warnings),
        "findings": [_plain_finding(finding) for finding in audit.findings],
        "splits": {split.split: _plain_split(split) for split in audit.splits},
    }


def _plain_finding(found: Finding) -> dict[str, Any]:
    return {**asdict(found), "rows": list(found.rows)}


def _plain_split(split: SplitCount) -> dict[str, Any]:
    counts = {"studies": split.studies, "patients": split.patients, "images": split.images, "boxes": split.boxes}
    labels = {}
    for label in split.labels:
        labels[label.label] = {name: value for name, value in asdict(label).items() if name != "label"}
    return {**counts, "labels": labels, "present": dict(split.present)}


def from_plain(value: Mapping[str, Any]) -> Audit:
    """The audit that ``plain`` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    findings = tuple(Finding(**{**one, "rows": tuple(one["rows"])}) for one in value["findings"])
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
