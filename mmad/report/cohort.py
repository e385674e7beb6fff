"""Who was studied: the counts of a data set as its runs saw it, kept in the store."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmad.analysis.cache import cached
from mmad.analysis.frames import ReportFrame, RunFrame
from mmad.analysis.targets import DetectionStore, fold_of
from mmad.base.errors import DataError, EvaluationError
from mmad.base.records import SPLITS, RunRecord
from mmad.data.dataset import DataSet
from mmad.store.store import Store

#: Fingerprint of a data set, what a sample of it is (``dataset_mode``), and how many folds with which seed, if any.
CohortKey = tuple[str, str, str]


@dataclass(frozen=True)
class SplitCohort:
    """One split, or the test split of ``fold 2``; ``patients_with`` counts the patients with each finding, by label."""

    split: str
    samples: int
    images: int
    patients: int
    boxes: int
    patients_with: tuple[int, ...]


@dataclass(frozen=True)
class Cohort:
    """A data set as its runs saw it: one sample for each image or for each reading."""

    licence: str
    policy: str | None
    labels: tuple[str, ...]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
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
        splits.append(SplitCohort(name, len(studies), len(images), len(patients), int(here.sum()), each))
    return Cohort(
        licence=dataset.licence,
        policy=dataset.split_policy,
        labels=dataset.labels,
        numeric=tuple(column.name for column in dataset.numeric),
        categorical=tuple(column.name for column in dataset.categorical),
        splits=tuple(splits),
    )


def cohorts_of(
    frame: ReportFrame, store: Store, data: Path | None = None, detections: DetectionStore | None = None
) -> dict[CohortKey, Cohort]:
    """The data sets of ``frame``'s runs, each counted once; without those that are gone or changed."""
    detections = detections or DetectionStore(data)
    found: dict[CohortKey, Cohort] = {}
    for run in {cohort_key(run.record): run for run in frame.runs if run.record.dataset_fingerprint}.values():
        key = fingerprint, mode, folds = cohort_key(run.record)
        subject = {"fingerprint": fingerprint, "mode": mode, **({"folds": folds} if folds else {})}
        try:
            found[key] = cached(store, "cohort", subject, Cohort, functools.partial(_count, detections, run))
        except (DataError, EvaluationError):
            continue
    return found


def _count(detections: DetectionStore, run: RunFrame) -> Cohort:
    if (fold := fold_of(run.record)) is None:
        return cohort_of(detections.dataset(run.record))
    each = []
    for number in range(1, fold.of + 1):
        named = {"fold": fold.model_copy(update={"number": number}).model_dump()}
        of_fold = replace(run.record, protocol={**run.record.protocol, **named})
        each.append(cohort_of(detections.dataset(of_fold)))
    tests = (replace(one.splits[-1], split=f"fold {number}") for number, one in enumerate(each, 1))
    return replace(each[0], policy="folds", splits=tuple(tests))


def cohort_key(run: RunRecord) -> CohortKey:
    """Fingerprint of a run's data set, what a sample of it is, and its folds."""
    fold = fold_of(run)
    folds = "" if fold is None else f"{fold.of} folds, seed {fold.seed}"
    return run.dataset_fingerprint, str(run.setup.get("dataset_mode", "unified")), folds
