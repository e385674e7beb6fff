"""The recorder of a worker: into the store first, then to the scheduler."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace

from mmad.base.clock import seconds
from mmad.base.records import (
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    ParameterCount,
    Progress,
)
from mmad.queue.messages import Memory, Started, Warned, epoch_done, validation_ap
from mmad.queue.runlog import Channel
from mmad.store.claims import NotHeld
from mmad.store.gateway import Store
from mmad.store.owner import Owner

#: Seconds between two progress messages of one phase.
_PACE = 0.2
#: Training steps after which the device's memory is told; epochs' ends tell it again.
_MEASURED = frozenset({2, 5, 20})
#: Bytes a process needs on a CUDA device beside its tensors: context and kernels.
CONTEXT = 600 * 2**20

log = logging.getLogger(__name__)


class StoreRecorder:
    """Implements ``mmad.base.recorder.Recorder`` for the run ``key`` of ``epochs`` epochs.

    Args:
        overlap: the overlap of the validation AP that is shown as progress.
        said: what the user typed; takes the place of the worker's own command line.
        owner: who holds the run: told to the store when the training begins, and asked for with every epoch.
        device: torch's name of where it trains; a CUDA device's memory is told after the first steps.
    """

    def __init__(
        self,
        store: Store,
        channel: Channel,
        *,
        key: str,
        epochs: int,
        overlap: str = "iou",
        said: str = "",
        owner: Owner | None = None,
        device: str = "cpu",
    ) -> None:
        self._store = store
        self._channel = channel
        self._key = key
        self._epochs = epochs
        self._overlap = overlap
        self._said = said
        self._owner = owner
        self._device = device
        self._seen = 0
        self._last: tuple[int, str, float] = (0, "", 0.0)
        earlier = store.epochs(key)
        self._done = max((record.epoch for record in earlier), default=0)
        kept = {checkpoint.epoch for checkpoint in store.checkpoints(key) if checkpoint.kind == "best_ap"}
        self._best = next((validation_ap(record, self._overlap) for record in earlier if record.epoch in kept), None)

    def started(self, environment: EnvironmentRecord, counts: Sequence[ParameterCount]) -> None:
        """Keeps the environment and the parameter counts, and tells that the training begins."""
        if self._said:
            environment = replace(environment, command=self._said)
        if self._owner is None:
            self._store.put_parameter_counts(self._key, counts)
            self._store.add_environment(self._key, environment)
        elif not self._store.begin(self._key, self._owner, environment, counts):
            raise NotHeld("another process has taken the run over", where=f"run {self._key[:12]}")
        log.info("training on %s from epoch %d of %d", environment.device, environment.from_epoch, self._epochs)
        self._channel.send(Started(self._key, self._done, self._epochs, self._best))

    def epoch(
        self,
        record: EpochRecord,
        checkpoints: Sequence[CheckpointRecord],
        evaluations: Sequence[EvaluationRecord],
    ) -> None:
        """Commits an epoch with all that belongs to it, then shows it unless it was told before."""
        self._store.commit_epoch(self._key, record, checkpoints, evaluations, self._owner)
        if record.epoch <= self._done:
            return
        self._done = record.epoch
        val_ap = validation_ap(record, self._overlap)
        if any((c.kind, c.epoch) == ("best_ap", record.epoch) for c in checkpoints):
            self._best = val_ap  # of the epoch that is kept as best: not every epoch is compared
        log.info("epoch %d of %d: %s", record.epoch, self._epochs, _numbers(record))
        self._channel.send(epoch_done(self._key, record, self._epochs, self._overlap, self._best))
        self._tell_memory()

    def warning(self, text: str) -> None:
        """Keeps a warning with the run and shows it."""
        line = " ".join(text.split())
        self._store.add_warning(self._key, line)
        log.warning("%s", line)
        self._channel.send(Warned(self._key, line))

    def progress(self, progress: Progress) -> None:
        """Tells where the epoch stands, a few times per second at most."""
        if progress.phase == "train" and progress.step in _MEASURED:
            self._tell_memory()
        epoch, phase, before = self._last
        moment = seconds()
        if (progress.epoch, progress.phase) == (epoch, phase) and moment - before < _PACE:
            return
        self._last = (progress.epoch, progress.phase, moment)
        self._channel.send(progress)

    def _tell_memory(self) -> None:
        """The most the device has set aside for this run so far, when it has grown."""
        torch = sys.modules.get("torch")
        if torch is None or not self._device.startswith("cuda"):
            return
        size = int(torch.cuda.max_memory_reserved(self._device)) + CONTEXT
        if size > self._seen:
            self._seen = size
            self._channel.send(Memory(self._key, size))


def _numbers(record: EpochRecord) -> str:
    metrics = ", ".join(f"{metric.split} {metric.name} {metric.value:.4f}" for metric in record.metrics)
    return f"{record.seconds:.1f} s, lr {record.lr:g}, {metrics}"
