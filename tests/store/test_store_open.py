"""Opening: created whole, upgraded after a backup, refused with the hint."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import store_samples as samples

from mmad.base.errors import StoreError
from mmad.store import engine, migrate, schema
from mmad.store.claims import Owner
from mmad.store.store import Store

NEXT = f"{int(schema.HEAD) + 1:04d}"
MORE = """
import sqlalchemy as sa
from alembic import op

revision = "{next}"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("runs", sa.Column("note", sa.Text))
    {more}


def downgrade():
    op.drop_column("runs", "note")
"""


def pragma(database: Path, name: str) -> object:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def stamp(database: Path, revision: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def columns(database: Path, table: str) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def next_schema(monkeypatch: pytest.MonkeyPatch, folder: Path, more: str = "pass") -> None:
    """Pretends that this mmad has one more revision."""
    scripts = folder / "migrations"
    shutil.copytree(migrate.SCRIPTS, scripts)
    text = MORE.replace("{next}", NEXT).replace("{head}", schema.HEAD).replace("{more}", more)
    (scripts / "versions" / f"{NEXT}_note.py").write_text(text)
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    monkeypatch.setattr(schema, "HEAD", NEXT)


def test_a_new_database_is_made_with_its_folder(tmp_path: Path) -> None:
    database = tmp_path / "some" / "where" / "mmad.sqlite"
    with Store.open(database) as store:
        assert store.run_records() == []
        assert store.ablations() == []
    assert pragma(database, "journal_mode") == "wal"
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema.HEAD,)]


def test_connections_sync_fully_and_check_references(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_prepare_writing", engine._prepare_writing.__wrapped__)  # other tests do not
    with Store.open(database) as store, store.database.reading() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "foreign_keys", "busy_timeout")
        ]
    assert values == [2, 1, 60_000]


@pytest.mark.slow
def test_processes_that_start_at_once_make_one_database(tmp_path: Path) -> None:
    database = tmp_path / "db" / "mmad.sqlite"
    program = "import sys; from mmad.store.store import Store; sys.stdin.read(); Store.open(sys.argv[1]).close()"
    command = [sys.executable, "-c", program, str(database)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, errors
    with Store.open(database, create=False) as store:
        store.add_ablation(samples.ablation())
        assert len(store.run_records()) == 2


def test_an_empty_file_becomes_a_database_only_when_asked(tmp_path: Path) -> None:
    database = tmp_path / "mmad.sqlite"
    database.touch()
    with pytest.raises(StoreError, match="is empty"):
        Store.open(database, create=False)
    with pytest.raises(StoreError, match="is empty"):
        Store.open(database, read_only=True)
    with Store.open(database) as store:
        assert store.run_records() == []


@pytest.mark.parametrize("mode", [{"create": False}, {"read_only": True}])
def test_a_missing_database_is_not_made_by_readers(tmp_path: Path, mode: dict[str, bool]) -> None:
    database = tmp_path / "none" / "mmad.sqlite"
    with pytest.raises(StoreError, match="no such database; run mmad ablate") as caught:
        Store.open(database, **mode)
    assert str(database) in str(caught.value)
    assert not database.parent.exists()


def test_an_older_database_is_upgraded_after_a_backup(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(database) as store:
        good, _ = samples.fill(store)
        before = store.epoch_records(good)
    backup = database.with_name(f"mmad.sqlite.{schema.HEAD}.backup")
    next_schema(monkeypatch, tmp_path)
    with Store.open(database) as store:
        assert store.epoch_records(good) == before
    assert "note" in columns(database, "runs")
    assert "note" not in columns(backup, "runs")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT count(*) FROM epochs").fetchone() == (3,)
    assert not list(database.parent.glob(".*.part"))


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(database).close()
    next_schema(monkeypatch, tmp_path, more="raise RuntimeError('no')")
    with pytest.raises(RuntimeError):
        Store.open(database)
    assert "note" not in columns(database, "runs")
    monkeypatch.undo()
    with Store.open(database) as store:
        assert store.run_records() == []


def test_an_upgrade_without_room_for_a_backup_is_refused(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(database).close()
    database.with_name(f"mmad.sqlite.{schema.HEAD}.backup").mkdir()
    next_schema(monkeypatch, tmp_path)
    with pytest.raises(StoreError, match="no backup could be made"):
        Store.open(database)
    assert "note" not in columns(database, "runs")


def test_an_older_database_is_not_upgraded_by_a_reader(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(database).close()
    words = f"older schema {schema.HEAD}, this mmad reads {NEXT}"
    next_schema(monkeypatch, tmp_path)
    with pytest.raises(migrate.OlderSchema, match=words):
        Store.open(database, read_only=True)
    assert "note" not in columns(database, "runs")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_database_is_refused_naming_both_revisions(database: Path, read_only: bool) -> None:
    Store.open(database).close()
    stamp(database, "0999")
    content = database.read_bytes()
    with pytest.raises(StoreError, match=f"newer schema 0999, .* up to {schema.HEAD}; upgrade mmad"):
        Store.open(database, read_only=read_only)
    assert database.read_bytes() == content


def test_what_cannot_be_prepared_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[sqlite3.Connection] = []

    def refuse(connection: sqlite3.Connection, _: Path) -> None:
        met.append(connection)
        raise sqlite3.DatabaseError("file is not a database")

    monkeypatch.setattr("mmad.store.engine._prepare_writing", refuse)
    with pytest.raises(StoreError):
        Store.open(tmp_path / "mmad.sqlite")
    for connection in met:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    assert met


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "notes.txt"
    database.write_text("these are notes, not a database\n" * 100)
    with pytest.raises(StoreError, match=r"notes\.txt: is not a database"):
        Store.open(database)
    assert database.read_text().startswith("these are notes")


def test_a_database_of_something_else_is_refused_untouched(tmp_path: Path) -> None:
    database = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    with pytest.raises(StoreError, match="database of something else"):
        Store.open(database)
    assert columns(database, "patients") == {"name"}
    assert columns(database, "runs") == set()


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("")
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        Store.open(tmp_path / "db" / "mmad.sqlite")
    assert caught.value.hint is not None


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"):
        Store.open(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc, where nobody can write")
def test_a_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(StoreError, match="/proc/"):
        Store.open("/proc/mmad.sqlite")
    with pytest.raises(StoreError, match="cannot be reached"):
        Store.open("/proc/mmad/mmad.sqlite")


def test_a_database_that_stays_locked_is_refused(database: Path) -> None:
    Store.open(database).close()
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            Store.open(database, timeout=0.05) as store,
            pytest.raises(StoreError, match="kept the database locked; close it"),
        ):
            store.add_ablation(samples.ablation())
        other.execute("ROLLBACK")


def test_a_full_disk_loses_nothing(file_store: Store) -> None:
    good, _ = samples.fill(file_store)
    before = file_store.epoch_records(good)
    with file_store.database.engine.connect() as connection:  # the pool hands this connection out again
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="no space is left"):
        file_store.add_warning(good, "x" * 100_000)
    assert file_store.epoch_records(good) == before
    assert file_store.warnings(good) == ["training AP is NaN"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_deleted_or_replaced_is_noticed_at_once(database: Path, replaced: bool) -> None:
    with Store.open(database) as store, Store.open(database, read_only=True) as reader:
        good, _ = samples.fill(store)
        assert len(reader.run_records()) == 2
        away = database.rename(database.with_name("away.sqlite"))
        if replaced:
            shutil.copy(away, database)
        line = f"{database}: was deleted or replaced while it was in use; nothing is recorded any more; put it back"
        calls: list[Callable[[], object]] = [
            lambda: store.commit_epoch(good, samples.epoch(4)),
            lambda: store.beat(good, Owner.current()),
            store.state,
            reader.run_records,
        ]
        for call in calls:
            with pytest.raises(StoreError, match=re.escape(line)):
                call()
        assert database.exists() is replaced  # none is made in its place
        away.replace(database)
        assert len(reader.run_records()) == 2


def test_reading_only_writes_nothing(database: Path) -> None:
    with Store.open(database) as store:
        good, _ = samples.fill(store)
    with Store.open(database, read_only=True) as reader:
        assert len(reader.epoch_records(good)) == 3
        with pytest.raises(StoreError, match="for reading only"):
            reader.add_warning(good, "no")


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user who cannot write everywhere")
def test_a_closed_database_is_read_where_nothing_can_be_written(database: Path) -> None:
    with Store.open(database) as store:
        samples.fill(store)
    database.parent.chmod(0o555)
    try:
        with Store.open(database, read_only=True) as store:
            assert len(store.run_records()) == 2
        assert [path.name for path in database.parent.iterdir()] == ["mmad.sqlite"]
    finally:
        database.parent.chmod(0o755)


@pytest.mark.parametrize("name", ["odd ?#%40 näme.sqlite", "a&mode=memory.sqlite"])
def test_odd_names_are_files_too(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path / name) as store:
        samples.fill(store)
    with Store.open(tmp_path / name, read_only=True) as store:
        assert len(store.run_records()) == 2
    assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://host/name", "not the URL of a database"),
        ("postgresql+asyncpg9://me:secret@host/name", "not the URL of a database"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(url)
    assert "secret" not in str(caught.value)


def test_a_missing_driver_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"psycopg is not installed; install it .*mmad\[postgres\]") as caught:
        Store.open("postgresql://me:secret@host/name")
    assert "secret" not in str(caught.value)
