"""docs/store.md: every example runs, and every table and view is described."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import store_samples as samples

from mmad.store import schema
from mmad.store.gateway import Store

PAGE = (Path(__file__).parents[2] / "docs" / "store.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "db" / "mmad.sqlite") as store:
        good, _ = samples.fill(store)
        samples.write_files(store, good)
    return tmp_path


@pytest.mark.parametrize("query", blocks("sql"), ids=lambda query: query.split()[1])
def test_queries_answer(folder: Path, query: str) -> None:
    with closing(sqlite3.connect(folder / "db" / "mmad.sqlite")) as database:
        rows = database.execute(query).fetchall()
    assert rows or "CXR+Clinical" in query  # that arm failed in the sample


@pytest.mark.slow
def test_python_examples_run_one_after_the_other(folder: Path) -> None:
    program = "\n".join(blocks("python"))
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "patience/patience 10/CXR/0 finished 0.375" in done.stdout
    assert "train_loss" in done.stdout
    assert "mobilenet_v3" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.splitlines()])
def test_shell_examples_run(folder: Path, line: str) -> None:
    if line.startswith("sqlite3") and shutil.which("sqlite3") is None:
        pytest.skip("the sqlite3 shell is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if k != "MMAD_DB"} | {"PATH": path}
    done = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "patience" in (folder / "results.csv").read_text() if "results.csv" in line else done.stdout


def test_every_table_is_described() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE))
    assert described == set(schema.metadata.tables)
    for name, columns in re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", PAGE, flags=re.MULTILINE):
        outside = re.sub(r"\([^)]*\)", "", columns)
        assert set(re.findall(r"`(\w+)`", outside)) <= set(schema.metadata.tables[name].c.keys())
