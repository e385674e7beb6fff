"""One process that trains one run: ``python -m mmad.queue.worker --db FILE --key KEY --device cpu``.

Speaks JSON lines (``mmad.queue.messages``) on its standard output; everything else goes to the run's log.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from mmad.base.errors import CheckpointError, MmadError, SpecError
from mmad.base.paths import StorePaths
from mmad.base.records import RunRecord
from mmad.queue.lifeline import StopRequest, die_with_parent, listen
from mmad.queue.messages import End, Ended, Outcome
from mmad.queue.recorder import StoreRecorder
from mmad.queue.runlog import Channel, divert_output
from mmad.spec.protocol import TrainingProtocol
from mmad.spec.runs import RECIPE, DataSource, RunSpec
from mmad.spec.setup import ModelSetup
from mmad.store.gateway import Store
from mmad.store.owner import Owner

log = logging.getLogger("mmad.queue.worker")  # not __main__, the name it runs under


@dataclass(frozen=True)
class Order:
    """What a worker is told on its command line."""

    database: str
    key: str
    device: str = "cpu"
    data: Path | None = None
    weights_dir: Path | None = None
    said: str = ""


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


def work(order: Order, channel: Channel, stop: StopRequest) -> End:
    """Claims the run of ``order``, trains it, and leaves its status in the store."""
    with Store.open(order.database, create=False) as store:
        record = store.claim([order.key], Owner.current())
        if record is None:
            channel.send(Ended(order.key, "taken"))
            return "taken"
        status, error = _attempt(order, record, store, channel, stop)
        store.set_status(order.key, status, error)
        log.info("%s%s", status, f": {error}" if error else "")
        channel.send(Ended(order.key, status, error))
        return status


def _attempt(
    order: Order, record: RunRecord, store: Store, channel: Channel, stop: StopRequest
) -> tuple[Outcome, str | None]:
    """Trains, and puts any failure into one line; its traceback goes to the log."""
    try:
        return _train(order, record, store, channel, stop), None
    except MmadError as error:
        log.error("%s", error)
        return "failed", one_line(error)
    except Exception as error:
        log.exception("the training failed")
        return "failed", failure_line(error, order.device, StorePaths(order.database).run(order.key).log)


def _train(order: Order, record: RunRecord, store: Store, channel: Channel, stop: StopRequest) -> Outcome:
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
    )
    if (aside := set_aside(store, order.key)) is not None:
        recorder.warning(f"checkpoints of epochs this database does not hold were moved to {aside}; trained anew")
    return train(
        spec,
        dataset_path=Path(spec.data.path),
        run=StorePaths(order.database).run(order.key),
        recorder=recorder,
        device=order.device,
        stop=stop,
        weights_dir=order.weights_dir,
    )


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


def one_line(error: Exception) -> str:
    """An exception's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def _out_of_memory(error: Exception, text: str) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(word in text for word in words)


def parse(arguments: list[str]) -> Order:
    """The order on the command line."""
    parser = argparse.ArgumentParser(prog="python -m mmad.queue.worker", description="Train one queued run.")
    parser.add_argument("--db", required=True, help="database the run is queued in")
    parser.add_argument("--key", required=True, help="the run's full key")
    parser.add_argument("--device", default="cpu", help="torch device, such as cpu or cuda:0")
    parser.add_argument("--data", type=Path, help="where the data set lies now")
    parser.add_argument("--weights-dir", type=Path, help="folder of pretrained weights")
    parser.add_argument("--said", default="", help="the command line to keep with the run")
    given = parser.parse_args(arguments)
    return Order(given.db, given.key, given.device, given.data, given.weights_dir, given.said)


def main(arguments: list[str]) -> int:
    """Runs one worker; 0 unless the run failed or the worker could not begin."""
    die_with_parent(signal.SIGKILL)  # until something is worth a clean stop
    order = parse(arguments)
    stop = StopRequest()
    channel = divert_output(StorePaths(order.database).run(order.key).log)
    listen(stop)
    log.info("worker %d for run %s on %s", os.getpid(), order.key, order.device)
    try:
        return 1 if work(order, channel, stop) == "failed" else 0
    except MmadError as error:  # the store itself: nothing can be written there
        log.error("%s", error)
        channel.send(Ended(order.key, "failed", one_line(error)))
    except Exception as error:
        log.exception("the worker failed")
        log_file = StorePaths(order.database).run(order.key).log
        channel.send(Ended(order.key, "failed", failure_line(error, order.device, log_file)))
    return 1


def _leave(code: int) -> NoReturn:
    """Ends at once: the state is on disk, and tearing torch down could only hang."""
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
