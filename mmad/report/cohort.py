"""Who was studied: the counts of a data set as its runs saw it, kept in the store."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmad.analysis.cache import cached, read_cached
from mmad.analysis.evaluation_target import DetectionStore, fold_of
from mmad.analysis.report_frame import ReportFrame, RunFrame
from mmad.base.errors import DataError, EvaluationError
from mmad.base.records import SPLITS, RunRecord
from mmad.data.acquisition import ACQUISITION, Acquired, acquired
from mmad.data.dataset import DataSet, Study, hash_file
from mmad.data.exclusions import EXCLUDED, Excluded
from mmad.store.store import Store

#: Fingerprint of a data set, what a sample of it is (``dataset_mode``), and how many folds with which seed, if any.
CohortKey = tuple[str, str, str]


@dataclass(frozen=True)
class SplitCohort:
    """One split, or the test split of ``fold 2``; ``patients_with`` counts the patients with each finding, by label.

    Args:
        readings: annotations of its images.
        readers: who are named; 0 where every name is of one reading.
        images_by_readings: how many images have no reading, one, two and so on.
        numbers: of each numeric column the median and the quartiles over the samples, and how many have no value.
        levels: of each categorical column how many patients have each of its values, then how many have none.
    """

    split: str
    samples: int
    images: int
    patients: int
    boxes: int
    patients_with: tuple[int, ...]
    readings: int
    readers: int
    images_by_readings: tuple[int, ...]
    numbers: tuple[tuple[float, float, float, int], ...]
    levels: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Cohort:
    """A data set as its runs saw it: one sample for each image or for each reading."""

    licence: str
    policy: str | None
    labels: tuple[str, ...]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    units: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    splits: tuple[SplitCohort, ...]


def cohort_of(dataset: DataSet) -> Cohort:
    """Count ``dataset``."""
    splits = []
    for name in SPLITS:
        places = dataset.split(name)
        here = np.isin(dataset.box_study, places)
        found: list[set[str]] = [set() for _ in dataset.labels]
        for study, label in zip(dataset.box_study[here].tolist(), dataset.labels_of[here].tolist(), strict=True):
            found[label - 1].add(dataset.studies[study].patient)
        studies = [dataset.studies[place] for place in places]
        images, patients = {study.image for study in studies}, {study.patient for study in studies}
        each = tuple(map(len, found))
        by_readings = dataset.images_by_readings(name)
        readings = sum(number * count for number, count in enumerate(by_readings))
        numbers = tuple(_quartiles([s.numeric[n] for s in studies]) for n in range(len(dataset.numeric)))
        levels = tuple(_levels(studies, n, column.values) for n, column in enumerate(dataset.categorical))
        counts = (len(studies), len(images), len(patients), int(here.sum()), each, readings)
        splits.append(SplitCohort(name, *counts, len(dataset.readers(name)), by_readings, numbers, levels))
    return Cohort(
        licence=dataset.licence,
        policy=dataset.split_policy,
        labels=dataset.labels,
        numeric=tuple(column.name for column in dataset.numeric),
        categorical=tuple(column.name for column in dataset.categorical),
        units=tuple(column.unit for column in dataset.numeric),
        values=tuple(column.values for column in dataset.categorical),
        splits=tuple(splits),
    )


def _quartiles(values: Sequence[float | None]) -> tuple[float, float, float, int]:
    """Median, lower and upper quartile, and how many are missing."""
    known = [value for value in values if value is not None]
    low, median, high = np.quantile(known, (0.25, 0.5, 0.75)).tolist() if known else (math.nan,) * 3
    return median, low, high, len(values) - len(known)


def _levels(studies: Sequence[Study], place: int, values: Sequence[str]) -> tuple[int, ...]:
    """How many patients have each of ``values``, then how many have none."""
    found: dict[str, set[str | None]] = {}
    for study in studies:
        found.setdefault(study.patient, set()).add(study.categorical[place])
    counts = [sum(value in own for own in found.values()) for value in values]
    return (*counts, sum(own == {None} for own in found.values()))


@dataclass(frozen=True)
class Flow:
    """What was left out of a data set's source, what stays of it in all splits, and where and when that was taken.

    ``acquired`` is of the images of each split, named as in ``Cohort``.
    """

    excluded: tuple[Excluded, ...]
    patients: int
    images: int
    readings: int
    acquired: tuple[tuple[str, Acquired], ...]


def flow_of(datasets: Sequence[tuple[str, DataSet]]) -> Flow:
    """The flow of a data set, given with each name of a split and the data set of which it is the split."""
    whole = datasets[0][1]
    read = {*zip(whole.box_study.tolist(), whole.reading, strict=True), *whole.no_finding}
    taken = []
    for name, dataset in datasets:
        studies = [dataset.studies[place] for place in dataset.split("test" if name not in SPLITS else name)]
        taken.append((name, acquired((study.image, study.patient, study.taken) for study in studies)))
    people, images = {study.patient for study in whole.studies}, {study.image for study in whole.studies}
    return Flow(whole.excluded, len(people), len(images), len(read), tuple(taken))


def flows_of(frame: ReportFrame, store: Store, detections: DetectionStore) -> dict[CohortKey, Flow]:
    """The flow of each data set whose folder says what was left out or where images were taken.

    Of a data set that is gone the latest that is cached.
    """
    found: dict[CohortKey, Flow] = {}
    for run in {cohort_key(run.record): run for run in frame.runs if run.record.dataset_fingerprint}.values():
        key, subject = _subject(run)
        folder = detections.data or Path(run.record.dataset_path)
        tables = [path for name in (EXCLUDED, ACQUISITION) if (path := folder / name).is_file()]
        if not folder.is_dir():
            known = [one for one in store.analyses("flow") if one.subject.items() >= subject.items()]
            flow = read_cached(Flow, known[-1]) if known else None
            found |= {} if flow is None else {key: flow}
        elif tables:
            try:
                subject["tables"] = [hash_file(path) for path in tables]
                compute = functools.partial(_flow, detections, run)
                found[key] = cached(store, "flow", subject, Flow, compute)
            except (DataError, EvaluationError):
                continue
    return found


def _flow(detections: DetectionStore, run: RunFrame) -> Flow:
    if fold_of(run.record) is None:
        whole = detections.dataset(run.record)
        return flow_of([(name, whole) for name in SPLITS])
    return flow_of([(f"fold {number}", one) for number, one in _folds(detections, run)])


def _subject(run: RunFrame) -> tuple[CohortKey, dict[str, object]]:
    key = fingerprint, mode, folds = cohort_key(run.record)
    return key, {"fingerprint": fingerprint, "mode": mode, **({"folds": folds} if folds else {})}


def cohorts_of(frame: ReportFrame, store: Store, detections: DetectionStore) -> dict[CohortKey, Cohort]:
    """The data sets of ``frame``'s runs, each counted once; without those that are gone or changed."""
    found: dict[CohortKey, Cohort] = {}
    for run in {cohort_key(run.record): run for run in frame.runs if run.record.dataset_fingerprint}.values():
        key, subject = _subject(run)
        try:
            found[key] = cached(store, "cohort", subject, Cohort, functools.partial(_count, detections, run))
        except (DataError, EvaluationError):
            continue
    return found


def _count(detections: DetectionStore, run: RunFrame) -> Cohort:
    if fold_of(run.record) is None:
        return cohort_of(detections.dataset(run.record))
    each = [(number, cohort_of(dataset)) for number, dataset in _folds(detections, run)]
    tests = (replace(one.splits[-1], split=f"fold {number}") for number, one in each)
    return replace(each[0][1], policy="folds", splits=tuple(tests))


def _folds(detections: DetectionStore, run: RunFrame) -> Iterator[tuple[int, DataSet]]:
    """The data set of a run in folds, with the splits of each."""
    fold = fold_of(run.record)
    assert fold is not None
    for number in range(1, fold.of + 1):
        named = {"fold": fold.model_copy(update={"number": number}).model_dump()}
        yield number, detections.dataset(replace(run.record, protocol={**run.record.protocol, **named}))


def cohort_key(run: RunRecord) -> CohortKey:
    """Fingerprint of a run's data set, what a sample of it is, and its folds."""
    fold = fold_of(run)
    folds = "" if fold is None else f"{fold.of} folds, seed {fold.seed}"
    return run.dataset_fingerprint, str(run.setup.get("dataset_mode", "unified")), folds
