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
from mmad.store.store import Store

PAGE = (Path(__file__).parents[2] / "docs" / "store.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "db" / "mmad.sqlite") as store:
        good, _ = samples.fill(store)
        samples.write_files(store, good)
    with Store.open(tmp_path / "theirs.sqlite") as store:
        samples.fill(store)
    return tmp_path


@pytest.fixture
def several(folder: Path) -> Path:
    """Beside it a finished pair."""
    with Store.open(folder / "db" / "mmad.sqlite") as store:
        finish_a_pair(store)
    return folder


def finish_a_pair(store: Store) -> None:
    """Both arms of the ablation ``depth`` with one epoch: test AP 0.5 against 0.75, one checkpoint for two kinds."""
    pair = samples.ablation("depth", patiences=(20,))
    store.add_ablation(pair)
    for member, ap in zip(pair.members, (0.5, 0.75), strict=True):
        store.add_environment(member.run.key, samples.environment())
        store.commit_epoch(
            member.run.key,
            samples.epoch(1, val_ap=ap),
            [samples.checkpoint(kind) for kind in ("best_ap", "final")],
            [
                samples.evaluation("best_ap", 1, split, overlap, ap)
                for split in ("val", "test")
                for overlap in ("iou", "iobb")
            ],
        )
        store.end_free(member.run.key, "finished")


def answers(folder: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "db" / "mmad.sqlite")) as database:
        return database.execute(query).fetchall()


@pytest.mark.parametrize("query", blocks("sql"), ids=lambda query: query.split()[1])
def test_queries_answer(several: Path, query: str) -> None:
    assert answers(several, query)


def recipe(heading: str) -> str:
    """The first query below ``### heading``."""
    return re.findall(r"```sql\n(.*?)```", PAGE.split(f"### {heading}\n")[1], flags=re.DOTALL)[0]


def test_recipes_say_what_they_promise(several: Path) -> None:
    assert answers(several, recipe("The best run of every ablation")) == [
        ("depth", "patience 20", "CXR+Clinical", 0, 0.75, 0.75, 1),
        ("patience", "patience 10", "CXR", 0, 0.5, 0.375, 2),
    ]
    assert [row[:2] for row in answers(several, recipe("What failed, and why"))] == [
        ("OutOfMemoryError: 3 GiB were asked for", 1)
    ]
    assert answers(several, recipe("The slowest runs, and where the time went"))[0][1:4] == (3, 0.1, 2.0)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_python_examples_run_one_after_the_other(folder: Path) -> None:
    program = "\n".join(blocks("python"))
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"patience 10 +CXR +finished +mobilenet_v3 +\S+ +0\.375", done.stdout)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.split("\n")[0][:40])
def test_shell_examples_run_one_after_the_other(folder: Path, block: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if k != "MMAD_DB"} | {"PATH": path}
    for line in block.splitlines():
        if line.startswith("sqlite3") and shutil.which("sqlite3") is None:
            pytest.skip("the sqlite3 shell is not installed")
        done = subprocess.run(
            line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        written = re.search(r"> (\w+\.csv)", line)
        assert "patience" in (folder / written[1]).read_text() if written else done.stdout, line


def test_every_table_is_described() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE))
    tables = {**schema.metadata.tables, **schema.views.tables}
    assert described == set(tables)
    for name, columns in re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", PAGE, flags=re.MULTILINE):
        outside = re.sub(r"\([^)]*\)", "", columns)
        assert set(re.findall(r"`(\w+)`", outside)) <= set(tables[name].c.keys())
