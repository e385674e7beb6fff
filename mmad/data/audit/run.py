"""The whole audit of a folder, and its memory by fingerprint."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from mmad.base.errors import DataError
from mmad.base.files import write_atomically
from mmad.base.paths import cache_folder
from mmad.base.records import OnProgress
from mmad.data.audit.findings import (
    VERSION,
    Audit,
    ReadTables,
    audit_from_json,
    audit_json,
    read_tolerantly,
    unreadable,
)
from mmad.data.audit.image_checks import Looks, duplicate_findings, image_findings, look_at_images
from mmad.data.audit.table_checks import answer_findings, clinical_findings, leak_findings, split_counts, split_findings
from mmad.data.dataset import DataSet


def audit_folder(root: Path | str, progress: OnProgress | None = None) -> Audit:
    """Everything that is wrong or suspicious in the data set ``root``; nothing is changed.

    ``progress`` hears (done, all) of the images. What can be read no further is a finding, never an exception.
    """
    root = Path(root)
    try:
        tables = read_tolerantly(root)
    except DataError as error:
        return Audit((unreadable(root, error),), ())
    looks = look_at_images(tables.dataset, tables.without_image, progress)
    audit = audit_of(tables, looks)
    if not tables.problems:
        with contextlib.suppress(DataError):
            _remember(tables.dataset, audit)
    return audit


def audit_of(tables: ReadTables, looks: Looks) -> Audit:
    """The audit of what was read and seen."""
    dataset = tables.dataset
    counts = split_counts(dataset)
    findings = [
        *tables.findings(),
        *image_findings(dataset, looks),
        *split_findings(dataset, counts),
        *duplicate_findings(dataset, looks),
        *clinical_findings(dataset),
        *leak_findings(dataset, looks.corners_by_study(dataset)),
        *answer_findings(dataset),
    ]
    findings.sort(key=lambda found: found.level != "error")  # errors first, else in the order found
    return Audit(tuple(findings), counts)


def remembered_audit(dataset: DataSet, progress: OnProgress | None = None) -> Audit:
    """The audit of a data set that was loaded; made only once for its content. Raises DataError for unread files."""
    try:
        return audit_from_json(json.loads(_memory(dataset).read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return audit_folder(dataset.root, progress)


def require_sound(dataset: DataSet, audit: Audit) -> None:
    """Refuses a data set with errors. Raises DataError for the first, and says where the others are listed."""
    for first in audit.errors:
        more = len(audit.errors) - 1
        others = f" (and {more} other error{'s' * (more > 1)})" if more else ""
        hint = f"{first.hint}; `mmad data check {dataset.root}` lists everything"
        raise DataError(f"{first.what}{others}", where=dataset.root / first.where, hint=hint)


def _memory(dataset: DataSet) -> Path:
    return cache_folder() / "audits" / f"{dataset.fingerprint()}-{VERSION}.json"


def _remember(dataset: DataSet, audit: Audit) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_atomically(_memory(dataset), json.dumps(audit_json(audit)).encode())
