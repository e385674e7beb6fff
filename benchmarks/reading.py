"""Reading what was recorded, each value checked, against SQLAlchemy's own reading of the same columns without a check.

Run it with `make bench`, or `python benchmarks/reading.py`. CPU time, the least of several; the ratio is what counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Column, MetaData, Table, TypeDecorator, select
from support.rows import put_epochs
from watching import ablation, epoch

from mmad.base.records import Metric
from mmad.store import schema
from mmad.store.checked_columns import Json
from mmad.store.measurements import read_epochs
from mmad.store.run_rows import read_ablations, read_runs
from mmad.store.store import Store


def unchecked(table: Table) -> Table:
    """``table`` with SQLAlchemy's own types in place of the checked ones."""
    columns = [
        Column(one.name, one.type.impl_instance if isinstance(one.type, TypeDecorator) else one.type) for one in table.c
    ]
    return Table(table.name, MetaData(), *columns)


def fill(store: Store, runs: int, epochs: int) -> list[str]:
    store.add_ablation(ablation(0, runs // 20, 10))
    keys = [run.key for run in store.run_records()]
    with store.database.writing() as connection:
        moment = store.run_records()[0].created
        for key in keys:
            put_epochs(connection, key, [epoch(n) for n in range(1, epochs + 1)], moment)
    return keys


def seconds(read: Callable[[], Any], repeats: int) -> float:
    """The least CPU seconds of a call."""
    found = []
    for _ in range(repeats):
        gc.collect()
        begun = time.process_time()
        read()
        found.append(time.process_time() - begun)
    return min(found)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=200)
    options.add_argument("--epochs", type=int, default=70)
    options.add_argument("--repeats", type=int, default=7)
    words = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "mmad.sqlite") as store:
        keys = fill(store, words.runs, words.epochs)
        with store.database.reading() as connection:

            def plain(*tables: Table) -> int:
                """Reads every row of ``tables`` and parses what is JSON: the least that any reading does."""
                rows = 0
                for table in tables:
                    texts = [column.name for column in table.c if isinstance(column.type, Json)]
                    for row in connection.execute(select(unchecked(table))):
                        for name in texts:
                            json.loads(row._mapping[name])
                        rows += 1
                return rows

            def plain_metrics() -> int:
                """The same records as ``read_epochs`` has."""
                found: dict[tuple[int, int], list[Metric]] = {}
                names = {row.id: row for row in connection.execute(select(unchecked(schema.metric_names)))}
                c = (bare := unchecked(schema.run_metrics)).c
                for row in connection.execute(select(bare).order_by(c.run, c.epoch, c.metric)):
                    name = names[row.metric]
                    found.setdefault((row.run, row.epoch), []).append(Metric(name.split, name.name, row.value))
                return plain(schema.run_epochs)

            metrics = len(keys) * words.epochs * len(epoch(1).metrics)
            cases: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
                (f"{len(keys)} runs", lambda: read_runs(connection), lambda: plain(schema.runs)),
                (
                    f"{len(keys)} members",
                    lambda: read_ablations(connection),
                    lambda: plain(schema.ablations, schema.members),
                ),
                (
                    f"{metrics} metrics",
                    lambda: read_epochs(connection, keys),
                    plain_metrics,
                ),
            ]
            print(f"{'':>18} checked   plain  ratio")
            for name, checked, bare in cases:
                mine, its = seconds(checked, words.repeats), seconds(bare, words.repeats)
                print(f"{name:>18} {1000 * mine:6.1f} {1000 * its:7.1f} ms {mine / its:5.2f}")


if __name__ == "__main__":
    main()
