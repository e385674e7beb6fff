"""A process that trains runs: one of its command line, or one after the other as a scheduler orders them.

    python -m mmad.scheduler.worker --db FILE --key KEY --device cpu
    python -m mmad.scheduler.worker --serve

Speaks JSON lines (``mmad.scheduler.supervisor_link``) on its standard output; everything else goes to the run's log. It
trains another run only after one that finished: never after an exception, nor in the middle of something.
"""

from __future__ import annotations

import errno
import gc
import itertools
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from pydantic import ValidationError

from mmad.base.clock import seconds
from mmad.base.errors import CheckpointError, MmadError, SpecError, StoreError
from mmad.base.formatting import short_key
from mmad.base.paths import StorePaths
from mmad.base.recorder import Recorder
from mmad.base.records import (
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    ParameterCount,
    Progress,
    RunRecord,
)
from mmad.config.protocol import TrainingProtocol
from mmad.config.runs import RECIPE, DataSource, RunSpec
from mmad.config.setup import ModelSetup
from mmad.scheduler.run_log import Channel, divert_output, open_channel
from mmad.scheduler.supervisor_link import (
    AttemptOutcome,
    Cause,
    Ended,
    Memory,
    Started,
    StopRequest,
    SupervisorLink,
    TrainRequest,
    Warned,
    die_with_parent,
    epoch_done,
    parse,
    validation_ap,
)
from mmad.scheduler.tensorboard import TensorBoardRecorder
from mmad.store.claims import STOPPED, NotHeld, Owner
from mmad.store.store import Store

# The recorder of a worker: into the store first, then to the scheduler.


#: Seconds between two progress messages of one phase.
_PACE = 0.2
#: Training steps after which the device's memory is told; epochs' ends tell it again.
_MEASURED = frozenset({2, 5, 20})
#: Bytes a process needs on a CUDA device beside its tensors: context and kernels.
CONTEXT = 600 * 2**20

recorder_log = logging.getLogger(__name__)


class StoreRecorder:
    """Implements ``mmad.base.recorder.Recorder`` for the run ``key`` of ``epochs`` epochs.

    Args:
        overlap: the overlap of the validation AP that is shown as progress.
        said: what the user typed; takes the place of the worker's own command line.
        owner: who holds the run: told to the store when the training begins, and asked for with every epoch.
        device: torch's name of where it trains; a CUDA device's memory is told after the first steps.
    """

    def __init__(
        self,
        store: Store,
        channel: Channel,
        *,
        key: str,
        epochs: int,
        overlap: str = "iou",
        said: str = "",
        owner: Owner | None = None,
        device: str = "cpu",
    ) -> None:
        self._store = store
        self._channel = channel
        self._key = key
        self._epochs = epochs
        self._overlap = overlap
        self._said = said
        self._owner = owner
        self._device = device
        self._seen = 0
        self._last: tuple[int, str, float] = (0, "", 0.0)
        earlier = store.epoch_records(key)
        self._done = max((record.epoch for record in earlier), default=0)
        kept = {checkpoint.epoch for checkpoint in store.checkpoints(key) if checkpoint.kind == "best_ap"}
        self._best = next((validation_ap(record, self._overlap) for record in earlier if record.epoch in kept), None)

    def started(self, environment: EnvironmentRecord, counts: Sequence[ParameterCount]) -> None:
        """Keeps the environment and the parameter counts, and tells that the training begins."""
        if self._said:
            environment = replace(environment, command=self._said)
        if self._owner is None:
            self._store.put_parameter_counts(self._key, counts)
            self._store.add_environment(self._key, environment)
        elif not self._store.begin(self._key, self._owner, environment, counts):
            raise NotHeld("another process has taken the run over", where=f"run {short_key(self._key)}")
        recorder_log.info(
            "training on %s from epoch %d of %d", environment.device, environment.from_epoch, self._epochs
        )
        self._channel.send(Started(self._key, self._done, self._epochs, self._best))

    def epoch(
        self,
        record: EpochRecord,
        checkpoints: Sequence[CheckpointRecord],
        evaluations: Sequence[EvaluationRecord],
    ) -> None:
        """Commits an epoch with all that belongs to it, then shows it unless it was told before."""
        self._store.commit_epoch(self._key, record, checkpoints, evaluations, self._owner)
        if record.epoch <= self._done:
            return
        self._done = record.epoch
        val_ap = validation_ap(record, self._overlap)
        if any((c.kind, c.epoch) == ("best_ap", record.epoch) for c in checkpoints):
            self._best = val_ap  # of the epoch that is kept as best: not every epoch is compared
        recorder_log.info("epoch %d of %d: %s", record.epoch, self._epochs, _numbers(record))
        self._channel.send(epoch_done(self._key, record, self._epochs, self._overlap, self._best))
        self._tell_memory()

    def warning(self, text: str) -> None:
        """Keeps a warning with the run and shows it."""
        line = " ".join(text.split())
        self._store.add_warning(self._key, line)
        recorder_log.warning("%s", line)
        self._channel.send(Warned(self._key, line))

    def progress(self, progress: Progress) -> None:
        """Tells where the epoch stands, a few times per second at most."""
        if progress.phase == "train" and progress.step in _MEASURED:
            self._tell_memory()
        epoch, phase, before = self._last
        moment = seconds()
        if (progress.epoch, progress.phase) == (epoch, phase) and moment - before < _PACE:
            return
        self._last = (progress.epoch, progress.phase, moment)
        self._channel.send(progress)

    def _tell_memory(self) -> None:
        """The most the device has set aside for this run so far, when it has grown."""
        torch = sys.modules.get("torch")
        if torch is None or not self._device.startswith("cuda"):
            return
        size = int(torch.cuda.max_memory_reserved(self._device)) + CONTEXT
        if size > self._seen:
            self._seen = size
            self._channel.send(Memory(self._key, size))


