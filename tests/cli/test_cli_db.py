"""``mmad db``: what people and scripts see, and the lines for what cannot be done."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_store_runs import samples
from postgresql_server import Server

from mmad.store import schema
from mmad.store.store import Store

Call = Callable[..., Any]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A sound database with a finished run, whose files are there; its folder is the working folder."""
    monkeypatch.chdir(tmp_path)
    with Store.open("db/mmad.sqlite") as store:
        good, _ = samples.fill(store)
        samples.write_files(store, good)
    return "db/mmad.sqlite"


def test_a_sound_database_is_called_so(call_mmad: Call, database: str) -> None:
    called = call_mmad("db", "check", "--deep", "--db", database)
    assert (called.code, called.err) == (0, "looking at the files …\n")
    tables = len(schema.metadata.tables)
    assert called.out.endswith(f"{tables} tables, 2 runs, 3 files, 3 of them read: all sound\n")
    assert json.loads(call_mmad("db", "check", "--json").out)["findings"] == []


@pytest.mark.slow
def test_findings_are_listed_with_one_mend_and_exit_1(call_mmad: Call, database: str) -> None:
    for file in Path("db/runs").rglob("*.pt"):
        file.unlink()
    called = call_mmad("db", "check")
    assert called.code == 1
    assert called.out.count("is not there") == 2
    assert called.out.count("MMAD_RUNS") == 1
    assert called.out.endswith("2 findings\n")
    called = call_mmad("db", "check", "--json")
    assert called.code == 1
    assert [finding["check"] for finding in json.loads(called.out)["findings"]] == ["files", "files"]


def test_a_backup_says_what_is_not_in_it(call_mmad: Call, database: str) -> None:
    called = call_mmad("db", "backup", "kept/monday.sqlite", "--db", database)
    assert called.code == 0, called.err
    assert "2 runs, 3 epochs of db/mmad.sqlite" in called.out
    assert "checkpoints and detections are not in it" in called.out
    called = call_mmad("db", "backup", "kept/monday.sqlite", "--json")
    assert (called.code, called.out) == (2, "")
    assert called.err.startswith("mmad: kept/monday.sqlite: exists already; name a new file")


def test_a_merge_names_conflicts_in_a_line_each(call_mmad: Call, database: str) -> None:
    with Store.open("theirs.sqlite") as store:
        good, bad = samples.fill(store)
    called = call_mmad("db", "merge", "theirs.sqlite")
    assert (called.code, called.out) == (
        0, "  2 runs here already\ndb/mmad.sqlite: took over 0 runs of theirs.sqlite\n"
    )  # fmt: skip
    with Store.open("theirs.sqlite") as store:
        store.commit_epoch(good, samples.epoch(1, val_ap=0.75))
        store.commit_epoch(bad, samples.epoch(1))
        store.end_free(bad, "finished")
    called = call_mmad("db", "merge", "theirs.sqlite")
    assert (called.code, called.out) == (2, "")
    words = (
        "conflict, the first: run patience/patience 10/CXR, seed 0: epoch 1, test ap_iou is 0.125 here and 0.625 there"
    )
    assert called.err.startswith(f"mmad: db/mmad.sqlite: 1 {words}; nothing was written; --keep-own keeps")
    called = call_mmad("db", "merge", "theirs.sqlite", "--dry-run", "--json")
    assert [conflict["about"] for conflict in json.loads(called.out)["conflicts"]] == ["run"]
    called = call_mmad("db", "merge", "theirs.sqlite", "--keep-own", "--files")
    assert called.code == 0, called.err
    assert "  1 run trained further there\n" in called.out
    assert "took over 1 run of theirs.sqlite, 1 conflict kept as here" in called.out


