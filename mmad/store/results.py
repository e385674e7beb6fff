"""What a member's run came to: the figures of its kept checkpoints under the protocol the member asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmad.base.errors import StoreError
from mmad.base.records import (
    CheckpointKind,
    CheckpointRecord,
    EpochRecord,
    EvaluationRecord,
    MemberRecord,
    RunRecord,
    Split,
)
from mmad.spec.nearest import did_you_mean
from mmad.store.gateway import Store

#: The threshold and the number of detections under which the figures of every epoch are recorded.
EPOCH_THRESHOLD, EPOCH_DETECTIONS = 0.5, 10


@dataclass(frozen=True)
class Result:
    """AP and AR of one checkpoint, in [0, 1]; None where they were not measured, or there was nothing to find."""

    epoch: int
    val_ap: float | None
    val_ar: float | None
    test_ap: float | None
    test_ar: float | None


@dataclass(frozen=True)
class MemberResults:
    """The checkpoints a run keeps, as far as it has them."""

    best_ap: Result | None
    best_ar: Result | None
    final: Result | None


@dataclass(frozen=True)
class MemberSummary:
    """A member, the run that answers it and what that came to."""

    member: MemberRecord
    run: RunRecord
    results: MemberResults

    @property
    def path(self) -> str:
        """``ablation/setting/arm/seed``, with the replicate's number from the second on."""
        return member_path(self.member)

    @property
    def epochs(self) -> int:
        """How many epochs the run was asked for."""
        return epochs_asked(self.run)


def member_path(member: MemberRecord) -> str:
    """``ablation/setting/arm/seed``, with the replicate's number from the second on."""
    path = f"{member.ablation}/{member.setting}/{member.arm}/{member.seed}"
    return path if member.replicate == 1 else f"{path}/{member.replicate}"


def epochs_asked(run: RunRecord) -> int:
    """How many epochs the run was asked for."""
    return int(run.protocol.get("epochs", 0))


def member_results(store: Store, member: MemberRecord) -> MemberResults:
    """The results of ``member`` so far. StoreError when the store does not hold its run."""
    run = store.run(member.key)
    checkpoints, evaluations = store.checkpoints(run.key), store.evaluations(run.key)
    return results_under(member.evaluation, run, checkpoints, evaluations, store.epochs(run.key))


def member_summaries(store: Store, ablation: str | None = None) -> list[MemberSummary]:
    """Every member (of ``ablation``) with its run and results, ablations by name and members in their order."""
    members = [m for a in store.ablations() if ablation in (None, a.name) for m in a.members]
    runs = {run.key: run for run in store.runs()}
    members = [member for member in members if member.key in runs]
    keys = list(dict.fromkeys(member.key for member in members if runs[member.key].epochs_done))
    checkpoints, evaluations = store.all_checkpoints(keys), store.all_evaluations(keys)
    bare = [key for key in keys if checkpoints[key] and not evaluations[key]]
    epochs = store.all_epochs(bare)
    return [
        MemberSummary(
            member,
            runs[member.key],
            results_under(
                member.evaluation,
                runs[member.key],
                checkpoints.get(member.key, ()),
                evaluations.get(member.key, ()),
                epochs.get(member.key, ()),
            ),
        )
        for member in members
    ]


def check_ablation(store: Store, name: str) -> None:
    """StoreError naming the nearest when there is no ablation ``name``."""
    names = [ablation.name for ablation in store.ablations()]
    if name not in names:
        raise StoreError(f"no ablation {name!r}", where=store.where, mend=did_you_mean(name, names))


def results_under(
    evaluation: Mapping[str, Any],
    run: RunRecord,
    checkpoints: Sequence[CheckpointRecord],
    evaluations: Sequence[EvaluationRecord],
    epochs: Sequence[EpochRecord],
) -> MemberResults:
    """The results of ``run`` under the evaluation protocol ``evaluation``.

    A figure is that of the checkpoint's evaluation under exactly this protocol; the figures of the
    checkpoint's epoch stand in only where they were measured under it too.
    """

    def result(kind: CheckpointKind) -> Result | None:
        checkpoint = next((c for c in checkpoints if c.kind == kind), None)
        if checkpoint is None:
            return None
        val = _figures(evaluation, run, checkpoint, evaluations, epochs, "val")
        test = _figures(evaluation, run, checkpoint, evaluations, epochs, "test")
        return Result(checkpoint.epoch, *val, *test)

    return MemberResults(result("best_ap"), result("best_ar"), result("final"))


def _figures(
    wanted: Mapping[str, Any],
    run: RunRecord,
    checkpoint: CheckpointRecord,
    evaluations: Sequence[EvaluationRecord],
    epochs: Sequence[EpochRecord],
    split: Split,
) -> tuple[float | None, float | None]:
    for e in evaluations:
        if (e.kind, e.epoch, e.split) == (checkpoint.kind, checkpoint.epoch, split) and wanted == {
            "overlap": e.overlap,
            "threshold": e.threshold,
            "max_detections": e.max_detections,
            "proposals": e.proposals,
        }:
            return _known(e.ap), _known(e.ar)
    overlap = wanted["overlap"]
    of_epochs = {
        "overlap": overlap,
        "threshold": EPOCH_THRESHOLD,
        "max_detections": EPOCH_DETECTIONS,
        "proposals": run.protocol.get("selection_proposals", "clean"),
    }
    record = next((e for e in epochs if e.epoch == checkpoint.epoch), None)
    if record is None or of_epochs != wanted:
        return None, None
    return _known(record.value(split, f"ap_{overlap}")), _known(record.value(split, f"ar_{overlap}"))


def _known(value: float | None) -> float | None:
    """None for NaN, which AP is where there is nothing to find."""
    return None if value is None or value != value else value
