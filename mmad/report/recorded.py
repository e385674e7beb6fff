"""AP and AR of kept checkpoints under protocols that the training did not measure, as rows of the store."""

from __future__ import annotations

from mmad.base.records import CheckpointKind, Detections, EvaluationRecord
from mmad.evaluation import outlines
from mmad.evaluation.detections import write_detections
from mmad.report.judged import Archive, Judged
from mmad.store.gateway import Store


def keep_detections(store: Store, archive: Archive, judged: Judged, detections: Detections) -> None:
    """Keep detections that were made again, and the AP and AR of them under both overlaps.

    Raises:
        EvaluationError: they are not finite (naming the study), or the disk refuses.
    """
    write_detections(judged.file, detections)
    store.put_evaluations(judged.run.key, _evaluations(store, archive, judged, detections))


def note_evaluation(store: Store, archive: Archive, judged: Judged) -> None:
    """Record AP and AR under the protocol where they are not: the training judges at 0.5 and 10 detections alone."""
    asked = judged.protocol.model_dump(mode="json")
    place = (judged.checkpoint.kind, judged.checkpoint.epoch, judged.split)
    for row in store.evaluations(judged.run.key):
        if (row.kind, row.epoch, row.split) == place and all(getattr(row, n) == v for n, v in asked.items()):
            return
    if not store.read_only:
        found = _evaluations(store, archive, judged, archive.detections(judged))
        store.put_evaluations(judged.run.key, found)


def _evaluations(store: Store, archive: Archive, judged: Judged, detections: Detections) -> list[EvaluationRecord]:
    """One record per overlap and kind of checkpoint that the epoch is."""
    truth, protocol = archive.truth(judged), judged.protocol
    epoch = judged.checkpoint.epoch
    kinds: list[CheckpointKind] = [
        c.kind for c in store.checkpoints(judged.run.key) if c.epoch == epoch and c.kind != "last"
    ]
    records = []
    threshold, most = protocol.threshold, protocol.max_detections
    for overlap, scores in outlines.judged(detections, truth, threshold=threshold, max_detections=most).items():
        records += [
            EvaluationRecord(
                kind=kind,
                epoch=epoch,
                split=judged.split,
                overlap=overlap,
                threshold=protocol.threshold,
                max_detections=protocol.max_detections,
                proposals=protocol.proposals,
                ap=scores.ap,
                ar=scores.ar,
                per_class=tuple((c.label, c.ap, c.ar) for c in scores.per_class),
                detections=store.run_paths(judged.run.key).relative(judged.file),
            )
            for kind in kinds
        ]
    return records
