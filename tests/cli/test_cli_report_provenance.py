"""A report that is sent around says nothing of the machine and of who trained, unless it is asked to."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_store_runs import filled

from mmad.report.provenance import database_name, without_folders

Call = Callable[..., Any]
GIVEN_AWAY = ("ward7", "jane", "/scratch", "the-command", "-custom")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path, _, _ = filled(tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        error = "DataError: /scratch/jane/cxr/a.png: gone (/home/jane) on ward7; was /home/jane/deep/b.png"
        connection.execute("update runs set error = ? where error is not null", (error,))
        connection.execute("update runs set dataset_path = '/scratch/jane doe/cxr'")
        connection.execute("update ablations set path = '/home/jane/ablations/patience.toml'")
        connection.execute("update members set overrides = '[\"weights=/home/jane/w.pt\"]'")
        connection.execute(
            "update environments set host = 'ward7', command = 'the-command', platform = 'Linux-6.1.0-custom-ward7'"
        )
    return Path(path)


def _written(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.suffix in (".html", ".md", ".csv", ".tex")]
    assert {path.suffix for path in files} == {".html", ".md", ".csv", ".tex"}
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@pytest.mark.slow
def test_a_report_gives_nothing_away(database: Path, tmp_path: Path, call_mmad: Call) -> None:
    out = tmp_path / "out"
    words = (
        "--html",
        "--md",
        "--out",
        out / "a.html",
        "--csv",
        out / "csv",
        "--latex",
        out / "latex",
        "--db",
        database,
    )
    assert call_mmad("report", *words).code == 0
    text = _written(out)
    for word in (*GIVEN_AWAY, str(tmp_path)):
        assert word not in text, word
    for word in ("Linux-6.1.0", "<bdi>cxr</bdi>", "patience.toml", "a.png: gone", "weights=w.pt", "mmad.sqlite"):
        assert word in text, word
    assert call_mmad("report", *words, "--provenance", "full").code == 0
    text = _written(out)
    for word in (*GIVEN_AWAY, "/scratch/jane doe/cxr", str(tmp_path)):
        assert word in text, word
    called = call_mmad("report", *words, "--provenance", "all")
    assert (called.code, called.err) == (2, "mmad: --provenance: unknown 'all'; choose brief or full\n")


@pytest.mark.parametrize(
    ("text", "brief"),
    [
        ("/home/jane/a b", "a b"),
        ("/home/jane: denied", "~: denied"),
        ("'/data/x/y.png' and ~/z/w", "'y.png' and w"),
        ("AP/AR at 1/2, https://host/a/b, runs/ab/c.pt", "AP/AR at 1/2, https://host/a/b, runs/ab/c.pt"),
    ],
)
def test_absolute_paths_keep_their_last_part(text: str, brief: str) -> None:
    assert without_folders(text) == brief


def test_a_database_is_named_without_its_place() -> None:
    assert database_name("postgresql://***@ward7:5432/runs?sslmode=require") == "runs"
    assert database_name("postgresql://ward7") == "a database server"
    assert database_name("/home/jane/db/mmad.sqlite") == "mmad.sqlite"
    assert database_name("db/mmad.sqlite") == "db/mmad.sqlite"
