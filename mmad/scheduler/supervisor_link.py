"""The link between a worker and its scheduler: one JSON line each, over the worker's standard input and output.

The scheduler says what to train, to stop, or to quit; the worker says how far it is. The format is private to one
version of mmad. What ends a worker from outside is here too: its scheduler's word, a signal, the scheduler's death.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import os
import queue
import select
import signal
import stat
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic_core import to_jsonable_python

from mmad.base.records import EpochRecord, Progress

#: How a training ends; ``stopped`` is by hand, for good.
AttemptOutcome = Literal["finished", "interrupted", "failed", "stopped"]
#: Why a failed run is worth a retry: alone on its device, or a little later.
Retry = Literal["memory", "transient"]

#: Seconds a worker without a scheduler has to reach a safe point before it vanishes.
ORPHAN_GRACE = 1.0
#: Seconds a message may wait for a scheduler that does not read (one that was suspended, say).
_PATIENCE = 5.0
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """The worker holds the run and begins to train it, after ``epochs_done`` epochs done earlier."""

    key: str
    epochs_done: int
    epochs: int
    best_val_ap: float | None = None
    type: Literal["started"] = field(default="started", kw_only=True)


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
    type: Literal["epoch"] = field(default="epoch", kw_only=True)

    @classmethod
    def of(cls, key: str, record: EpochRecord, epochs: int, overlap: str, best: float | None) -> EpochDone:
        """The message of a committed epoch; ``best`` is the validation AP of the best epoch so far."""
        return cls(
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


@dataclass(frozen=True)
class Warned:
    """Something the reader of the results should know; it is in the store too."""

    key: str
    text: str
    type: Literal["warning"] = field(default="warning", kw_only=True)


@dataclass(frozen=True)
class Memory:
    """The memory of its device that the run was seen to take, in bytes; ``whole`` with an evaluation."""

    key: str
    size: int
    whole: bool = True
    type: Literal["memory"] = field(default="memory", kw_only=True)


@dataclass(frozen=True)
class Shortage:
    """A GPU at the moment when a run found no memory there, in bytes.

    ``needed`` is what the run held and asked for, ``others`` what other processes held, of ``total``.
    """

    needed: int
    others: int
    total: int


@dataclass(frozen=True)
class Ended:
    """The worker is done with the run; ``error`` is one line when it failed, ``retry`` says what may save it.

    ``shortage`` says what was missing where that was memory of a GPU.

    ``taken`` means that another process trains the run, or that it is no longer queued. ``idle`` says that the worker
    waits for another request; else it is about to exit. ``recorded`` says that the store has it, so that the
    scheduler need not see to that.
    """

    key: str
    status: AttemptOutcome | Literal["taken"]
    error: str | None = None
    retry: Retry | None = None
    idle: bool = False
    recorded: bool = False
    shortage: Shortage | None = None
    type: Literal["end"] = field(default="end", kw_only=True)


Message = Started | Progress | EpochDone | Warned | Memory | Ended


@dataclass(frozen=True)
class TrainRequest:
    """One run to train.

    Args:
        database: the SQLite file or URL the run is queued in.
        key: the run's whole key.
        device: torch's name of the device, of several with commas between them.
        data: where the data set lies now; None where the store says.
        command_line: what the user typed, recorded with the run.
        checkpoint_every: steps between two checkpoints within an epoch; None for none.
        tensorboard: write TensorBoard event files beside the checkpoints.
        resume: requeue the run first where an earlier worker was interrupted in it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    database: str
    key: str
    device: str = "cpu"
    data: Path | None = None
    weights_dir: Path | None = None
    command_line: str = ""
    checkpoint_every: int | None = None
    tensorboard: bool = False
    resume: bool = False

    @property
    def first_device(self) -> str:
        """The device of this worker's own process."""
        return self.device.split(",")[0]


#: What a scheduler asks of a worker: to train a run, to stop at its next safe point, to quit once it is idle.
WorkerRequest = TrainRequest | Literal["stop", "quit"]

_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])
_REQUESTS: TypeAdapter[WorkerRequest] = TypeAdapter(WorkerRequest)
_T = TypeVar("_T")


def encode(line: Message | WorkerRequest) -> str:
    """A message or a request as one line of JSON, without its end; a number that is not finite becomes null.

    The line is ASCII: it may hold file names that are no UTF-8, which pydantic's own JSON refuses.
    """
    return json.dumps(to_jsonable_python(line, inf_nan_mode="null"))


