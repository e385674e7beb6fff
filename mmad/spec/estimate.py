"""How long a run will take, from how long runs like it took per epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from mmad.base.records import EpochRecord, RunRecord
from mmad.spec.runs import RunSpec
from mmad.spec.trials import Sizes, Trials

#: Fields of the setup that decide most of an epoch's time.
_TELLING = ("backbone", "image_size", "batch_size", "use_clinical", "using_fpn", "record_training_performance")
#: And those of the training protocol; a trial of a few steps says nothing of a whole epoch.
_ALSO_TELLING = ("threads", "steps_per_epoch")


def _kind(setup: Mapping[str, Any], fingerprint: str | None, protocol: Mapping[str, Any]) -> tuple[object, ...]:
    return (*map(setup.get, _TELLING), fingerprint, *map(protocol.get, _ALSO_TELLING))


class Estimator:
    """Seconds per epoch of recorded runs, by what decides them most.

    Args:
        runs: the recorded runs.
        epochs: the epochs of each, by key.
        trials: what tells where no run like it was recorded.
    """

    def __init__(
        self,
        runs: Iterable[RunRecord],
        epochs: Mapping[str, Sequence[EpochRecord]],
        trials: Trials | None = None,
    ) -> None:
        self._trials = trials
        times: dict[tuple[object, ...], list[float]] = {}
        for run in runs:
            kind = _kind(run.setup, run.dataset_fingerprint, run.protocol)
            times.setdefault(kind, []).extend(epoch.seconds for epoch in epochs.get(run.key, ()))
        self._seconds = {kind: median(seconds) for kind, seconds in times.items() if seconds}

    def seconds(self, run: RunSpec, epochs_done: int = 0, sizes: Sizes | None = None) -> float | None:
        """Seconds until ``run`` is done, or None when no run like it was recorded (early stops not foreseen).

        With the ``sizes`` of its data set a trial of its architecture tells too.
        """
        content = run.content()
        per_epoch = self._seconds.get(_kind(content["setup"], run.data.fingerprint, content["protocol"]))
        if per_epoch is None and sizes is not None and self._trials is not None:
            per_epoch = self._trials.epoch_seconds(run.setup, sizes)
        return None if per_epoch is None else per_epoch * max(0, run.protocol.epochs - epochs_done)
