"""What the clinical table says without a network: two classifiers of each finding, and cheap late fusion.

Any fusion has to beat these: a table that a logistic regression reads as well needs no detector, and detections whose
scores a logistic regression corrects need no fusion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmad.analysis.cached_statistics import cached_result
from mmad.analysis.evaluation_target import (
    DetectionStore,
    EvaluationOptions,
    EvaluationTarget,
    TargetPairs,
    matched_under,
    on_validation,
)
from mmad.base.errors import EvaluationError
from mmad.base.records import ClinicalColumns, Detections
from mmad.data.clinical import ClinicalEncoder
from mmad.data.dataset import DataSet
from mmad.evaluation.diagnosis import classified, detected
from mmad.evaluation.differences import PairSample, pair_sample
from mmad.evaluation.intervals import groups_of
from mmad.evaluation.matching import Flags, Floats, Matched
from mmad.evaluation.resampling import Interval
from mmad.store.store import Store

#: Probabilities nearer than this to 0 or 1 count as this near: their logit stays finite.
_EDGE = 1e-6


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    return LogisticRegression(max_iter=1000)


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]

    return HistGradientBoostingClassifier(random_state=0)


#: Classifiers of the table, with scikit-learn's own settings.
CLASSIFIERS: Mapping[str, Callable[[], Any]] = {"logistic": _logistic, "boosting": _boosting}


def clinical_columns(dataset: DataSet, setup: Mapping[str, Any]) -> ClinicalColumns:
    """The columns that a run of ``setup`` reads, or would."""
    return dataset.columns(setup.get("clinical_numeric"), setup.get("clinical_categorical"))


def probabilities(dataset: DataSet, columns: ClinicalColumns, classifier: str) -> Floats:
    """(N, K) how likely each study has each finding, by a classifier of the clinical values of the training split.

    It reads the standardised numbers (a missing one as the mean), which of them are missing, and a 0 or 1 for every
    category. A finding that all training studies have, or none, has their share.
    """
    everyone = range(len(dataset.studies))
    numbers, codes = ClinicalEncoder.fit(dataset, columns, indicators=True).encode(dataset, everyone)
    categories = [codes[:, [j]] == np.arange(len(values)) for j, (_, values) in enumerate(columns.categorical)]
    table = np.concatenate([numbers, *categories], axis=1).astype(np.float64)
    has = findings(dataset)
    train = list(dataset.split("train"))
    found = np.empty(has.shape)
    for k in range(has.shape[1]):
        known = has[train, k]
        if known.all() or not known.any():
            found[:, k] = known.mean()
        else:
            found[:, k] = CLASSIFIERS[classifier]().fit(table[train], known).predict_proba(table)[:, 1]
    return found


def findings(dataset: DataSet) -> Flags:
    """(N, K) which study has a true box of which finding."""
    has = np.zeros((len(dataset.studies), len(dataset.labels)), dtype=np.bool_)
    has[dataset.box_study, dataset.labels_of - 1] = True
    return has


def logit(probability: Floats) -> Floats:
    """log(p / (1 − p)), finite."""
    inside = np.clip(probability, _EDGE, 1 - _EDGE)
    found: Floats = np.log(inside / (1 - inside))
    return found


# Cheap late fusion: the scores of a detector that saw images alone, corrected by what the table says.


def fused_scores(validation: tuple[Floats, Floats, Flags], test: tuple[Floats, Floats]) -> Floats:
    """p of each detection: logit p = a + b · logit(score) + c · clinical logit, fitted on those of validation.

    Args:
        validation: scores (N,), clinical logits of image and finding (N,), and which of them hit a true box (N,).
        test: scores and clinical logits of the detections that are corrected; they stay where validation has no hit,
            or no miss, to learn from.
    """
    scores, clinical, hit = validation
    if hit.all() or not hit.any():
        return test[0]
    model = _logistic().fit(np.column_stack([logit(scores), clinical]), hit)
    found: Floats = model.predict_proba(np.column_stack([logit(test[0]), test[1]]))[:, 1]
    return found


def late_fusion(store: Store, detections: DetectionStore, pairs: TargetPairs, options: EvaluationOptions) -> PairSample:
    """Cheap late fusion against an arm that reads clinical data, seed by seed.

    Args:
        pairs: (run of the image alone, run that reads clinical data) of each seed.

    Raises:
        EvaluationError: detections that are not kept, of validation either. DataError: a data set that is gone.
    """
    validation = [on_validation(store, image) for image, _ in pairs]
    dataset = detections.dataset(pairs[0][1].run)
    columns = clinical_columns(dataset, pairs[0][1].run.setup)

    def compute() -> PairSample:
        clinical = logit(probabilities(dataset, columns, "logistic"))
        images = [
            _fused(detections, image, known, dataset, clinical)
            for (image, _), known in zip(pairs, validation, strict=True)
        ]
        others = [detections.matched(other) for _, other in pairs]
        return pair_sample(images, others, resamples=options.resamples, seed=options.seed)

    targets = [target for one, known in zip(pairs, validation, strict=True) for target in (*one, known)]
    named = [*columns.numeric, *(name for name, _ in columns.categorical)]
    draws = {"resamples": options.resamples, "seed": options.seed}
    return cached_result(store, detections, "late_fusion", targets, PairSample, compute, columns=named, **draws)


def _fused(
    detections: DetectionStore,
    image: EvaluationTarget,
    validation: EvaluationTarget,
    dataset: DataSet,
    clinical: Floats,
) -> Matched:
    place = {study.study: position for position, study in enumerate(dataset.studies)}

    def of_table(found: Detections) -> Floats:
        positions = np.array([place[name] for name in found.studies], dtype=np.int64)
        logits: Floats = clinical[positions[found.study], found.labels - 1]
        return logits

    matched, known, test = detections.matched(validation), detections.read(validation), detections.read(image)
    counted = matched.counted[0]
    seen = matched.score[counted], of_table(known)[matched.row[counted]], matched.hit[0][counted]
    fused = replace(test, scores=fused_scores(seen, (test.scores, of_table(test))))
    return matched_under(image.protocol, fused, detections.truth(image))


# The findings of whole images, classified by the table alone.


@dataclass(frozen=True)
class TableAuroc:
    """Area under the ROC curve for one finding: of a run's best detection of it, and of each classifier of the table.

    ``positives`` of ``images`` have it. The intervals are over patients.
    """

    label: str
    images: int
    positives: int
    run: Interval
    logistic: Interval
    boosting: Interval


def table_auroc(store: Store, detections: DetectionStore, target: EvaluationTarget) -> tuple[TableAuroc, ...]:
    """What the clinical table says of each finding beside what a run does, on the target's split.

    Raises:
        EvaluationError: detections that are not kept, or a data set without clinical columns. DataError: one that is
            gone.
    """
    dataset = detections.dataset(target.run)
    columns = clinical_columns(dataset, target.run.setup)
    if not columns.numeric and not columns.categorical:
        hint = "name a run whose data set has clinical columns"
        raise EvaluationError(
            "there is no clinical column that a table could have", where=f"run {target.name}", hint=hint
        )

    def compute() -> _Table:
        truth, has = detections.truth(target), findings(dataset)
        of_run = detected(detections.matched(target), None)[1:]
        place = {study.study: position for position, study in enumerate(dataset.studies)}
        rows = [place[name] for name in truth.studies]
        groups = groups_of(truth.patients)
        scores = {name: probabilities(dataset, columns, name)[rows] for name in CLASSIFIERS}

        def area(name: str, k: int) -> Interval:
            return classified(dataset.labels[k], scores[name][:, k], has[rows, k], groups).auroc

        return _Table(
            tuple(
                TableAuroc(one.label, len(rows), one.positives, one.auroc, area("logistic", k), area("boosting", k))
                for k, one in enumerate(of_run)
            )
        )

    named = [*columns.numeric, *(name for name, _ in columns.categorical)]
    return cached_result(store, detections, "clinical_table", [target], _Table, compute, columns=named).rows


@dataclass(frozen=True)
class _Table:
    rows: tuple[TableAuroc, ...]
