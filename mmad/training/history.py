"""The history of a run: its epochs' records, its best checkpoints and their evaluations and detections.

It travels inside each checkpoint, so that a kill between the checkpoint and the store's
commit loses nothing: the next start reports the same epoch again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mmad.base import clock
from mmad.base.errors import CheckpointError, EvaluationError
from mmad.base.files import make_durable
from mmad.base.paths import RunPaths
from mmad.base.recorder import Recorder
from mmad.base.records import CheckpointKind, CheckpointRecord, EpochRecord, EvaluationRecord, Metric
from mmad.evaluation.detections_file import detections_file, read_detections, write_detections_file
from mmad.training import checkpoint
from mmad.training.checkpoint import CheckpointFile
from mmad.training.loop import MAX_DETECTIONS, THRESHOLD, PassResult

#: Stands in a checkpoint's own history for the file that cannot know its own hash yet.
_SELF = ""


@dataclass
class Selection:
    """The best validation AP and AR so far under one overlap: an epoch is best that exceeds all before it.

    Test figures never choose anything.
    """

    overlap: str
    ap: float = -math.inf
    ar: float = -math.inf

    def update(self, metrics: Iterable[Metric]) -> tuple[CheckpointKind, ...]:
        """The kinds of best checkpoint that an epoch with ``metrics`` becomes; it must strictly exceed what was."""
        kinds: list[CheckpointKind] = []
        validation = {m.name: m.value for m in metrics if m.split == "val"}
        ap = validation.get(f"ap_{self.overlap}")
        ar = validation.get(f"ar_{self.overlap}")
        if ap is not None and ap > self.ap:
            self.ap = ap
            kinds.append("best_ap")
        if ar is not None and ar > self.ar:
            self.ar = ar
            kinds.append("best_ar")
        return tuple(kinds)

    def state(self) -> dict[str, Any]:
        """Plain JSON to resume from."""
        return asdict(self)


class RunHistory:
    """Keeps the epochs' records and the checkpoints and evaluations that are current.

    Detections are written without waiting for the disk: the checkpoint they belong to holds them too, and the
    last epoch of a run flushes those that are kept. So an epoch waits for the disk twice, and the store once.

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
        self.epochs: list[EpochRecord] = []
        self.checkpoints: dict[CheckpointKind, CheckpointRecord] = {}
        #: Of the latest epoch, and of every checkpoint that is current.
        self.evaluations: list[EvaluationRecord] = []
        self.current_evaluations: list[EvaluationRecord] = []
        self.previous: set[Path] = set()
        #: Files of the latest epoch's detections, by their path in the run's folder.
        self.detections: dict[str, bytes] = {}

    @property
    def record(self) -> EpochRecord | None:
        """The latest epoch."""
        return self.epochs[-1] if self.epochs else None

    def checkpoint_kinds(
        self, metrics: Sequence[Metric], *, final: bool, compared: bool = True
    ) -> tuple[CheckpointKind, ...]:
        """The kinds of checkpoint that an epoch becomes by its validation; to be called once per epoch.

        Args:
            metrics: of the epoch's training and validation.
            final: whether it is the last one.
            compared: whether it may become best.
        """
        best = self.selection.update(metrics) if self.keep_best and compared else ()
        return (*best, "final") if final else best

    def add_epoch(self, record: EpochRecord, evaluated: Sequence[PassResult], kinds: Sequence[CheckpointKind]) -> None:
        """Add an epoch that is about to be written and became ``kinds``, whose detections are kept."""
        self.previous = {self.run.folder / row.path for row in self.checkpoints.values()}
        self.epochs.append(record)
        self.evaluations, self.detections = [], {}
        if kinds:
            for result in evaluated:
                self.evaluations += self._evaluations(record.epoch, kinds, result)
        self.current_evaluations = [row for row in self.current_evaluations if row.kind not in kinds] + self.evaluations
        now = clock.now()
        for kind in [*kinds, "last"]:
            self.checkpoints[kind] = CheckpointRecord(kind, record.epoch, _SELF, "", 0, now)

    def _evaluations(self, epoch: int, kinds: Sequence[CheckpointKind], result: PassResult) -> list[EvaluationRecord]:
        path = self.run.detections(epoch, result.split, self.proposals)
        if result.detections is not None:
            self.detections[self.run.relative(path)] = detections_file(result.detections)
        return [
            EvaluationRecord(
                kind=kind,
                epoch=epoch,
                split=result.split,
                overlap=overlap,
                threshold=THRESHOLD,
                max_detections=MAX_DETECTIONS,
                proposals=self.proposals,
                ap=score.ap,
                ar=score.ar,
                per_class=tuple((c.label, c.ap, c.ar) for c in score.per_class),
                detections=self.run.relative(path),
            )
            for kind in kinds
            for overlap, score in result.scores.items()
        ]

    def set_file(self, file: CheckpointFile) -> None:
        """Enter the file the current epoch was written to."""
        for kind, row in self.checkpoints.items():
            if row.path == _SELF:
                self.checkpoints[kind] = replace(
                    row, path=self.run.relative(file.path), sha256=file.sha256, size=file.size
                )

    def report(self, recorder: Recorder) -> None:
        """Report the current epoch with its checkpoints and evaluations."""
        if self.record is not None:
            recorder.epoch(self.record, tuple(self.checkpoints.values()), tuple(self.evaluations))

    def report_resumed(self, recorder: Recorder) -> None:
        """Report the current epoch after an interruption, with the evaluations of all current checkpoints."""
        if self.record is not None:
            recorder.epoch(self.record, tuple(self.checkpoints.values()), tuple(self.current_evaluations))

    def write_detections(self) -> None:
        """Write the current epoch's detections; a power cut may take them until ``make_durable``."""
        for path, data in self.detections.items():
            write_detections_file(self.run.folder / path, data, durable=False)

    def make_durable(self) -> None:
        """Flush the detections of every current checkpoint."""
        paths = {self.run.folder / row.detections for row in self.current_evaluations if row.detections is not None}
        try:
            make_durable(path for path in paths if path.exists())
        except OSError as error:
            raise EvaluationError(
                f"detections cannot be flushed to the disk ({error.strerror or error})",
                where=self.run.folder / "detections",
                hint="run the command again: lost ones are taken from their checkpoint",
            ) from error

    def restore_detections(self, warn: Callable[[str], None]) -> None:
        """Take detections that a power cut took, or that were damaged, from the checkpoint they belong to."""
        for path, kind in {
            row.detections: row.kind for row in self.current_evaluations if row.detections is not None
        }.items():
            try:
                read_detections(self.run.folder / path)
            except EvaluationError:
                warn(self._restored(kind, path))

    def _restored(self, kind: CheckpointKind, detections: str) -> str:
        try:
            _, content = checkpoint.load(self.run.folder / self.checkpoints[kind].path)
            data = content.tensors["detections"][detections].numpy().tobytes()
        except (CheckpointError, KeyError):
            return f"{detections} is missing or damaged, and its checkpoint holds no copy of it"
        write_detections_file(self.run.folder / detections, data)
        return f"{detections} was missing or damaged and was written again from its checkpoint"

    def newest(self) -> Path | None:
        """The newest checkpoint that was written, or None."""
        last = self.checkpoints.get("last")
        return None if last is None else self.run.folder / last.path

    def files(self) -> set[Path]:
        """The checkpoint files that must stay: those that are current, and those that were one epoch before.

        So a run whose newest checkpoint is damaged resumes from the one before with all that it names.
        """
        return self.previous | {self.run.folder / row.path for row in self.checkpoints.values()}

    def state(self) -> dict[str, Any]:
        """Plain JSON of everything above."""
        return {
            "selection": self.selection.state(),
            "record": None if self.record is None else _record_json(self.record),
            "history": [_record_json(record) for record in self.epochs],
            "checkpoints": [_checkpoint_json(row) for row in self.checkpoints.values()],
            "evaluations": [_evaluation_json(row) for row in self.evaluations],
            "standing": [_evaluation_json(row) for row in self.current_evaluations],
            "previous": sorted(self.run.relative(path) for path in self.previous),
        }

    def adopt(self, *, over: bool) -> None:
        """Take another run's epochs, just loaded, for the beginning of this one.

        Its last one is final here only where nothing follows (``over``).
        """
        if not over:
            self.checkpoints.pop("final", None)
        if not self.keep_best:
            self.checkpoints = {kind: row for kind, row in self.checkpoints.items() if kind in ("last", "final")}
            self.selection = Selection(self.selection.overlap)
        self.current_evaluations = [row for row in self.current_evaluations if row.kind in self.checkpoints]
        self.evaluations = [row for row in self.evaluations if row.kind in self.checkpoints]
        self.previous = set()

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self.selection = Selection(**state["selection"])
        records = state.get("history") or ([] if state["record"] is None else [state["record"]])
        self.epochs = [_record_from(record) for record in records]
        rows = [
            CheckpointRecord(**(row | {"created": datetime.fromisoformat(row["created"])}))
            for row in state["checkpoints"]
        ]
        self.checkpoints = {row.kind: row for row in rows}
        self.evaluations = [_evaluation_from(row) for row in state["evaluations"]]
        self.current_evaluations = [_evaluation_from(row) for row in state.get("standing", state["evaluations"])]
        self.previous = {self.run.folder / path for path in state.get("previous", ())}
        self.detections = {}


def _record_json(record: EpochRecord) -> dict[str, Any]:
    metrics = [[m.split, m.name, m.value if math.isfinite(m.value) else repr(m.value)] for m in record.metrics]
    return vars(record) | {"metrics": metrics}


def _record_from(state: dict[str, Any]) -> EpochRecord:
    metrics = tuple(Metric(split, name, float(value)) for split, name, value in state["metrics"])
    return EpochRecord(**(state | {"metrics": metrics}))


def _evaluation_json(row: EvaluationRecord) -> dict[str, Any]:
    return vars(row) | {"per_class": [list(c) for c in row.per_class]}


def _evaluation_from(state: dict[str, Any]) -> EvaluationRecord:
    return EvaluationRecord(**(state | {"per_class": tuple(tuple(c) for c in state["per_class"])}))


def _checkpoint_json(row: CheckpointRecord) -> dict[str, Any]:
    return vars(row) | {"created": row.created.isoformat()}