@pytest.mark.slow
def test_a_copy_says_where_the_files_are(call_mmad: Call, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = call_mmad("db", "copy", database, "other.sqlite")
    assert called.code == 0, called.err
    assert "counts and check sums equal" in called.out
    assert "stayed in db/runs/mmad.sqlite: copy them with --files" in called.out
    assert call_mmad("db", "check", "--db", "other.sqlite").code == 1
    called = call_mmad("db", "copy", database, "whole.sqlite", "--files")
    assert "runs/whole.sqlite: 4 files, " in called.out
    assert call_mmad("db", "check", "--deep", "--db", "whole.sqlite").code == 0
    monkeypatch.setenv("MMAD_RUNS", "db/runs/mmad.sqlite")
    assert "both find the runs' files in db/runs/mmad.sqlite" in call_mmad("db", "copy", database, "third.sqlite").out
    called = call_mmad("db", "copy", database, "third.sqlite", "--json")
    assert (called.code, called.out) == (2, "")
    assert "third.sqlite: is not empty (1 ablations, 10 metric_names, 2 runs)" in called.err


def test_exports_are_listed_and_forms_are_known(call_mmad: Call, database: str) -> None:
    called = call_mmad("db", "export", "out")
    assert called.code == 0, called.err
    assert "out/runs.csv: 2 rows\n" in called.out
    assert "out/ablations.csv: 1 row\n" in called.out
    called = call_mmad("db", "export", "else", "--format", "parket")
    assert (called.code, called.err) == (2, "mmad: --format: unknown form 'parket'; did you mean parquet?\n")
    assert not Path("else").exists()


def test_an_upgrade_names_its_backup(call_mmad: Call, database: str) -> None:
    called = call_mmad("db", "upgrade")
    assert (called.code, called.out) == (0, f"db/mmad.sqlite: has schema {_revision(database)}, the newest\n")
    old = Path(__file__).parents[1] / "store" / "mmad-0001.sql"
    with closing(sqlite3.connect("old.sqlite")) as made:
        made.executescript(old.read_text("utf-8"))
    called = call_mmad("db", "check", "--db", "old.sqlite")
    assert called.code == 1
    assert "older schema 0001" in called.out
    assert "→ run mmad db upgrade" in called.out
    called = call_mmad("db", "upgrade", "--db", "old.sqlite", "--json")
    told = json.loads(called.out)
    assert told == {
        "database": "old.sqlite",
        "from": "0001",
        "to": _revision(database),
        "backup": "old.sqlite.0001.backup",
    }
    assert Path("old.sqlite.0001.backup").exists()


def _revision(database: str) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("backup", "x.sqlite"),
        ("copy", "db/none.sqlite", "x.sqlite"),
        ("export", "x"),
        ("upgrade",),
    ],
    ids=lambda words: words[0],
)
def test_a_missing_database_is_told_in_one_line(
    call_mmad: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    db = () if words[0] == "copy" else ("--db", "db/none.sqlite")
    called = call_mmad("db", *words, *db)
    assert (called.code, called.out) == (2, "")
    assert called.err.startswith("mmad: db/none.sqlite: no such database; ")
    assert called.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_there_and_back_over_a_server(call_mmad: Call, database: str, postgresql: str) -> None:
    for words in (("copy", database, postgresql, "--files"), ("copy", postgresql, "back.sqlite", "--files")):
        called = call_mmad("db", *words)
        assert called.code == 0, called.err
        assert "s3cret" not in called.out + called.err
    for address in (database, postgresql, "back.sqlite"):
        assert call_mmad("db", "check", "--deep", "--db", address).code == 0
        assert call_mmad("db", "export", f"out-{address[:4]}", "--db", address).code == 0
    written = [file.read_bytes() for file in sorted(Path("out-db").parent.glob("out-back/*.csv"))]
    assert written == [file.read_bytes() for file in sorted(Path().glob("out-post/*.csv"))]
    called = call_mmad("db", "backup", "x.sqlite", "--db", postgresql)
    assert (called.code, "pg_dump" in called.err) == (2, True)


def test_a_wrong_server_is_one_line(call_mmad: Call, server: Server) -> None:
    for url, line in (
        (server.url_of(password="hunter2"), "the server refuses the user or the password"),
        ("mysql://me@host/name", "mysql: is not the URL of a database that mmad can use"),
        ("postgresql://127.0.0.1:1/name", "the database server cannot be reached; check that it runs"),
    ):
        called = call_mmad("runs", "--db", url)
        assert (called.code, called.out) == (2, "")
        assert line in called.err
        assert called.err.count("\n") == 1
        assert "hunter2" not in called.err


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_a_pair_is_trained_and_reported_on_a_server(
    call_mmad: Call, postgresql: str, tmp_path: Path, write_tiny: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)
    done = call_mmad("ablate", "tiny.toml", "--db", postgresql)
    assert done.code == 0, done.err
    assert "2 of 2 runs finished" in done.out
    assert "s3cret" not in done.out + done.err
    assert len(list((tmp_path / "db" / "runs" / "mmad.postgresql").rglob("*.pt"))) >= 2
    with Store.open(postgresql, read_only=True) as store:
        for run in store.run_records():
            assert (run.status, run.epochs_done) == ("finished", 2)
            (environment,) = store.environments(run.key)
            assert "***@127.0.0.1" in environment.command
    assert call_mmad("runs", "--db", postgresql).out.count("finished") == 2
    report = call_mmad("report", "--html", "--db", postgresql)
    assert report.code == 0, report.err
    assert "Tiny" in (tmp_path / "reports" / "index.html").read_text("utf-8")
    checked = call_mmad("db", "check", "--deep", "--db", postgresql)
    assert checked.code == 0, checked.out
    again = call_mmad("ablate", "tiny.toml", "--db", postgresql)
    assert "nothing to do" in again.out
