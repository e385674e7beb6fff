"""A database copied into another, of either kind: everything arrives, or nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import store_samples as samples
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, String, Table, select

from mmad.base.errors import StoreError
from mmad.store import maintenance, schema
from mmad.store.claims import Owner
from mmad.store.export import batches
from mmad.store.lookup import member_summaries
from mmad.store.maintenance import copy_database
from mmad.store.notes import read_notes
from mmad.store.run_json import detail_json
from mmad.store.store import Store


@pytest.fixture(params=["sqlite to sqlite", "sqlite to postgresql", "postgresql to sqlite", "postgresql to postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two databases that are not there yet, of every two kinds."""
    monkeypatch.chdir(tmp_path)
    one, _, other = str(request.param).partition(" to ")
    source = str(tmp_path / "source.sqlite") if one == "sqlite" else request.getfixturevalue("postgresql")
    if other == "sqlite":
        return source, str(tmp_path / "db" / "target.sqlite")
    if one == "sqlite":
        return source, request.getfixturevalue("postgresql")
    return source, request.getfixturevalue("second_postgresql")


def fill(address: str) -> tuple[str, str]:
    """Rows in every table, with what is hard to carry: numbers that are none, umlauts, NULL."""
    with Store.open(address) as store:
        good, bad = samples.fill(store)
        samples.write_files(store, good)
        store.commit_epoch(good, replace(samples.epoch(4), lr=math.inf, seconds=math.nan))
        store.put_evaluations(good, [replace(samples.evaluation("final", 3), ap=math.nan, overlap="odd")])
        store.add_warning(bad, "zu groß für „9 GiB“ 🫁\n")
        store.put_analysis("estimate", {"run": good}, {"ap": 0.5})
        store.put_memory("a" * 64, "A100", 2**33)
        store.put_log("mine", "log.md", "a" * 64, {"prose": ["ä"]}, [{"id": "e001"}, {"id": "e002"}])
        return good, bad


def content(address: str) -> dict[str, tuple[int, str]]:
    """Rows and checksum of every table."""
    with Store.open(address, read_only=True) as store, store.database.reading() as connection:
        found = {table.name: maintenance.checksum(connection, table) for table in schema.metadata.sorted_tables}
        return {name: (one.rows, one.digest) for name, one in found.items()}


@pytest.mark.slow
def test_everything_arrives_and_can_be_written_on(pair: tuple[str, str]) -> None:
    source, target = pair
    good, bad = fill(source)
    before = content(source)
    assert all(number for number, _ in before.values()), "a table without a row tries nothing"
    told: list[tuple[int, int]] = []
    copied = copy_database(source, target, progress=lambda done, whole: told.append((done, whole)))
    assert content(source) == before
    assert content(target) == before
    assert {table.name: (table.rows, table.checksum) for table in copied.tables} == before
    assert copied.files is None
    assert told[-1] == (copied.rows, copied.rows)
    with Store.open(source) as one, Store.open(target) as other:
        assert [s.results for s in member_summaries(one)] == [s.results for s in member_summaries(other)]
        assert one.warnings(bad) == other.warnings(bad)
        # numbers that the server gives out go on behind those that were copied
        other.add_warning(good, "later")
        other.put_evaluations(good, [samples.evaluation("best_ap", 2, overlap="other")])
        other.add_environment(good, samples.environment(3))
        other.put_analysis("estimate", {"run": bad}, {"ap": 0.25})
        assert other.requeue([bad]) == (bad,)


@pytest.mark.slow
def test_files_come_along_when_asked(pair: tuple[str, str]) -> None:
    source, target = pair
    good, _ = fill(source)
    copied = copy_database(source, target, files=True)
    with Store.open(source) as one, Store.open(target) as other:
        old, new = one.run_paths(good).folder, other.run_paths(good).folder
    names = {path.relative_to(old) for path in old.rglob("*") if path.is_file()}
    assert {path.relative_to(new) for path in new.rglob("*") if path.is_file()} == names
    assert copied.files is not None
    same = copied.source_files == copied.target_files  # two schemas of one server's database
    assert (copied.files.copied, copied.files.there) == ((0, len(names)) if same else (len(names), 0))
    for name in names:
        assert (old / name).read_bytes() == (new / name).read_bytes()


def test_a_target_that_holds_something_is_refused(pair: tuple[str, str]) -> None:
    source, target = pair
    fill(source)
    with Store.open(target) as store:
        store.put_log("other", "other.md", "b" * 64, {}, [])
    before = content(target)
    with pytest.raises(StoreError, match=r"is not empty \(1 documented_logs\); name another target"):
        copy_database(source, target)
    assert content(target) == before


