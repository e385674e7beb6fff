"""What a worker says to its scheduler: one JSON object per line on its standard output."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from mmad.base.records import EpochRecord, Progress

#: The line on a worker's standard input that asks it to stop at its next safe point.
STOP = "stop"

#: The line that lets an idle worker go.
QUIT = "quit"

#: How a training ends; ``stopped`` is by hand, for good.
Outcome = Literal["finished", "interrupted", "failed", "stopped"]
#: Why a run failed that another attempt may save: alone on its device, or a little later.
Cause = Literal["memory", "passing"]
#: How a worker ends; ``taken`` means that another process trains the run, or that it is no longer queued.
End = Outcome | Literal["taken"]


@dataclass(frozen=True)
class Started:
    """The worker holds the run and begins to train it, after ``epochs_done`` epochs done earlier."""

    key: str
    epochs_done: int
    epochs: int
    best_val_ap: float | None = None


@dataclass(frozen=True)
class EpochDone:
    """One epoch is committed; losses are means of the epoch, ``seconds`` its wall time."""

    key: str
    epoch: int
    epochs: int
    seconds: float
    lr: float
    train_loss: float | None = None
    val_loss: float | None = None
    val_ap: float | None = None
    best_val_ap: float | None = None
    test_ap: float | None = None


@dataclass(frozen=True)
class Warned:
    """Something the reader of the results should know; it is in the store too."""

    key: str
    text: str


@dataclass(frozen=True)
class Ended:
    """The worker is done with the run; ``error`` is one line when it failed.

    ``stays`` says that the worker waits for another order; else it is about to exit. ``recorded`` says that the
    store has it, so that the scheduler need not see to that.
    """

    key: str
    status: End
    error: str | None = None
    cause: Cause | None = None
    stays: bool = False
    recorded: bool = False


@dataclass(frozen=True)
class Memory:
    """What the run was seen to need of its device, in bytes."""

    key: str
    size: int


def validation_ap(record: EpochRecord, overlap: str) -> float | None:
    """The epoch's AP on the validation split at ``overlap`` (iou, iobb); None where there is none."""
    value = record.value("val", f"ap_{overlap}")
    return None if value is None or math.isnan(value) else value


def epoch_done(key: str, record: EpochRecord, epochs: int, overlap: str, best: float | None) -> EpochDone:
    """What is told of a committed epoch; ``best`` is the validation AP of the epoch that is kept as best."""
    return EpochDone(
        key=key,
        epoch=record.epoch,
        epochs=epochs,
        seconds=record.seconds,
        lr=record.lr,
        train_loss=record.value("train", "loss"),
        val_loss=record.value("val", "loss"),
        val_ap=validation_ap(record, overlap),
        best_val_ap=best,
        test_ap=record.value("test", f"ap_{overlap}"),
    )


Message = Started | Progress | EpochDone | Warned | Memory | Ended

_KINDS: dict[str, type[Message]] = {
    "started": Started,
    "progress": Progress,
    "epoch": EpochDone,
    "warning": Warned,
    "memory": Memory,
    "end": Ended,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode(message: Message) -> str:
    """``message`` as one line of JSON, without the line's end; a number that is not finite becomes null."""
    content = {name: _finite(value) for name, value in asdict(message).items()}
    return json.dumps({"type": _NAMES[type(message)], **content}, ensure_ascii=True, allow_nan=False)


def decode(line: str) -> Message | None:
    """The message of one line, or None when the line is not one (unknown fields are dropped)."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    kind = _KINDS.get(content.pop("type", "")) if isinstance(content, dict) else None
    if kind is None:
        return None
    known = {field.name for field in fields(kind)}
    try:
        return kind(**{name: value for name, value in content.items() if name in known})
    except TypeError:
        return None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
