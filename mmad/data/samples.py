"""What a sample is: an image with the boxes of all its readings, or one reading of it; and the splits of a fold."""

from __future__ import annotations

import dataclasses

import numpy as np

from mmad.base.errors import DataError
from mmad.config.protocol import Fold
from mmad.data.dataset import STUDIES, TOML, DataSet, Study
from mmad.data.folds import folded

UNIFIED = "unified"


def samples(dataset: DataSet, mode: str, fold: Fold | None = None) -> DataSet:
    """The data set as ``dataset_mode`` asks for it.

    Args:
        dataset: as it was read.
        mode: ``unified`` (one sample per image), ``normal`` or ``full`` (one per reading of it).
        fold: whose splits take the place of the data set's own.

    Raises:
        DataError: ``unified`` of a data set whose studies are readings already.
    """
    if fold is not None:
        dataset = folded(dataset, fold)
    if mode != UNIFIED:
        return by_reading(dataset)
    if dataset.mode in (None, UNIFIED):
        return dataset
    raise DataError(
        f'mode = "{dataset.mode}": each study is one reading, which dataset_mode = "unified" cannot join again',
        where=dataset.root / TOML,
        hint=f'set dataset_mode = "{dataset.mode}", or use the data set with a study per image',
    )


def by_reading(dataset: DataSet) -> DataSet:
    """One study per reading, with that reading's boxes; images, patients, splits and clinical values are shared.

    A study of several readings ``r1``, ``r2`` becomes ``s#r1``, ``s#r2``, in the order of ``boxes.csv``, those that
    found nothing after those with boxes; one of a single reading, or in no row of ``boxes.csv``, stays what it is.
    The view has the fingerprint and the decoded images of ``dataset``. Raises DataError where a name made so is a
    study's already.
    """
    readings = _readings(dataset)
    studies: list[Study] = []
    place: dict[tuple[int, str], int] = {}
    for position, study in enumerate(dataset.studies):
        found = readings.get(position, [""])
        for reading in found:
            place[position, reading] = len(studies)
            name = study.study if len(found) == 1 else f"{study.study}#{reading}"
            studies.append(study if len(found) == 1 else dataclasses.replace(study, study=name))
    _require_distinct(dataset, studies)
    owners = [place[int(study), reading] for study, reading in zip(dataset.box_study, dataset.reading, strict=True)]
    return dataclasses.replace(
        dataset,
        studies=tuple(studies),
        box_study=np.array(owners, dtype=np.int64),
        no_finding=tuple((place[study, reading], reading) for study, reading in dataset.no_finding),
        mode="normal",
        _splits={},
    )


def _readings(dataset: DataSet) -> dict[int, list[str]]:
    """Per study in ``boxes.csv`` the readings, in the order they first appear, those without a box last."""
    readings: dict[int, list[str]] = {}
    for study, reading in dataset.readings:
        readings.setdefault(study, []).append(reading)
    return readings


def _require_distinct(dataset: DataSet, studies: list[Study]) -> None:
    seen: set[str] = set()
    for study in studies:
        if study.study in seen:
            raise DataError(
                f"study {study.study!r} is also the name of a reading",
                where=dataset.root / STUDIES,
                hint="rename the study, or take the # out of it",
            )
        seen.add(study.study)
