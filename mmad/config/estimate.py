"""How long a run will take: from runs like it, or from trials of a few steps (``steps_per_epoch``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from pydantic import ValidationError

from mmad.base.records import EpochRecord, RunRecord
from mmad.config.field_effects import affecting
from mmad.config.protocol import TrainingProtocol
from mmad.config.runs import RunSpec
from mmad.config.setup import ModelSetup

#: How many evaluated images one trained image costs: forward, and twice that backward.
TRAINED = 3


@dataclass(frozen=True)
class Sizes:
    """How many images a data set's splits hold."""

    train: int
    val: int
    test: int

    @property
    def work(self) -> int:
        """An epoch in evaluated images."""
        return TRAINED * self.train + self.val + self.test


class Trials:
    """Seconds per evaluated image of runs that were tried, by architecture.

    The rule: an epoch of ``steps_per_epoch`` batches looked at so many images of each split; a trained image counts
    as three evaluated ones; a whole epoch costs its images at that price. What a step costs beside its images is
    in the price, so that small trials give too much rather than too little.

    Args:
        runs: recorded runs; those without ``steps_per_epoch`` are passed over.
        epochs: the epochs of each, by key.
    """

    def __init__(self, runs: Iterable[RunRecord], epochs: Mapping[str, Sequence[EpochRecord]]) -> None:
        prices: dict[str, list[float]] = {}
        for run in runs:
            steps = run.protocol.get("steps_per_epoch")
            try:
                setup = ModelSetup.model_validate(dict(run.setup))
            except ValidationError:  # written by another version
                continue
            if steps is None:
                continue
            seen = steps * setup.batch_size
            work = Sizes(seen, seen, seen).work
            prices.setdefault(_run_kind(setup), []).extend(epoch.seconds / work for epoch in epochs.get(run.key, ()))
        self._prices = {kind: median(found) for kind, found in prices.items() if found}

    def epoch_seconds(self, setup: ModelSetup, sizes: Sizes) -> float | None:
        """Seconds of one epoch of ``setup`` over ``sizes``, or None where its architecture was not tried."""
        price = self._prices.get(_run_kind(setup))
        return None if price is None else price * sizes.work


def _run_kind(setup: ModelSetup) -> str:
    """The architecture; recorded runs have the one name of a backbone that has two."""
    named = {"backbone": "custom1"} if setup.backbone == "custom" else {}
    return setup.model_copy(update=named).part("architecture")


def _kind(setup: Mapping[str, Any], fingerprint: str | None, protocol: Mapping[str, Any]) -> str:
    """What decides an epoch's time; a trial of a few steps says nothing of a whole epoch."""
    fields = [setup.get(name) for name in affecting(ModelSetup, "speed")]
    return json.dumps([fields, fingerprint, [protocol.get(name) for name in affecting(TrainingProtocol, "speed")]])


class Estimator:
    """Seconds per epoch of recorded runs, by what decides them most.

    Args:
        runs: the recorded runs.
        epochs: the epochs of each, by key.
        trials: asked where no run like it was recorded.
    """

    def __init__(
        self,
        runs: Iterable[RunRecord],
        epochs: Mapping[str, Sequence[EpochRecord]],
        trials: Trials | None = None,
    ) -> None:
        self._trials = trials
        times: dict[str, list[float]] = {}
        for run in runs:
            kind = _kind(run.setup, run.dataset_fingerprint, run.protocol)
            times.setdefault(kind, []).extend(epoch.seconds for epoch in epochs.get(run.key, ()))
        self._seconds = {kind: median(seconds) for kind, seconds in times.items() if seconds}

    def seconds(self, run: RunSpec, epochs_done: int = 0, sizes: Sizes | None = None) -> float | None:
        """Seconds until ``run`` is done, or None when no run like it was recorded (early stops not foreseen).

        With the ``sizes`` of its data set a trial of its architecture will do.
        """
        setup, protocol = run.recorded()
        per_epoch = self._seconds.get(_kind(setup, run.data.fingerprint, protocol))
        if per_epoch is None and sizes is not None and self._trials is not None:
            per_epoch = self._trials.epoch_seconds(run.setup, sizes)
        return None if per_epoch is None else per_epoch * max(0, run.protocol.epochs - epochs_done)
