"""Analyses are kept under all that decides them; a database of the first schema gets their table."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import store_samples as samples

from mmad.base.errors import StoreError
from mmad.store import schema
from mmad.store.lookup import member_summaries
from mmad.store.measurements import analysis_key
from mmad.store.migrate import OlderSchema
from mmad.store.store import Store

SUBJECT = {"runs": ["b" * 64, "a" * 64], "split": "test", "resamples": 1000, "threshold": 0.5}


def test_an_analysis_comes_back_under_its_key(store: Store) -> None:
    key = store.put_analysis("estimate", SUBJECT, {"ap": {"value": 0.5, "low": None}})
    assert key == analysis_key("estimate", SUBJECT)
    found = store.get_analysis(key)
    assert found is not None
    assert (found.kind, found.key, found.subject) == ("estimate", key, SUBJECT)
    assert found.value == {"ap": {"value": 0.5, "low": None}}
    assert list(found.value["ap"]) == ["value", "low"]  # the order of what is shown
    assert found.created.tzinfo is not None
    assert store.get_analysis("0" * 64) is None


def test_the_key_is_that_of_the_content_and_the_order_of_runs_counts() -> None:
    key = analysis_key("estimate", SUBJECT)
    assert key == analysis_key("estimate", dict(reversed(SUBJECT.items())))
    others = [
        analysis_key("difference", SUBJECT),
        analysis_key("estimate", SUBJECT | {"runs": list(reversed(SUBJECT["runs"]))}),  # type: ignore[call-overload]
        analysis_key("estimate", SUBJECT | {"resamples": 100}),
    ]
    assert len({key, *others}) == 4
    with pytest.raises(ValueError, match="not JSON compliant"):
        analysis_key("estimate", {"threshold": float("nan")})


def test_a_later_result_takes_the_place_of_an_earlier_one(store: Store) -> None:
    store.put_analysis("estimate", SUBJECT, {"ap": 1})
    store.put_analysis("coco", SUBJECT, {"ap": 2})
    store.put_analysis("estimate", SUBJECT, {"ap": 3})
    assert [(a.kind, a.value) for a in store.analyses()] == [("coco", {"ap": 2}), ("estimate", {"ap": 3})]
    assert [a.value for a in store.analyses("estimate")] == [{"ap": 3}]
    assert store.analyses("control") == []


def test_a_reader_finds_and_keeps_nothing(database: Path) -> None:
    with Store.open(database) as store:
        key = store.put_analysis("estimate", SUBJECT, {})
        assert not store.read_only
    with Store.open(database, read_only=True) as store:
        assert store.read_only
        assert store.get_analysis(key) is not None
        with pytest.raises(StoreError, match="for reading only"):
            store.put_analysis("estimate", SUBJECT, {})


def test_a_database_of_the_first_schema_is_upgraded_whole(tmp_path: Path) -> None:
    database = tmp_path / "mmad.sqlite"
    dump = (Path(__file__).parent / "mmad-0001.sql").read_text("utf-8")
    with closing(sqlite3.connect(database)) as old:
        old.executescript(dump)
        before = sorted(old.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    with pytest.raises(OlderSchema, match="older schema 0001"):
        Store.open(database, read_only=True)
    with Store.open(database) as store:
        assert [s.member.path for s in member_summaries(store)] == [
            "patience/patience 10/CXR/0",
            "patience/patience 10/CXR+Clinical/0",
        ]
        good = store.ablations()[0].members[0].key
        assert store.epoch_records(good)[1] == samples.epoch(2, val_ap=0.5)
        assert store.analyses() == []
        store.put_analysis("estimate", SUBJECT, {})
    with closing(sqlite3.connect(database)) as new:
        after = sorted(new.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        (version,) = new.execute("SELECT version_num FROM alembic_version").fetchone()
    assert version == schema.HEAD
    changed = ("runs", "ix_runs_status_position", "members", "epochs", "metrics", "run_results")
    assert {row for row in before if row[1] not in changed} <= set(after)
    assert {name for _, name, _ in set(after) - set(before)} >= {"analyses", "ix_analyses_kind"}
    assert database.with_name("mmad.sqlite.0001.backup").exists()
