"""A worker whose training is pretended: everything else is the real one.

``PRETEND`` names a folder with ``plan.json``: key, or * for the others → {"pause": seconds per step, "steps": per
epoch, "do": [[epoch, deed], …]}. A deed happens once, at the beginning of its epoch; with a trailing "!" every time.
``hold`` makes a file ``held`` beside the plan and waits until that is gone, ``wait`` trains until the run is stopped.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pretending_machine  # noqa: F401

from mmad.base.clock import now
from mmad.base.errors import MmadError
from mmad.base.records import EnvironmentRecord, EpochRecord, Metric, ParameterCount, Progress, RunRecord
from mmad.scheduler import worker
from mmad.scheduler.supervisor_link import AttemptOutcome, SupervisorLink, TrainRequest
from mmad.scheduler.worker import StoreRecorder
from mmad.store.claims import Owner
from mmad.store.store import Store

FOLDER = Path(os.environ["PRETEND"])


def fail() -> None:
    raise MmadError("the image cannot be decoded", where="images/7.png", hint="replace it")


def crash() -> None:
    raise ZeroDivisionError("division by\nzero")


def out_of_memory() -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def leave() -> None:
    os._exit(3)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(3600)


def hold() -> None:
    (FOLDER / "held").touch()
    while (FOLDER / "held").exists():
        time.sleep(0.01)


def chatter() -> None:
    print("a library talks\nto standard output")
    os.write(1, b"and so does C\n")


DEEDS: dict[str, Callable[[], None]] = {
    "fail": fail,
    "crash": crash,
    "memory": out_of_memory,
    "leave": leave,
    "die": die,
    "hang": hang,
    "hold": hold,
    "chatter": chatter,
}


def first_time(key: str, epoch: int) -> bool:
    mark = FOLDER / f"{key}-{epoch}.done"
    if mark.exists():
        return False
    mark.touch()
    return True


def allowed(epoch: int) -> bool:
    """Whether the test lets ``epoch`` begin: the file ``allowed`` holds how many may; without it all may."""
    file = FOLDER / "allowed"
    return not file.exists() or epoch <= int(file.read_text() or 0)


def train(request: TrainRequest, record: RunRecord, store: Store, link: SupervisorLink) -> AttemptOutcome:
    plans = json.loads((FOLDER / "plan.json").read_text())
    plan = plans.get(request.key, plans.get("*", {}))
    epochs = int(record.protocol["epochs"])
    recorder = StoreRecorder(store, link, request, epochs=epochs, owner=Owner.current())
    done = record.epochs_done
    recorder.started(
        EnvironmentRecord(now(), "here", "linux", "3", {}, request.device, 1, None, None, "worker", done),
        [ParameterCount("model", 7)],
    )
    deeds = dict(plan.get("do", []))
    steps = plan.get("steps", 2)
    for epoch in range(done + 1, epochs + 1):
        while not allowed(epoch):
            time.sleep(0.02)
        deed = deeds.get(epoch, "")
        if deed and (deed.endswith("!") or first_time(request.key, epoch)):
            if deed.removesuffix("!") == "wait":
                steps = sys.maxsize
            elif deed == "warn":
                recorder.warning("a loss\nis odd")
            else:
                DEEDS[deed.removesuffix("!")]()
        for step in range(steps):
            recorder.progress(Progress(request.key, epoch, epochs, "train", step, steps, 1.0 / epoch))
            time.sleep(plan.get("pause", 0.01))
            if link.stop():
                return "interrupted"
        with (FOLDER / "trace").open("a") as trace:
            trace.write(f"{request.key} {epoch} {os.getpid()}\n")
        metrics = (
            Metric("train", "loss", 1.0 / epoch),
            Metric("val", "loss", 2.0 / epoch),
            Metric("val", "ap_iou", 0.1),
        )
        recorder.epoch(EpochRecord(epoch, 0.01, 0.05, 1000, metrics), [], [])
    return "finished"


worker.train_run = train

if __name__ == "__main__":
    worker._leave(worker.main(sys.argv[1:]))
