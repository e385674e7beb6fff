"""A process that trains runs: the one of its command line, or one after the other as a scheduler requests them.

    python -m mmad.scheduler.worker --database FILE --key KEY --device cpu
    python -m mmad.scheduler.worker --serve

Sends JSON lines (``mmad.scheduler.supervisor_link``) on its standard output; everything else goes to the run's log. It
trains another run only after one that finished: never after an exception, nor in the middle of something.
"""

from __future__ import annotations

import argparse
import errno
import gc
import itertools
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn, Self

from pydantic import ValidationError

from mmad.base.clock import seconds
from mmad.base.errors import CheckpointError, MmadError, RankLostError, SpecError, StoreError
from mmad.base.formatting import short_key
from mmad.base.paths import RunPaths, StorePaths
from mmad.base.recorder import Recorder
from mmad.base.records import (
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    ParameterCount,
    Progress,
    RunRecord,
    differing_versions,
)
from mmad.config.runs import RECIPE, RunSpec
from mmad.scheduler.devices import CONTEXT, look_at_gpu
from mmad.scheduler.run_log import divert_output
from mmad.scheduler.supervisor_link import (
    AttemptOutcome,
    Ended,
    EpochDone,
    Memory,
    Retry,
    Shortage,
    Started,
    StopFlag,
    SupervisorLink,
    TrainRequest,
    Warned,
    die_with_parent,
    validation_ap,
)
from mmad.scheduler.tensorboard import TensorBoardRecorder
from mmad.store.claims import STOPPED, NotHeld, Owner
from mmad.store.run_rows import spec_of
from mmad.store.store import Store

#: Seconds between two renewals of the lease, and between two looks whether the run was stopped by hand.
BEAT, LOOK = 20.0, 1.0
#: Seconds between two progress messages of one phase.
_PACE = 0.2
#: Optimiser steps after which the device's memory is sent: the second is the first that holds gradients beside the
#: optimiser's state. Epochs' ends send it again, their evaluations included.
_MEASURED = frozenset({2, 5, 20})
#: Failures of the system that a retry may not meet.
_TRANSIENT = frozenset({errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH})

log = logging.getLogger("mmad.scheduler.worker")  # not __main__, the name it runs under


