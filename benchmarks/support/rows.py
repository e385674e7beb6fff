"""Epochs written as rows, many at once: what takes a training hours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from mmad.base.records import EpochRecord
from mmad.store.measurements import metric_ids
from mmad.store.schema import run_epochs, run_metrics, runs


def put_epochs(connection: Connection, key: str, records: Sequence[EpochRecord], committed: datetime) -> None:
    """The first epochs of the run ``key``, all with the same metrics in the same order."""
    run = connection.scalar(select(runs.c.id).where(runs.c.key == key))
    numbers = metric_ids(connection, records[0].metrics)
    heads = [
        {
            "run": run,
            "epoch": one.epoch,
            "lr": one.lr,
            "seconds": one.seconds,
            "peak_memory": one.peak_memory,
            "committed": committed,
            "replaced": 0,
        }
        for one in records
    ]
    values = [
        {"run": run, "epoch": one.epoch, "metric": number, "value": metric.value}
        for one in records
        for number, metric in zip(numbers, one.metrics, strict=True)
    ]
    connection.execute(insert(run_epochs), heads)
    connection.execute(insert(run_metrics), values)
