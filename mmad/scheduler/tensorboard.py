"""A run's epochs as TensorBoard event files, beside the store and never in its place."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmad.base.errors import MmadError
from mmad.base.recorder import Recorder
from mmad.base.records import (
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    ParameterCount,
    Progress,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


EVENTS = "events.out.tfevents.*"


def require_tensorboard() -> None:
    """Refuses where event files cannot be written; does not load torch.

    Raises:
        MmadError: the package tensorboard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise MmadError(
            "the package tensorboard is not installed",
            where="--tensorboard",
            hint="pip install 'mmad[tensorboard]', or leave the option out",
        )


class TensorBoardRecorder:
    """Implements ``mmad.base.recorder.Recorder``: passes everything on to ``recorder``, then writes scalars per epoch.

    Tags are ``NAME/SPLIT``, such as ``loss/train`` or ``ap_iou/val``, and ``lr``, ``seconds``, ``peak_memory``
    (bytes); the step is the epoch, from 1. The event files of an earlier stretch are written anew from what the
    store holds, so that each epoch is in them once, also after a kill, and also where the option was not given
    from the beginning. A file that cannot be written is a warning of the run, which is then trained without.

    Args:
        recorder: what comes first, and counts.
        folder: of the run's event files.
        earlier: the epochs that were committed before.

    Raises:
        MmadError: the package tensorboard is not installed.
    """

    def __init__(self, recorder: Recorder, folder: Path, earlier: Sequence[EpochRecord] = ()) -> None:
        require_tensorboard()
        self._recorder = recorder
        self._folder = folder
        self._earlier = tuple(earlier)
        self._written: set[int] = set()
        self._writer: SummaryWriter | None = None
        self._broken = False

    def started(self, environment: EnvironmentRecord, counts: Sequence[ParameterCount]) -> None:
        """Passes on where and with what the run is trained, and writes the epochs it has already."""
        self._recorder.started(environment, counts)
        self._write(self._earlier)

    def epoch(
        self,
        record: EpochRecord,
        checkpoints: Sequence[CheckpointRecord],
        evaluations: Sequence[EvaluationRecord],
    ) -> None:
        """Passes on an epoch, then writes its scalars unless they are there."""
        self._recorder.epoch(record, checkpoints, evaluations)
        self._write((*self._earlier, record))

    def warning(self, text: str) -> None:
        self._recorder.warning(text)

    def progress(self, progress: Progress) -> None:
        self._recorder.progress(progress)

    def close(self) -> None:
        """Lets go of the file; every epoch is on disk already."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, records: Sequence[EpochRecord]) -> None:
        """Writes those of ``records`` that are not written yet, to the disk before it returns."""
        if self._broken:
            return
        try:
            writer = self._writer = self._writer or self._begun()
            for record in records:
                if record.epoch not in self._written:
                    self._written.add(record.epoch)
                    for tag, value in scalars(record):
                        writer.add_scalar(tag, value, record.epoch)
            writer.flush()
        except (OSError, ImportError) as error:  # ImportError: a tensorboard that does not fit its own needs
            self._broken = True
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            self.warning(f"TensorBoard's event files cannot be written ({reason}): {self._folder}")

    def _begun(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        for file in self._folder.glob(EVENTS):
            file.unlink()
        return SummaryWriter(str(self._folder), max_queue=1000)


def scalars(record: EpochRecord) -> list[tuple[str, float]]:
    """What is written of one epoch: tag and value."""
    own = [("lr", record.lr), ("seconds", record.seconds), ("peak_memory", float(record.peak_memory))]
    return own + [(f"{metric.name}/{metric.split}", metric.value) for metric in record.metrics]
