"""A data set that a detector was not trained on, in the labels and clinical columns of the one it was trained on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmad.base.errors import DataError
from mmad.config.messages import no_such, one_of, shown
from mmad.data.dataset import TOML, DataSet, digests, hash_file, in_another_unit
from mmad.data.reader import load_dataset


@dataclass(frozen=True, eq=False)
class OutsideData:
    """All studies of another data set count, as its test split, whatever split they are of.

    Args:
        name: what tables call it.
        data: the data set's own name; ``root`` its folder.
        labels: of it → of the run's data set.
        fingerprint: SHA-256 of its content and of how labels were mapped.
        unlabelled: findings of the detector that nobody looked for there: what it detects of them is left out.
        notes: what differs.
        read: reads it. DataError where it is gone or changed.
        shared: how many of its images are the run's data set's, too.
    """

    name: str
    data: str
    root: Path
    labels: Mapping[str, str]
    fingerprint: str
    unlabelled: tuple[str, ...]
    notes: tuple[str, ...]
    read: Callable[[], DataSet]
    shared: int = 0

    @functools.cached_property
    def dataset(self) -> DataSet:
        return self.read()


def require_fitting(
    path: Path,
    trained: DataSet,
    labels: Mapping[str, str],
    numeric: Sequence[str],
    categorical: Sequence[str],
    option: str = "--map",
) -> None:
    """Refuses what ``outside_data`` would, but reads no image."""
    other = load_dataset(path)
    if path.resolve() == trained.root.resolve():
        raise _own(path)
    _mapped(other, trained, labels, option)
    _columns(other, trained, numeric, categorical, [])


def outside_data(
    path: Path,
    trained: DataSet,
    labels: Mapping[str, str],
    numeric: Sequence[str],
    categorical: Sequence[str],
    *,
    name: str = "",
    option: str = "--map",
) -> OutsideData:
    """The data set at ``path`` as a detector of ``trained`` reads it.

    Args:
        path: its folder.
        trained: the data set of the run.
        labels: of the other data set → of the run's; those of equal name are one without being named.
        numeric: columns that the detector reads, matched by name and unit; ``categorical`` by name. One that is not
            there is missing in every study.
        name: what tables call it; the data set's own where it is empty.
        option: what gives ``labels``.

    Raises:
        DataError: no label in common, an unknown label, a column in another unit, or the run's own data set.
    """
    other = load_dataset(path)
    content, own = digests(other), digests(trained)
    if content.content == own.content:
        raise _own(path)
    mapped = _mapped(other, trained, labels, option)
    number = {label: place for place, label in enumerate(trained.labels, 1)}
    table = np.array([0, *(number.get(mapped.get(label, ""), 0) for label in other.labels)], dtype=np.int64)
    labels_of = table[other.labels_of]
    kept = labels_of > 0
    notes = [f"label {shown(label)} of the data set is no finding of the run: left out" for label in other.labels]
    notes = [note for note, label in zip(notes, other.labels, strict=True) if label not in mapped]
    unlabelled = tuple(label for label in trained.labels if label not in mapped.values())
    notes += [f"finding {shown(label)} is not annotated there: its detections are left out" for label in unlabelled]
    numbers, categories = _columns(other, trained, numeric, categorical, notes)
    if shared := _shared_images(other, trained):
        notes.append(f"{shared} of its {len(other.image_studies)} images are images of the run's data set, too")
    studies = tuple(
        replace(
            study,
            split="test",
            numeric=tuple(None if i is None else study.numeric[i] for i in numbers),
            categorical=tuple(None if i is None else study.categorical[i] for i in categories),
        )
        for study in other.studies
    )
    reading = tuple(reading for reading, is_kept in zip(other.reading, kept, strict=True) if is_kept)
    read = [n for n, column in enumerate(trained.numeric) if column.name in numeric]
    values = [[study.numeric[n] for n in read] for study in studies]
    notes += in_another_unit([trained.numeric[n] for n in read], values)
    with_boxes = set(zip(other.box_study[kept].tolist(), reading, strict=True))
    dataset = replace(
        other,
        labels=trained.labels,
        numeric=trained.numeric,
        categorical=trained.categorical,
        studies=studies,
        box_study=other.box_study[kept],
        boxes=other.boxes[kept],
        labels_of=labels_of[kept],
        reading=reading,
        no_finding=tuple(one for one in other.readings if one not in with_boxes),
        certainty=other.certainty[kept],
        _splits={},
    )
    text = json.dumps([content.content, sorted(mapped.items())])
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    names = (name or other.name, other.name, path, mapped)
    return OutsideData(*names, fingerprint, unlabelled, tuple(notes), lambda: dataset, shared)


def _own(path: Path) -> DataError:
    return DataError("is the data set that the run was trained on", where=path, hint="name another data set")


def _shared_images(other: DataSet, trained: DataSet) -> int:
    """How many image files of ``other`` are files of ``trained``, byte for byte; only those of equal size are read."""
    sides = [{dataset.image_path(place) for place in dataset.image_studies} for dataset in (other, trained)]
    sizes = [{path.stat().st_size for path in side} for side in sides]
    both = sizes[0] & sizes[1]
    theirs, ours = ([hash_file(path) for path in side if path.stat().st_size in both] for side in sides)
    known = set(ours)
    return sum(digest in known for digest in theirs)


def _mapped(other: DataSet, trained: DataSet, labels: Mapping[str, str], option: str) -> dict[str, str]:
    for theirs, ours in labels.items():
        for label, known in ((theirs, other.labels), (ours, trained.labels)):
            if label not in known:
                raise DataError(no_such("label", label, known), where=f"{option} {theirs}={ours}", hint=one_of(known))
    mapped = {label: label for label in other.labels if label in trained.labels} | dict(labels)
    if not mapped:
        what = f"has no label of the run's: {', '.join(map(shown, other.labels))}"
        hint = f"{option} THEIRS=OURS, where OURS is {one_of(trained.labels)}"
        raise DataError(what, where=other.root / TOML, hint=hint)
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
    lost = [name for name in numeric if name not in theirs] + [name for name in categorical if name not in words]
    notes += [f"clinical column {name!r} is not there: missing in every study" for name in lost]
    return numbers, categories