def _numbers(record: EpochRecord) -> str:
    metrics = ", ".join(f"{metric.split} {metric.name} {metric.value:.4f}" for metric in record.metrics)
    return f"{record.seconds:.1f} s, lr {record.lr:g}, {metrics}"


# One attempt at one run: what its row says, its training, and its failure in one line.


attempt_log = logging.getLogger(__name__)

#: Failures of the system that another attempt may not meet.
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH})


@dataclass(frozen=True)
class AttemptResult:
    """How an attempt ended; ``error`` is one line, ``cause`` says whether another attempt may help."""

    outcome: AttemptOutcome
    error: str | None = None
    cause: Cause | None = None


def attempt(order: TrainRequest, record: RunRecord, store: Store, channel: Channel, stop: StopRequest) -> AttemptResult:
    """Trains, and puts any failure into one line; its traceback goes to the log.

    Raises:
        NotHeld: another process has taken the run over.
    """
    try:
        return AttemptResult(train_run(order, record, store, channel, stop))
    except NotHeld:
        raise
    except MmadError as error:
        attempt_log.error("%s", error)
        return AttemptResult("failed", one_line(error), "passing" if isinstance(error, StoreError) else None)
    except Exception as error:
        attempt_log.exception("the training failed")
        line = failure_line(error, order.device, StorePaths(order.database).run(order.key).log)
        return AttemptResult("failed", line, cause_of(error))


def train_run(
    order: TrainRequest, record: RunRecord, store: Store, channel: Channel, stop: StopRequest
) -> AttemptOutcome:
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
        told = TensorBoardRecorder(recorder, run.tensorboard, store.epoch_records(order.key))
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
            where=f"run {short_key(record.key)}",
            hint="give the ablation file to mmad ablate again, which queues it anew",
        )
    source = DataSource(str(data or record.dataset_path), record.dataset_name, record.dataset_fingerprint)
    try:
        setup = ModelSetup.model_validate(dict(record.setup))
        protocol = TrainingProtocol.model_validate(dict(record.protocol))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SpecError(f"{place}: {first['msg']}", where=f"run {short_key(record.key)}") from error
    spec = RunSpec(setup, protocol, source, record.recipe)
    if spec.key != record.key:
        raise SpecError(
            "its stored setup and protocol do not give its key",
            where=f"run {short_key(record.key)}",
            hint="the row was edited, or written by another version; queue the ablation file again",
        )
    return spec


def set_aside(store: Store, key: str) -> Path | None:
    """Moves a run's checkpoints away when they go on after epochs that ``store`` lacks; where to, or None.

    A training goes on after its newest checkpoint, which may carry one epoch the store has not: the one a kill
    kept from it. Later ones are another database's (a deleted one, or a newer copy), and their epochs would
    never be recorded here.
    """
    run = store.run_paths(key)
    recorded = {record.epoch for record in store.epoch_records(key)}
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
            hint="move them by hand, then run the command again",
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


# A worker's hold on its run: the lease it renews, and what it hears of the store meanwhile.


#: Seconds between two renewals of the lease, and between two looks whether a stop was asked for.
BEAT, LOOK = 20.0, 1.0

heart_log = logging.getLogger(__name__)


