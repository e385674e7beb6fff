"""Eight processes write at once, to a file and to a server: nothing is lost, nothing is there twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import store_samples as samples
from sqlalchemy import func, select

from mmad.store import schema
from mmad.store.engine import Database
from mmad.store.store import Store

WRITERS, RUNS, EPOCHS = 8, 40, 5
WRITE = """
import sys
sys.path.insert(0, sys.argv[2])
import store_samples as samples
from mmad.store.store import Store
from mmad.store.claims import Owner
with Store.open(sys.argv[1], create=False) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    store.add_ablation(samples.ablation(seeds=range(int(sys.argv[3]))))
    while (run := store.claim(None, Owner.current())) is not None:
        store.add_environment(run.key, samples.environment())
        store.put_parameter_counts(run.key, samples.COUNTS)
        for number in range(1, int(sys.argv[4]) + 1):
            kept = [samples.checkpoint(kind, number) for kind in ("best_ap", "last")]
            judged = [samples.evaluation(kind.kind, number, split) for kind in kept for split in ("val", "test")]
            store.commit_epoch(run.key, samples.epoch(number), kept, judged)
        store.add_warning(run.key, "one")
        store.end(run.key, Owner.current(), "finished")
        print(run.key, flush=True)
"""


def count(database: Database, table: schema.Table) -> int:
    with database.reading() as connection:
        return int(connection.scalar(select(func.count()).select_from(table)) or 0)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_eight_writers_at_once_lose_no_row(address: str) -> None:
    with Store.open(address) as store:
        seeds = RUNS // len(samples.ARMS)
        store.add_ablation(samples.ablation(seeds=range(seeds)))
        command = [sys.executable, "-c", WRITE, address, str(Path(__file__).parent), str(seeds), str(EPOCHS)]
        writers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(WRITERS)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
        answers = [writer.communicate() for writer in writers]
        assert [writer.returncode for writer in writers] == [0] * WRITERS, [error for _, error in answers]
        claimed = [key for out, _ in answers for key in out.split()]
        runs = store.run_records()
        assert sorted(claimed) == sorted(run.key for run in runs)
        assert {(run.status, run.epochs_done) for run in runs} == {("finished", EPOCHS)}
        for run in runs:
            assert store.epoch_records(run.key) == [samples.epoch(number) for number in range(1, EPOCHS + 1)]
        rows = {table.name: count(store.database, table) for table in schema.metadata.sorted_tables}
        assert {name: number for name, number in rows.items() if number} == {
            "ablations": 1,
            "members": RUNS,
            "runs": RUNS,
            "run_epochs": RUNS * EPOCHS,
            "metric_names": len(samples.epoch().metrics),
            "run_metrics": RUNS * EPOCHS * len(samples.epoch().metrics),
            "parameter_counts": RUNS * len(samples.COUNTS),
            "checkpoints": RUNS * 2,
            "evaluations": RUNS * 4,
            "evaluation_classes": RUNS * 4 * 2,
            "environments": RUNS,
            "warnings": RUNS,
        }


@pytest.mark.slow
def test_a_commit_waits_for_another_program_that_holds_the_lock(address: str) -> None:
    """The other holds it for some seconds, longer than SQLite's first attempts take."""
    with Store.open(address) as store, Store.open(address) as other:
        good, _ = samples.fill(store)
        order: list[str] = []
        held, released = threading.Event(), threading.Event()

        def hold() -> None:
            with other.database.writing() as connection:
                connection.execute(schema.runs.update().where(schema.runs.c.key == good).values(recipe=7))
                held.set()
                released.wait(3.0)  # nobody sets it: this is how long the lock is held
                order.append("let go")

        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(30)
        store.requeue([good], ["finished"])
        order.append("written")
        holder.join()
        assert order == ["let go", "written"]
        assert store.run(good).recipe == 7
        assert store.run(good).status == "queued"