def parse(arguments: Sequence[str]) -> TrainRequest | None:
    """The run that a command line names, or None to wait for requests; exits with 2 and a line of usage otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m mmad.scheduler.worker", description="Train queued runs.", argument_default=argparse.SUPPRESS
    )
    parser.add_argument("--serve", action="store_true", help="wait for requests on standard input")
    parser.add_argument("--database", help="database the run is queued in")
    parser.add_argument("--key", help="the run's full key")
    parser.add_argument("--device", help="torch device, such as cpu or cuda:0")
    parser.add_argument("--data", type=Path, help="where the data set lies now")
    parser.add_argument("--weights-dir", type=Path, help="folder of pretrained weights")
    parser.add_argument("--command-line", help="the command line to record with the run")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="checkpoint within epochs too")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard event files")
    parser.add_argument("--resume", action="store_true", help="resume a run that was interrupted")
    given = vars(parser.parse_args(arguments))
    if given.pop("serve", False):
        return None
    if not {"database", "key"} <= given.keys():
        parser.error("name the run with --database and --key")
    return TrainRequest(**given)


def arguments_of(request: TrainRequest) -> list[str]:
    """The command line that ``parse`` makes ``request`` of."""
    words = []
    for name, value in asdict(request).items():
        if value not in (None, False, ""):
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    return words


class StoreRecorder:
    """Implements ``mmad.base.recorder.Recorder`` for the run of ``request``: into the store, then to the scheduler.

    Args:
        epochs: how many the run has.
        overlap: the overlap of the validation AP that is shown as progress.
        accumulation: batches of one optimiser step.
        owner: who holds the run; checked when the training begins and with every epoch.
    """

    def __init__(
        self,
        store: Store,
        link: SupervisorLink,
        request: TrainRequest,
        *,
        epochs: int,
        overlap: str = "iou",
        accumulation: int = 1,
        owner: Owner,
    ) -> None:
        self._store, self._link, self._request = store, link, request
        self._key = request.key
        self._epochs = epochs
        self._overlap = overlap
        self._owner = owner
        self._measured = {accumulation * step for step in _MEASURED}
        self._memory, self._whole = 0, False
        self._last: tuple[int, str, float] = (0, "", 0.0)
        earlier = store.epoch_records(self._key)
        self._done = max((record.epoch for record in earlier), default=0)
        best = {checkpoint.epoch for checkpoint in store.checkpoints(self._key) if checkpoint.kind == "best_ap"}
        self._best = next((validation_ap(record, overlap) for record in earlier if record.epoch in best), None)

    def started(self, environment: EnvironmentRecord, counts: Sequence[ParameterCount]) -> None:
        """Records the environment and the parameter counts, and sends that the training begins."""
        if self._request.command_line:  # in place of the worker's own
            environment = replace(environment, command=self._request.command_line)
        earlier = self._store.latest_versions([self._key]).get(self._key, {})
        if not self._store.begin(self._key, self._owner, environment, counts):
            raise NotHeld("another process has taken the run over", where=f"run {short_key(self._key)}")
        if environment.from_epoch and (words := differing_versions(earlier, environment.versions)):
            after = f"resumed after epoch {environment.from_epoch}"
            self.warning(f"{after} under other versions ({words}): not equal bit by bit to a run without interruption")
        log.info("training on %s from epoch %d of %d", environment.device, environment.from_epoch, self._epochs)
        self._link.send(Started(self._key, self._done, self._epochs, self._best))

    def epoch(
        self,
        record: EpochRecord,
        checkpoints: Sequence[CheckpointRecord],
        evaluations: Sequence[EvaluationRecord],
    ) -> None:
        """Commits an epoch with all that belongs to it, then sends it unless it was sent before."""
        self._store.commit_epoch(self._key, record, checkpoints, evaluations, self._owner)
        if record.epoch <= self._done:
            return
        self._done = record.epoch
        if any((c.kind, c.epoch) == ("best_ap", record.epoch) for c in checkpoints):
            self._best = validation_ap(record, self._overlap)  # of the best checkpoint: not every epoch is compared
        log.info("epoch %d of %d: %s", record.epoch, self._epochs, _numbers(record))
        self._link.send(EpochDone.of(self._key, record, self._epochs, self._overlap, self._best))
        self._send_memory(whole=True)

    def warning(self, text: str) -> None:
        """Records a warning with the run and sends it."""
        line = " ".join(text.split())
        self._store.add_warning(self._key, line)
        log.warning("%s", line)
        self._link.send(Warned(self._key, line))

    def progress(self, progress: Progress) -> None:
        """Sends where the epoch is, a few times per second at most."""
        if progress.phase == "train" and progress.step in self._measured:
            self._send_memory()
        epoch, phase, before = self._last
        moment = seconds()
        if (progress.epoch, progress.phase) == (epoch, phase) and moment - before < _PACE:
            return
        self._last = (progress.epoch, progress.phase, moment)
        self._link.send(progress)

    def _send_memory(self, *, whole: bool = False) -> None:
        """The most that the device has reserved for this run so far, when it has grown or is that of an epoch."""
        torch = sys.modules.get("torch")
        if torch is None or not self._request.device.startswith("cuda"):
            return
        size = int(torch.cuda.max_memory_reserved(self._request.first_device)) + CONTEXT
        if size > self._memory or whole > self._whole:
            self._memory, self._whole = max(size, self._memory), whole or self._whole
            self._link.send(Memory(self._key, self._memory, self._whole))


def _numbers(record: EpochRecord) -> str:
    metrics = ", ".join(f"{metric.split} {metric.name} {metric.value:.4f}" for metric in record.metrics)
    return f"{record.seconds:.1f} s, lr {record.lr:g}, {metrics}"


class Heartbeat:
    """Renews the lease in a thread of its own while it is entered, however slow the training's steps are.

    ``stopped`` says that the run was stopped by hand, ``lost`` that another process holds it now; either sets
    ``stop``.
    """

    def __init__(self, store: Store, key: str, owner: Owner, stop: StopFlag) -> None:
        self._store, self._key, self._owner, self._stop = store, key, owner, stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.stopped = False
        self.lost = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        renewed = seconds()
        while not self._over.wait(LOOK):
            due = seconds() - renewed >= BEAT
            try:
                answer = self._store.beat(self._key, self._owner, renew=due)
            except StoreError as error:
                log.warning("no heartbeat: %s", error)  # the lease is longer than a busy moment
                continue
            renewed = seconds() if due else renewed
            if answer == "held" or self.stopped or self.lost:
                continue
            self.stopped, self.lost = answer == "stop", answer == "lost"
            log.warning("stopped by hand" if self.stopped else "another process holds the run: leaving it")
            self._stop.set()


def serve(link: SupervisorLink) -> int:
    """Trains what is requested until there is no more, or a run did not finish."""
    while (request := link.next_request()) is not None:
        try:
            divert_output(_log_of(request))
        except MmadError as error:
            link.send(Ended(request.key, "failed", one_line(error), idle=True))
            continue
        log.info("worker %d for run %s on %s", os.getpid(), request.key, request.device)
        die_with_parent(signal.SIGKILL)  # until something is worth a clean stop
        ended = carry_out(request, link)
        idle = ended.status == "finished" and not link.stop()
        if idle:
            refresh(request.device)
        link.send(replace(ended, idle=idle))
        if not idle:
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


def carry_out(request: TrainRequest, link: SupervisorLink) -> Ended:
    """``work``, with the failures of the store itself, where nothing can be written, put into the answer."""
    try:
        return work(request, link)
    except MmadError as error:
        log.error("%s", error)
        return Ended(request.key, "failed", one_line(error), "transient")
    except Exception as error:
        log.exception("the worker failed")
        return Ended(request.key, "failed", failure_line(error, request.device, _log_of(request)))


def work(request: TrainRequest, link: SupervisorLink) -> Ended:
    """Claims the run, trains it, and leaves its status in the store; what the scheduler is sent."""
    taken = Ended(request.key, "taken")
    with Store.open(request.database, create=False, known=True) as store:
        owner = Owner.current()
        if request.resume:
            store.requeue([request.key], ("interrupted",))
        record = store.claim([request.key], owner, request.device)
        if record is None:
            return taken
        with Heartbeat(store, request.key, owner, link.stop) as heartbeat:
            ended = attempt(request, record, store, link)
        if heartbeat.lost or ended.status == "taken":
            forget_checkpoints(store, request.key)
            return taken
        retry = ended.retry
        if retry is not None and store.beat(request.key, owner, renew=False) == "stop":
            retry = None  # who stopped the run wants no other attempt at it
        written = store.end(request.key, owner, ended.status, ended.error)
        if written is None:
            return taken
        if written == "stopped":
            ended, retry = Ended(request.key, "stopped", STOPPED), None
        log.info("%s%s", ended.status, f": {ended.error}" if ended.error else "")
        return replace(ended, retry=retry, recorded=True)


def forget_checkpoints(store: Store, key: str) -> None:
    """Deletes what this process wrote for a run that another one has trained further meanwhile."""
    from mmad.training import checkpoint

    run = store.run_paths(key)
    checkpoint.prune(run, {run.folder / row.path for row in store.checkpoints(key) if row.path})


def attempt(request: TrainRequest, record: RunRecord, store: Store, link: SupervisorLink) -> Ended:
    """Trains, and puts any failure into one line; its traceback goes to the log."""
    try:
        return Ended(request.key, train_run(request, record, store, link))
    except NotHeld:
        return Ended(request.key, "taken")
    except MmadError as error:
        log.error("%s", error)
        passing = isinstance(error, StoreError | RankLostError)
        return Ended(request.key, "failed", one_line(error), "transient" if passing else None)
    except Exception as error:
        log.exception("the training failed")
        line, retry = failure_line(error, request.device, _log_of(request)), retry_of(error)
        missing = shortage(error, _device_of(error, request)) if retry == "memory" else None
        return Ended(request.key, "failed", line, retry, shortage=missing)


def train_run(request: TrainRequest, record: RunRecord, store: Store, link: SupervisorLink) -> AttemptOutcome:
    """The training itself, recorded in ``store``."""
    spec = run_spec(record, request.data)
    if link.stop():
        return "interrupted"
    import torch

    from mmad.training.trainer import train

    die_with_parent(signal.SIGTERM)
    torch.set_num_threads(spec.protocol.threads)
    recorder: Recorder = StoreRecorder(
        store,
        link,
        request,
        epochs=spec.protocol.epochs,
        overlap=spec.protocol.selection_overlap,
        accumulation=spec.setup.gradient_accumulation,
        owner=Owner.current(),
    )
    run = StorePaths(request.database).run(request.key)
    if spec.continues is None:
        require_checkpoints(record, StorePaths(request.database))
    if (aside := set_aside(store, request.key)) is not None:
        recorder.warning(f"checkpoints of epochs this database does not hold were moved to {aside}; trained anew")
    if request.tensorboard:
        recorder = TensorBoardRecorder(recorder, run.tensorboard, store.epoch_records(request.key))
    return train(
        spec,
        dataset_path=Path(spec.data.path),
        run=run,
        recorder=recorder,
        device=request.device,
        stop=link.stop,
        weights_dir=request.weights_dir,
        checkpoint_every=request.checkpoint_every,
    )


def run_spec(record: RunRecord, data: Path | None = None) -> RunSpec:
    """The specification that a row of the store was made of; ``data`` overrides where the data set lies.

    Raises:
        SpecError: the row is of another recipe, or its content no longer gives its key.
    """
    try:
        spec = spec_of(record, None if data is None else str(data))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SpecError(f"{place}: {first['msg']}", where=f"run {short_key(record.key)}") from error
    if spec.lasting_recipe != RECIPE:
        raise SpecError(
            f"queued under recipe {record.recipe}, this version trains recipe {RECIPE}",
            where=f"run {short_key(record.key)}",
            hint="give the ablation file to mmad ablate again, which queues it anew",
        )
    if record.content == record.key != spec.content_key:  # older rows have keys of another form
        raise SpecError(
            "its stored setup and protocol do not give its key",
            where=f"run {short_key(record.key)}",
            hint="the row was edited, or written by another version; queue the ablation file again",
        )
    return spec


def require_checkpoints(record: RunRecord, paths: StorePaths) -> None:
    """Refuses to train from the first epoch what has epochs already, where no folder of its checkpoints is.

    Each of its epochs had a checkpoint before it had a row, so the database, or the folder, was moved or renamed.

    Raises:
        CheckpointError: with where it was looked for, and where it may be.
    """
    checkpoints = paths.run(record.key).checkpoints
    if not record.epochs_done or any(checkpoints.parent.glob(f"{checkpoints.name}*")):  # those set aside too
        return
    looked = ", ".join(str(RunPaths(place / record.key[:2] / record.key).checkpoints) for place in paths.places)
    there = paths.elsewhere(record.key)
    hint = f"they may be those in {there[0]}: " if there else ""
    done = "1 epoch of it is" if record.epochs_done == 1 else f"{record.epochs_done} epochs of it are"
    raise CheckpointError(
        f"{done} recorded, but its checkpoints are not here",
        where=looked,
        hint=f"{hint}move the folder of its runs back, or name it as MMAD_RUNS; make an empty {checkpoints} to train "
        "it from the first epoch",
    )


def set_aside(store: Store, key: str) -> Path | None:
    """Moves a run's checkpoints away when they continue epochs that ``store`` lacks; where to, or None.

    A training resumes after its newest checkpoint, which may carry one epoch the store has not: the one a kill
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
    if isinstance(error, NotImplementedError) and device == "mps":
        return f"torch has no such operation for Apple GPUs ({text[:160]}); use --device cpu (log: {run_log})"
    if _out_of_memory(error, text):
        brief = text.split(". ")[0][:160]
        return f"out of memory on {device} ({brief}); lower batch_size or image_size, or free memory (log: {run_log})"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{text}; free space on that disk and run the command again (log: {run_log})"
    return f"{type(error).__name__}: {text} (log: {run_log})"


