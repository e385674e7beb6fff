"""Readers of a split as the reference in turn, and against each other: cached, and read again by the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmad.analysis.cache import read_cached
from mmad.analysis.cached_statistics import cached_result, diagnosis_of, is_of, subject_of
from mmad.analysis.evaluation_target import DetectionStore, EvaluationTarget, TargetPairs, fold_of
from mmad.base.errors import EvaluationError
from mmad.base.formatting import plural
from mmad.base.records import AnalysisRecord, GroundTruth
from mmad.data.dataset import DataSet, in_order
from mmad.evaluation.readers import ReaderFigures, Readings, reader_figures
from mmad.store.store import Store

KIND, PAIR_KIND = "readers", "reader_differences"
_WHERE = "--by-reader"
_HINT = "boxes.csv says in its column reading who drew a box; a row without sides and label is a reading without one"


@dataclass(frozen=True)
class RunReaders:
    """Readers against each other, and the detector against each at ``score``; None where ``why`` says so.

    ``merged`` counts the images whose readings are one reference everywhere else; 0 where a sample is one reading.
    """

    score: float | None
    why: str
    merged: int
    figures: tuple[ReaderFigures, ...]


@dataclass(frozen=True)
class PairReaders:
    """The readers under whom a pair is compared, and how many images of the split each did not read.

    ``merged`` as of ``RunReaders``.
    """

    readers: tuple[tuple[str, int], ...]
    merged: int


def merged_words(images: int) -> str:
    """What is said wherever the boxes of several readings are one reference; nothing where no image has several."""
    if not images:
        return ""
    return (
        f"{plural(images, 'image')} of the split {'has' if images == 1 else 'have'} several readings, whose boxes all "
        "other figures take together: what two readers drew is there twice."
    )


def readers_of(
    store: Store, detections: DetectionStore, target: EvaluationTarget, false_positives: float = 0.5
) -> RunReaders:
    """What readers find of each other's boxes, and the detector at the score that its own validation fixed.

    Raises:
        EvaluationError: no image of the split has several readings, or detections that cannot be evaluated.
    """
    fixed = diagnosis_of(store, detections, target, false_positives)

    def compute() -> RunReaders:
        dataset, protocol = detections.dataset_of(target), target.protocol
        readings = readings_of(dataset, target.split)
        limits = {"overlap": protocol.overlap, "threshold": protocol.threshold}
        limits["max_detections"] = protocol.max_detections
        found = reader_figures(readings, detections.read(target), fixed.score, **limits)  # type: ignore[arg-type]
        if not found:
            raise EvaluationError(f"no image of the {target.split} split has two readings", where=_WHERE, hint=_HINT)
        return RunReaders(fixed.score, fixed.why, _merged(dataset, target.split), found)

    return cached_result(store, detections, KIND, [target], RunReaders, compute, score=fixed.score)


def compared_readers(store: Store, detections: DetectionStore, pairs: TargetPairs) -> PairReaders:
    """The readers of the split that ``pairs`` are compared on, of all its folds; the report reads them again.

    Raises:
        EvaluationError: fewer than two are named.
    """

    def compute() -> PairReaders:
        read: Counter[str] = Counter()
        images = merged = 0
        for target in {fold_of(one.run): one for one, _ in pairs}.values():
            dataset, split = detections.dataset_of(target), target.split
            images += sum(dataset.images_by_readings(split))
            merged += _merged(dataset, split)
            readings, names = readings_of(dataset, split), dataset.readers(split)
            each = set(zip(readings.image.tolist(), readings.names, strict=True))
            read.update(name for _, name in each if name in names)
        if len(read) < 2:
            what = f"the data set names no two readers of the {pairs[0][0].split} split"
            hint = f"{_HINT}; a name that stands at one image alone is no reader's"
            raise EvaluationError(what, where=_WHERE, hint=hint)
        return PairReaders(tuple((name, images - read[name]) for name in in_order(read)), merged)

    both = [*(a for a, _ in pairs), *(b for _, b in pairs)]
    return cached_result(store, detections, PAIR_KIND, both, PairReaders, compute, pairs=len(pairs))


def _merged(dataset: DataSet, split: str) -> int:
    here = Counter(study for study, _ in dataset.readings if dataset.studies[study].split == split)
    return sum(readings > 1 for readings in here.values())


def readings_of(dataset: DataSet, split: str) -> Readings:
    """The readings of a split as arrays."""
    positions = dataset.split(split)
    place = {study: n for n, study in enumerate(positions)}
    known = [(study, name) for study, name in dataset.readings if study in place]
    number = {one: n for n, one in enumerate(known)}
    owners = zip(dataset.box_study.tolist(), dataset.reading, strict=True)
    owner = np.array([number.get(one, -1) for one in owners], dtype=np.int64)
    studies = np.array([study for study, _ in known], dtype=np.int64)
    truth = GroundTruth(
        studies=tuple(map(str, range(len(known)))),
        patients=tuple(dataset.studies[study].patient for study, _ in known),
        categories=dataset.labels,
        study=owner[owner >= 0],
        boxes=dataset.boxes[owner >= 0],
        labels=dataset.labels_of[owner >= 0],
    )
    sample = np.array([place[study] for study, _ in known], dtype=np.int64)
    names = tuple(name for _, name in known)
    return Readings(truth, dataset.image_rows[studies], sample, names, dataset.readers(split))


# What was asked before, read without the data set.


def cached_readers(known: Sequence[AnalysisRecord], target: EvaluationTarget) -> RunReaders | None:
    """Those of exactly this checkpoint and protocol, the latest."""
    wanted = subject_of(KIND, [target])
    found = [record for record in known if is_of(record, wanted)]
    return read_cached(RunReaders, found[-1]) if found else None


def cached_compared_readers(known: Sequence[AnalysisRecord], pairs: TargetPairs) -> PairReaders | None:
    """Those of exactly these pairs."""
    wanted = subject_of(PAIR_KIND, [*(a for a, _ in pairs), *(b for _, b in pairs)])
    found = [record for record in known if is_of(record, wanted)]
    return read_cached(PairReaders, found[-1]) if found else None
