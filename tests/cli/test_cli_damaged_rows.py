"""A damaged value in any column of any table: no reading command fails with a traceback."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from cli_store_runs import samples
from test_cli_log import LOG

from mmad.experiment_log.parser import read_log
from mmad.store import schema
from mmad.store.store import Store

CXR, CLINICAL = "made/default/CXR", "made/default/CXR+Clinical"
#: What is put in a column's place; text is stored as text, bytes as a blob.
BAD: tuple[Any, ...] = (
    "x", "", "{", "[]", "{}", "null", "5", '{"epochs": "x", "use_clinical": 3}', "[1]", "NaN", "yesterday",
    "<b>", "/dev/zero", "../../../../etc/passwd", b"\x00\xff", -1, 3.5, 12345, 2**62, float("inf"), True,
)  # fmt: skip
#: How many of all cases are tried.
CASES = 10
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("runs",),
    ("runs", "--json"),
    ("show", f"{CXR}/0"),
    ("status",),
    ("watch", "--once"),
    ("db", "check"),
    ("db", "check", "--deep"),
    ("eval", CXR),
    ("compare", CXR, CLINICAL, "--resamples", "50"),
)


@pytest.fixture
def whole(judged_world: Any) -> Path:
    """A database with rows in every table."""
    database = Path(judged_world.database)
    with Store.open(database) as store:
        samples.fill(store)
        for key in judged_world.keys.values():
            for number in (1, 2, 3):
                store.commit_epoch(key, samples.epoch(number))
            store.add_environment(key, samples.environment())
            store.put_parameter_counts(key, samples.COUNTS)
            store.add_warning(key, "training AP is NaN")
        store.put_memory("m" * 64, "NVIDIA A100", 2**30)
        store.put_analysis("control", {"runs": [key]}, {"ap": 0.5})
        store.put_log("log", "log.md", "b" * 64, *read_log(LOG, "log").to_json())
        store.add_ablation(samples.ablation("waiting", (20,)))
    return database


def damage(database: Path, table: str, column: str, value: Any) -> bool:
    """Whether SQLite let ``value`` into the column of the table's first row."""
    with closing(sqlite3.connect(database)) as connection, connection, suppress(sqlite3.IntegrityError):
        connection.execute("PRAGMA ignore_check_constraints = ON")
        one = f"(SELECT rowid FROM {table} LIMIT 1)"
        connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = {one}", (value,))
        return True
    return False


@pytest.mark.slow
def test_no_reading_command_fails_with_a_traceback(
    whole: Path, tmp_path: Path, call_mmad: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sound = tmp_path / "sound.sqlite"
    shutil.copy2(whole, sound)
    columns = [(table.name, column.name) for table in schema.metadata.sorted_tables for column in table.c]
    cases = [(*column, value) for column in columns for value in BAD]
    for number, case in enumerate(random.Random(14).sample(cases, CASES)):
        shutil.copy2(sound, whole)
        if not damage(whole, *case):
            continue
        writing = (("db", "export", f"tables{number}"), ("report", "--html", "--out", f"{number}.html"))
        for words in (*COMMANDS, *writing):
            called = call_mmad(*words, "--db", whole)  # which raises what is no user's failure
            last = called.err.splitlines()[-1:]
            assert called.code in (0, 1) or (called.code == 2 and last[0].startswith("mmad: ")), (case, words, last)
