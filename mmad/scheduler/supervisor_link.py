"""What ends a worker from outside: its scheduler's word, a signal, or the scheduler's death."""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import math
import os
import queue
import signal
import stat
import sys
import threading
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from mmad.base.json import to_json_value
from mmad.base.records import EpochRecord, Progress

# What a worker says to its scheduler: one JSON object per line on its standard output.


#: The line on a worker's standard input that asks it to stop at its next safe point.
STOP = "stop"

#: The line that lets an idle worker go.
QUIT = "quit"

#: How a training ends; ``stopped`` is by hand, for good.
AttemptOutcome = Literal["finished", "interrupted", "failed", "stopped"]
#: Why a run failed that another attempt may save: alone on its device, or a little later.
Cause = Literal["memory", "passing"]
#: How a worker ends; ``taken`` means that another process trains the run, or that it is no longer queued.
End = AttemptOutcome | Literal["taken"]


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
    return json.dumps({"type": _NAMES[type(message)], **to_json_value(message)}, ensure_ascii=True, allow_nan=False)


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


# What a worker is told to train: on its command line, or as a line of JSON on its standard input.


@dataclass(frozen=True)
class TrainRequest:
    """One run to train.

    Args:
        database: the SQLite file or URL the run is queued in.
        key: the run's whole key.
        device: torch's name of the device.
        data: where the data set lies now; None where the store says.
        said: what the user typed, kept with the run.
        checkpoint_every: steps between two checkpoints within an epoch; None for none.
        tensorboard: write TensorBoard event files beside the checkpoints.
        again: go on with the run where an earlier worker was interrupted, without anybody's queueing it.
    """

    database: str
    key: str
    device: str = "cpu"
    data: Path | None = None
    weights_dir: Path | None = None
    said: str = ""
    checkpoint_every: int | None = None
    tensorboard: bool = False
    again: bool = False

    def line(self) -> str:
        """The order as a line of JSON, without its end."""
        return json.dumps({name: _plain(value) for name, value in asdict(self).items()})

    @classmethod
    def of_line(cls, line: str) -> TrainRequest | None:
        """The order of a line, or None when it is none."""
        try:
            content: dict[str, Any] = json.loads(line)
            for name in ("data", "weights_dir"):
                content[name] = None if content[name] is None else Path(content[name])
            return cls(**content)
        except (ValueError, TypeError, KeyError):
            return None

    def words(self) -> list[str]:
        """The order as the options of a worker's command line."""
        words = ["--db", self.database, "--key", self.key, "--device", self.device]
        for option, value in (
            ("--data", self.data),
            ("--weights-dir", self.weights_dir),
            ("--said", self.said or None),
            ("--checkpoint-every", self.checkpoint_every),
        ):
            words += [option, str(value)] if value is not None else []
        words += ["--tensorboard"] if self.tensorboard else []
        return [*words, "--again"] if self.again else words


@dataclass(frozen=True)
class Task:
    """What a worker's command line says: one order, or to wait for orders on standard input."""

    order: TrainRequest | None


def parse(arguments: list[str]) -> Task:
    """The task on the command line; exits with 2 and a line of usage when it is none."""
    parser = argparse.ArgumentParser(prog="python -m mmad.scheduler.worker", description="Train queued runs.")
    parser.add_argument("--serve", action="store_true", help="wait for orders on standard input")
    parser.add_argument("--db", help="database the run is queued in")
    parser.add_argument("--key", help="the run's full key")
    parser.add_argument("--device", default="cpu", help="torch device, such as cpu or cuda:0")
    parser.add_argument("--data", type=Path, help="where the data set lies now")
    parser.add_argument("--weights-dir", type=Path, help="folder of pretrained weights")
    parser.add_argument("--said", default="", help="the command line to keep with the run")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="checkpoint within epochs too")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard event files")
    parser.add_argument("--again", action="store_true", help="go on with a run that was interrupted")
    given = parser.parse_args(arguments)
    if given.serve:
        return Task(None)
    if given.db is None or given.key is None:
        parser.error("name the run with --db and --key")
    return Task(
        TrainRequest(
            given.db,
            given.key,
            given.device,
            given.data,
            given.weights_dir,
            given.said,
            given.checkpoint_every,
            given.tensorboard,
            given.again,
        )
    )


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


#: Seconds a worker without a scheduler has to reach a safe point before it vanishes.
ORPHAN_GRACE = 1.0
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


class StopRequest:
    """Whether the training should stop at its next safe point; calling it gives the answer."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        """Asks the training to stop; safe from any thread and from a signal handler."""
        self._asked.set()


class SupervisorLink:
    """What a worker hears of its scheduler: orders, the word to stop, and the scheduler's end."""

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop
        self._orders: queue.SimpleQueue[TrainRequest | None] = queue.SimpleQueue()

    def listen(self) -> None:
        """Lets SIGTERM and the scheduler's word ask ``stop``; the terminal's Ctrl-C is the scheduler's business.

        When the scheduler is gone (the pipe on standard input is closed), the process asks ``stop`` too and
        exits ``ORPHAN_GRACE`` seconds later, wherever it stands: the next claim finds its run without an owner.
        """

        def asked(signum: int, frame: FrameType | None) -> None:
            self.stop.ask()
            self._orders.put(None)

        signal.signal(signal.SIGTERM, asked)
        if not _piped(0):  # started by hand: nobody to listen to but the terminal
            signal.signal(signal.SIGINT, asked)
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._follow, args=(os.dup(0),), name="lifeline", daemon=True).start()

    def next_order(self) -> TrainRequest | None:
        """Waits for the next order; None when there are no more."""
        return self._orders.get()

    def _follow(self, descriptor: int) -> None:
        """Reads the scheduler's words with plain reads: a buffered stream would hold a lock at the exit."""
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
                self._hear(line.decode("utf-8", "replace"))
        log.warning("the scheduler is gone: stopping")
        self.stop.ask()
        self._orders.put(None)
        time.sleep(ORPHAN_GRACE)
        log.warning("still not at a safe point %.1f s later: exiting", ORPHAN_GRACE)
        os._exit(1)

    def _hear(self, line: str) -> None:
        if line == STOP:
            log.info("asked to stop at the next safe point")
            self.stop.ask()
            self._orders.put(None)
        elif line == QUIT:
            self._orders.put(None)
        elif (order := TrainRequest.of_line(line)) is not None:
            self._orders.put(order)


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
