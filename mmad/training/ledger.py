"""What a run has to show for its epochs: records, best checkpoints, kept detections.

The ledger's state travels inside each checkpoint, so that a kill between the checkpoint and the store's
commit loses nothing: the next start reports the same epoch again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mmad.base import clock
from mmad.base.paths import RunPaths
from mmad.base.recorder import Recorder
from mmad.base.records import CheckpointKind, CheckpointRecord, EpochRecord, EvaluationRecord, Metric
from mmad.evaluation.detections import write_detections
from mmad.training.checkpoint import CheckpointFile
from mmad.training.passes import Judgement, PassResult
from mmad.training.selection import Selection

#: Stands in a checkpoint's own ledger for the file that cannot know its own hash yet.
_SELF = ""


class Ledger:
    """Keeps the latest epoch's record and the checkpoints and evaluations that are current.

    Args:
        run: the run's files.
        overlap: the overlap whose validation AP and AR choose the best epochs.
        labels: the findings, in order.
        proposals: whose proposals the evaluations used.
        keep_best: keep the best epochs beside the final one.
    """

    def __init__(
        self, run: RunPaths, overlap: str, labels: tuple[str, ...], proposals: str, *, keep_best: bool = True
    ) -> None:
        self.run, self.labels, self.proposals = run, labels, proposals
        self.keep_best = keep_best
        self.selection = Selection(overlap)
        self.record: EpochRecord | None = None
        self.checkpoints: dict[CheckpointKind, CheckpointRecord] = {}
        self.evaluations: list[EvaluationRecord] = []
        self.previous: Path | None = None

    def becomes(self, metrics: Sequence[Metric], *, final: bool, compared: bool = True) -> tuple[CheckpointKind, ...]:
        """The kinds of checkpoint that an epoch becomes by its validation, test never asked; to be asked once.

        Args:
            metrics: of the epoch's training and validation.
            final: whether it is the last one.
            compared: whether it may become best.
        """
        best = self.selection.take(metrics) if self.keep_best and compared else ()
        return (*best, "final") if final else best

    def take(self, record: EpochRecord, judged: Sequence[PassResult], kinds: Sequence[CheckpointKind]) -> None:
        """Book an epoch that is about to be written and became ``kinds``, whose detections are kept."""
        if (last := self.checkpoints.get("last")) is not None:
            self.previous = self.run.folder / last.path
        self.record = record
        self.evaluations = []
        if kinds:
            for result in judged:
                self.evaluations += self._evaluations(record.epoch, kinds, result)
        now = clock.now()
        for kind in [*kinds, "last"]:
            self.checkpoints[kind] = CheckpointRecord(kind, record.epoch, _SELF, "", 0, now)

    def _evaluations(self, epoch: int, kinds: Sequence[CheckpointKind], result: PassResult) -> list[EvaluationRecord]:
        how = Judgement()
        path = self.run.detections(epoch, result.split, self.proposals)
        if result.detections is not None:
            write_detections(path, result.detections)
        return [
            EvaluationRecord(
                kind=kind,
                epoch=epoch,
                split=result.split,
                overlap=overlap,
                threshold=how.threshold,
                max_detections=how.max_detections,
                proposals=self.proposals,
                ap=score.ap,
                ar=score.ar,
                per_class=tuple((c.label, c.ap, c.ar) for c in score.per_class),
                detections=self.run.relative(path),
            )
            for kind in kinds
            for overlap, score in result.scores.items()
        ]

    def written(self, file: CheckpointFile) -> None:
        """Enter the file the current epoch was written to."""
        for kind, row in self.checkpoints.items():
            if row.path == _SELF:
                self.checkpoints[kind] = replace(
                    row, path=self.run.relative(file.path), sha256=file.sha256, size=file.size
                )

    def report(self, recorder: Recorder) -> None:
        """Tell the recorder of the current epoch with its checkpoints and evaluations."""
        if self.record is not None:
            recorder.epoch(self.record, tuple(self.checkpoints.values()), tuple(self.evaluations))

    report_again = report

    def newest(self) -> Path | None:
        """The newest checkpoint that was written, or None."""
        last = self.checkpoints.get("last")
        return None if last is None else self.run.folder / last.path

    def files(self) -> set[Path]:
        """The checkpoint files that must stay: best, final, last and the one before the last."""
        kept = {self.run.folder / row.path for row in self.checkpoints.values()}
        return kept | ({self.previous} if self.previous is not None else set())

    def state(self) -> dict[str, Any]:
        """Plain JSON of everything above."""
        return {
            "selection": self.selection.state(),
            "record": None if self.record is None else _record_json(self.record),
            "checkpoints": [_checkpoint_json(row) for row in self.checkpoints.values()],
            "evaluations": [vars(row) | {"per_class": [list(c) for c in row.per_class]} for row in self.evaluations],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.selection = Selection(**state["selection"])
        self.record = None if state["record"] is None else _record_from(state["record"])
        rows = [
            CheckpointRecord(**(row | {"created": datetime.fromisoformat(row["created"])}))
            for row in state["checkpoints"]
        ]
        self.checkpoints = {row.kind: row for row in rows}
        self.evaluations = [
            EvaluationRecord(**(row | {"per_class": tuple(tuple(c) for c in row["per_class"])}))
            for row in state["evaluations"]
        ]


def _record_json(record: EpochRecord) -> dict[str, Any]:
    metrics = [[m.split, m.name, m.value if math.isfinite(m.value) else repr(m.value)] for m in record.metrics]
    return vars(record) | {"metrics": metrics}


def _record_from(state: dict[str, Any]) -> EpochRecord:
    metrics = tuple(Metric(split, name, float(value)) for split, name, value in state["metrics"])
    return EpochRecord(**(state | {"metrics": metrics}))


def _checkpoint_json(row: CheckpointRecord) -> dict[str, Any]:
    return vars(row) | {"created": row.created.isoformat()}