@pytest.mark.slow
def test_a_copy_of_a_copy_is_the_first(pair: tuple[str, str], tmp_path: Path) -> None:
    source, target = pair
    fill(source)
    copy_database(source, target)
    copy_database(target, tmp_path / "back.sqlite")
    assert content(str(tmp_path / "back.sqlite")) == content(source)


def test_running_runs_are_refused(address: str, tmp_path: Path) -> None:
    with Store.open(address) as store:
        store.add_ablation(samples.ablation())
        run = store.claim(None, Owner.current())
        assert run is not None
        refused = "1 run is running and would continue in the source alone; wait for the end"
        with pytest.raises(StoreError, match=refused):
            copy_database(address, tmp_path / "copy.sqlite")
        assert store.take_away([run.key]) == (run.key,)
        store.claim(None, replace(Owner.current(), process_started=0.5))
        with pytest.raises(StoreError, match="by processes that are gone; let mmad ablate resume them"):
            copy_database(address, tmp_path / "copy.sqlite")
    assert not (tmp_path / "copy.sqlite").exists()


@pytest.mark.slow
def test_what_arrives_otherwise_is_not_kept(pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = pair
    fill(source)
    honest = maintenance._insert

    def losing(writing: object, table: Table, some: list[dict[str, object]], where: str) -> None:
        if table.name == "run_metrics":
            some[3]["value"] = 0.123
        honest(writing, table, some, where)  # type: ignore[arg-type]

    monkeypatch.setattr(maintenance, "_insert", losing)
    with pytest.raises(StoreError, match=r"run_metrics: 40 rows arrived \(.*\), 40 were sent \(.*\); nothing was kept"):
        copy_database(source, target)
    assert {number for number, _ in content(target).values()} == {0}


def test_a_value_that_a_server_refuses_is_told_with_its_table(database: Path, postgresql: str) -> None:
    good, _ = fill(str(database))
    with Store.open(database) as store:
        store.add_warning(good, "a\0b")
    with pytest.raises(StoreError, match="a row of warnings does not fit there") as caught:
        copy_database(database, postgresql)
    assert "\n" not in str(caught.value)
    assert {number for number, _ in content(postgresql).values()} == {0}


def test_the_same_place_and_a_missing_source_are_refused(database: Path, tmp_path: Path) -> None:
    fill(str(database))
    (tmp_path / "link.sqlite").symlink_to(database)
    for other in (database, f"sqlite:///{database}", tmp_path / "link.sqlite"):
        with pytest.raises(StoreError, match="is both source and target"):
            copy_database(database, other)
    with pytest.raises(StoreError, match="no such database"):
        copy_database(tmp_path / "none.sqlite", tmp_path / "new.sqlite")
    assert not (tmp_path / "new.sqlite").exists()


def test_new_columns_come_along(database: Path, tmp_path: Path) -> None:
    """Copies go by the tables' own columns, not by a list."""
    table = Table("notes", MetaData(), Column("id", String, primary_key=True), Column("text", String))
    with Store.open(database) as store, store.database.writing() as connection:
        table.create(connection)
        connection.execute(table.insert(), [{"id": f"{i:04d}", "text": "x" * i} for i in range(2500)])
        parts = [list(part) for part in batches(connection, table)]
        assert [len(part) for part in parts] == [1000, 1000, 500]
        assert [row["text"] for part in parts for row in part] == ["x" * i for i in range(2500)]
        assert maintenance.checksum(connection, table).rows == maintenance.count(connection, table) == 2500
        copied = Table("copied", MetaData(), Column("id", String, primary_key=True), Column("text", String))
        copied.create(connection)
        maintenance._insert(connection, copied, [dict(row) for part in parts for row in part], "here")
        assert connection.execute(select(copied)).all() == connection.execute(select(table)).all()


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(), st.text(), st.floats())), max_size=6))
def test_a_checksum_does_not_tell_the_order_and_tells_all_else(some: list[dict[str, object]]) -> None:
    def of(given_rows: list[dict[str, object]]) -> str:
        found = maintenance.Checksum()
        for row in given_rows:
            found.add([row])  # type: ignore[list-item]
        return found.digest

    assert of(some) == of(some[::-1])
    if some:
        assert of(some) != of(some[1:])
        assert of(some) != of([{**some[0], "a": "another"}, *some[1:]])


@pytest.mark.slow
def test_details_are_equal_after_the_copy(pair: tuple[str, str]) -> None:
    from mmad.store.lookup import run_detail

    source, target = pair
    good, _ = fill(source)
    copy_database(source, target)
    with Store.open(source) as one, Store.open(target) as other:
        details = [detail_json(run_detail(store, good), read_notes(store)) for store in (one, other)]
    assert {k: v for k, v in details[0].items() if k != "log"} == {k: v for k, v in details[1].items() if k != "log"}
