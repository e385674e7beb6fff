"""How long a whole epoch may take, from runs that were tried with a few steps (``steps_per_epoch``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pydantic import ValidationError

from mmad.base.records import EpochRecord, RunRecord
from mmad.spec.architecture import architecture
from mmad.spec.setup import ModelSetup

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
    in the price, so that small trials tell too much rather than too little.

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
            prices.setdefault(_kind(setup), []).extend(epoch.seconds / work for epoch in epochs.get(run.key, ()))
        self._prices = {kind: median(found) for kind, found in prices.items() if found}

    def epoch_seconds(self, setup: ModelSetup, sizes: Sizes) -> float | None:
        """Seconds of one epoch of ``setup`` over ``sizes``, or None where its architecture was not tried."""
        price = self._prices.get(_kind(setup))
        return None if price is None else price * sizes.work


def _kind(setup: ModelSetup) -> str:
    """The architecture; recorded runs have the one name of a backbone that has two."""
    named = {"backbone": "custom1"} if setup.backbone == "custom" else {}
    return architecture(setup.model_copy(update=named))
