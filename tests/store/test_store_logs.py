"""Imported logs: what they are called, and that the same file takes its own place."""

from __future__ import annotations

from pathlib import Path

from mmad.store.store import Store

ENTRIES = [{"id": "e002", "params": {"model": 5}}, {"id": "e001", "params": {}}]


def test_a_log_comes_back_in_its_order(store: Store) -> None:
    assert store.put_log("log", "/a/log.md", "1" * 64, {"lines": 3}, ENTRIES).state == "new"
    (record,) = store.logs()
    assert (record.name, record.path, record.sha256, record.content) == ("log", "/a/log.md", "1" * 64, {"lines": 3})
    assert list(record.entries) == ENTRIES
    assert record.imported.tzinfo is not None


def test_the_same_file_takes_its_own_place(store: Store) -> None:
    store.put_log("log", "/a/log.md", "1" * 64, {}, ENTRIES)
    again = store.put_log("log", "/a/log.md", "1" * 64, {}, ENTRIES)
    assert (again.name, again.state) == ("log", "same")
    later = store.put_log("log", "/a/log.md", "2" * 64, {}, ENTRIES[:1])
    assert (later.name, later.state) == ("log", "changed")
    assert [len(record.entries) for record in store.logs()] == [1]


def test_equal_text_elsewhere_is_the_same_log(store: Store) -> None:
    store.put_log("log", "/a/log.md", "1" * 64, {}, ENTRIES)
    assert store.put_log("copy", "/b/copy.md", "1" * 64, {}, ENTRIES).name == "log"


def test_another_file_of_the_same_name_gets_a_number(store: Store) -> None:
    for number in range(3):
        store.put_log("README", f"/{number}/README.md", f"{number}" * 64, {}, ENTRIES)
    assert [record.name for record in store.logs()] == ["README", "README-2", "README-3"]
    assert store.put_log("README", "/1/README.md", "9" * 64, {}, []).name == "README-2"
    assert [len(record.entries) for record in store.logs()] == [2, 0, 2]


def test_a_log_without_entries_is_kept(database: Path) -> None:
    with Store.open(database) as store:
        store.put_log("empty", "/e.md", "0" * 64, {"prose": []}, [])
    with Store.open(database, read_only=True) as store:
        assert [record.entries for record in store.logs()] == [()]