class Heartbeat:
    """Beats in a thread of its own while it is entered, however slow the training's steps are.

    ``asked`` says that the run was stopped by hand, ``lost`` that another process holds it now; either asks
    ``stop``.
    """

    def __init__(self, store: Store, key: str, owner: Owner, stop: StopRequest) -> None:
        self._store, self._key, self._owner, self._stop = store, key, owner, stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, name="heart", daemon=True)
        self.asked = False
        self.lost = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _live(self) -> None:
        renewed = seconds()
        while not self._over.wait(LOOK):
            due = seconds() - renewed >= BEAT
            try:
                answer = self._store.beat(self._key, self._owner, renew=due)
            except StoreError as error:
                heart_log.warning("no heartbeat: %s", error)  # the lease is longer than a busy moment
                continue
            renewed = seconds() if due else renewed
            if answer == "held" or self.asked or self.lost:
                continue
            self.asked, self.lost = answer == "stop", answer == "lost"
            heart_log.warning("stopped by hand" if self.asked else "another process holds the run: leaving it")
            self._stop.ask()


log = logging.getLogger("mmad.scheduler.worker")  # not __main__, the name it runs under


def work(order: TrainRequest, channel: Channel, stop: StopRequest) -> Ended:
    """Claims the run of ``order``, trains it, and leaves its status in the store; what to tell the scheduler."""
    with Store.open(order.database, create=False) as store:
        owner = Owner.current()
        if order.again:
            store.requeue([order.key], ("interrupted",))
        record = store.claim([order.key], owner, order.device)
        if record is None:
            return Ended(order.key, "taken")
        with Heartbeat(store, order.key, owner, stop) as heart:
            try:
                result = attempt(order, record, store, channel, stop)
            except NotHeld:
                heart.lost = True
        if heart.lost:
            return Ended(order.key, "taken")
        if result.cause is not None and store.beat(order.key, owner, renew=False) == "stop":
            result = replace(result, cause=None)  # who stopped the run wants no other attempt at it
        written = store.end(order.key, owner, result.outcome, result.error)
        if written is None:
            return Ended(order.key, "taken")
        if written == "stopped":
            result = AttemptResult("stopped", STOPPED)
        log.info("%s%s", result.outcome, f": {result.error}" if result.error else "")
        return Ended(order.key, result.outcome, result.error, result.cause, recorded=True)


def carry_out(order: TrainRequest, channel: Channel, stop: StopRequest) -> Ended:
    """``work``, with the failures of the store itself, where nothing can be written, put into the answer."""
    try:
        return work(order, channel, stop)
    except MmadError as error:
        log.error("%s", error)
        return Ended(order.key, "failed", one_line(error), "passing")
    except Exception as error:
        log.exception("the worker failed")
        return Ended(order.key, "failed", failure_line(error, order.device, _log_of(order)))


def serve(channel: Channel, lifeline: SupervisorLink) -> int:
    """Carries out orders until there are no more, or one did not finish."""
    while (order := lifeline.next_order()) is not None:
        try:
            divert_output(_log_of(order))
        except MmadError as error:
            channel.send(Ended(order.key, "failed", one_line(error), stays=True))
            continue
        log.info("worker %d for run %s on %s", os.getpid(), order.key, order.device)
        die_with_parent(signal.SIGKILL)  # until something is worth a clean stop
        ended = carry_out(order, channel, lifeline.stop)
        stays = ended.status == "finished" and not lifeline.stop()
        if stays:
            refresh(order.device)
        channel.send(replace(ended, stays=stays))
        if not stays:
            return 1 if ended.status == "failed" else 0
    return 0


def refresh(device: str) -> None:
    """Forgets what the last run held; the next one sets threads, generators and kernels for itself."""
    gc.collect()
    if device.startswith("cuda") and (torch := sys.modules.get("torch")) is not None:
        torch.cuda.empty_cache()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak of memory is the next run's
    except OSError:
        return


def main(arguments: list[str]) -> int:
    """Runs one worker; 0 unless a run failed or the worker could not begin."""
    die_with_parent(signal.SIGKILL)
    order = parse(arguments).order
    channel = open_channel()
    lifeline = SupervisorLink(StopRequest())
    if order is None:
        lifeline.listen()
        return serve(channel, lifeline)
    divert_output(_log_of(order))
    lifeline.listen()
    log.info("worker %d for run %s on %s", os.getpid(), order.key, order.device)
    ended = carry_out(order, channel, lifeline.stop)
    channel.send(ended)
    return 1 if ended.status == "failed" else 0


def _log_of(order: TrainRequest) -> Path:
    return StorePaths(order.database).run(order.key).log


def _leave(code: int) -> NoReturn:
    """Ends at once: the state is on disk, and tearing torch down could only hang."""
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