def decode_message(line: str) -> Message | None:
    """The message of one line, or None when the line is none (unknown fields are dropped)."""
    return _decode(_MESSAGES, line)


def decode_request(line: str) -> WorkerRequest | None:
    """The request of one line, or None when the line is none."""
    return _decode(_REQUESTS, line)


def _decode(adapter: TypeAdapter[_T], line: str) -> _T | None:
    try:
        return adapter.validate_python(json.loads(line))
    except ValueError:  # pydantic's ValidationError is a ValueError
        return None


def validation_ap(record: EpochRecord, overlap: str) -> float | None:
    """The epoch's AP on the validation split at ``overlap`` (iou, iobb); None where there is none."""
    value = record.value("val", f"ap_{overlap}")
    return None if value is None or math.isnan(value) else value


class StopFlag(threading.Event):
    """Whether the training should stop at its next safe point; calling it gives the answer.

    ``set`` asks for the stop; it is safe from any thread and from a signal handler.
    """

    def __call__(self) -> bool:
        return self.is_set()


class SupervisorLink:
    """A worker's side: what it says to its scheduler and hears of it: requests, the stop, the scheduler's end.

    A message that cannot be delivered is dropped: the truth is in the store. That a run ended is not: a scheduler
    that was suspended would wait for it for ever.

    Args:
        descriptor: where messages go.
        patience: seconds that another message may wait.
    """

    def __init__(self, descriptor: int, *, patience: float = _PATIENCE) -> None:
        self.stop = StopFlag()
        self._descriptor = descriptor
        self._patience = patience
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[TrainRequest | None] = queue.SimpleQueue()

    @classmethod
    def on_stdout(cls) -> SupervisorLink:
        """The link over this process's standard output; to be taken before output is diverted."""
        sys.stdout.flush()
        return cls(os.dup(1))

    def send(self, message: Message) -> None:
        """Writes ``message``; a ``Progress`` is dropped at once when the pipe is full."""
        line = f"{encode(message)}\n".encode()
        with self._lock:
            try:
                wait = 0.0 if isinstance(message, Progress) else None if isinstance(message, Ended) else self._patience
                if select.select([], [self._descriptor], [], wait)[1]:
                    os.write(self._descriptor, line)
            except (OSError, ValueError):
                return

    def listen(self) -> None:
        """Lets SIGTERM and the scheduler's word set ``stop``; the terminal's Ctrl-C is the scheduler's business.

        When the scheduler is gone (the pipe on standard input is closed), the process sets ``stop`` too and exits
        ``ORPHAN_GRACE`` seconds later, wherever it is: the next claim finds its run without an owner.
        """

        def stop(signum: int, frame: FrameType | None) -> None:
            self._stop()

        signal.signal(signal.SIGTERM, stop)
        if not _piped(0):  # started by hand: nobody to listen to but the terminal
            signal.signal(signal.SIGINT, stop)
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._follow, args=(os.dup(0),), name="supervisor-link", daemon=True).start()

    def next_request(self) -> TrainRequest | None:
        """Waits for the next run to train; None when there are no more."""
        return self._requests.get()

    def _follow(self, descriptor: int) -> None:
        """Reads the scheduler's lines with plain reads: a buffered stream would hold a lock at the exit."""
        rest = b""
        while True:
            try:
                chunk = os.read(descriptor, 1 << 16)
            except OSError:
                chunk = b""
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._handle(decode_request(line.decode("utf-8", "replace")))
        log.warning("the scheduler is gone: stopping")
        self._stop()
        time.sleep(ORPHAN_GRACE)
        log.warning("still not at a safe point %.1f s later: exiting", ORPHAN_GRACE)
        os._exit(1)

    def _handle(self, request: WorkerRequest | None) -> None:
        match request:
            case "stop":
                log.info("asked to stop at the next safe point")
                self._stop()
            case "quit":
                self._requests.put(None)
            case TrainRequest():
                self._requests.put(request)

    def _stop(self) -> None:
        self.stop.set()
        self._requests.put(None)


def die_with_parent(number: signal.Signals) -> None:
    """Has Linux send this process ``number`` when its parent dies; elsewhere the closed pipe must do."""
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    except (OSError, AttributeError):
        return


def _piped(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
