"""Everything the store holds about one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmad.base.records import (
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    MemberRecord,
    ParameterCount,
    RunRecord,
)
from mmad.spec.protocol import EvaluationProtocol
from mmad.store.find import find_run
from mmad.store.gateway import Store
from mmad.store.results import MemberResults, results_under


@dataclass(frozen=True)
class RunDetail:
    """One run. ``results`` are under ``evaluation``, the protocol of the first of ``members`` (or, where no
    member points to the run any more, the one its epochs were measured under)."""

    run: RunRecord
    members: tuple[MemberRecord, ...]
    evaluation: Mapping[str, Any]
    results: MemberResults
    epochs: tuple[EpochRecord, ...]
    checkpoints: tuple[CheckpointRecord, ...]
    counts: tuple[ParameterCount, ...]
    environments: tuple[EnvironmentRecord, ...]
    warnings: tuple[str, ...]
    log: Path


def run_detail(store: Store, name: str) -> RunDetail:
    """Everything about the run ``name`` means (see ``find_run``). StoreError when it means none or several."""
    found = find_run(store, name)
    run, key = found.run, found.run.key
    evaluation = found.members[0].evaluation if found.members else own_evaluation(run)
    epochs, checkpoints = store.epochs(key), store.checkpoints(key)
    return RunDetail(
        run=run,
        members=found.members,
        evaluation=evaluation,
        results=results_under(evaluation, run, checkpoints, store.evaluations(key), epochs),
        epochs=tuple(epochs),
        checkpoints=tuple(checkpoints),
        counts=tuple(store.parameter_counts(key)),
        environments=tuple(store.environments(key)),
        warnings=tuple(store.warnings(key)),
        log=store.run_paths(key).log,
    )


def own_evaluation(run: RunRecord) -> dict[str, Any]:
    """The protocol under which the epochs of a run without a member were measured."""
    own = EvaluationProtocol(
        overlap=run.protocol.get("selection_overlap", "iou"),
        proposals=run.protocol.get("selection_proposals", "clean"),
    )
    return own.model_dump(mode="json")
