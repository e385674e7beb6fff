"""Tables as files: what a program reads from them is what the database holds."""

from __future__ import annotations

import csv
import errno
import inspect
import json
import math
import sys
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import store_samples as samples
from sqlalchemy import Table

from mmad.base.errors import StoreError
from mmad.store import export, schema
from mmad.store.export import export_tables
from mmad.store.store import Store

VIEWS = {"run_results", "checkpoint_results"}


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture
def filled(store: Store) -> Store:
    good, _ = samples.fill(store)
    store.commit_epoch(good, replace(samples.epoch(4), lr=math.inf, seconds=math.nan))
    store.add_warning(good, 'commas, "quotes"\nand lines — ü')
    return store


def test_csv_holds_every_table_and_view(filled: Store, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    written = export_tables(filled, tmp_path / "out", progress=lambda done, whole: told.append((done, whole)))
    numbered = {"run_epochs", "run_metrics", "metric_names"}
    tables = {name: table for name, table in schema.metadata.tables.items() if name not in numbered}
    tables |= schema.views.tables
    assert {one.name for one in written} == set(tables) | VIEWS
    assert told[-1] == (len(written), len(written))
    for one in written:
        assert len(read(one.file)) == one.rows
        if one.name not in VIEWS:
            with one.file.open(encoding="utf-8") as opened:
                assert next(csv.reader(opened)) == list(tables[one.name].c.keys())
    epochs = read(tmp_path / "out" / "epochs.csv")
    assert [row["epoch"] for row in epochs] == ["1", "2", "3", "4"]
    assert (epochs[3]["lr"], epochs[3]["seconds"]) == ("inf", "")
    (environment,) = read(tmp_path / "out" / "environments.csv")
    assert datetime.fromisoformat(environment["started"]) == samples.NOON
    assert environment["git_dirty"] == "true"
    assert json.loads(environment["versions"]) == samples.environment().versions
    assert read(tmp_path / "out" / "warnings.csv")[1]["text"] == 'commas, "quotes"\nand lines — ü'
    results = read(tmp_path / "out" / "run_results.csv")
    assert [(row["arm"], row["epoch"], row["best_ap_test_ap"]) for row in results] == [
        ("CXR", "4", "0.375"),
        ("CXR+Clinical", "", ""),
    ]


def test_a_full_disk_leaves_no_table_open(filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def write(file: Path, table: Table, parts: Generator[object, None, None]) -> int:
        begun.append(parts)
        next(parts)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export, "_write_csv", write)
    with pytest.raises(StoreError, match=r"out: cannot be written \(No space left on device\)"):
        export_tables(filled, tmp_path / "out")
    assert [inspect.getgeneratorstate(parts) for parts in begun] == [inspect.GEN_CLOSED]
    assert not (tmp_path / "out").exists()


def test_parquet_holds_the_same_with_types(filled: Store, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    texts = {one.name: read(one.file) for one in export_tables(filled, tmp_path / "csv")}
    for one in export_tables(filled, tmp_path / "parquet", "parquet"):
        table = parquet.read_table(one.file)
        assert table.num_rows == one.rows == len(texts[one.name])
        for row, text in zip(table.to_pylist(), texts[one.name], strict=True):
            assert {name: shown(value) for name, value in row.items()} == text
    types = {
        field.name: str(field.type) for field in parquet.read_schema(tmp_path / "parquet" / "environments.parquet")
    }
    assert (types["started"], types["git_dirty"], types["threads"], types["host"]) == (
        "timestamp[us, tz=UTC]",
        "bool",
        "int64",
        "string",
    )
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "parquet" / "run_results.parquet")}
    assert (types["epoch"], types["best_ap_test_ap"]) == ("int64", "double")


def shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_nothing_is_written_over_and_what_is_wrong_is_told(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.csv").write_text("mine")
    with pytest.raises(StoreError, match=r"out: exists already; name a new folder"):
        export_tables(filled, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metrics.csv"]
    with pytest.raises(StoreError, match=r"in: cannot be written \(File exists\)"):
        export_tables(filled, tmp_path / "out" / "metrics.csv" / "in")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StoreError, match=r"needs pyarrow, which is not installed; install it \(pip install"):
        export_tables(filled, tmp_path / "parquet", "parquet")
    assert not (tmp_path / "parquet").exists()
