"""A damaged value in any column of any table: reading commands show what stands, and name what does not."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from cli_store_runs import samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
COLUMNS = [(table.name, column.name) for table in schema.metadata.sorted_tables for column in table.c]
FEW = ("--resamples", "50")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("runs",),
    ("runs", "--json"),
    ("show", f"{CXR}/0"),
    ("status",),
    ("watch", "--once"),
    ("db", "check"),
    ("db", "check", "--deep"),
    ("db", "export", "tables"),
    ("eval", CXR),
    ("compare", CXR, CLINICAL, *FEW),
    ("report", "--html", "--out", "page.html"),
    ("plan", "tiny.toml"),
    ("ablate", "tiny.toml", "--dry-run"),
    ("log", "show", "e001"),
)
#: One damaged value each, and what every command prints that is still there.
STANDING = (
    ("update runs set setup = '{' where status = 'queued'", "runs, row key"),
    ("update runs set created = 'yesterday'", "created is 'yesterday'"),
    ("update run_epochs set lr = '<b>'", "lr is '<b>'"),
    ("update run_epochs set peak_memory = -1", "peak_memory is -1"),
    ("update evaluations set ap = 'abc'", "ap is 'abc'"),
    ("update members set inferred = '5'", "inferred is '5'"),
    ("update ablations set compare = 'x'", "compare is 'x'"),
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


def damage(database: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(database)) as connection, connection, suppress(sqlite3.IntegrityError):
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement, values)


@pytest.mark.slow
@pytest.mark.hypothesis
def test_no_reading_command_fails_with_a_traceback(
    whole: Path,
    tmp_path: Path,
    call_mmad: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    write_tiny: Callable[..., None],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)
    sound = tmp_path / "sound.sqlite"
    shutil.copy2(whole, sound)

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(column=st.sampled_from(COLUMNS), value=st.sampled_from(BAD), words=st.sampled_from(COMMANDS))
    def search(column: tuple[str, str], value: Any, words: tuple[str, ...]) -> None:
        shutil.copy2(sound, whole)
        shutil.rmtree(tmp_path / "tables", ignore_errors=True)
        table, name = column
        key = ", ".join(f'"{one.name}"' for one in schema.metadata.tables[table].primary_key)
        first = f"({key}) = (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1)"
        damage(whole, f"UPDATE OR IGNORE {table} SET {name} = ? WHERE {first}", value)
        called = call_mmad(*words, "--db", whole)  # which raises what is no user's failure
        assert called.code in (0, 1) or "no run" in called.err or "nothing" in called.err, (words, called.err)

    search()


@pytest.mark.slow
@pytest.mark.parametrize(("statement", "named"), STANDING, ids=[named.split()[0] for _, named in STANDING])
def test_what_stands_is_shown_beside_a_damaged_value(
    whole: Path,
    tmp_path: Path,
    call_mmad: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    statement: str,
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(whole, statement)
    for words in (("report", "--html", "--out", "page.html"), ("db", "export", "tables")):
        caplog.clear()
        called = call_mmad(*words, "--db", whole)
        assert called.code == 0, (words, called.err)
        assert named in caplog.text, words
        assert len(caplog.messages) <= 11
    assert "made" in (tmp_path / "page.html").read_text()
    assert len((tmp_path / "tables" / "ablations.csv").read_text().splitlines()) > 2
    checked = call_mmad("db", "check", "--db", whole)
    assert (checked.code, checked.err) == (1, "")
    assert named in checked.out
