"""Who was studied: the counts of a data set as its runs saw it, kept in the store."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmad.analysis.cache import cached
from mmad.analysis.frames import ReportFrame, RunFrame
from mmad.analysis.targets import DetectionStore
from mmad.base.errors import DataError, EvaluationError
from mmad.base.records import SPLITS, RunRecord
from mmad.data.dataset import DataSet
from mmad.store.store import Store

#: Fingerprint of a data set, and what a sample of it is (``dataset_mode``).
CohortKey = tuple[str, str]


@dataclass(frozen=True)
class SplitCohort:
    """One split; ``patients_with`` counts the patients with each finding, in the order of the labels."""

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
        fingerprint, mode = cohort_key(run.record)
        subject = {"fingerprint": fingerprint, "mode": mode}
        try:
            found[fingerprint, mode] = cached(
                store, "cohort", subject, Cohort, functools.partial(_count, detections, run)
            )
        except (DataError, EvaluationError):
            continue
    return found


def _count(detections: DetectionStore, run: RunFrame) -> Cohort:
    return cohort_of(detections.dataset(run.record))


def cohort_key(run: RunRecord) -> CohortKey:
    """Fingerprint of a run's data set, and what a sample of it is."""
    return run.dataset_fingerprint, str(run.setup.get("dataset_mode", "unified"))