def retry_of(error: Exception) -> Retry | None:
    """Whether a retry may help: alone on the device, a little later, or not at all."""
    if _out_of_memory(error, one_line(error)):
        return "memory"
    return "transient" if isinstance(error, OSError) and error.errno in _TRANSIENT else None


def one_line(error: Exception) -> str:
    """An exception's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def _out_of_memory(error: Exception, text: str) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in text for word in _NO_MEMORY)


#: What failures are called that come of too little memory: the system's, and those of CUDA's libraries, which ask for
#: some when they begin or first meet a shape. "busy" is a GPU in exclusive mode that another program holds.
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "GET was unable to find an engine",
    "busy or unavailable",
)
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def shortage(error: Exception, device: str) -> Shortage | None:
    """The GPU ``device`` at the moment of ``error``; None for another device, or one that cannot be asked.

    torch's message says what was asked for and what this process holds; where it does not, the process is taken to
    hold what torch reserved and a context.
    """
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda"):
        return None
    try:
        free, total = torch.cuda.mem_get_info(device)
        reserved = int(torch.cuda.memory_reserved(device))
    except Exception as asked:  # a GPU without memory for a context refuses the question too
        log.warning("torch does not tell the GPU's memory: %s", one_line(asked))
        gpu = look_at_gpu(device)
        return None if gpu is None else Shortage(CONTEXT, gpu.taken, gpu.total)
    text = one_line(error)
    own = _bytes_in(r"this process has ([\d.]+) (\w+) memory in use", text) or reserved + CONTEXT
    asked_for = _bytes_in(r"Tried to allocate ([\d.]+) (\w+)", text)
    return Shortage(own + asked_for, max(0, total - free - own), total)


def _device_of(error: Exception, request: TrainRequest) -> str:
    """The device that ``error`` is of: that of another rank where it names one."""
    named = re.match(r"rank \d+ of \d+ on (cuda:\d+)", one_line(error))
    return request.first_device if named is None else named[1]


def _bytes_in(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(float(found[1]) * _UNITS.get(found[2], 1)) if found is not None else 0


def main(arguments: Sequence[str]) -> int:
    """Runs one worker; 0 unless a run failed or the worker could not begin."""
    die_with_parent(signal.SIGKILL)
    request = parse(arguments)
    link = SupervisorLink.on_stdout()
    if request is None:
        link.listen()
        return serve(link)
    divert_output(_log_of(request))
    link.listen()
    log.info("worker %d for run %s on %s", os.getpid(), request.key, request.device)
    ended = carry_out(request, link)
    link.send(ended)
    return 1 if ended.status == "failed" else 0


def _log_of(request: TrainRequest) -> Path:
    return StorePaths(request.database).run(request.key).log


def _leave(code: int) -> NoReturn:
    """Ends at once: the state is on disk, and tearing torch down could only hang."""
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
