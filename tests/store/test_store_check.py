"""What is wrong in a database, or beside it, is found; what is sound is not complained of."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import store_samples as samples
from sqlalchemy import delete, update

from mmad.base.errors import StoreError
from mmad.store import schema
from mmad.store.claims import Owner
from mmad.store.maintenance import check_database, find_surplus
from mmad.store.maintenance import delete as delete_surplus
from mmad.store.store import Store


@pytest.fixture
def sound(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A database with which all is well, and the folder of its finished run."""
    monkeypatch.chdir(tmp_path)
    with Store.open(address) as store:
        good, _ = samples.fill(store)
        samples.write_files(store, good)
        return address, store.run_paths(good).folder.absolute()


def found(address: str, *, deep: bool = False) -> list[tuple[str, str]]:
    return [(finding.check, finding.what) for finding in check_database(address, deep=deep).findings]


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_database_has_no_finding(sound: tuple[str, Path], deep: bool) -> None:
    told: list[tuple[int, int]] = []
    checked = check_database(sound[0], deep=deep, progress=lambda done, whole: told.append((done, whole)))
    assert checked.findings == ()
    assert (checked.schema, checked.tables, checked.runs) == (schema.HEAD, len(schema.metadata.tables), 2)
    # epochs 2 and 3 have a checkpoint each, the first one's was replaced; one file of detections
    assert (checked.files, checked.read) == (3, 3 if deep else 0)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_files_that_are_gone_or_cut_are_found(sound: tuple[str, Path]) -> None:
    address, folder = sound
    (folder / "checkpoints" / "epoch-00002.pt").unlink()
    (folder / "checkpoints" / "epoch-00003.pt").write_bytes(b"cut")
    (folder / "detections" / "x.npz").unlink()
    findings = check_database(address).findings
    assert [Path(finding.where).name for finding in findings] == ["epoch-00002.pt", "epoch-00003.pt", "x.npz"]
    assert "is not there (checkpoint best_a" in findings[0].what
    assert "has 3 bytes, its row says 21" in findings[1].what
    assert "is not there (detections of run" in findings[2].what
    assert all("MMAD_RUNS" in finding.hint for finding in findings)


@pytest.mark.slow
def test_changed_content_is_found_when_it_is_read(sound: tuple[str, Path]) -> None:
    address, folder = sound
    checkpoint, detections = folder / "checkpoints" / "epoch-00002.pt", folder / "detections" / "x.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[::-1])
    detections.write_bytes(detections.read_bytes().replace(b"boxes boxes", b"boxes b0xes"))
    assert found(address) == []
    kinds = [what for _, what in found(address, deep=True)]
    assert ["is another file: its SHA-256" in kinds[0], "is damaged at boxes.npy" in kinds[1]] == [True, True]
    detections.write_bytes(b"no zip")
    assert "is damaged (File is not a zip file)" in found(address, deep=True)[1][1]
    detections.unlink()
    detections.mkdir()
    assert "is not a regular file" in found(address, deep=True)[1][1]


def test_runs_that_nobody_trains_are_found(sound: tuple[str, Path]) -> None:
    address, _ = sound
    with Store.open(address) as store:
        store.add_ablation(samples.ablation(patiences=(10, 20, 30)))
        me = Owner.current()
        for owner in (
            me,
            replace(me, host="elsewhere"),
            replace(me, process_started=0.5),
        ):  # the last is gone
            assert store.claim(None, owner) is not None
        free = store.run_records()[-1].key
        with store.database.writing() as connection:
            connection.execute(update(schema.runs).where(schema.runs.c.key == free).values(status="running"))
    gone, nobody = found(address)
    assert gone == ("runs", f"is claimed under process {Owner.current().pid} of {Owner.current().host}, which is gone")
    assert nobody == ("runs", "is running under nobody")


def test_missing_epochs_are_found(sound: tuple[str, Path]) -> None:
    address, _ = sound
    with Store.open(address) as store, store.database.writing() as connection:
        connection.execute(delete(schema.run_epochs).where(schema.run_epochs.c.epoch == 2))
    assert found(address) == [("epochs", "lacks its epoch 2")]
    with Store.open(address) as store, store.database.writing() as connection:
        connection.execute(delete(schema.run_epochs))
    assert found(address) == [("epochs", "is finished without an epoch")]


def test_rows_that_name_nothing_are_found(database: Path) -> None:
    with Store.open(database) as store:
        good, _ = samples.fill(store)
        samples.write_files(store, good)
    with closing(sqlite3.connect(database)) as connection, connection:  # which checks no reference
        connection.execute("DELETE FROM run_epochs WHERE epoch = 3")
        connection.execute("UPDATE warnings SET run_key = 'nobody'")
    number = len(samples.epoch().metrics)
    assert ("references", f"{number} rows of run_metrics name a row of run_epochs that is not there") in found(
        str(database)
    )
    assert ("references", "1 rows of warnings name a row of runs that is not there") in found(str(database))


def test_a_schema_that_lacks_something_is_found(sound: tuple[str, Path]) -> None:
    address, _ = sound
    with Store.open(address) as store, store.database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE documented_entries")
        connection.exec_driver_sql("ALTER TABLE analyses DROP COLUMN value")
    assert found(address) == [
        ("schema", "analyses lacks the column value"),
        ("schema", "lacks the table documented_entries"),
    ]


def test_damaged_pages_are_found_and_nothing_else_is_looked_at(database: Path) -> None:
    with Store.open(database) as store:
        good, _ = samples.fill(store)
        for number in range(4, 60):
            store.commit_epoch(good, samples.epoch(number))
    with closing(sqlite3.connect(database)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'run_metrics'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with database.open("rb+") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * 200)
    findings = check_database(database).findings
    assert findings
    assert {finding.check for finding in findings} == {"integrity"}
    assert all("\n" not in str(finding) for finding in findings)


def test_an_older_schema_is_a_finding_and_a_newer_one_is_refused(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(database).close()
    with monkeypatch.context() as patch:
        patch.setattr(schema, "HEAD", "9999")
        (finding,) = check_database(database).findings
        assert (finding.check, finding.hint) == ("schema", "run mmad db upgrade, which keeps a copy")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(StoreError, match="newer schema 0999"):
        check_database(database)
    with pytest.raises(StoreError, match="no such database"):
        check_database(database.with_name("none.sqlite"))


def test_what_was_pruned_is_not_missed(sound: tuple[str, Path]) -> None:
    address, _ = sound
    with Store.open(address) as store:
        found = find_surplus(store, {run.key for run in store.run_records()}, keep=["final"])
        assert found
        delete_surplus(store, found)
    checked = check_database(address, deep=True)
    assert checked.findings == ()
    with Store.open(address) as store:
        (kept,) = {
            store.run_paths(run.key).folder / c.path
            for run in store.run_records()
            for c in store.checkpoints(run.key)
            if c.kind == "final"
        }
        kept.unlink()
    assert [Path(finding.where).name for finding in check_database(address).findings] == [kept.name]
