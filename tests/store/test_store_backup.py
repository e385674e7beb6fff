"""Backups while others write, and explicit upgrades."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import store_samples as samples

from mmad.base.errors import StoreError
from mmad.store import schema
from mmad.store.migrate import back_up_database, upgrade_database
from mmad.store.store import Store

OLD = Path(__file__).parent / "mmad-0001.sql"


def test_a_backup_is_a_database_of_one_moment_while_others_write(database: Path, tmp_path: Path) -> None:
    with Store.open(database) as store:
        good, bad = samples.fill(store)
        stop = threading.Event()

        def write() -> None:
            number = 3
            with Store.open(database) as own:
                while not stop.is_set():
                    number += 1
                    own.commit_epoch(good, samples.epoch(number))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            made = [
                back_up_database(database, tmp_path / "new" / f"{i}.sqlite", lambda done, whole: None) for i in range(3)
            ]
        finally:
            stop.set()
            writer.join()
        for backup in made:
            with Store.open(backup.file, read_only=True) as copy:
                epochs = copy.epoch_records(good)
                assert [e.epoch for e in epochs] == list(range(1, len(epochs) + 1))
                assert epochs[3:] == [samples.epoch(e.epoch) for e in epochs[3:]]
                assert (backup.runs, backup.epochs) == (2, len(epochs))
                assert copy.run(bad).status == "failed"
            assert backup.size == backup.file.stat().st_size
    assert not list((tmp_path / "new").glob(".*.part*"))


def test_backups_that_cannot_be_are_refused(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup.sqlite"
    with pytest.raises(StoreError, match="no such database"):
        back_up_database(database, target)
    with Store.open(database) as store:
        samples.fill(store)
    with pytest.raises(StoreError, match="pg_dump; or copied to a file: mmad db copy URL FILE"):
        back_up_database("postgresql://me@host/name", target)
    target.write_text("mine")
    with pytest.raises(StoreError, match="exists already; name a new file"):
        back_up_database(database, target)
    assert target.read_text() == "mine"
    with pytest.raises(StoreError, match="exists already"):
        back_up_database(database, database)
    with pytest.raises(StoreError, match="cannot be written"):
        back_up_database(database, target / "in" / "a-file.sqlite")
    notes = tmp_path / "notes.txt"
    notes.write_text("these are notes, not a database\n" * 100)
    with pytest.raises(StoreError, match=r"notes\.txt: is not a database"):
        back_up_database(notes, tmp_path / "other.sqlite")
    with pytest.raises(StoreError, match=rf"db: is a folder; name a file in it, such as {database}$"):
        back_up_database(database, database.parent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.sqlite", "db", "notes.txt"]


def test_an_upgrade_tells_what_it_did(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    database = tmp_path / "old.sqlite"
    with pytest.raises(StoreError, match="no such database"):
        upgrade_database(database)
    with closing(sqlite3.connect(database)) as old:
        old.executescript(OLD.read_text("utf-8"))
    done = upgrade_database(database)
    assert (done.found, done.now) == ("0001", schema.HEAD)
    assert done.backup == tmp_path / "old.sqlite.0001.backup"
    with closing(sqlite3.connect(done.backup)) as kept:
        assert kept.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    again = upgrade_database(database)
    assert (again.found, again.now, again.backup) == (schema.HEAD, schema.HEAD, None)


def test_a_server_s_database_is_upgraded_in_place(postgresql: str) -> None:
    with pytest.raises(StoreError, match="is empty"):
        upgrade_database(postgresql)
    Store.open(postgresql).close()
    done = upgrade_database(postgresql)
    assert (done.found, done.now, done.backup) == (schema.HEAD, schema.HEAD, None)


@pytest.mark.parametrize(("mask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_are_made_for_whom_the_umask_allows_it(tmp_path: Path, mask: int, mode: int) -> None:
    database, backup = tmp_path / "mmad.sqlite", tmp_path / "backup.sqlite"
    before = os.umask(mask)
    try:
        with Store.open(database) as store:
            samples.fill(store)
            beside = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("mmad.sqlite*")}
        back_up_database(database, backup)
    finally:
        os.umask(before)
    assert beside == dict.fromkeys(("mmad.sqlite", "mmad.sqlite-wal", "mmad.sqlite-shm"), mode)
    assert backup.stat().st_mode & 0o777 == mode


def test_a_backup_of_a_damaged_file_leaves_nothing_and_is_one_line(database: Path, tmp_path: Path) -> None:
    with Store.open(database) as store:
        samples.fill(store)
        with store.database.reading() as connection:
            root = connection.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name = 'run_metrics'")
            page = root.scalar_one()
            size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    with database.open("r+b") as file:
        file.seek((page - 1) * size + 8)
        file.write(b"\xff" * 64)
    target = tmp_path / "backups" / "b.sqlite"
    with pytest.raises(StoreError, match="damaged") as caught:
        back_up_database(database, target)
    assert "\n" not in str(caught.value)
    assert list(target.parent.iterdir()) == []
