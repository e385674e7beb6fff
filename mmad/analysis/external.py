"""Kept checkpoints on external data sets: recorded as evaluations of their own, beside the runs' own figures.

An evaluation is a row of ``analyses`` of the kind ``external``: its subject says which checkpoint was evaluated how,
and on what content; its value, what the data set is called, where it lies and how its labels were read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mmad.analysis.cache import read_cached
from mmad.analysis.cached_statistics import Diagnosis, diagnosis_of, estimate_of
from mmad.analysis.comparison import MeasuredRun
from mmad.analysis.evaluation_target import DetectionStore, EvaluationTarget, TargetPairs, on_outside
from mmad.base.errors import DataError, MmadError
from mmad.base.json_values import to_json_value
from mmad.base.records import AnalysisRecord
from mmad.config.ablation_file import ExternalTable
from mmad.config.setup import ModelSetup
from mmad.config.weights import pretraining_data, seen_in_pretraining
from mmad.data.dataset import DataSet
from mmad.data.external import OutsideData, outside_data, require_fitting
from mmad.store.measurements import analysis_key
from mmad.store.store import Store

KIND = "external"
#: The recorded external evaluations of each run, by its key.
Recorded = Mapping[str, Sequence[AnalysisRecord]]


@dataclass(frozen=True)
class _Source:
    """What a row says of its data set."""

    name: str
    data: str
    root: str
    labels: dict[str, str]
    unlabelled: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ExternalRun:
    """A run on an external data set; ``why`` says why figures are missing."""

    name: str
    data: str
    measured: MeasuredRun | None = None
    diagnosis: Diagnosis | None = None
    why: str = ""


def outside_target(
    store: Store,
    detections: DetectionStore,
    target: EvaluationTarget,
    path: Path,
    labels: Mapping[str, str],
    *,
    name: str = "",
    option: str = "--map",
) -> EvaluationTarget:
    """The checkpoint of ``target`` on the data set at ``path``; the rest as of ``outside_data``."""
    trained = detections.dataset(target.run)
    columns = _columns_read(ModelSetup.model_validate(dict(target.run.setup)), trained)
    outside = outside_data(path, trained, labels, *columns, name=name, option=option)
    protocol = target.run.protocol
    weights = str(protocol.get("weights", "imagenet")) if target.run.setup.get("pretrained", True) else "none"
    known = pretraining_data(str(target.run.setup.get("backbone", "")), weights, protocol.get("pretrained_on", ()))
    if weights != "none" and (seen := seen_in_pretraining(known or (), outside.data)):
        note = f"the run's weights were pretrained on {seen}, which holds images of it"
        outside = replace(outside, notes=(*outside.notes, note))
    return on_outside(store, target, outside)


def declared_targets(
    store: Store, detections: DetectionStore, target: EvaluationTarget, tables: Sequence[ExternalTable]
) -> tuple[list[EvaluationTarget], list[DataError]]:
    """The checkpoint of ``target`` on every data set that its ablation file declares as external.

    Returns:
        those data sets, and why others are left out: gone, or none that fits.
    """
    found: list[EvaluationTarget] = []
    problems: list[DataError] = []
    for one in tables:
        named = {"name": one.name, "option": f"[[external]] {one.name}: map"}
        try:
            found.append(outside_target(store, detections, target, Path(one.dir), one.map, **named))
        except DataError as error:
            problems.append(error)
    return found, problems


def require_external(table: ExternalTable, setups: Sequence[ModelSetup], trained: DataSet) -> None:
    """Refuse an external data set that the runs of ``setups`` could not be evaluated on; no image is read.

    Raises:
        DataError: it is missing or cannot be read, has no label in common, or a column in another unit.
    """
    for numeric, categorical in sorted({_columns_read(setup, trained) for setup in setups}):
        require_fitting(Path(table.dir), trained, table.map, numeric, categorical, "map")


def _columns_read(setup: ModelSetup, trained: DataSet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The numeric and the categorical columns that a run of ``setup`` reads."""
    if not setup.use_clinical:
        return (), ()
    read = trained.columns(setup.clinical_numeric, setup.clinical_categorical)
    return tuple(read.numeric), tuple(name for name, _ in read.categorical)


