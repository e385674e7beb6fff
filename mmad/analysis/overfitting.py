"""Where a training began to overfit, by one rule that anyone can check on the curves.

The rule: the validation loss has its lowest value at epoch *e* (the last one, if several are equal); at least
five epochs follow; and over the last third of those that follow the mean validation loss lies at least 2 %
above that lowest value, while the mean training loss lies below its value at *e*. Then the validation loss turned
for good at *e*, and what was learned after it was the training set. Otherwise there is no onset.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from mmad.analysis.frames import RunFrame
from mmad.base.formatting import MINUS

#: Epochs that must follow the lowest validation loss, and by how much the loss must have risen in the end.
LEAST_AFTER, RISE = 5, 0.02


@dataclass(frozen=True)
class Onset:
    """The epoch of the turn, and how far validation and training loss went from there (shares of their value)."""

    epoch: int
    rise: float
    fall: float


def onset(epochs: Sequence[int], training: Sequence[float | None], validation: Sequence[float | None]) -> Onset | None:
    """The turn by the rule above, or None. Epochs that lack a finite loss of either split are left out."""
    rows = [
        (epoch, t, v)
        for epoch, t, v in zip(epochs, training, validation, strict=True)
        if t is not None and v is not None and math.isfinite(t) and math.isfinite(v)
    ]
    if not rows:
        return None
    lowest = min(v for _, _, v in rows)
    place = max(n for n, (_, _, v) in enumerate(rows) if v == lowest)
    epoch, learned, _ = rows[place]
    after = rows[place + 1 :]
    if len(after) < LEAST_AFTER or lowest <= 0 or learned <= 0:
        return None
    end = after[-math.ceil(len(after) / 3) :]
    rise = fmean(v for _, _, v in end) / lowest - 1
    fall = 1 - fmean(t for _, t, _ in end) / learned
    return Onset(epoch, rise, fall) if rise >= RISE and fall > 0 else None


def onset_of(run: RunFrame) -> Onset | None:
    """The turn of a run's total loss."""
    rows = run.epochs
    return onset(
        [e.epoch for e in rows],
        run.curves.get(("train", "loss"), (None,) * len(rows)),
        run.curves.get(("val", "loss"), (None,) * len(rows)),
    )


def lowest_loss(run: RunFrame) -> int | None:
    """The epoch of the lowest validation loss (the last of several), or None."""
    losses = run.curves.get(("val", "loss"), ())
    known = [
        (loss, -e.epoch)
        for e, loss in zip(run.epochs, losses, strict=False)
        if loss is not None and math.isfinite(loss)
    ]
    return -min(known)[1] if known else None


def onset_words(found: Onset | None) -> str:
    """``from epoch 14: validation loss +12 %, training loss −8 % by the end``, or that none is seen."""
    if found is None:
        return "none seen"
    rise, fall = (f"{100 * share:.0f} %" for share in (found.rise, found.fall))
    return f"from epoch {found.epoch}: validation loss +{rise}, training loss {MINUS}{fall} by the end"
