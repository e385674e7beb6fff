"""A process that trains runs: one of its command line, or one after the other as a scheduler orders them.

    python -m mmad.queue.worker --db FILE --key KEY --device cpu
    python -m mmad.queue.worker --serve

Speaks JSON lines (``mmad.queue.messages``) on its standard output; everything else goes to the run's log. It
trains another run only after one that finished: never after an exception, nor in the middle of something.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from mmad.base.errors import MmadError
from mmad.base.paths import StorePaths
from mmad.queue.attempt import Result, attempt, failure_line, one_line
from mmad.queue.heart import Heart
from mmad.queue.lifeline import Lifeline, StopRequest, die_with_parent
from mmad.queue.messages import Ended
from mmad.queue.orders import Order, parse
from mmad.queue.runlog import Channel, divert_output, open_channel
from mmad.store.claims import STOPPED, NotHeld
from mmad.store.gateway import Store
from mmad.store.owner import Owner

log = logging.getLogger("mmad.queue.worker")  # not __main__, the name it runs under


def work(order: Order, channel: Channel, stop: StopRequest) -> Ended:
    """Claims the run of ``order``, trains it, and leaves its status in the store; what to tell the scheduler."""
    with Store.open(order.database, create=False) as store:
        owner = Owner.current()
        if order.again:
            store.requeue([order.key], ("interrupted",))
        record = store.claim([order.key], owner, order.device)
        if record is None:
            return Ended(order.key, "taken")
        with Heart(store, order.key, owner, stop) as heart:
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
            result = Result("stopped", STOPPED)
        log.info("%s%s", result.outcome, f": {result.error}" if result.error else "")
        return Ended(order.key, result.outcome, result.error, result.cause, recorded=True)


def carry_out(order: Order, channel: Channel, stop: StopRequest) -> Ended:
    """``work``, with the failures of the store itself, where nothing can be written, put into the answer."""
    try:
        return work(order, channel, stop)
    except MmadError as error:
        log.error("%s", error)
        return Ended(order.key, "failed", one_line(error), "passing")
    except Exception as error:
        log.exception("the worker failed")
        return Ended(order.key, "failed", failure_line(error, order.device, _log_of(order)))


def serve(channel: Channel, lifeline: Lifeline) -> int:
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
    lifeline = Lifeline(StopRequest())
    if order is None:
        lifeline.listen()
        return serve(channel, lifeline)
    divert_output(_log_of(order))
    lifeline.listen()
    log.info("worker %d for run %s on %s", os.getpid(), order.key, order.device)
    ended = carry_out(order, channel, lifeline.stop)
    channel.send(ended)
    return 1 if ended.status == "failed" else 0


def _log_of(order: Order) -> Path:
    return StorePaths(order.database).run(order.key).log


def _leave(code: int) -> NoReturn:
    """Ends at once: the state is on disk, and tearing torch down could only hang."""
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
