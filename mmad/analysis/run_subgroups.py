"""Figures of parts of a split, by a column of the data set: cached, and read again by the report."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmad.analysis.cache import read_cached
from mmad.analysis.cached_statistics import cached_result, diagnosis_of, is_of, subject_of
from mmad.analysis.comparison import require_comparable
from mmad.analysis.evaluation_target import DetectionStore, EvaluationTarget, TargetPairs, fold_of
from mmad.base.errors import EvaluationError, MmadError
from mmad.base.records import AnalysisRecord, RunRecord
from mmad.config.messages import no_such, one_of
from mmad.data.acquisition import ACQUIRED
from mmad.data.dataset import DataSet
from mmad.evaluation.subgroups import Interaction, Levels, Subgroup, interactions, subgroups
from mmad.store.store import Store

KIND, PAIR_KIND = "subgroups", "interactions"
#: Ages are parted at these years; other numbers into thirds.
AGES = (40, 65)
#: A column of more levels parts nothing.
MOST_LEVELS = 20
SOURCE = "source"
UNKNOWN_LEVEL = "not known"


@dataclass(frozen=True)
class RunSubgroups:
    """The parts of the split by one column; ``score`` of the operating point, None where ``why`` says so."""

    column: str
    score: float | None
    why: str
    groups: tuple[Subgroup, ...]


@dataclass(frozen=True)
class _Interactions:
    """The parts of all columns that were asked for together."""

    found: tuple[Interaction, ...]


def subgroups_of(
    store: Store,
    detections: DetectionStore,
    target: EvaluationTarget,
    columns: Sequence[str],
    false_positives: float = 0.5,
) -> tuple[RunSubgroups, ...]:
    """The parts of a split by each of ``columns``, at the score that the run's own validation fixed.

    Raises:
        EvaluationError: an unknown column, one that parts nothing, or detections that cannot be evaluated.
    """
    if not columns:
        return ()
    fixed = diagnosis_of(store, detections, target, false_positives)

    def of(column: str) -> RunSubgroups:
        levels = levels_of(detections.dataset_of(target), target.split, column)
        groups = subgroups(detections.matched(target), levels, fixed.score)
        return RunSubgroups(column, fixed.score, fixed.why, groups)

    found = []
    for column in dict.fromkeys(columns):
        asked = {"column": column, "score": fixed.score, **levels_digest(detections, target, [column])}
        compute = functools.partial(of, column)
        found.append(cached_result(store, detections, KIND, [target], RunSubgroups, compute, **asked))
    return tuple(found)


def interactions_of(
    store: Store, detections: DetectionStore, pairs: TargetPairs, columns: Sequence[str], by_design: Iterable[str] = ()
) -> tuple[Interaction, ...]:
    """Whether two arms differ more in one part than in the others; all parts of ``columns`` are one family.

    Raises:
        EvaluationError: as of ``subgroups_of``, or arms that cannot be compared.
    """
    if not columns:
        return ()
    both = [*(a for a, _ in pairs), *(b for _, b in pairs)]
    if len({fold_of(one.run) for one in both}) > 1:
        what = "each fold has other patients, of which parts cannot be compared"
        raise EvaluationError(what, where="--by", hint="name the runs of one fold, or leave it out")
    require_comparable(both, by_design)
    wanted = list(dict.fromkeys(columns))

    def compute() -> _Interactions:
        dataset, split = detections.dataset_of(pairs[0][0]), pairs[0][0].split
        matched = [(detections.matched(a), detections.matched(b)) for a, b in pairs]
        return _Interactions(interactions(matched, [levels_of(dataset, split, name) for name in wanted]))

    asked = {"pairs": len(pairs), "columns": wanted, **levels_digest(detections, pairs[0][0], wanted)}
    return cached_result(store, detections, PAIR_KIND, both, _Interactions, compute, **asked).found


def levels_digest(detections: DetectionStore, target: EvaluationTarget, columns: Sequence[str]) -> dict[str, object]:
    """The levels of columns that are no part of the fingerprint, as they are now."""
    asked = [name for name in columns if name in ACQUIRED]
    taken = [getattr(study.taken, name) for name in asked for study in detections.dataset_of(target).studies]
    return {"levels": hashlib.sha256(repr(taken).encode()).hexdigest()} if taken else {}


def columns_of(dataset: DataSet) -> list[str]:
    """The columns that part a data set: clinical ones, the source, and what is known of where and when."""
    clinical = [column.name for column in dataset.numeric] + [column.name for column in dataset.categorical]
    acquired = [SOURCE] if any(study.source for study in dataset.studies) else []
    acquired += [name for name in ACQUIRED if any(getattr(study.taken, name) for study in dataset.studies)]
    return list(dict.fromkeys([*clinical, *acquired]))


def require_columns(runs: Iterable[RunRecord], detections: DetectionStore, columns: Sequence[str]) -> None:
    """Refuse a column that no data set of ``runs`` has, or that parts nothing; data sets that are gone say nothing.

    Raises:
        EvaluationError: as of ``levels_of``.
    """
    known: list[str] = []
    looked = False
    for run in {run.dataset_fingerprint: run for run in runs}.values():
        try:
            dataset = detections.dataset(run)
        except MmadError:
            continue
        looked, here = True, columns_of(dataset)
        known += here
        for column in columns:
            if column in here:
                levels_of(dataset, "test", column)
    for column in columns if looked else ():
        if column not in known:
            names = list(dict.fromkeys(known))
            raise EvaluationError(no_such("column", column, names), where="--by", hint=one_of(names))


def levels_of(dataset: DataSet, split: str, column: str) -> Levels:
    """The level of each image of a split: a category, an age band, a third of other numbers, source, site or the like.

    Raises:
        EvaluationError: an unknown column, or one of too many levels.
    """
    numbers, words = [c.name for c in dataset.numeric], [c.name for c in dataset.categorical]
    studies = [dataset.studies[place] for place in dataset.split(split)]
    if column in numbers:
        values = np.array([np.nan if (v := s.numeric[numbers.index(column)]) is None else v for s in studies])
        return _bands(column, dataset.numeric[numbers.index(column)].unit, values)
    if column in words:
        cells = [study.categorical[words.index(column)] for study in studies]
    elif column in (known := columns_of(dataset)):
        cells = [study.source if column == SOURCE else getattr(study.taken, column) for study in studies]
    else:
        raise EvaluationError(no_such("column", column, known), where="--by", hint=one_of(known))
    names = sorted({cell for cell in cells if cell})
    if len(names) > MOST_LEVELS:
        hint = f"choose a column of at most {MOST_LEVELS}"
        raise EvaluationError(f"column {column!r} has {len(names)} levels", where="--by", hint=hint)
    places = [names.index(cell) if cell else len(names) for cell in cells]
    return Levels(column, (*names, UNKNOWN_LEVEL), np.array(places, dtype=np.int64))


def _bands(column: str, unit: str, values: np.ndarray) -> Levels:
    known = values[~np.isnan(values)]
    if unit == "years":
        cuts = [float(age) for age in AGES]
    else:
        thirds = np.quantile(known, (1 / 3, 2 / 3), method="higher") if len(known) else known
        cuts = [float(value) for value in np.unique(thirds) if value > known.min()]
    names = [f"below {cuts[0]:g}"] if cuts else ["any"]
    names += [f"{low:g} to below {high:g}" for low, high in itertools.pairwise(cuts)]
    names += [f"{cuts[-1]:g} and above"] if cuts else []
    places = np.where(np.isnan(values), len(names), np.searchsorted(cuts, np.nan_to_num(values), side="right"))
    return Levels(column, (*(f"{name} {unit}".rstrip() for name in names), UNKNOWN_LEVEL), places.astype(np.int64))


# What was asked of runs and pairs before, read without the data set.


def cached_subgroups(known: Sequence[AnalysisRecord], target: EvaluationTarget) -> tuple[RunSubgroups, ...]:
    """Those of exactly this checkpoint and protocol, of each column the latest."""
    wanted = subject_of(KIND, [target])
    records = [record for record in known if is_of(record, wanted)]
    found = {str(record.subject.get("column")): read_cached(RunSubgroups, record) for record in records}
    return tuple(one for one in found.values() if one is not None)


def cached_interactions(known: Sequence[AnalysisRecord], pairs: TargetPairs) -> tuple[Interaction, ...]:
    """Those of exactly these pairs, the latest."""
    wanted = subject_of(PAIR_KIND, [*(a for a, _ in pairs), *(b for _, b in pairs)])
    found = [record for record in known if is_of(record, wanted)]
    read = read_cached(_Interactions, found[-1]) if found else None
    return () if read is None else read.found
