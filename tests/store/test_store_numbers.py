"""The schema in which epochs and metrics repeated the run's key becomes that of numbers: whole, or not at all."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import store_samples as samples
from alembic import command
from sqlalchemy import select, text

from mmad.base.records import EpochRecord, Metric
from mmad.store import schema
from mmad.store.engine import Database
from mmad.store.migrate import _config, revision
from mmad.store.store import Store

#: What people and their programs read, in the words of the earlier tables.
READ = (
    "SELECT run_key, epoch, lr, seconds, peak_memory, committed, replaced FROM epochs ORDER BY run_key, epoch",
    "SELECT run_key, epoch, split, name, value, position FROM metrics ORDER BY run_key, epoch, split, name",
    "SELECT * FROM run_results ORDER BY ablation, setting, arm, seed",
    "SELECT * FROM checkpoint_results ORDER BY ablation, setting, arm, seed, checkpoint",
)
KILLED = """
import os, signal, sys
from mmad.store import migrate
from mmad.store.store import Store
migrate.write_contents = lambda connection: os.kill(os.getpid(), signal.SIGKILL)
Store.open(sys.argv[1])
"""


def test_a_file_that_is_upgraded_gives_back_what_it_needs_no_more(database: Path) -> None:
    with Store.open(database) as store:
        good, _ = samples.fill(store)
        for number in range(4, 200):
            store.commit_epoch(good, samples.epoch(number))
        with store.database.upgrading() as connection:
            command.downgrade(_config(connection), "0005")
    before = database.stat().st_size
    Store.open(database).close()
    assert database.stat().st_size < before / 2
    assert database.with_name("mmad.sqlite.0005.backup").exists()


def rows(address: str) -> tuple[str | None, list[list[Any]]]:
    """The revision, and what ``READ`` answers."""
    database = Database(address)
    try:
        with database.reading() as connection:
            answers = [connection.execute(text(query)).all() for query in READ]
            return revision(connection), [[tuple(row) for row in answer] for answer in answers]
    finally:
        database.close()


@pytest.fixture
def earlier(address: str) -> tuple[str, dict[str, list[EpochRecord]]]:
    """A database of the schema before, and the epochs in it: one replaced, one with another order of its metrics."""
    with Store.open(address) as store:
        good, bad = samples.fill(store)
        last = samples.epoch(4)
        odd = replace(last, lr=math.inf, metrics=(Metric("val", "ap_mask_iou", -0.0), *reversed(last.metrics)))
        store.commit_epoch(good, samples.epoch(2, val_ap=0.25))
        store.commit_epoch(good, odd)
        store.commit_epoch(bad, replace(samples.epoch(1), metrics=()))
        kept = store.all_epochs([good, bad])
        with store.database.upgrading() as connection:
            command.downgrade(_config(connection), "0005")
    return address, kept


def test_every_row_of_the_earlier_schema_is_read_as_before(earlier: tuple[str, dict[str, list[EpochRecord]]]) -> None:
    address, kept = earlier
    found, before = rows(address)
    assert found == "0005"
    assert [len(answer) for answer in before] == [5, 4 * 10 + 1, 2, 3]
    Store.open(address).close()
    assert rows(address) == (schema.HEAD, before)
    with Store.open(address) as store:
        assert store.all_epochs(list(kept)) == kept
        with store.database.reading() as connection:
            numbers = connection.scalars(select(schema.runs.c.id).order_by(schema.runs.c.position)).all()
        assert list(numbers) == [1, 2]
        store.add_ablation(samples.ablation("more", (30,)))
        key = store.ablations()[0].members[0].key
        store.commit_epoch(key, samples.epoch(1))  # numbers go on after those of before
        assert store.epoch_records(key) == [samples.epoch(1)]


@pytest.mark.slow
def test_an_upgrade_that_is_killed_leaves_every_row(earlier: tuple[str, dict[str, list[EpochRecord]]]) -> None:
    address, kept = earlier
    before = rows(address)
    killed = subprocess.run([sys.executable, "-c", KILLED, address], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert rows(address) == before
    with Store.open(address) as store:
        assert store.all_epochs(list(kept)) == kept
    assert rows(address) == (schema.HEAD, before[1])