# What the store records.


def note_external(store: Store, target: EvaluationTarget) -> None:
    """Record that a checkpoint was evaluated on ``target.outside``; what the data set is called may have changed."""
    found = target.outside
    assert found is not None
    source = _Source(
        found.name, found.data, str(found.root.absolute()), dict(found.labels), found.unlabelled, found.notes
    )
    subject = _subject(target) | {"outside": found.fingerprint}
    known = store.get_analysis(analysis_key(KIND, subject))
    if not store.read_only and (known is None or known.value != to_json_value(source)):
        store.put_analysis(KIND, subject, to_json_value(source))


def _subject(target: EvaluationTarget) -> dict[str, Any]:
    return {
        "runs": [target.run.key],
        "epochs": [target.checkpoint.epoch],
        "weights": [target.checkpoint.sha256],
        "checkpoint": target.checkpoint.kind,
        **target.protocol.model_dump(mode="json"),
    }


def recorded_external(store: Store) -> dict[str, list[AnalysisRecord]]:
    """The recorded external evaluations of every run, oldest first."""
    found: dict[str, list[AnalysisRecord]] = {}
    for record in store.analyses(KIND):
        for key in record.subject.get("runs", ()):
            found.setdefault(str(key), []).append(record)
    return found


def external_targets(
    store: Store, detections: DetectionStore, target: EvaluationTarget, known: Recorded
) -> list[EvaluationTarget]:
    """The recorded evaluations of exactly this checkpoint and protocol; a data set is read once it is asked for."""
    wanted = _subject(target)
    found = []
    for record in known.get(target.run.key, ()):
        fingerprint = record.subject.get("outside")
        if all(record.subject.get(name) == value for name, value in wanted.items()) and isinstance(fingerprint, str):
            source = read_cached(_Source, record)
            if source is not None:
                read = partial(_read_again, store, detections, target, source, fingerprint)
                root = Path(source.root)
                outside = OutsideData(
                    source.name, source.data, root, source.labels, fingerprint, source.unlabelled, source.notes, read
                )
                found.append(on_outside(store, target, outside))
    return found


def _read_again(
    store: Store, detections: DetectionStore, target: EvaluationTarget, source: _Source, fingerprint: str
) -> DataSet:
    one = outside_target(store, detections, target, Path(source.root), source.labels, name=source.name)
    assert one.outside is not None
    if one.outside.fingerprint != fingerprint:
        raise DataError("the external data set changed", where=source.root, hint=f"evaluate it again: {one.remake()}")
    return one.outside.dataset


def external_runs(
    store: Store, detections: DetectionStore, target: EvaluationTarget, validation: EvaluationTarget, known: Recorded
) -> tuple[ExternalRun, ...]:
    """What a checkpoint came to on every external data set that it was evaluated on."""
    found = []
    for one in external_targets(store, detections, target, known):
        assert one.outside is not None
        name, data = one.outside.name, one.outside.data
        try:
            measured = estimate_of(store, detections, [one])
            diagnosis = diagnosis_of(store, detections, one, validation=validation)
            found.append(ExternalRun(name, data, measured, diagnosis))
        except MmadError as error:
            found.append(ExternalRun(name, data, why=str(error)))
    return tuple(found)


def external_pairs(
    store: Store, detections: DetectionStore, pairs: TargetPairs, known: Recorded
) -> list[list[tuple[EvaluationTarget, EvaluationTarget]]]:
    """The same pairs on every external data set that all of their runs were evaluated on."""

    def by_content(target: EvaluationTarget) -> dict[str, EvaluationTarget]:
        found = external_targets(store, detections, target, known)
        return {one.outside.fingerprint: one for one in found if one.outside is not None}

    sides = [(by_content(a), by_content(b)) for a, b in pairs]
    common = [fingerprint for fingerprint in sides[0][0] if all(fingerprint in s for both in sides for s in both)]
    return [[(a[fingerprint], b[fingerprint]) for a, b in sides] for fingerprint in common]
