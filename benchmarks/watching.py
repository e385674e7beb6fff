"""Looking at a queue of 10,000 runs: `mmad status`, and one frame of `mmad watch`.

Run it with `make bench`, or `python benchmarks/watching.py`.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy import update
from support.rows import put_epochs

from mmad.base.clock import now
from mmad.base.records import EpochRecord, Metric
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.scheduler.dashboard import Dashboard, draw
from mmad.store.claims import Owner
from mmad.store.schema import runs
from mmad.store.store import Store


def ablation(number: int, settings: int, seeds: int) -> Ablation:
    """``settings`` learning rates × two arms × ``seeds`` seeds of 30 epochs."""
    name = f"ablation {number}"
    source = DataSource("/data/set", "set", "f" * 64)
    members = []
    for setting in range(settings):
        for arm in ("CXR", "CXR+Clinical"):
            setup = ModelSetup(use_clinical=arm != "CXR", lr=1e-3 * (1 + number) + setting * 1e-6)
            for seed in range(seeds):
                run = RunSpec(setup, TrainingProtocol(epochs=30, seed=seed, weights_hash="a" * 64), source)
                members.append(Member(name, f"rate {setting}", arm, seed, run, EvaluationProtocol()))
    arms = ("CXR", "CXR+Clinical")
    return Ablation(name, f"{name}.toml", name, "", "", arms, (arms,), tuple(members))


def epoch(number: int) -> EpochRecord:
    names = ("loss", "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")
    values = [Metric(split, name, 0.5) for split in ("train", "val") for name in names]
    values += [Metric("val", name, 0.5) for name in ("ap_iou", "ar_iou", "ap_iobb", "ar_iobb")]
    return EpochRecord(number, 1e-3, 60.0, 2**30, tuple(values))


def fill(store: Store, count: int, finished: int, failed: int, hosts: int, gpus: int) -> None:
    """``count`` runs in ten ablations; the finished ones have all their epochs, ``hosts`` × ``gpus`` train."""
    for number in range(10):
        store.add_ablation(ablation(number, count // 200, 10))
    keys = [run.key for run in store.run_records()]
    with store.database.writing() as connection:
        ended = [(key, "finished", None) for key in keys[:finished]]
        ended += [(key, "failed", "the loss became nan") for key in keys[finished : finished + failed]]
        for key, status, error in ended:
            row = {"status": status, "error": error, "finished": now()}
            connection.execute(update(runs).where(runs.c.key == key).values(**row))
        for key in keys[:finished]:
            put_epochs(connection, key, [epoch(number) for number in range(1, 31)], now())
    for number in range(hosts * gpus):
        host = f"node{number // gpus:02d}"
        run = store.claim(None, Owner(host, 1000 + number, 1.0, f"boot/{host}/1"), f"cuda:{number % gpus}")
        assert run is not None
        with store.database.writing() as connection:
            done = 9 + number % 16
            put_epochs(connection, run.key, [epoch(one) for one in range(1, done + 1)], now())


def measured(work: Callable[[], Any], times: int) -> str:
    took = []
    for _ in range(times):
        begun, used = time.perf_counter(), time.process_time()
        work()
        took.append((1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - used)))
    wall, cpu = (statistics.median(figures) for figures in zip(*took, strict=True))
    return f"{wall:6.1f} ms, CPU time {cpu:5.1f} ms"


def _frame(watch: Dashboard) -> None:
    """What one refresh of `mmad watch` takes on a terminal of 140 × 40."""
    out = Console(file=io.StringIO(), width=140, height=40, force_terminal=True)
    out.print(draw(watch.snapshot(), 140, 40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=20)
    given = parser.parse_args()
    half = given.runs // 2
    for title, ended in (
        ("all queued", (0, 0, 0, 0)),
        ("half finished, 50 failed, 8 training", (half, 50, 8, 1)),
        ("half finished, 50 failed, 64 hosts of 8 GPUs training", (half, 50, 64, 8)),
    ):
        with tempfile.TemporaryDirectory() as folder:
            database = Path(folder) / "mmad.sqlite"
            with Store.open(database) as store:
                fill(store, given.runs, *ended)
            with Store.open(database, read_only=True) as store:
                print(f"{given.runs} runs, {title}")
                print("  mmad status             ", measured(store.status, given.times))
                print("  a first look            ", measured(store.queue_status, given.times))
                print("  a frame of mmad watch   ", measured(partial(_frame, Dashboard(store)), given.times))


if __name__ == "__main__":
    main()
