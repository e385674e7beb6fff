"""One attempt at one run: what its row says, its training, and its failure in one line."""

from __future__ import annotations

import errno
import itertools
import logging
import signal
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mmad.base.errors import CheckpointError, MmadError, SpecError, StoreError
from mmad.base.paths import StorePaths
from mmad.base.recorder import Recorder
from mmad.base.records import RunRecord
from mmad.queue.lifeline import StopRequest, die_with_parent
from mmad.queue.messages import Cause, Outcome
from mmad.queue.orders import Order
from mmad.queue.recorder import StoreRecorder
from mmad.queue.runlog import Channel
from mmad.queue.tensorboard import TensorBoardRecorder
from mmad.spec.protocol import TrainingProtocol
from mmad.spec.runs import RECIPE, DataSource, RunSpec
from mmad.spec.setup import ModelSetup
from mmad.store.claims import NotHeld
from mmad.store.gateway import Store
from mmad.store.owner import Owner

log = logging.getLogger(__name__)

#: Failures of the system that another attempt may not meet.
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH})


@dataclass(frozen=True)
class Result:
    """How an attempt ended; ``error`` is one line, ``cause`` says whether another attempt may help."""

    outcome: Outcome
    error: str | None = None
    cause: Cause | None = None


def attempt(order: Order, record: RunRecord, store: Store, channel: Channel, stop: StopRequest) -> Result:
    """Trains, and puts any failure into one line; its traceback goes to the log.

    Raises:
        NotHeld: another process has taken the run over.
    """
    try:
        return Result(train_run(order, record, store, channel, stop))
    except NotHeld:
        raise
    except MmadError as error:
        log.error("%s", error)
        return Result("failed", one_line(error), "passing" if isinstance(error, StoreError) else None)
    except Exception as error:
        log.exception("the training failed")
        line = failure_line(error, order.device, StorePaths(order.database).run(order.key).log)
        return Result("failed", line, cause_of(error))


def train_run(order: Order, record: RunRecord, store: Store, channel: Channel, stop: StopRequest) -> Outcome:
    """The training itself, recorded in ``store``."""
    spec = run_spec(record, order.data)
    if stop():
        return "interrupted"
    import torch

    from mmad.training.trainer import train

    die_with_parent(signal.SIGTERM)
    torch.set_num_threads(spec.protocol.threads)
    recorder = StoreRecorder(
        store,
        channel,
        key=order.key,
        epochs=spec.protocol.epochs,
        overlap=spec.protocol.selection_overlap,
        said=order.said,
        owner=Owner.current(),
        device=order.device,
    )
    run = StorePaths(order.database).run(order.key)
    if (aside := set_aside(store, order.key)) is not None:
        recorder.warning(f"checkpoints of epochs this database does not hold were moved to {aside}; trained anew")
    told: Recorder = recorder
    if order.tensorboard:
        told = TensorBoardRecorder(recorder, run.tensorboard, store.epochs(order.key))
    return train(
        spec,
        dataset_path=Path(spec.data.path),
        run=run,
        recorder=told,
        device=order.device,
        stop=stop,
        weights_dir=order.weights_dir,
        checkpoint_every=order.checkpoint_every,
    )


def run_spec(record: RunRecord, data: Path | None = None) -> RunSpec:
    """The specification that a row of the store was made of; ``data`` overrides where the data set lies.

    Raises:
        SpecError: the row is of another recipe, or its content no longer gives its key.
    """
    if record.recipe != RECIPE:
        raise SpecError(
            f"queued under recipe {record.recipe}, this version trains recipe {RECIPE}",
            where=f"run {record.key[:12]}",
            mend="give the ablation file to mmad ablate again, which queues it anew",
        )
    source = DataSource(str(data or record.dataset_path), record.dataset_name, record.dataset_fingerprint)
    try:
        setup = ModelSetup.model_validate(dict(record.setup))
        protocol = TrainingProtocol.model_validate(dict(record.protocol))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SpecError(f"{place}: {first['msg']}", where=f"run {record.key[:12]}") from error
    spec = RunSpec(setup, protocol, source, record.recipe)
    if spec.key != record.key:
        raise SpecError(
            "its stored setup and protocol do not give its key",
            where=f"run {record.key[:12]}",
            mend="the row was edited, or written by another version; queue the ablation file again",
        )
    return spec


def set_aside(store: Store, key: str) -> Path | None:
    """Moves a run's checkpoints away when they go on after epochs that ``store`` lacks; where to, or None.

    A training goes on after its newest checkpoint, which may carry one epoch the store has not: the one a kill
    kept from it. Later ones are another database's (a deleted one, or a newer copy), and their epochs would
    never be recorded here.
    """
    run = store.run_paths(key)
    recorded = {record.epoch for record in store.epochs(key)}
    whole = next(epoch for epoch in range(len(recorded) + 1) if epoch + 1 not in recorded)
    if not run.checkpoints_after(whole + 1):
        return None
    aside = next(
        folder
        for number in itertools.count(1)
        if not (folder := run.checkpoints.with_name(f"{run.checkpoints.name}.unknown-{number}")).exists()
    )
    try:
        run.checkpoints.rename(aside)
    except OSError as error:
        raise CheckpointError(
            f"checkpoints of another database cannot be moved away ({error.strerror})",
            where=run.checkpoints,
            mend="move them by hand, then run the command again",
        ) from error
    return aside


def failure_line(error: Exception, device: str, run_log: Path) -> str:
    """One line for a failure that is no ``MmadError``: what to change where that is known, else the log's place."""
    text = one_line(error)
    if _out_of_memory(error, text):
        brief = text.split(". ")[0][:160]
        return f"out of memory on {device} ({brief}); lower batch_size or image_size, or free memory (log: {run_log})"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{text}; free space on that disk and run the command again (log: {run_log})"
    return f"{type(error).__name__}: {text} (log: {run_log})"


def cause_of(error: Exception) -> Cause | None:
    """Whether another attempt may help: alone on the device, a little later, or not at all."""
    if _out_of_memory(error, one_line(error)):
        return "memory"
    return "passing" if isinstance(error, OSError) and error.errno in _PASSING else None


def one_line(error: Exception) -> str:
    """An exception's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def _out_of_memory(error: Exception, text: str) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(word in text for word in words)
