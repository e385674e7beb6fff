"""What a training reports: implemented over the store by a worker, over a list by a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mmad.base.records import (
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    ParameterCount,
    Progress,
)


class Recorder(Protocol):
    """Receives what a training measured, in the order it happened.

    ``epoch`` is called after the epoch's checkpoint is safely on disk; calling it again with the same
    epoch must change nothing. ``progress`` may be dropped.
    """

    def started(self, environment: EnvironmentRecord, counts: Sequence[ParameterCount]) -> None: ...

    def epoch(
        self,
        record: EpochRecord,
        checkpoints: Sequence[CheckpointRecord],
        evaluations: Sequence[EvaluationRecord],
    ) -> None: ...

    def warning(self, text: str) -> None: ...

    def progress(self, progress: Progress) -> None: ...
