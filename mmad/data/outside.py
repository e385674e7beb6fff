"""A data set that a detector was not trained on, in the labels and clinical columns of the one it was trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mmad.base.errors import DataError
from mmad.config.messages import no_such, one_of, shown
from mmad.data.dataset import TOML, DataSet, digests
from mmad.data.reader import load_dataset


@dataclass(frozen=True, eq=False)
class OutsideData:
    """All studies of ``dataset`` count, as its test split, whatever split they are of.

    ``fingerprint`` covers its content and how labels were mapped. ``unlabelled`` are findings of the detector that
    nobody looked for there: what it detects of them is left out. ``notes`` say what differs.
    """

    dataset: DataSet
    fingerprint: str
    unlabelled: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def outside_data(
    path: Path, trained: DataSet, labels: Mapping[str, str], numeric: Sequence[str], categorical: Sequence[str]
) -> OutsideData:
    """The data set at ``path`` as a detector of ``trained`` reads it.

    Args:
        path: its folder.
        trained: the data set of the run.
        labels: of the other data set → of the run's; those of equal name are one without being named.
        numeric: columns that the detector reads, matched by name and unit; ``categorical`` by name. One that is not
            there is missing in every study.

    Raises:
        DataError: no label in common, an unknown label, a column in another unit, or the run's own data set.
    """
    other = load_dataset(path)
    content, own = digests(other), digests(trained)
    if content.content == own.content:
        what = "is the data set that the run was trained on"
        raise DataError(what, where=path, hint="leave --on out, or name another data set")
    mapped = _mapped(other, trained, labels, path)
    number = {label: place for place, label in enumerate(trained.labels, 1)}
    table = np.array([0, *(number.get(mapped.get(label, ""), 0) for label in other.labels)], dtype=np.int64)
    labels_of = table[other.labels_of]
    kept = labels_of > 0
    notes = [f"label {shown(label)} of the data set is no finding of the run: left out" for label in other.labels]
    notes = [note for note, label in zip(notes, other.labels, strict=True) if label not in mapped]
    unlabelled = tuple(label for label in trained.labels if label not in mapped.values())
    notes += [f"finding {shown(label)} is not annotated there: its detections are left out" for label in unlabelled]
    numbers, categories = _columns(other, trained, numeric, categorical, notes)
    shared = len(set(content.images) & set(own.images))
    if shared:
        notes.append(f"{shared} of its {len(content.images)} images are images of the run's data set, too")
    studies = tuple(
        replace(
            study,
            split="test",
            numeric=tuple(None if i is None else study.numeric[i] for i in numbers),
            categorical=tuple(None if i is None else study.categorical[i] for i in categories),
        )
        for study in other.studies
    )
    dataset = replace(
        other,
        labels=trained.labels,
        numeric=trained.numeric,
        categorical=trained.categorical,
        studies=studies,
        box_study=other.box_study[kept],
        boxes=other.boxes[kept],
        labels_of=labels_of[kept],
        reading=tuple(reading for reading, is_kept in zip(other.reading, kept, strict=True) if is_kept),
        certainty=other.certainty[kept],
        _splits={},
    )
    text = json.dumps([content.content, sorted(mapped.items())])
    return OutsideData(dataset, hashlib.sha256(text.encode()).hexdigest(), unlabelled, tuple(notes))


def _mapped(other: DataSet, trained: DataSet, labels: Mapping[str, str], path: Path) -> dict[str, str]:
    for theirs, ours in labels.items():
        for label, known in ((theirs, other.labels), (ours, trained.labels)):
            if label not in known:
                raise DataError(no_such("label", label, known), where=f"--map {theirs}={ours}", hint=one_of(known))
    mapped = {label: label for label in other.labels if label in trained.labels} | dict(labels)
    if not mapped:
        what = f"has no label of the run's: {', '.join(map(shown, other.labels))}"
        raise DataError(what, where=path / TOML, hint=f"--map THEIRS=OURS, where OURS is {one_of(trained.labels)}")
    return mapped


def _columns(
    other: DataSet, trained: DataSet, numeric: Sequence[str], categorical: Sequence[str], notes: list[str]
) -> tuple[list[int | None], list[int | None]]:
    """By column of the run's data set its place in the other's; None where it has none. Notes are added."""
    theirs = {column.name: (place, column.unit) for place, column in enumerate(other.numeric)}
    numbers: list[int | None] = []
    for column in trained.numeric:
        place, unit = theirs.get(column.name, (None, column.unit))
        if unit != column.unit and column.name in numeric:
            what = f"column {column.name!r} is in {shown(unit)} and was in {shown(column.unit)}"
            raise DataError(what, where=other.root / TOML, hint=f"import it with values in {column.unit}")
        numbers.append(place if unit == column.unit else None)
    words = {column.name: (place, column.values) for place, column in enumerate(other.categorical)}
    categories: list[int | None] = []
    for known in trained.categorical:
        place, values = words.get(known.name, (None, ()))
        categories.append(place)
        new = [value for value in values if value not in known.values]
        if new and known.name in categorical:
            notes.append(f"values {', '.join(map(shown, new))} of {known.name!r} count as missing")
    lost = [name for name in (*numeric, *categorical) if name not in theirs and name not in words]
    notes += [f"clinical column {name!r} is not there: missing in every study" for name in lost]
    return numbers, categories
